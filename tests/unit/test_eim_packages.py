"""Every PSMO and eCO from the Python API through the card, and its result in words (SGP.32 2.11)."""

from __future__ import annotations

from typing import Any

import pytest
from eim_ipa import Ipa, alarms, order
from euicc_peer import EID, Dp, iccid, spec
from microipa.asn1 import sgp32
from microipa.asn1.tlv import integer, parse, tlv
from microipa.eim import Eim
from microipa.eim import words as eim_words

FIRST, SECOND = spec(1).iccid, spec(2).iccid
OWN = "eim.microipa.example"


@pytest.fixture
def two(ipa: Ipa, pki) -> Ipa:
    """Profile 1 is enabled, profile 2 is on the card too."""
    Dp(pki, ipa.card).download(spec(2))
    return ipa


async def done(desk: Eim, ipa: Ipa, *operations: tuple[str, dict[str, Any]]) -> list[tuple[bool, str, Any]]:
    """Carry out one package; (ok, words, value) of each operation."""
    number = desk.order_package(EID, operations)
    await ipa.work()
    results = order(desk, number).details["results"]
    assert [result["operation"] for result in results] == [name for name, _ in operations]
    told = order(desk, number).result
    return [(result["ok"], told, result["value"]) for result in results]


def eim_configuration(pki, **changes: Any) -> dict[str, Any]:
    key = sgp32.decode("SubjectPublicKeyInfo", pki.smdpp_auth.spki)
    fields = {"eimId": "second.example", "counterValue": 0, "eimPublicKeyData": ("eimPublicKey", key)}
    return fields | changes


async def test_3_4_1_enable_with_rollback_by_the_digits_of_the_iccid(desk, two):
    ((ok, told, _),) = await done(desk, two, ("enable", {"iccid": SECOND, "rollbackFlag": None}))
    assert (ok, told) == (True, "enable: ok")


async def test_3_4_2_disable_and_3_4_3_delete(desk, two):
    results = await done(desk, two, ("disable", {"iccid": FIRST}), ("delete", {"iccid": iccid(2)}))
    assert [ok for ok, _, _ in results] == [True, True]
    states = [(profile.iccid, profile.state) for profile in two.card.card.profiles()]
    assert states == [(FIRST, "disabled")]


async def test_3_4_4_list_profile_info_shows_names_and_states(desk, two):
    ((_, told, value),) = await done(desk, two, ("listProfileInfo", {}))
    assert told == f"listProfileInfo: {FIRST} enabled Profile 1; {SECOND} disabled Profile 2"
    assert [profile["class"] for profile in value] == ["operational", "operational"]


async def test_3_4_4_list_profile_info_may_search_and_choose_its_tags(desk, two):
    search = {"searchCriteria": ("iccid", iccid(2)), "tagList": bytes.fromhex("5A9F70")}
    ((_, _, value),) = await done(desk, two, ("listProfileInfo", search))
    assert value == [{"iccid": SECOND, "state": "disabled"}]
    assert desk.device(EID).profiles is None  # a part of the list says nothing of the rest


async def test_3_4_5_get_rat_is_told_rule_by_rule(desk, two):
    ((ok, told, value),) = await done(desk, two, ("getRAT", {}))
    assert (ok, told) == (True, "getRAT: 1 rules")
    assert "pprIds" in str(value)


async def test_3_4_6_configure_immediate_enable(desk, two):
    fields = {"immediateEnableFlag": None, "defaultSmdpOid": "2.999.10", "defaultSmdpAddress": "dp.example"}
    ((ok, told, _),) = await done(desk, two, ("configureImmediateEnable", fields))
    assert (ok, told) == (True, "configureImmediateEnable: ok")


async def test_3_4_7_fallback_attribute_is_refused_for_a_profile_that_does_not_allow_it(desk, two):
    number = desk.order_package(EID, [("setFallbackAttribute", {"iccid": SECOND})])
    await two.work()
    assert order(desk, number).result == "setFallbackAttribute: fallbackNotAllowed"
    number = desk.order_package(EID, [("unsetFallbackAttribute", {})])
    await two.work()
    assert order(desk, number).result == "unsetFallbackAttribute: noFallbackAttribute"


async def test_3_4_8_set_default_dp_address(desk, two):
    ((ok, told, _),) = await done(desk, two, ("setDefaultDpAddress", {"defaultDpAddress": "dp.example"}))
    assert (ok, told) == (True, "setDefaultDpAddress: ok")
    assert desk.device(EID).default_smdp_address == "dp.example"


async def test_3_5_1_eims_are_added_updated_listed_and_deleted(desk, two, pki):
    await done(desk, two, ("listEim", {}))
    ((ok, told, value),) = await done(desk, two, ("addEim", eim_configuration(pki, associationToken=-1)))
    assert (ok, told, value) == (True, "addEim: token 2", {"associationToken": 2})
    assert desk.device(EID).eims == [OWN, "second.example"]
    update = {"eimId": "second.example", "eimFqdn": "new.example"}
    (updated, listed) = await done(desk, two, ("updateEim", update), ("listEim", {}))
    assert updated[0]
    assert listed[2] == [OWN, "second.example"]
    ((ok, told, _),) = await done(desk, two, ("deleteEim", {"eimId": "second.example"}))
    assert (ok, told) == (True, "deleteEim: ok")
    assert desk.device(EID).eims == [OWN]


async def test_3_5_1_an_eim_without_token_is_added_as_ok(desk, two, pki):
    ((ok, told, value),) = await done(desk, two, ("addEim", eim_configuration(pki)))
    assert (ok, told, value) == (True, "addEim: ok", 0)


async def test_3_5_1_the_configuration_of_the_api_is_good_for_add_eim_too(desk, two, pki, tmp_path):
    configuration = sgp32.decode("EimConfigurationData", desk.configuration("pin"))
    ((ok, _, _),) = await done(desk, two, ("addEim", configuration | {"eimId": "third.example"}))
    assert ok


async def test_a_package_goes_on_after_an_operation_that_failed(desk, two):
    number = desk.order_package(
        EID, [("delete", {"iccid": FIRST}), ("enable", {"iccid": spec(9).iccid}), ("listProfileInfo", {})]
    )
    await two.work()
    results = order(desk, number).details["results"]
    assert [result["ok"] for result in results] == [False, False, True]
    assert order(desk, number).state == "failed"
    told = "delete: profileNotInDisabledState, enable: iccidOrAidNotFound, listProfileInfo:"
    assert order(desk, number).result.startswith(told)
    assert [profile["state"] for profile in desk.device(EID).profiles] == ["enabled", "disabled"]


async def test_5_9_16_a_rollback_leaves_the_profiles_of_the_packages_own_list(desk, two, pki, events):
    operations = [("listProfileInfo", {}), ("enable", {"iccid": SECOND, "rollbackFlag": None})]
    number = desk.order_package(EID, operations)
    await two.introduce()
    two.execute(await two.get())  # the result cannot be delivered over the new profile
    rolled = parse(two.card.es10("BF58038001FF"))
    two.card.refresh()
    two.remove(await two.provide(rolled[0xBF51].raw))
    assert order(desk, number).state == "failed"
    assert order(desk, number).result.startswith(
        "rolled back, the new profile did not connect and the old one is enabled again; before: listProfileInfo: "
    )
    assert order(desk, number).result.endswith(", enable: ok")
    assert [one["operation"] for one in order(desk, number).details["results"]] == [
        "listProfileInfo", "enable", "rollback"
    ]
    states = {profile["iccid"]: profile["state"] for profile in desk.device(EID).profiles}
    assert states == {FIRST: "enabled", SECOND: "disabled"}
    assert alarms(events) == []


RESULTS = sgp32.kind("EuiccResultData").members
CODES = [
    (member.kind.tags[0], member.name.removesuffix("Result"), code, word)
    for member in RESULTS
    for code, word in member.kind.names.items()
]


@pytest.mark.parametrize(("tag", "operation", "code", "word"), CODES)
def test_2_11_2_1_every_result_code_is_told_by_its_name(tag, operation, code, word):
    (outcome,) = eim_words.outcomes(parse(tlv(0x30, integer(tag, code))))
    assert (outcome.operation, outcome.words) == (operation, word)
    assert outcome.ok == (code == 0)


@pytest.mark.parametrize(
    ("element", "told"),
    [
        (integer(0x83, 99), "enable: code 99"),
        (tlv(0xBF2D, integer(0x81, 11)), "listProfileInfo: profileChangeOngoing"),
        (tlv(0xBF2D, tlv(0xA0)), "listProfileInfo: no profiles"),
        (tlv(0xA8, integer(0x02, 5)), "addEim: invalidAssociationToken"),
        (tlv(0xAB, integer(0x81, 127)), "listEim: undefinedError"),
        (tlv(0xAB, tlv(0xA0)), "listEim: none"),
        (tlv(0xBF65, integer(0x80, 127)), "setDefaultDpAddress: undefinedError"),
        (tlv(0xA6, tlv(0x04, b"?")), "getRAT: 1 rules"),
        (tlv(0x9F7F, b"\x01"), "9F7F: unknown result 9f7f0101"),
    ],
)
def test_2_11_2_1_other_results_are_told_too(element, told):
    (outcome,) = eim_words.outcomes(parse(tlv(0x30, element)))
    assert f"{outcome.operation}: {outcome.words}" == told


async def test_3_5_1_2_the_lost_result_of_an_eim_that_deleted_itself_stays_on_the_card_for_whoever_asks(
    desk: Eim, ipa: Ipa, pki, tmp_path
) -> None:
    """Its order says delivered until then; the new eIM sees the result, and can bring the old one back to it."""
    (tmp_path / "eim2").mkdir()
    heir = Eim(pki.second_eim(), tmp_path / "eim2", es9_routes={})
    heir.add_device(EID)
    joins = ("addEim", sgp32.decode("EimConfigurationData", heir.configuration()))
    number = desk.order_package(EID, [joins, ("deleteEim", {"eimId": OWN})])
    await ipa.introduce()
    lost = ipa.execute(await ipa.get())
    assert (order(desk, number).state, order(desk, number).result) == ("delivered", None)
    assert ipa.stored() == lost

    question = heir.order_data(EID, ["euiccPackageResultList"])
    await Ipa(heir.handle, ipa.card).work()
    assert OWN in str(order(heir, question).details["ipaEuiccData"])
    assert ipa.stored() == lost  # to be acknowledged by the one it is for

    heir.order_package(EID, [("addEim", sgp32.decode("EimConfigurationData", desk.configuration()))])
    await Ipa(heir.handle, ipa.card).work()
    ipa.remove(await ipa.provide(ipa.stored()))
    assert order(desk, number).result == "addEim: token 2, deleteEim: ok"
    assert ipa.stored() == b""
