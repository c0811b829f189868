"""What a device asks of the card: identity, rules, notifications, reset, IPA mode (SGP.32 5.8 and 5.9)."""

from __future__ import annotations

from pathlib import Path

import pytest
from euicc_peer import (
    ECALL,
    EID,
    FALLBACK_ALLOWED,
    PROVISIONING_CLASS,
    SET_DEFAULT_DP,
    TEST_CLASS,
    Dp,
    Eim,
    Terminal,
    code,
    delete,
    enable,
    iccid,
    make_card,
    set_fallback,
    spec,
)
from microipa.asn1 import rsp, sgp32
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto import ec
from microipa.crypto.pki import Pki, subject_key_identifier, verify_euicc_chain
from microipa.saip import ProfilePackage, build, metadata

EMPTY_LIST = bytes.fromhex("BF2B02A000")


# ---- identity


@pytest.mark.covers("es10b.getEID.ok")
def test_5_9_19_get_eid(terminal):
    assert terminal.es10("BF3E035C015A") == bytes.fromhex("BF3E125A10" + EID)
    for command in ("BF3E00", "BF3E035C014F"):
        terminal.es10(command)
        assert terminal.sw == 0x6A80


@pytest.mark.covers("es10b.getEUICCInfo1.ok", "es10b.getEUICCInfo2.ok")
def test_5_9_2_info_names_the_ci_and_what_the_card_can(terminal, pki):
    key_id = subject_key_identifier(pki.ci.certificate)
    info1 = rsp.decode("EUICCInfo1", terminal.es10("BF2000"))
    info2 = sgp32.decode("EUICCInfo2", terminal.es10("BF2200"))
    for info in (info1, info2):
        assert info["euiccCiPKIdListForVerification"] == info["euiccCiPKIdListForSigning"] == [key_id]
    assert info2["ipaMode"] == 0
    special = info2["iotSpecificInfo"]
    assert special["iotVersion"] == [bytes([1, 2, 0])]
    assert {"ecallSupported", "fallbackSupported"} <= set(special)


def test_5_9_2_free_memory_shrinks_with_each_profile(terminal, dp):
    def free() -> int:
        resource = parse(terminal.es10("BF2200"))[0x84]  # 81 applications, 82 non-volatile memory, 83 RAM
        return int.from_bytes(parse(tlv(0x30, resource.value))[0x82].value, "big")

    before = free()
    dp.install(2)
    assert before - free() > len(build(spec(2)))


@pytest.mark.covers("es10b.getCerts.ok", "es10b.getCerts.invalidCiPKId")
def test_5_9_10_certificates_prove_the_eid_without_their_sequence_headers(terminal, pki):
    key_id = subject_key_identifier(pki.ci.certificate)
    for command in (b"\xbf\x56\x00", tlv(0xBF56, tlv(0x80, key_id))):
        certs = parse(terminal.es10(command))[0xA0]
        euicc, eum = (tlv(0x30, certs[tag].value) for tag in (0xA6, 0xA5))
        assert verify_euicc_chain(euicc, eum, pki.ci.certificate)[0] == EID
    assert code("GetCertsResponse", terminal.es10(tlv(0xBF56, tlv(0x80, bytes(20))))) == "invalidCiPKId"


@pytest.mark.covers("es10b.getRAT.ok")
def test_5_9_13_rules_allow_any_operator_both_policy_rules(terminal):
    (rule,) = parse(terminal.es10("BF4300"))[0xA0]
    assert rule[0x80].value == b"\x05\x60"
    assert rule[0xA1].children()[0][0x80].value == b"\xee\xee\xee"


@pytest.mark.covers("es10b.setDefaultDpAddress.ok", "es10b.getEuiccConfiguredData.ok")
def test_5_9_25_and_5_8_1_default_address_is_set_and_read(terminal):
    assert rsp.decode("EuiccConfiguredAddressesResponse", terminal.es10("BF3C00")) == {
        "rootDsAddress": "lpa.ds.gsma.com"
    }
    assert code("SetDefaultDpAddressResponse", terminal.es10(SET_DEFAULT_DP)) == "ok"
    terminal.reset()
    assert parse(terminal.es10("BF3C00"))[0x80].value == b"dp.example"


@pytest.mark.covers("es10b.setDefaultDpAddress.undefinedError")
def test_5_9_25_an_address_that_is_none_is_undefinedError(terminal):
    answer = terminal.es10(tlv(0xBF65, tlv(0x80, b"\xff")))
    assert code("SetDefaultDpAddressResponse", answer) == "undefinedError"


@pytest.mark.covers("es10b.getConnectivityParameters.parametersNotAvailable")
def test_5_9_24_a_profile_without_parameters_is_parametersNotAvailable(terminal):
    answer = terminal.es10("BF5F00")
    assert code("GetConnectivityParametersResponse", answer) == "parametersNotAvailable"


@pytest.mark.covers("es10b.getConnectivityParameters.ok")
def test_5_9_24_parameters_are_those_of_the_enabled_profile(terminal, eim, dp):
    header, *rest = ProfilePackage.parse(build(spec(2))).elements
    params = b"\x35\x07\x01\x03\x00\x00\x00\x00\x00"
    package = tlv(0xA0, parse(header.raw).value, tlv(0x87, params)) + b"".join(e.raw for e in rest)
    assert 0xA0 in dp.download(package, metadata(spec(2)))[0xBF27][0xA2]
    eim.run(terminal, enable(iccid(2)))
    terminal.refresh()
    answer = terminal.es10("BF5F00")
    assert answer == tlv(0xBF5F, tlv(0xA0, tlv(0x81, params)))
    assert code("GetConnectivityParametersResponse", answer) == "ok"


# ---- GetProfilesInfo


@pytest.mark.covers("es10b.getProfilesInfo.ok", "es10b.getProfilesInfo.incorrectInputValues")
def test_5_9_14_profiles_info(terminal, dp):
    dp.install(2)
    found = sgp32.decode("ProfileInfoListResponse", terminal.es10("BF2D00"))[1]
    assert [info["iccid"] for info in found] == [iccid(1), iccid(2)]
    answer = terminal.es10("BF2D05A003920141")
    assert code("ProfileInfoListResponse", answer) == "incorrectInputValues"


@pytest.mark.covers("es10b.getProfilesInfo.profileChangeOngoing")
def test_5_9_14_profiles_info_before_the_refresh_is_profileChangeOngoing(terminal, eim, dp):
    dp.install(2)
    eim.run(terminal, enable(iccid(2)))
    assert code("ProfileInfoListResponse", terminal.es10("BF2D00")) == "profileChangeOngoing"
    terminal.reset()
    assert code("ProfileInfoListResponse", terminal.es10("BF2D00")) == "ok"


# ---- notifications


@pytest.fixture
def notified(terminal: Terminal, eim: Eim, dp: Dp) -> Terminal:
    """1 PIR and 2 install for another server · 3 result, 4 enable · 5 result, 6 disable, and 7 delete."""
    dp.address = "first.example"
    dp.install(2)
    eim.run(terminal, enable(iccid(2)))
    terminal.refresh()
    eim.run(terminal, enable(iccid(1)), delete(iccid(2)))
    terminal.refresh()
    return terminal


def numbers(terminal: Terminal, search: bytes = b"") -> list[int]:
    """seqNumbers of what RetrieveNotificationsList finds."""
    answer = terminal.es10(tlv(0xBF2B, tlv(0xA0, search) if search else b""))
    assert code("RetrieveNotificationsListResponse", answer) == "ok"
    return [_number(item) for item in parse(answer).children()[0]]


def _number(item: Tlv) -> int:
    """seqNumber of a ProfileInstallationResult, an OtherSignedNotification or an EuiccPackageResult."""
    if item.tag == 0xBF37:
        found = item[0xBF27][0xBF2F][0x80]
    elif item.tag == 0x30:
        found = item[0xBF2F][0x80]
    else:
        found = item[0xA0][0x30][0x83]
    return found.value[0]


def searching(by: str) -> pytest.MarkDecorator:
    return pytest.mark.covers(f"RetrieveNotificationsListRequest.searchCriteria.{by}")


@pytest.mark.covers(
    "es10b.retrieveNotificationsList.notificationList", "es10b.retrieveNotificationsList.euiccPackageResultList"
)
@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("", [1, 2, 4, 6, 7]),
        pytest.param("80 01 04", [4], marks=searching("seqNumber")),
        ("80 01 03", [3]),
        ("80 01 63", []),
        ("81 02 07 80", [1, 2]),
        pytest.param("81 02 06 40", [4], marks=searching("profileManagementOperation")),
        ("81 02 05 20", [6]),
        ("81 02 04 10", [7]),
        ("81 02 00 50", [4, 7]),
        ("81 02 04 F0", [1, 2, 4, 6, 7]),
        pytest.param("82 00", [3, 5], marks=searching("euiccPackageResults")),
    ],
)
def test_5_9_11_retrieve_by_number_event_and_kind(notified, search, expected):
    assert numbers(notified, bytes.fromhex(search)) == expected


@pytest.mark.covers("es10b.retrieveNotificationsList.undefinedError")
def test_5_9_11_a_search_the_card_does_not_know_is_undefinedError(terminal):
    for command in ("BF2B04A0028300", "BF2B02A000"):
        answer = terminal.es10(command)
        assert code("RetrieveNotificationsListResponse", answer) == "undefinedError"


def test_5_9_11_searches_that_stand_outside_their_a0_are_wrong_data(notified):
    for command in ("BF2B03800104", "BF2B0481020780", "BF2B028200"):
        assert notified.es10(command) == b""
        assert notified.sw == 0x6A80


def test_2_1_notifications_are_signed_over_their_metadata_and_bring_their_chain(notified, pki):
    (item,) = parse(notified.es10("BF2B05A003800104"))[0xA0]
    tbs, signature, euicc, eum = item.children()
    ec.verify(pki.euicc(EID).certificate.public_key(), signature.value, tbs.raw)
    assert verify_euicc_chain(euicc.raw, eum.raw, pki.ci.certificate)[0] == EID


@pytest.mark.covers(
    "es10b.listNotification.ok",
    *(
        f"ListNotificationRequest.profileManagementOperation.notification{event}"
        for event in ("Install", "Enable", "Disable", "Delete")
    ),
)
def test_5_9_list_notification_gives_metadata_by_event(notified):
    def listed(command: str) -> list[int]:
        answer = notified.es10(command)
        assert rsp.decode("ListNotificationResponse", answer)
        return [item[0x80].value[0] for item in parse(answer)[0xA0]]

    assert listed("BF2800") == [1, 2, 4, 6, 7]
    assert [listed(f"BF28048102{event}") for event in ("0780", "0640", "0520", "0410")] == [[1, 2], [4], [6], [7]]


@pytest.mark.covers("es10b.removeNotificationFromList.ok", "es10b.removeNotificationFromList.nothingToDelete")
def test_5_9_12_each_is_removed_by_its_number_once(notified):
    for number in range(1, 8):
        for result in ("ok", "nothingToDelete"):
            answer = notified.es10(tlv(0xBF30, integer(0x80, number)))
            names = rsp.kind("NotificationSentResponse").members[0].kind.names
            assert names[parse(answer)[0x80].value[0]] == result
    assert notified.es10("BF2B00") == EMPTY_LIST
    assert notified.es10("BF2B04A0028200") == bytes.fromhex("BF2B02A200")


def test_5_9_11_notifications_survive_a_reset(notified):
    before = notified.es10("BF2B00")
    notified.reset()
    assert notified.es10("BF2B00") == before


# ---- EuiccMemoryReset

OPERATIONAL, FIELD_TEST, DEFAULT_DP, LOADED_TEST, PROVISIONING, EIM_DATA, IMMEDIATE = (
    0x80 >> bit for bit in range(7)
)


def reset(terminal: Terminal, bits: int) -> dict[str, str]:
    """Reset what ``bits`` name; the names of the results, one each."""
    answer = terminal.es10(tlv(0xBF64, tlv(0x82, bytes([1, bits]))))
    members = {member.name: member.kind.names for member in sgp32.kind("EuiccMemoryResetResponse").members}
    decoded = sgp32.decode("EuiccMemoryResetResponse", answer)
    return {name: members[name][value] for name, value in decoded.items()}


@pytest.mark.covers("es10b.euiccMemoryReset.ok", "es10b.euiccMemoryReset.nothingToDelete")
@pytest.mark.parametrize(
    ("bits", "left"),
    [
        (OPERATIONAL, [2, 3]),
        (FIELD_TEST, [1, 3]),
        (LOADED_TEST, [1, 3]),
        (PROVISIONING, [1, 2]),
        (PROVISIONING | FIELD_TEST, [1]),
        (OPERATIONAL | PROVISIONING | FIELD_TEST, []),
    ],
)
def test_memory_reset_deletes_profiles_by_class_the_enabled_one_too(terminal, dp, bits, left):
    dp.install(2, TEST_CLASS)
    dp.install(3, PROVISIONING_CLASS)
    assert reset(terminal, bits) == {"resetResult": "ok"}
    assert (terminal.sw >> 8 == 0x91) == (1 not in left)
    terminal.reset()
    assert [profile.name for profile in terminal.card.profiles()] == [f"Profile {n}" for n in left]
    assert reset(terminal, bits) == {"resetResult": "nothingToDelete"}


@pytest.mark.covers("es10b.euiccMemoryReset.ok", "es10b.euiccMemoryReset.nothingToDelete")
def test_memory_reset_of_the_default_address(terminal):
    terminal.es10(SET_DEFAULT_DP)
    assert reset(terminal, DEFAULT_DP) == {"resetResult": "ok"}
    assert 0x80 not in parse(terminal.es10("BF3C00"))
    assert reset(terminal, DEFAULT_DP) == {"resetResult": "nothingToDelete"}


@pytest.mark.covers(
    "es10b.euiccMemoryReset.resetEimResult.ok", "es10b.euiccMemoryReset.resetEimResult.nothingToDelete"
)
def test_memory_reset_of_eims_lets_an_initial_one_in(terminal, eim):
    assert reset(terminal, EIM_DATA)["resetEimResult"] == "ok"
    assert reset(terminal, EIM_DATA)["resetEimResult"] == "nothingToDelete"
    answer = terminal.es10(tlv(0xBF57, tlv(0xA0, eim.configuration())))
    assert code("AddInitialEimResponse", answer) == "ok"


@pytest.mark.covers("es10b.euiccMemoryReset.resetImmediateEnableConfigResult.ok")
def test_memory_reset_of_the_immediate_enable_configuration(terminal, dp):
    terminal.es10("BF59028000")
    assert reset(terminal, IMMEDIATE)["resetImmediateEnableConfigResult"] == "ok"
    dp.install(2)
    answer = terminal.es10("BF5A038001FF")
    assert code("ImmediateEnableResponse", answer) == "immediateEnableNotAvailable"


@pytest.mark.covers("es10b.euiccMemoryReset.catBusy")
def test_memory_reset_of_the_enabled_profile_in_a_toolkit_session_is_catBusy(terminal):
    terminal.keep_toolkit_busy()
    assert reset(terminal, OPERATIONAL) == {"resetResult": "catBusy"}
    terminal.serve_toolkit()
    assert reset(terminal, OPERATIONAL) == {"resetResult": "ok"}


@pytest.mark.covers("es10b.euiccMemoryReset.ecallActive")
def test_5_9_22_memory_reset_in_an_emergency_is_ecallActive(terminal, dp):
    dp.install(2, ECALL)
    terminal.es10("BF5B038001FF")
    terminal.refresh()
    assert reset(terminal, OPERATIONAL | EIM_DATA) == {"resetResult": "ecallActive"}
    assert len(terminal.card.profiles()) == 2


@pytest.mark.parametrize("command", ["BF6400", "BF640482020100", "BF6403820100"])
def test_memory_reset_must_name_something(terminal, command):
    terminal.es10(command)
    assert terminal.sw == 0x6A80


def test_memory_reset_takes_fallback_and_rules_with_it(terminal, eim, dp):
    dp.install(2, FALLBACK_ALLOWED, PROVISIONING_CLASS)
    eim.run(terminal, set_fallback(iccid(2)))
    assert reset(terminal, PROVISIONING) == {"resetResult": "ok"}
    answer = terminal.es10("BF5D038001FF")
    assert code("ExecuteFallbackMechanismResponse", answer) == "fallbackNotAvailable"


# ---- IPA mode

IPAD, NO_IPA, OLD_IPAD = "80AA000005A903840101", "80AA000004A9028000", "80AA000005A903830107"


@pytest.fixture
def ipae(tmp_path: Path, pki: Pki) -> Terminal:
    """A card with an IPA of its own."""
    return Terminal(make_card(tmp_path, pki, ipae=True)).start()


def mode(terminal: Terminal) -> int:
    return sgp32.decode("EUICCInfo2", terminal.es10("BF2200"))["ipaMode"]


@pytest.mark.covers("es10b.ipaeActivation.notSupported")
def test_3_8_a_card_without_an_ipae_says_so(terminal):
    assert parse(terminal.fci)[0xE1][0x80].value == b"\x06\x40"
    assert code("IpaeActivationResponse", terminal.es10("BF420480020780")) == "notSupported"
    terminal.send(NO_IPA)
    assert mode(terminal) == 0


@pytest.mark.covers("es10b.ipaeActivation.ok")
def test_3_8_an_ipae_is_in_charge_until_the_device_announces_an_ipad(ipae):
    assert parse(ipae.fci)[0xE1][0x80].value == b"\x06\xc0"
    assert mode(ipae) == 0  # the terminal has announced one
    assert code("IpaeActivationResponse", ipae.es10("BF420480020780")) == "ok"
    assert mode(ipae) == 1
    ipae.send(IPAD)
    assert mode(ipae) == 0


@pytest.mark.parametrize(("capability", "expected"), [(IPAD, 0), (OLD_IPAD, 0), (NO_IPA, 1)])
def test_3_8_terminal_capability_decides_after_each_reset(ipae, capability, expected):
    ipae.reset()
    ipae.send(capability)
    assert mode(ipae) == expected


def test_3_8_while_the_ipae_is_in_charge_an_ipad_may_only_read(ipae, pki):
    ipae.send(NO_IPA)
    for command in ("BF2000", "BF3E035C015A", "BF2D00", "BF5500", "BF5600", "BF3C00", "BF4300"):
        assert ipae.es10(command)
    add = tlv(0xBF57, tlv(0xA0, Eim(pki).configuration()))
    for command in (add, "BF2E00", "BF2B00", "BF5D038001FF", "BF3600"):
        ipae.es10(command)
        assert ipae.sw == 0x6985


# ---- what stays inside


def test_no_function_gives_the_private_key_away(notified, pki):
    secret = pki.euicc(EID).private_key.private_numbers().private_value.to_bytes(32, "big")
    for number in range(256):
        assert secret not in notified.es10(bytes([0xBF, number, 0]))
    public = [name for name in dir(notified.card) if not name.startswith("_")]
    assert not [name for name in public if "key" in name]
