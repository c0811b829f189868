"""A card whose memory takes nothing more says so: undefinedError where a function has it, else 6581."""

from __future__ import annotations

from pathlib import Path

import pytest
from euicc_peer import (
    ECALL,
    FALLBACK_ALLOWED,
    SET_DEFAULT_DP,
    USIM,
    Dp,
    Eim,
    Terminal,
    code,
    enable,
    iccid,
    set_fallback,
    spec,
)
from microipa.asn1 import rsp
from microipa.asn1.tlv import parse, tlv
from microipa.saip import build, metadata


class Flash:
    """The card's memory file: ``wear_out`` makes every write to it fail, as a full disk would."""

    def __init__(self, terminal: Terminal, folder: Path) -> None:
        self._terminal = terminal
        self._beside = folder / "card.nvm.new"

    def wear_out(self) -> list[object]:
        """Returns what the card remembers."""
        self._beside.mkdir()
        return self.remembered()

    def mend(self) -> None:
        self._beside.rmdir()

    def remembered(self) -> list[object]:
        reads = ("BF2B00", "BF2B04A0028200", "BF5500", "BF3C00", "BF2D00")
        return [self._terminal.card.profiles(), *(self._terminal.es10(command) for command in reads)]


@pytest.fixture
def flash(terminal: Terminal, tmp_path: Path) -> Flash:
    return Flash(terminal, tmp_path)


SWITCHES = {
    "ProfileRollback": 0xBF58,
    "ImmediateEnable": 0xBF5A,
    "EnableEmergencyProfile": 0xBF5B,
    "DisableEmergencyProfile": 0xBF5C,
    "ExecuteFallbackMechanism": 0xBF5D,
    "ReturnFromFallback": 0xBF5E,
}
REFRESH = tlv(0x80, b"\xff")


@pytest.mark.covers(*(f"es10b.{function}.undefinedError" for function in SWITCHES))
@pytest.mark.parametrize("function", SWITCHES)
def test_5_9_a_switch_the_memory_does_not_take_is_undefinedError_and_none(terminal, eim, dp, flash, function):
    dp.install(2, FALLBACK_ALLOWED)
    dp.install(3, ECALL)
    eim.run(terminal, set_fallback(iccid(2)), tlv(0xA7, tlv(0x80)))
    if function == "ProfileRollback":
        eim.run(terminal, enable(iccid(2), rollback=True))
        terminal.refresh()
    elif function == "ImmediateEnable":
        dp.install(4)
    elif function in ("DisableEmergencyProfile", "ReturnFromFallback"):
        before = {"DisableEmergencyProfile": 0xBF5B, "ReturnFromFallback": 0xBF5D}[function]
        terminal.es10(tlv(before, REFRESH))
        terminal.refresh()
    known = flash.wear_out()
    answer = terminal.es10(tlv(SWITCHES[function], REFRESH))
    assert terminal.sw == 0x9000  # no REFRESH
    assert code(f"{function}Response", answer) == "undefinedError"
    assert flash.remembered() == known


@pytest.mark.covers(
    "es10b.addInitialEim.undefinedError",
    "es10b.configureImmediateProfileEnabling.undefinedError",
    "es10b.setDefaultDpAddress.undefinedError",
    "es10b.euiccMemoryReset.undefinedError",
)
def test_5_9_what_is_configured_in_vain_is_undefinedError(terminal, pki, flash):
    known = flash.wear_out()
    commands = {
        "AddInitialEim": tlv(0xBF57, tlv(0xA0, Eim(pki).configuration())),
        "ConfigureImmediateProfileEnabling": tlv(0xBF59, tlv(0x80)),
        "SetDefaultDpAddress": SET_DEFAULT_DP,
        "EuiccMemoryReset": bytes.fromhex("BF640482020780"),
    }
    for function, command in commands.items():
        assert code(f"{function}Response", terminal.es10(command)) == "undefinedError"
    assert flash.remembered() == known


@pytest.mark.covers("es10b.removeNotificationFromList.undefinedError")
def test_5_9_12_a_notification_that_cannot_be_removed_stays(terminal, dp, flash):
    dp.install(2)
    known = flash.wear_out()
    answer = rsp.decode("NotificationSentResponse", terminal.es10("BF3003800101"))
    assert list(answer.values()) == [127]
    assert flash.remembered() == known


@pytest.mark.covers("es10b.loadEuiccPackage.undefinedError")
def test_5_9_1_a_package_that_left_no_trace_is_a_signed_undefinedError(terminal, eim, dp, flash):
    dp.install(2)
    known = flash.wear_out()
    package = eim.package(SET_DEFAULT_DP, enable(iccid(2), rollback=True))
    assert eim.error(terminal.es10(package)) == "undefinedError"
    assert terminal.sw == 0x9000
    assert flash.remembered() == known
    flash.mend()
    assert eim.outcomes(terminal.es10(package)) == ["setDefaultDpAddress.ok", "enable.ok"]


@pytest.mark.covers("es10b.prepareDownload.undefinedError")
def test_5_7_5_a_one_time_key_that_cannot_be_kept_is_undefinedError(dp: Dp, flash):
    dp.authenticate()
    flash.wear_out()
    assert dp.prepare()[0xA1][0x02].value[0] == 127


def test_5_7_6_a_profile_that_cannot_be_kept_is_not_there(terminal, dp, flash):
    dp.authenticate()
    dp.prepare()
    *pieces, last = dp.segments(build(spec(2)), metadata(spec(2)))
    known = flash.wear_out()
    for piece in pieces:
        assert terminal.es10(piece) == b""
    terminal.es10(last)
    assert terminal.sw == 0x6581
    assert flash.remembered() == known
    flash.mend()
    dp.install(2)


def test_a_file_that_cannot_be_written_is_as_before(terminal, flash):
    flash.wear_out()
    terminal.send(b"\x00\xa4\x04\x0c\x07" + USIM)
    terminal.send("00A4000C026F7E")
    before = terminal.send("00B0000000")
    assert terminal.card.transmit(bytes.fromhex("00D600000401020304")) == b"\x65\x81"
    assert terminal.send("00B0000000") == before
    flash.mend()
    assert terminal.card.transmit(bytes.fromhex("00D600000401020304")) == b"\x90\x00"
    assert parse(terminal.es10("BF3C00")).tag == 0xBF3C
