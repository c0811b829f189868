"""ipa.modem.cinterion where answers and unsolicited lines are called the same (AT^SISW, AT^SISR, ^SIS)."""

from __future__ import annotations

from board_run import Run
from pty_modem import OK, PREAMBLE, PtyModem

OPENED = {
    b'AT^SISS=0,"srvType","Socket";^SISS=0,"conId",1;^SISS=0,"address","socktcp://a.example:7"': OK,
    b"AT^SISC=0": OK,
    b"AT^SISO=0": OK + b"\r\n^SISW: 0,1\r\n",
}
SCRIPT = """
import asyncio, sys
from ipa.modem import SocketError
from ipa.modem.cinterion import Tx62
modem = Tx62(open(sys.argv[1], "r+b", 0))

async def main():
    await modem.start()
    try:
        tcp = await modem.tcp("a.example", 7)
    except SocketError as error:
        print(error, error.code)
        return
{body}

asyncio.run(main())
"""


async def run(micropython: Run, modem: PtyModem, body: str = "    pass") -> list[str]:
    return (await micropython(SCRIPT.replace("{body}", body), modem.path)).splitlines()


async def test_a_stream_sends_what_the_modem_takes_of_it_and_the_rest_when_it_has_room(micropython: Run) -> None:
    rooms = [4, 0, 2]
    taken: list[bytes] = []

    def answer(line: bytes) -> bytes | None:
        if not line.startswith(b"AT^SISW=0,"):
            return {**PREAMBLE, **OPENED, b"AT+CTZU=1": OK, b"AT^SISR=0,1024": b"\r\n^SISR: 0,0\r\n" + OK}.get(line)
        room = rooms.pop(0)
        modem.binary = room
        # The URC that nobody asked for comes before: it must not be taken for an invitation to send one byte.
        told = b"\r\n^SISW: 0,1\r\n\r\n^SISW: 0,%d,9\r\n" % room
        return told if room else told + OK

    def on_data(data: bytes) -> bytes:
        taken.append(data)
        return OK

    modem = PtyModem(answer, on_data)
    async with modem:
        await run(micropython, modem, """
    tcp.write(b"abcdef")
    await tcp.flush()
""")
    assert taken == [b"abcd", b"ef"]
    assert [line for line in modem.lines if b"SISW" in line] == [b"AT^SISW=0,6", b"AT^SISW=0,2", b"AT^SISW=0,2"]


async def test_a_line_that_tells_of_data_is_not_taken_for_the_answer_that_it_looks_like(micropython: Run) -> None:
    answers = [b"\r\n^SISR: 3,1\r\n\r\n^SISR: 0,1\r\n\r\n^SISR: 0,5\r\nOK\r\n!\r\n" + OK, b"\r\n^SISR: 0,-2\r\n" + OK]

    def answer(line: bytes) -> bytes | None:
        if line.startswith(b"AT^SISR"):
            return answers.pop(0) if answers else b"\r\n^SISR: 0,-2\r\n" + OK
        return {**PREAMBLE, **OPENED, b"AT+CTZU=1": OK}.get(line)

    async with PtyModem(answer) as modem:
        out = await run(micropython, modem, """
    buf = bytearray(100)
    while not tcp.readinto(buf):
        await tcp.wait(1000)
    print(bytes(buf[:5]))
""")
    assert out == ["b'OK\\r\\n!'"]


async def test_a_service_that_does_not_open_says_why_and_is_closed_for_the_next_time(micropython: Run) -> None:
    failed = OK + b'\r\n^SIS: 0,0,4097,"Slow network"\r\n\r\n^SIS: 0,0,20,"Connection timed out"\r\n'
    async with PtyModem({**PREAMBLE, **OPENED, b"AT+CTZU=1": OK, b"AT^SISO=0": failed}.get) as modem:
        assert await run(micropython, modem) == ["no socket to a.example port 7: error 20 20"]
        assert modem.lines[-1] == b"AT^SISC=0"


async def test_a_profile_left_open_by_a_run_before_is_closed_first(micropython: Run) -> None:
    refusals = [b"\r\n+CME ERROR: 3\r\n"]

    def answer(line: bytes) -> bytes | None:
        if line.startswith(b"AT^SISS") and refusals:
            return refusals.pop()
        return {**PREAMBLE, **OPENED, b"AT+CTZU=1": OK, b"AT^SISR=0,1024": b"\r\n^SISR: 0,0\r\n" + OK}.get(line)

    async with PtyModem(answer) as modem:
        assert await run(micropython, modem) == []
    first = modem.lines.index(b"AT^SISC=0")
    assert modem.lines[first + 1].startswith(b"AT^SISS=0")
    assert b"AT^SISO=0" in modem.lines
