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
