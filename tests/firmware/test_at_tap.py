"""tools/at_tap.py under MicroPython: a bench without card contacts sees the APDUs in its lines, and no secrets."""

from __future__ import annotations

from board_run import Run
from microipa.common import paths
from microipa.hil.at_lines import heard, with_apdus
from microipa.hil.bill import bill_of
from microipa.trace import Event
from pty_modem import OK, PtyModem

SCRIPT = """
import asyncio, sys
sys.path.append(sys.argv[2])
import at_tap
from ipa.modem.at import At, AtError
from ipa.modem.carrier import Cgla
from ipa.modem.csim import Csim

async def main():
    at = At(open(sys.argv[1], "r+b", 0))
    at.start()
    await at.command(b'AT+CPIN="1234"')
    session = await Cgla(at).open(b"\\xa0\\x00")
    await Cgla(at).transmit(session, bytes((0x80, 0xe2, 0x91, 0x00, 40)) + bytes(40))
    await Csim(at).transmit(0, b"\\x00\\xf2\\x00\\x00\\x00")
    try:
        await Cgla(at).transmit(b"9", b"\\x80\\xe2\\x91\\x00")
    except AtError:
        pass
    at.stop()
asyncio.run(main())
"""
STORE_DATA = "80E2910028" + 40 * "00"
ANSWERS = {
    b'AT+CPIN="1234"': OK,
    b'AT+CCHO="A000"': b"\r\n+CCHO: 7\r\n" + OK,
    f'AT+CGLA=7,90,"{STORE_DATA}"'.encode(): b'\r\n+CGLA: 8,"BF229000"\r\n' + OK,
    b'AT+CSIM=10,"00F2000000"': b"\r\n+CSIM: 4,9000\r\n" + OK,
    b'AT+CGLA=9,8,"80E29100"': b"\r\n+CME ERROR: 21\r\n",
}


async def test_commands_are_printed_with_their_apdus_and_others_without_their_values(micropython: Run) -> None:
    async with PtyModem(ANSWERS.get) as modem:
        out = await micropython(SCRIPT, modem.path, str(paths.tools()))
    events = [Event(number, *heard(line)) for number, line in enumerate(out.splitlines())]
    assert [(event.part, event.fields["direction"], event.fields["text"]) for event in events] == [
        ("modem", "in", "AT+CPIN"),
        ("modem", "in", 'AT+CCHO="A000"'),
        ("modem", "out", "+CCHO: 7"),
        ("modem", "in", f'AT+CGLA=7,90,"{STORE_DATA}"'),
        ("modem", "out", '+CGLA: 8,"BF229000"'),
        ("modem", "in", 'AT+CSIM=10,"00F2000000"'),
        ("modem", "out", '+CSIM: 4,"9000"'),
        ("modem", "in", 'AT+CGLA=9,8,"80E29100"'),
        ("modem", "out", "+CME ERROR: 21"),
    ]
    apdus = [event.fields for event in with_apdus(events) if event.kind == "apdu"]
    assert apdus == [
        {"command": STORE_DATA, "response": "BF229000"},
        {"command": "00F2000000", "response": "9000"},
    ]
    assert bill_of(events).apdus == 2
