"""What the lab's modem never does: refusals in the middle and left-overs of a run before, by family."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from board_run import Run
from pty_modem import OK, PREAMBLE, PtyModem

SCRIPT = """
import asyncio, sys
from ipa.modem import driver, SocketError
modem = driver(sys.argv[1])(open(sys.argv[2], "r+b", 0))

async def main():
    await modem.start()
    try:
        udp = await modem.udp("a.example", 7)
    except SocketError as error:
        print("refused", error.code)
        return
    while udp.write(b"abc") is None:
        await udp.wait(100)
    await udp.flush()
    print("sent, refused", udp.dropped, "dead", udp.readinto(bytearray(9)) is not None)

asyncio.run(main())
"""
Answers = dict[bytes, list[bytes]]


def lines(*text: str) -> bytes:
    return b"".join(b"\r\n" + line.encode() + b"\r\n" for line in text)


def one_after_the_other(modem: Callable[[], PtyModem], answers: Answers) -> Callable[[bytes], bytes]:
    """Each command's answers in their order, the last for ever; OK to what is not among them. A prompt asks for the
    three bytes of the script."""
    def answer(line: bytes) -> bytes:
        left = answers.get(line, [PREAMBLE.get(line, OK)])
        said = left.pop(0) if len(left) > 1 else left[0]
        if said.endswith((b"> ", b"@")):
            modem().binary = 3
        return said

    return answer


SIM7080G = {b'AT+CAOPEN=0,0,"UDP","a.example",7': [lines("OK", "+CAOPEN: 0,0")], b"AT+CASEND=0,3": [b"\r\n> "],
            b"AT+CARECV=0,1459": [lines("+CARECV: 0", "OK")]}
SIM7000 = {b'AT+CIPSTART=0,"UDP","a.example",7': [lines("OK", "0, CONNECT OK")], b"AT+CIPSEND=0,3": [b"\r\n> "],
           b"AT+CIPRXGET=2,0,1460": [lines("+CIPRXGET: 2,0,0,0", "OK")]}
NRF91 = {b"AT#XSOCKET=1,2,0": [lines("#XSOCKET: 1,2,17", "OK")],
         b'AT#XCONNECT=1,"a.example",7': [lines("#XCONNECT: 1,1", "OK")],
         b'AT#XSEND=1,1,0,"616263"': [lines("#XSEND: 1,0,3", "OK")], b"AT#XRECV=1,0,64,0,1472": [lines("ERROR")]}


@pytest.mark.parametrize(("family", "answers", "sent", "told"), [
    ("sim7080g", {b'AT+CAOPEN=0,0,"UDP","a.example",7': [lines("ERROR"), lines("OK", "+CAOPEN: 0,0")]}, OK,
     "sent, refused 0 dead False"),
    ("sim7080g", {b'AT+CAOPEN=0,0,"UDP","a.example",7': [lines("OK", "+CAOPEN: 0,27")]}, OK, "refused None"),
    ("sim7080g", {}, lines("ERROR"), "sent, refused 1 dead True"),
    ("sim7000", {b'AT+CIPSTART=0,"UDP","a.example",7': [lines("ERROR"), lines("OK", "0, CONNECT OK")]},
     lines("0, SEND OK"), "sent, refused 0 dead False"),
    ("sim7000", {b'AT+CIPSTART=0,"UDP","a.example",7': [lines("OK", "0, CONNECT FAIL")]}, OK, "refused None"),
    ("sim7000", {}, lines("0, SEND FAIL"), "sent, refused 1 dead False"),  # a full buffer, the next may go
    ("sim7000", {}, lines("ERROR"), "sent, refused 1 dead True"),
    ("nrf91", {b"AT#XSOCKET=1,2,0": [lines("#XSOCKET: -12", "OK")]}, OK, "refused -12"),
    ("nrf91", {b"AT#XSOCKET=1,2,0": [lines("#XSOCKET: x", "OK")]}, OK, "refused None"),
    ("nrf91", {b'AT#XCONNECT=1,"a.example",7': [lines("ERROR")]}, OK, "refused None"),
    ("nrf91", {b'AT#XSEND=1,1,0,"616263"': [lines("#XAPOLL: 1,8", "#XSEND: 1,0,3", "OK")]}, OK,
     "sent, refused 0 dead True"),
])
async def test_a_refusal_in_the_middle_is_told_and_a_socket_that_may_live_lives(
        family: str, answers: Answers, sent: bytes, told: str, micropython: Run) -> None:
    book = {**{"sim7080g": SIM7080G, "sim7000": SIM7000, "nrf91": NRF91}[family], **answers}
    modem = PtyModem(one_after_the_other(lambda: modem, book), lambda _: sent)
    async with modem:
        assert (await micropython(SCRIPT, family, modem.path)).splitlines()[-1] == told


START = """
import asyncio, sys
from ipa import compat
from ipa.modem import SocketError
from ipa.modem.at import AtTimeout
from ipa.modem.quectel import Bg95
compat.log_sink = lambda line: None

class Board:
    async def modem_power(self):
        uart.write(b"KEY\\r")

uart = open(sys.argv[1], "r+b", 0)
modem = Bg95(uart, Board())

async def main():
    await modem.start()
"""


async def start(micropython: Run, modem: PtyModem, body: str) -> list[str]:
    return (await micropython(START + body + "\nasyncio.run(main())\n", modem.path)).splitlines()


async def test_a_silent_modem_has_its_power_key_pressed_and_is_asked_again(micropython: Run) -> None:
    def answer(line: bytes) -> bytes | None:
        return (PREAMBLE.get(line, OK) if line != b"KEY" else lines("APP RDY")) if b"KEY" in modem.lines else None

    modem = PtyModem(answer)
    async with modem:
        assert await start(micropython, modem, '\n    print("talks")\n') == ["talks"]
    assert modem.lines.count(b"KEY") == 1
    assert modem.lines[-1] == b"AT+CTZU=3"


async def test_a_firmware_without_a_command_of_the_setup_works_without_it(micropython: Run) -> None:
    async with PtyModem({**PREAMBLE, b"AT+CTZU=3": lines("ERROR")}.get) as modem:
        assert await start(micropython, modem, '\n    print("talks")\n') == ["talks"]


async def test_a_host_that_would_break_out_of_its_quotes_never_reaches_the_modem(micropython: Run) -> None:
    async with PtyModem(PREAMBLE.get) as modem:
        out = await start(micropython, modem, """
    for host in ('a","b', "a\\r\\nAT+CFUN=0", "caf\\u00e9"):
        try:
            await modem.udp(host, 7)
        except SocketError as error:
            print(str(error)[:15])
""")
    assert out == ["not a host name"] * 3
    assert not [line for line in modem.lines if b"QIOPEN" in line]


async def test_a_stream_ends_well_where_the_modem_forgets_what_the_peer_has_closed(micropython: Run) -> None:
    reads = [lines("+QIRD: 0", "OK", '+QIURC: "closed",0'), lines("ERROR")]

    def answer(line: bytes) -> bytes | None:
        if line.startswith(b"AT+QIOPEN"):
            return lines("OK", "+QIOPEN: 0,0")
        return reads.pop(0) if line.startswith(b"AT+QIRD") else PREAMBLE.get(line, OK)

    async with PtyModem(answer) as modem:
        out = await start(micropython, modem, """
    tcp = await modem.tcp("a.example", 7)
    while tcp.readinto(bytearray(9)) is None:
        await tcp.wait(1000)
    print(tcp.readinto(bytearray(9)))
""")
    assert out == ["0"]
