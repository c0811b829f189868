"""What a device does without its eIM: roll back, fall back, call for help, enable at once (SGP.32 5.9)."""

from __future__ import annotations

import pytest
from euicc_peer import (
    ECALL,
    FALLBACK_ALLOWED,
    LIST_PROFILES,
    PPR1,
    PROVISIONING_CLASS,
    SET_DEFAULT_DP,
    Dp,
    Eim,
    Terminal,
    code,
    delete,
    enable,
    iccid,
    set_fallback,
)
from microipa.asn1 import sgp32
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki

IMMEDIATE_FLAG = tlv(0x80)
SMDPP_OID = bytes.fromhex("81" + "03" + "88370A")  # 2.999.10, the OID of the lab's SM-DP+
OTHER_OID = bytes.fromhex("81" + "03" + "88370B")


def enabled(terminal: Terminal) -> list[str]:
    return [profile.name for profile in terminal.card.profiles() if profile.state == "enabled"]


def events(terminal: Terminal) -> list[tuple[int, bytes]]:
    """(event bits, ICCID) of the notifications that wait, in their order."""
    listed = parse(terminal.es10("BF2800"))[0xA0]
    return [(item[0x81].value[1], item[0x5A].value) for item in listed]


def do(terminal: Terminal, function: str, *, refresh: bool = True) -> str:
    """Call a function that takes a refreshFlag; carry the REFRESH out. Returns the name of the result."""
    tag = {
        "ImmediateEnable": 0xBF5A,
        "ProfileRollback": 0xBF58,
        "ExecuteFallbackMechanism": 0xBF5D,
        "ReturnFromFallback": 0xBF5E,
        "EnableEmergencyProfile": 0xBF5B,
        "DisableEmergencyProfile": 0xBF5C,
    }[function]
    answer = terminal.es10(tlv(tag, tlv(0x80, b"\xff" if refresh else b"\x00")))
    result = code(f"{function}Response", answer)
    assert (terminal.sw >> 8 == 0x91) == (refresh and result == "ok")
    if terminal.sw >> 8 == 0x91:
        terminal.refresh()
    return result


# ---- rollback


@pytest.fixture
def switched(terminal: Terminal, eim: Eim, dp: Dp) -> bytes:
    """Profile 2 was enabled with the right to roll back to profile 1. Returns the result of that."""
    dp.install(2)
    result = terminal.es10(eim.package(SET_DEFAULT_DP, enable(iccid(2), rollback=True)))
    terminal.refresh()
    return result


@pytest.mark.covers("es10b.profileRollback.ok", "result.rollback.ok")
def test_5_9_16_rollback_goes_back_and_gives_a_new_result_in_place_of_the_old(terminal, eim, switched):
    answer = terminal.es10("BF58038001FF")
    assert parse(answer)[0x02].value == b"\x00"
    result = parse(answer)[0xBF51].raw
    assert eim.outcomes(result) == ["setDefaultDpAddress.ok", "enable.ok", "rollback.ok"]
    terminal.refresh()
    assert enabled(terminal) == ["Profile 1"]
    assert terminal.es10("BF2B04A0028200") == tlv(0xBF2B, tlv(0xA2, result))
    assert code("ProfileRollbackResponse", answer) == "ok"


def test_5_9_16_the_new_result_has_the_head_of_the_old_and_the_next_number(terminal, switched):
    result = parse(terminal.es10("BF58038001FF"))[0xBF51].raw
    old, new = (sgp32.decode("EuiccPackageResult", raw)[1] for raw in (switched, result))
    old, new = (signed["euiccPackageResultDataSigned"] for signed in (old, new))
    for field in ("eimId", "counterValue", "eimTransactionId"):
        assert new[field] == old[field]
    assert new["seqNumber"] > old["seqNumber"]


@pytest.mark.covers("es10b.profileRollback.rollbackNotAllowed")
def test_5_9_16_rollback_needs_leave_and_works_once(terminal, eim, dp):
    assert do(terminal, "ProfileRollback") == "rollbackNotAllowed"
    dp.install(2)
    eim.run(terminal, enable(iccid(2)))
    terminal.refresh()
    assert do(terminal, "ProfileRollback") == "rollbackNotAllowed"  # enabled without the flag
    eim.run(terminal, enable(iccid(1), rollback=True))
    terminal.refresh()
    assert do(terminal, "ProfileRollback") == "ok"
    assert do(terminal, "ProfileRollback") == "rollbackNotAllowed"


def test_5_9_16_leave_to_roll_back_survives_a_reset(terminal, switched):
    terminal.reset()
    assert do(terminal, "ProfileRollback") == "ok"


def test_5_9_16_the_next_package_ends_it_but_not_one_that_is_refused(terminal, eim, switched):
    eim.token = 7
    terminal.es10(eim.package(LIST_PROFILES))
    eim.token = 1
    assert do(terminal, "ProfileRollback") == "ok"
    eim.run(terminal, enable(iccid(2), rollback=True))
    terminal.refresh()
    eim.run(terminal, LIST_PROFILES)
    assert do(terminal, "ProfileRollback") == "rollbackNotAllowed"


@pytest.mark.parametrize(
    "function", ["ExecuteFallbackMechanism", "EnableEmergencyProfile", "ImmediateEnable"]
)
def test_5_9_16_another_switch_by_the_device_ends_it(terminal, eim, dp, function):
    dp.install(2)
    dp.install(3, FALLBACK_ALLOWED)
    dp.install(4, ECALL)
    eim.run(terminal, tlv(0xA7, IMMEDIATE_FLAG), set_fallback(iccid(3)), enable(iccid(2), rollback=True))
    terminal.refresh()
    dp.install(5)
    assert do(terminal, function) == "ok"
    if function == "EnableEmergencyProfile":
        assert do(terminal, "ProfileRollback") == "rollbackNotAllowed"
        assert do(terminal, "DisableEmergencyProfile") == "ok"
    assert do(terminal, "ProfileRollback") == "rollbackNotAllowed"


@pytest.mark.covers("es10b.profileRollback.catBusy")
def test_5_9_16_rollback_in_a_toolkit_session_is_catBusy(terminal, switched):
    terminal.keep_toolkit_busy()
    assert code("ProfileRollbackResponse", terminal.es10("BF58038001FF")) == "catBusy"
    terminal.serve_toolkit()
    assert do(terminal, "ProfileRollback") == "ok"


@pytest.mark.covers("es10b.profileRollback.commandError")
def test_5_9_16_rollback_to_a_profile_that_a_memory_reset_took_is_commandError(terminal, eim, dp):
    dp.install(2, PROVISIONING_CLASS)
    eim.run(terminal, enable(iccid(2), rollback=True))
    terminal.refresh()
    terminal.es10("BF640482020780")  # operational profiles
    assert do(terminal, "ProfileRollback") == "commandError"


def test_5_9_16_rollback_without_refresh_waits_for_the_terminal_to_reset_the_card(terminal, switched):
    assert do(terminal, "ProfileRollback", refresh=False) == "ok"
    terminal.es10("BF2E00")
    assert terminal.sw == 0x6985
    terminal.reset()
    assert enabled(terminal) == ["Profile 1"]


# ---- fallback


@pytest.fixture
def fallback(terminal: Terminal, eim: Eim, dp: Dp) -> None:
    """Profile 1 is enabled, profile 2 is what to fall back to."""
    dp.install(2, FALLBACK_ALLOWED, PROVISIONING_CLASS)
    eim.run(terminal, set_fallback(iccid(2)))


@pytest.mark.covers("es10b.executeFallbackMechanism.ok", "es10b.returnFromFallback.ok")
def test_5_9_20_and_5_9_21_fall_back_and_return(terminal, fallback):
    assert do(terminal, "ExecuteFallbackMechanism") == "ok"
    assert enabled(terminal) == ["Profile 2"]
    assert events(terminal)[-1] == (0x40, iccid(2))
    terminal.reset()
    assert do(terminal, "ReturnFromFallback") == "ok"
    assert enabled(terminal) == ["Profile 1"]
    assert events(terminal)[-1][0] in (0x20, 0x40)


@pytest.mark.covers("es10b.executeFallbackMechanism.fallbackNotAvailable")
def test_5_9_20_without_a_fallback_attribute_is_fallbackNotAvailable(terminal):
    assert do(terminal, "ExecuteFallbackMechanism") == "fallbackNotAvailable"


@pytest.mark.covers("es10b.executeFallbackMechanism.profileNotInDisabledState")
def test_5_9_20_fallback_while_it_is_enabled_is_profileNotInDisabledState(terminal, fallback):
    do(terminal, "ExecuteFallbackMechanism")
    assert do(terminal, "ExecuteFallbackMechanism") == "profileNotInDisabledState"


@pytest.mark.covers("es10b.executeFallbackMechanism.commandError")
def test_5_9_20_fallback_from_nothing_is_commandError(terminal, eim, fallback):
    eim.run(terminal, tlv(0xA4, tlv(0x5A, iccid(1))))
    terminal.refresh()
    assert do(terminal, "ExecuteFallbackMechanism") == "commandError"


@pytest.mark.covers("es10b.executeFallbackMechanism.ecallActive")
def test_5_9_20_no_fallback_from_the_emergency_profile(terminal, dp, fallback):
    dp.install(3, ECALL)
    do(terminal, "EnableEmergencyProfile")
    assert do(terminal, "ExecuteFallbackMechanism") == "ecallActive"


@pytest.mark.covers("es10b.executeFallbackMechanism.catBusy", "es10b.returnFromFallback.catBusy")
def test_5_9_20_and_5_9_21_in_a_toolkit_session_are_catBusy_unless_the_terminal_resets(terminal, fallback):
    terminal.keep_toolkit_busy()
    assert code("ExecuteFallbackMechanismResponse", terminal.es10("BF5D038001FF")) == "catBusy"
    assert code("ExecuteFallbackMechanismResponse", terminal.es10("BF5D03800100")) == "ok"
    terminal.reset()
    assert enabled(terminal) == ["Profile 2"]
    terminal.keep_toolkit_busy()
    assert code("ReturnFromFallbackResponse", terminal.es10("BF5E038001FF")) == "catBusy"


@pytest.mark.covers("es10b.returnFromFallback.fallbackNotAvailable")
def test_5_9_21_return_needs_a_fallback_before(terminal, eim, fallback):
    assert do(terminal, "ReturnFromFallback") == "fallbackNotAvailable"
    eim.run(terminal, enable(iccid(2)))  # enabled by the eIM: that is no fallback
    terminal.refresh()
    assert do(terminal, "ReturnFromFallback") == "fallbackNotAvailable"


@pytest.mark.covers("es10b.returnFromFallback.commandError")
def test_5_9_21_return_to_a_profile_that_a_memory_reset_took_is_commandError(terminal, fallback):
    do(terminal, "ExecuteFallbackMechanism")
    terminal.es10("BF640482020780")  # operational profiles
    assert do(terminal, "ReturnFromFallback") == "commandError"


def test_5_9_21_a_switch_by_the_eim_ends_the_fallback(terminal, eim, fallback):
    do(terminal, "ExecuteFallbackMechanism")
    eim.run(terminal, enable(iccid(1)))
    terminal.refresh()
    assert do(terminal, "ReturnFromFallback") == "fallbackNotAvailable"
    assert eim.run(terminal, delete(iccid(2))) == ["delete.ok"]


# ---- emergency profile


@pytest.fixture
def ecall(dp: Dp) -> None:
    dp.install(2, ECALL)


@pytest.mark.covers("es10b.enableEmergencyProfile.ok", "es10b.disableEmergencyProfile.ok")
def test_5_9_22_and_5_9_23_emergency_on_and_off(terminal, ecall):
    before = events(terminal)
    assert do(terminal, "EnableEmergencyProfile") == "ok"
    terminal.reset()
    assert enabled(terminal) == ["Profile 2"]  # still, after a power cycle
    assert do(terminal, "DisableEmergencyProfile") == "ok"
    assert enabled(terminal) == ["Profile 1"]
    assert events(terminal) == before


@pytest.mark.covers(
    "es10b.enableEmergencyProfile.ecallNotAvailable", "es10b.disableEmergencyProfile.profileNotInEnabledState"
)
def test_5_9_22_without_an_emergency_profile_is_ecallNotAvailable(terminal):
    assert do(terminal, "EnableEmergencyProfile") == "ecallNotAvailable"
    assert do(terminal, "DisableEmergencyProfile") == "profileNotInEnabledState"


@pytest.mark.covers("es10b.enableEmergencyProfile.profileNotInDisabledState")
def test_5_9_22_twice_is_profileNotInDisabledState(terminal, ecall):
    do(terminal, "EnableEmergencyProfile")
    assert do(terminal, "EnableEmergencyProfile") == "profileNotInDisabledState"


@pytest.mark.covers("es10b.enableEmergencyProfile.catBusy", "es10b.disableEmergencyProfile.catBusy")
def test_5_9_22_and_5_9_23_in_a_toolkit_session_are_catBusy(terminal, ecall):
    terminal.keep_toolkit_busy()
    assert code("EnableEmergencyProfileResponse", terminal.es10("BF5B038001FF")) == "catBusy"
    terminal.serve_toolkit()
    do(terminal, "EnableEmergencyProfile")
    terminal.keep_toolkit_busy()
    assert code("DisableEmergencyProfileResponse", terminal.es10("BF5C038001FF")) == "catBusy"


def test_5_9_22_no_download_in_an_emergency(dp, ecall, terminal):
    do(terminal, "EnableEmergencyProfile")
    refusal = dp.authenticate()[0xA1]
    assert refusal[0x02].value[0] == 104


# ---- immediate enable


def configure(terminal: Terminal, *fields: bytes) -> str:
    return code("ConfigureImmediateProfileEnablingResponse", terminal.es10(tlv(0xBF59, *fields)))


@pytest.mark.covers("es10b.immediateEnable.ok", "es10b.configureImmediateProfileEnabling.ok")
@pytest.mark.parametrize(
    "fields", [(), (SMDPP_OID,), (tlv(0x82, b"smdpp.microipa.example"),)], ids=["any", "by OID", "by address"]
)
def test_5_9_15_the_profile_just_loaded_is_enabled_where_configured(terminal, dp, fields):
    assert configure(terminal, IMMEDIATE_FLAG, *fields) == "ok"
    dp.install(2)
    assert do(terminal, "ImmediateEnable") == "ok"
    assert enabled(terminal) == ["Profile 2"]
    assert events(terminal)[-1] == (0x40, iccid(2))


@pytest.mark.covers("es10b.immediateEnable.immediateEnableNotAvailable")
@pytest.mark.parametrize(
    "fields",
    [(), (SMDPP_OID,), (IMMEDIATE_FLAG, OTHER_OID), (IMMEDIATE_FLAG, tlv(0x82, b"other.example"))],
    ids=["off", "no flag", "another OID", "another address"],
)
def test_5_9_15_what_is_not_configured_is_immediateEnableNotAvailable(terminal, dp, fields):
    configure(terminal, *fields)
    dp.install(2)
    assert do(terminal, "ImmediateEnable") == "immediateEnableNotAvailable"


@pytest.mark.covers("es10b.immediateEnable.immediateEnableNotAvailable")
def test_5_9_15_ppr1_of_the_enabled_profile_holds(terminal, eim, dp):
    dp.install(2, PPR1)
    eim.run(terminal, tlv(0xA7, IMMEDIATE_FLAG), enable(iccid(2)))
    terminal.refresh()
    dp.install(3)
    assert do(terminal, "ImmediateEnable") == "immediateEnableNotAvailable"


@pytest.mark.covers("es10b.immediateEnable.noSessionContext")
def test_5_9_15_only_in_the_session_of_the_download_and_once(terminal, dp):
    configure(terminal, IMMEDIATE_FLAG)
    assert do(terminal, "ImmediateEnable") == "noSessionContext"
    dp.install(2)
    terminal.reset()
    assert do(terminal, "ImmediateEnable") == "noSessionContext"


@pytest.mark.covers("es10b.immediateEnable.catBusy")
def test_5_9_15_in_a_toolkit_session_is_catBusy(terminal, dp):
    configure(terminal, IMMEDIATE_FLAG)
    dp.install(2)
    terminal.keep_toolkit_busy()
    assert code("ImmediateEnableResponse", terminal.es10("BF5A038001FF")) == "catBusy"
    terminal.serve_toolkit()
    assert do(terminal, "ImmediateEnable") == "ok"


def test_3_4_5_the_psmo_configures_what_es10b_does(terminal, eim, dp):
    eim.run(terminal, tlv(0xA7, IMMEDIATE_FLAG, SMDPP_OID))
    dp.install(2)
    assert do(terminal, "ImmediateEnable") == "ok"
    eim.run(terminal, tlv(0xA7))
    dp.install(3)
    assert do(terminal, "ImmediateEnable") == "immediateEnableNotAvailable"


@pytest.mark.covers(
    "es10b.configureImmediateProfileEnabling.associatedEimAlreadyExists",
    "es10b.configureImmediateProfileEnabling.insufficientMemory",
    "es10b.configureImmediateProfileEnabling.undefinedError",
)
def test_5_9_17_only_before_there_is_an_eim_and_only_what_can_be_kept(terminal: Terminal, pki: Pki):
    assert configure(terminal, IMMEDIATE_FLAG, tlv(0x82, b"x" * 256)) == "insufficientMemory"
    assert configure(terminal, IMMEDIATE_FLAG, tlv(0x82, b"\xff")) == "undefinedError"
    terminal.es10(tlv(0xBF57, tlv(0xA0, Eim(pki).configuration())))
    assert configure(terminal, IMMEDIATE_FLAG) == "associatedEimAlreadyExists"
