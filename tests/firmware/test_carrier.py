"""ipa.modem.carrier on a scripted modem whose card needs its time, and which says more than it was asked."""

from __future__ import annotations

import pytest
from board_run import Run
from pty_modem import OK, PREAMBLE, PtyModem

SCRIPT = """
import asyncio, sys
from ipa import compat
from ipa.card.channel import Channel
from ipa.modem import ModemError
from ipa.modem.quectel import Bg95
compat.log_sink = lambda line: None
modem = Bg95(open(sys.argv[1], "r+b", 0))
APDU = bytes.fromhex("80E2910003BF2000")

async def main():
    await modem.start()
    try:
{body}
    except ModemError as error:
        print(type(error).__name__, error)

asyncio.run(main())
"""
OPEN = """
        await modem.carrier.open(b"\\xa0")
        print((await modem.carrier.transmit(APDU)).hex())
"""


def lines(*text: str) -> bytes:
    return b"".join(b"\r\n" + line.encode() + b"\r\n" for line in text)


class Card:
    """Answers AT+CCHO, AT+CGLA and AT+CSIM; the first ``times`` of ``what`` end in ``error``."""

    def __init__(self, what: bytes = b"", times: int = 0, error: str = "+CME ERROR: 14", only_csim: bool = False,
                 session: str = "+CCHO: 1") -> None:
        self.what, self.times, self.error, self.only_csim, self.session = what, times, error, only_csim, session

    def answer(self, line: bytes) -> bytes | None:
        if self.times and line.startswith(b"AT+" + self.what) and self.what:
            self.times -= 1
            return lines(self.error)
        if self.only_csim and line.startswith(b"AT+C") and line[4:6] in (b"CH", b"GL"):
            return lines("ERROR")
        if line.startswith(b"AT+CCHO"):
            return lines(*self.session.split("|"), "OK")
        if line.startswith((b"AT+CGLA", b"AT+CSIM")):
            kind = line[3:7].decode()
            text = {"0070000001": "019000", "01A4": "9000"}
            sw = next((sw for start, sw in text.items() if f'"{start}' in line.decode()), "BF2000" + "9000")
            return lines(f'+{kind}: {len(sw)},"{sw}"', "OK")
        return OK if line.startswith(b"AT+CCHC") else PREAMBLE.get(line)


async def run(micropython: Run, card: Card, body: str = OPEN) -> tuple[list[str], list[bytes]]:
    async with PtyModem(card.answer) as modem:
        out = await micropython(SCRIPT.replace("{body}", body.strip("\n")), modem.path)
    return out.splitlines(), modem.lines


@pytest.mark.parametrize(("what", "only_csim"), [(b"CCHO", False), (b"CSIM", True), (b"CGLA", False)])
@pytest.mark.parametrize("error", ["+CME ERROR: 14", "+CME ERROR: SIM busy"])
async def test_27007_9_2_a_busy_card_is_asked_again_in_place(
        micropython: Run, what: bytes, only_csim: bool, error: str) -> None:
    out, said = await run(micropython, Card(what, 4, error, only_csim))
    assert out == ["bf20009000"]
    assert len([line for line in said if line.startswith(b"AT+" + what)]) >= 5


@pytest.mark.parametrize(("what", "only_csim"), [(b"CCHO", False), (b"CSIM", True)])
@pytest.mark.parametrize("error", ["+CME ERROR: 10", "+CME ERROR: 13", "+CME ERROR: SIM failure"])
async def test_a_card_that_is_not_there_yet_is_waited_for(
        micropython: Run, what: bytes, only_csim: bool, error: str) -> None:
    class Both(Card):
        def answer(self, line: bytes) -> bytes | None:
            if self.times and line.startswith((b"AT+CCHO", b"AT+CSIM")):
                self.times -= 1
                return lines(self.error if line.startswith(b"AT+" + self.what) else "ERROR")
            return super().answer(line)

    out, _ = await run(micropython, Both(what, 9, error, only_csim))
    assert out == ["bf20009000"]


async def test_a_command_that_the_card_may_have_carried_out_is_not_repeated(micropython: Run) -> None:
    out, said = await run(micropython, Card(b"CGLA", 1, "+CME ERROR: 13"))
    assert out == ["AtError AT+CGLA: +CME ERROR: 13"]
    assert len([line for line in said if line.startswith(b"AT+CGLA")]) == 1


async def test_a_card_error_teaches_no_smaller_segment(micropython: Run) -> None:
    out, said = await run(micropython, Card(b"CGLA", 1, "+CME ERROR: 13"), """
        await modem.carrier.open(b"\\xa0")
        channel = Channel(modem.carrier)
        try:
            await channel.store(bytes(200))
        except ModemError as error:
            print(error.code, channel._segment)
""")
    assert out == ["13 255"]


async def test_without_an_application_the_card_is_not_waited_for(micropython: Run) -> None:
    """As 13 as well, which a modem says of both."""
    class Plain(Card):
        def answer(self, line: bytes) -> bytes | None:
            if b'"01A4' in line:
                return lines('+CSIM: 4,"6A82"', "OK")
            return super().answer(line)

    out, said = await run(micropython, Plain(b"CCHO", 99, "+CME ERROR: 13"))
    assert out == ["ChannelError no such application: card answered 6A82"]
    assert len([line for line in said if line.startswith(b"AT+CCHO")]) == 2


@pytest.mark.parametrize(("session", "handle"), [
    ("SMS DONE|^SIMST: 1|+CCHO: 3", b"3"),
    ("PB DONE|3", b"3"),
    ("+CCHO:  3 |*PSUTTZ: 26,1,1", b"3"),
    ("\0+CCHO: 00000000038aa32f", b"00000000038aa32f"),
])
async def test_the_session_is_no_stray_line(micropython: Run, session: str, handle: bytes) -> None:
    out, said = await run(micropython, Card(session=session))
    assert out == ["bf20009000"]
    assert said[-1] == b'AT+CGLA=%s,16,"80E2910003BF2000"' % handle
