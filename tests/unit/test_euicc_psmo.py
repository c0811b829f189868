"""PSMOs of an eUICC package: what each does, each result, how they go together (SGP.32 3.4 and 5.9.1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from euicc_peer import (
    ECALL,
    FALLBACK_ALLOWED,
    LIST_PROFILES,
    PPR1,
    PPR2,
    PROVISIONING_CLASS,
    SET_DEFAULT_DP,
    Dp,
    Eim,
    Terminal,
    delete,
    disable,
    enable,
    iccid,
    set_fallback,
)
from microipa.asn1 import sgp32
from microipa.asn1.tlv import parse, tlv

UNSET_FALLBACK = tlv(0xA9)
Run = Callable[..., list[str]]


@pytest.fixture
def run(terminal: Terminal, eim: Eim, dp: Dp) -> Run:
    """Execute one package on a card with profile 1 enabled and profile 2 disabled."""
    dp.install(2)
    return lambda *operations: eim.run(terminal, *operations)


def states(terminal: Terminal) -> dict[str, str]:
    return {profile.name: profile.state for profile in terminal.card.profiles()}


def events(terminal: Terminal) -> list[tuple[int, bytes]]:
    """(event bits, ICCID) of the notifications that wait, in their order."""
    listed = parse(terminal.es10("BF2800"))[0xA0]
    return [(item[0x81].value[1], item[0x5A].value) for item in listed]


# ---- enable


@pytest.mark.covers("psmo.enable.ok")
def test_3_4_1_enable_disables_the_other_and_takes_effect_with_the_refresh(terminal, run):
    assert run(enable(iccid(2))) == ["enable.ok"]
    terminal.refresh()
    assert states(terminal) == {"Profile 1": "disabled", "Profile 2": "enabled"}
    terminal.send("00A40000023F00")
    terminal.send("00A4000C022FE2")
    assert terminal.send("00B0000000") == iccid(2)


@pytest.mark.covers("psmo.enable.ok")
def test_3_4_1_notifications_follow_the_result(terminal, run):
    run(enable(iccid(2)))
    terminal.refresh()
    listed = parse(terminal.es10("BF2800"))[0xA0].children()
    assert [item[0x81].value[1] for item in listed] == [0x80, 0x40]  # profile 1 wants no notifications
    result = parse(terminal.es10("BF2B04A0028200"))[0xA2].children()[0]
    assert result[0xA0][0x30][0x83].value[0] == 2  # between the two


@pytest.mark.covers("psmo.enable.iccidOrAidNotFound")
def test_3_4_1_enable_of_an_unknown_profile_is_iccidOrAidNotFound(run):
    assert run(enable(iccid(9))) == ["enable.iccidOrAidNotFound"]


@pytest.mark.covers("psmo.enable.profileNotInDisabledState")
def test_3_4_1_enable_of_the_enabled_profile_is_profileNotInDisabledState(terminal, run):
    assert run(enable(iccid(1))) == ["enable.profileNotInDisabledState"]
    assert terminal.sw == 0x9000  # nothing to refresh
    assert run(disable(iccid(1)), enable(iccid(1)))[1] == "enable.profileNotInDisabledState"


@pytest.mark.covers("psmo.enable.disallowedByPolicy", "psmo.disable.disallowedByPolicy")
def test_3_4_1_and_3_4_2_ppr1_keeps_the_enabled_profile_enabled(terminal, run, dp):
    dp.install(3, PPR1)
    run(enable(iccid(3)))
    terminal.refresh()
    assert run(enable(iccid(2))) == ["enable.disallowedByPolicy"]
    assert run(disable(iccid(3))) == ["disable.disallowedByPolicy"]
    assert states(terminal)["Profile 3"] == "enabled"


@pytest.mark.covers("psmo.enable.catBusy", "psmo.disable.catBusy")
def test_3_4_1_and_3_4_2_a_toolkit_session_in_between_is_catBusy(terminal, run):
    terminal.keep_toolkit_busy()
    assert run(enable(iccid(2))) == ["enable.catBusy"]
    assert run(disable(iccid(1))) == ["disable.catBusy"]
    terminal.serve_toolkit()
    assert run(enable(iccid(2))) == ["enable.ok"]


@pytest.mark.covers("psmo.enable.rollbackNotAvailable")
def test_3_4_1_rollback_to_nothing_is_rollbackNotAvailable(terminal, run):
    run(disable(iccid(1)))
    terminal.refresh()
    assert run(enable(iccid(2), rollback=True)) == ["enable.rollbackNotAvailable"]
    assert run(enable(iccid(2))) == ["enable.ok"]


@pytest.mark.covers("psmo.enable.undefinedError")
def test_3_4_1_a_package_enables_once(terminal, run, dp):
    dp.install(3)
    assert run(enable(iccid(2)), enable(iccid(3))) == ["enable.ok", "enable.undefinedError"]
    assert states(terminal)["Profile 2"] == "enabled"


# ---- disable


@pytest.mark.covers("psmo.disable.ok")
def test_3_4_2_disable_leaves_the_card_without_a_profile(terminal, run):
    assert run(disable(iccid(1))) == ["disable.ok"]
    terminal.refresh()
    assert set(states(terminal).values()) == {"disabled"}
    assert parse(terminal.fci)[0xE1][0x80].value == b"\x00"  # no enabledProfile
    terminal.send("00A40000022FE2")
    assert terminal.sw == 0x6A82


@pytest.mark.covers("psmo.disable.iccidOrAidNotFound", "psmo.disable.profileNotInEnabledState")
def test_3_4_2_disable_of_what_is_unknown_or_disabled(run):
    assert run(disable(iccid(9))) == ["disable.iccidOrAidNotFound"]
    assert run(disable(iccid(2))) == ["disable.profileNotInEnabledState"]


@pytest.mark.covers("psmo.disable.undefinedError")
def test_3_4_2_disable_comes_before_enable(run):
    assert run(enable(iccid(2)), disable(iccid(2))) == ["enable.ok", "disable.undefinedError"]


@pytest.mark.covers("psmo.disable.undefinedError")
def test_3_4_2_a_package_disables_once(run):
    assert run(disable(iccid(1)), disable(iccid(1))) == ["disable.ok", "disable.undefinedError"]


@pytest.mark.covers("psmo.disable.ok", "psmo.enable.ok", "psmo.delete.ok")
def test_3_4_disable_enable_and_delete_in_one_package(terminal, run):
    outcome = run(disable(iccid(1)), enable(iccid(2)), delete(iccid(1)))
    assert outcome == ["disable.ok", "enable.ok", "delete.ok"]
    terminal.refresh()
    assert states(terminal) == {"Profile 2": "enabled"}


# ---- delete


@pytest.mark.covers("psmo.delete.ok")
def test_3_4_3_delete_takes_the_profile_and_tells_its_server(terminal, run):
    assert run(delete(iccid(2))) == ["delete.ok"]
    assert terminal.sw == 0x9000
    assert list(states(terminal)) == ["Profile 1"]
    assert events(terminal)[-1] == (0x10, iccid(2))


@pytest.mark.covers("psmo.delete.iccidOrAidNotFound", "psmo.delete.profileNotInDisabledState")
def test_3_4_3_delete_of_what_is_unknown_or_enabled(run):
    assert run(delete(iccid(9))) == ["delete.iccidOrAidNotFound"]
    assert run(delete(iccid(1))) == ["delete.profileNotInDisabledState"]


@pytest.mark.covers("psmo.delete.disallowedByPolicy")
def test_3_4_3_ppr2_keeps_a_profile(terminal, run, dp):
    dp.install(3, PPR2)
    assert run(delete(iccid(3))) == ["delete.disallowedByPolicy"]
    assert "Profile 3" in states(terminal)


@pytest.mark.covers("psmo.delete.rollbackNotAvailable")
def test_3_4_3_the_profile_to_roll_back_to_stays_until_that_is_settled(terminal, run):
    outcome = run(enable(iccid(2), rollback=True), delete(iccid(1)))
    assert outcome == ["enable.ok", "delete.rollbackNotAvailable"]
    terminal.refresh()
    assert run(delete(iccid(1))) == ["delete.ok"]  # the next package has settled it


@pytest.mark.covers("psmo.delete.returnFallbackProfile")
def test_3_4_3_the_profile_to_return_to_from_fallback_stays(terminal, run, dp):
    dp.install(3, FALLBACK_ALLOWED)
    run(set_fallback(iccid(3)))
    terminal.es10("BF5D038001FF")
    terminal.refresh()
    assert run(delete(iccid(1))) == ["delete.returnFallbackProfile"]


# ---- listProfileInfo


def listed(answer: bytes) -> list[dict[int, bytes]]:
    """The ProfileInfos of the last result of a package: tag to value."""
    results = parse(answer)[0xA0][0x30][0x30].children()
    return [{item.tag: item.value for item in info} for info in results[-1][0xA0]]


@pytest.mark.covers("psmo.listProfileInfo.ok")
def test_5_9_14_list_without_tags_has_the_default_ones(terminal, eim, dp):
    dp.install(2, FALLBACK_ALLOWED, PROVISIONING_CLASS, PPR2)
    eim.run(terminal, set_fallback(iccid(2)))
    first, second = listed(terminal.es10(eim.package(LIST_PROFILES)))
    assert first == {
        0x5A: iccid(1),
        0x4F: terminal.card.profiles()[0].aid,
        0x9F70: b"\x01",
        0x91: b"microipa",
        0x92: b"Profile 1",
        0x95: b"\x02",
    }
    special = [second[tag] for tag in (0x9F70, 0x95, 0x9F26, 0x9F67)]
    assert special == [b"\x00", b"\x01", b"\xff", b"\xff"]
    assert not {0xB6, 0x99} & set(second)


def searching(by: str) -> pytest.MarkDecorator:
    return pytest.mark.covers(f"ProfileInfoListRequest.searchCriteria.{by}")


@pytest.mark.covers("psmo.listProfileInfo.ok")
@pytest.mark.parametrize(
    ("search", "found"),
    [
        pytest.param(tlv(0x5A, iccid(2)), [iccid(2)], marks=searching("iccid")),
        (tlv(0x5A, iccid(9)), []),
        pytest.param(bytes.fromhex("950101"), [iccid(2)], marks=searching("profileClass")),
        (bytes.fromhex("950102"), [iccid(1)]),
        pytest.param(
            bytes.fromhex("4F10A0000005591010FFFFFFFF8900001000"), [iccid(1)],
            marks=searching("isdpAid"),
        ),
    ],
)
def test_5_9_14_list_searches_by_iccid_class_and_aid(terminal, eim, dp, search, found):
    dp.install(2, PROVISIONING_CLASS)
    answer = terminal.es10(eim.package(tlv(0xBF2D, tlv(0xA0, search))))
    assert [info[0x5A] for info in listed(answer)] == found


@pytest.mark.covers("psmo.listProfileInfo.ok", "ProfileInfoListRequest.tagList")
def test_5_9_14_list_gives_the_tags_asked_for(terminal, eim, dp):
    dp.install(2, PPR2)
    answer = terminal.es10(eim.package(tlv(0xBF2D, tlv(0x5C, bytes.fromhex("5A9F7099B6")))))
    first, second = listed(answer)
    assert set(first) == {0x5A, 0x9F70}
    assert set(second) == {0x5A, 0x9F70, 0x99, 0xB6}
    assert sgp32.decode("EuiccPackageResult", answer)  # in the order of the schema


@pytest.mark.covers("psmo.listProfileInfo.incorrectInputValues")
@pytest.mark.parametrize("body", ["A003920141", "A000", "5C015F", "5C019F"])
def test_5_9_14_list_with_bad_criteria_is_incorrectInputValues(run, body):
    assert run(tlv(0xBF2D, bytes.fromhex(body))) == ["listProfileInfo.incorrectInputValues"]


@pytest.mark.covers("psmo.listProfileInfo.profileChangeOngoing")
@pytest.mark.parametrize(
    "change", [enable(iccid(2)), disable(iccid(1)), delete(iccid(2))], ids=["enable", "disable", "delete"]
)
def test_5_9_1_list_after_a_change_in_the_package_is_profileChangeOngoing(run, change):
    assert run(LIST_PROFILES, change, LIST_PROFILES)[::2] == [
        "listProfileInfo.ok",
        "listProfileInfo.profileChangeOngoing",
    ]


# ---- rules, immediate enable, addresses


@pytest.mark.covers("psmo.getRAT.ok")
def test_2_11_get_rat_gives_what_es10b_gives(terminal, eim):
    answer = terminal.es10(eim.package(tlv(0xA6)))
    rat = parse(answer)[0xA0][0x30][0x30][0xA6]
    assert rat.value == parse(terminal.es10("BF4300"))[0xA0].value
    assert eim.outcomes(answer) == ["getRAT.ok"]


@pytest.mark.covers("psmo.configureImmediateEnable.ok")
@pytest.mark.parametrize("body", ["", "8000", "80008103883703", "8000810388370382026470"])
def test_3_4_5_configure_immediate_enable(run, body):
    assert run(tlv(0xA7, bytes.fromhex(body))) == ["configureImmediateEnable.ok"]


@pytest.mark.covers(
    "psmo.configureImmediateEnable.insufficientMemory", "psmo.configureImmediateEnable.commandError"
)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (tlv(0x80) + tlv(0x82, b"x" * 256), "insufficientMemory"),
        (tlv(0x80) + tlv(0x82, b"\xff"), "commandError"),
        (tlv(0x80) + tlv(0x81), "commandError"),
        (tlv(0x80) + tlv(0x81, b"\x88\x80"), "commandError"),
    ],
)
def test_3_4_5_configure_immediate_enable_refuses_what_it_cannot_keep(run, body, code):
    assert run(tlv(0xA7, body)) == [f"configureImmediateEnable.{code}"]


@pytest.mark.covers("psmo.setDefaultDpAddress.ok")
def test_2_11_set_default_dp_address_and_take_it_away(terminal, run):
    assert run(SET_DEFAULT_DP) == ["setDefaultDpAddress.ok"]
    assert parse(terminal.es10("BF3C00"))[0x80].value == b"dp.example"
    assert run(tlv(0xBF65, tlv(0x80))) == ["setDefaultDpAddress.ok"]
    assert 0x80 not in parse(terminal.es10("BF3C00"))


@pytest.mark.covers("psmo.setDefaultDpAddress.undefinedError")
@pytest.mark.parametrize("address", [b"x" * 256, b"\xff"])
def test_2_11_set_default_dp_address_refuses_what_is_no_address(run, address):
    assert run(tlv(0xBF65, tlv(0x80, address))) == ["setDefaultDpAddress.undefinedError"]


# ---- fallback attribute


@pytest.mark.covers("psmo.setFallbackAttribute.ok")
def test_3_4_6_the_fallback_attribute_moves(terminal, run, dp):
    dp.install(3, FALLBACK_ALLOWED)
    dp.install(4, FALLBACK_ALLOWED)
    for number in (3, 3, 4):
        assert run(set_fallback(iccid(number))) == ["setFallbackAttribute.ok"]
    assert [profile.name for profile in terminal.card.profiles() if profile.fallback] == ["Profile 4"]


@pytest.mark.covers(
    "psmo.setFallbackAttribute.iccidOrAidNotFound", "psmo.setFallbackAttribute.fallbackNotAllowed"
)
def test_3_4_6_only_a_profile_that_allows_it_and_no_emergency_profile_falls_back(run, dp):
    dp.install(3, FALLBACK_ALLOWED, ECALL)
    assert run(set_fallback(iccid(9))) == ["setFallbackAttribute.iccidOrAidNotFound"]
    assert run(set_fallback(iccid(2))) == ["setFallbackAttribute.fallbackNotAllowed"]
    assert run(set_fallback(iccid(3))) == ["setFallbackAttribute.fallbackNotAllowed"]


@pytest.mark.covers(
    "psmo.setFallbackAttribute.fallbackProfileEnabled", "psmo.unsetFallbackAttribute.fallbackProfileEnabled"
)
def test_3_4_6_and_3_4_7_the_attribute_of_the_enabled_profile_stays(terminal, run, dp):
    dp.install(3, FALLBACK_ALLOWED)
    dp.install(4, FALLBACK_ALLOWED)
    run(set_fallback(iccid(3)), enable(iccid(3)))
    terminal.refresh()
    assert run(set_fallback(iccid(4))) == ["setFallbackAttribute.fallbackProfileEnabled"]
    assert run(UNSET_FALLBACK) == ["unsetFallbackAttribute.fallbackProfileEnabled"]


@pytest.mark.covers("psmo.unsetFallbackAttribute.ok", "psmo.unsetFallbackAttribute.noFallbackAttribute")
def test_3_4_7_unset_takes_the_attribute_once(run, dp):
    dp.install(3, FALLBACK_ALLOWED)
    run(set_fallback(iccid(3)))
    assert run(UNSET_FALLBACK, UNSET_FALLBACK) == [
        "unsetFallbackAttribute.ok",
        "unsetFallbackAttribute.noFallbackAttribute",
    ]


# ---- the list


def test_5_9_1_operations_run_in_their_order_and_one_that_fails_does_not_stop_the_next(run):
    operations = delete(iccid(9)), LIST_PROFILES, tlv(0xA6), disable(iccid(1)), delete(iccid(1))
    assert run(SET_DEFAULT_DP, *operations) == [
        "setDefaultDpAddress.ok",
        "delete.iccidOrAidNotFound",
        "listProfileInfo.ok",
        "getRAT.ok",
        "disable.ok",
        "delete.ok",
    ]


def test_5_9_1_an_empty_list_has_an_empty_result(run):
    assert run() == []


@pytest.mark.covers("result.processingTerminated.unknownOrDamagedCommand")
@pytest.mark.parametrize("bad", ["BF7F00", "AB00", "A300", "A30400112233", "A3025A01", "A8020000"])
def test_5_9_1_an_unknown_or_damaged_operation_ends_the_package(terminal, run, bad):
    outcome = run(SET_DEFAULT_DP, bytes.fromhex(bad), delete(iccid(2)))
    assert outcome == ["setDefaultDpAddress.ok", "processingTerminated.unknownOrDamagedCommand"]
    assert "Profile 2" in states(terminal)


@pytest.mark.covers("result.processingTerminated.resultSizeOverflow")
def test_5_9_1_nothing_runs_whose_result_would_not_fit(terminal, run):
    outcome = run(*[LIST_PROFILES] * 200, delete(iccid(2)))
    assert outcome[-1] == "processingTerminated.resultSizeOverflow"
    assert set(outcome[:-1]) == {"listProfileInfo.ok"}
    assert "Profile 2" in states(terminal)
