"""ipa.modem.quectel on a scripted BG95: registration, clock, APDUs, UDP and TCP sockets (TS 27.007)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from board_run import Run
from pty_modem import OK, PREAMBLE, PtyModem

START = """
import asyncio, sys
from ipa.modem import ModemError
from ipa.modem.quectel import Bg95
modem = Bg95(open(sys.argv[1], "r+b", 0))

async def failing(awaitable):
    try:
        print("no error", await awaitable)
    except ModemError as error:
        print(type(error).__name__, error)

async def main():
    await modem.start()
"""
END = """
asyncio.run(main())
"""


def lines(*text: str) -> bytes:
    return b"".join(b"\r\n" + line.encode() + b"\r\n" for line in text)


def bg95(answers: dict[bytes, bytes], **kwargs: bool) -> PtyModem:
    return PtyModem({**PREAMBLE, **answers}.get, **kwargs)


ATTACHED = {b"AT+CFUN?": lines("+CFUN: 0", "OK"), b"AT+CFUN=1": OK, b"AT+CPIN?": lines("+CPIN: READY", "OK"),
            b"AT+COPS?": lines("+COPS: 0", "OK"), b"AT+CGREG?": lines("ERROR"),
            b"AT+CEREG?": lines("+CEREG: 1,1", "OK"),
            b"AT+CGDCONT?": lines('+CGDCONT: 1,"IP","iot"', "OK"),
            b"AT+QIACT?": OK, b"AT+QIDEACT=1": OK, b'AT+QICSGP=1,1,"iot"': OK, b"AT+QIACT=1": OK}


async def run(micropython: Run, modem: PtyModem, body: str, timeout: float = 60) -> list[str]:
    script = START + body + END
    return (await micropython(script, modem.path, timeout=timeout)).splitlines()


async def test_attach_waits_for_the_registration_urc_and_then_opens_data(micropython: Run) -> None:
    answers = {**ATTACHED, b"AT+CEREG?": lines("+CEREG: 1,2", "OK", "+CEREG: 5")}
    async with bg95(answers) as modem:
        out = await run(micropython, modem, """
    await modem.attach("iot")
    print(modem.registered())
""")
    assert out[-1] == "True"
    assert modem.lines[-4:] == [b"AT+QIACT?", b"AT+QIDEACT=1", b'AT+QICSGP=1,1,"iot"', b"AT+QIACT=1"]


async def test_timers_that_nobody_can_read_are_no_reason_not_to_work(micropython: Run) -> None:
    """TS 27.007 7.38, 10.1.22"""
    async with bg95({b"AT+CEREG?": lines('+CEREG: 4,1,"1","2",9,,,"?","x"', "OK"), b"AT+CEREG=4": OK,
                     b'AT+CPSMS=1,,,"00000110","00001000"': OK}) as modem:
        out = await run(micropython, modem, """
    from ipa.modem import power
    await power.save(modem, {"psm_periodic_s": 3600, "psm_active_s": 16, "edrx_cycle_s": 0})
    print("goes on", modem.registered())
""")
    assert out[-1] == "goes on True"


async def test_an_imei_has_fifteen_digits(micropython: Run) -> None:
    """TS 23.003 6.2.1; a module whose maker has written none says something shorter."""
    async with bg95({b"AT+CGSN": lines("0", "OK")}) as modem:
        out = await run(micropython, modem, "    await failing(modem.imei())")
    assert out[-1] == "ModemError no IMEI in [b'0']"


@pytest.mark.parametrize(("error", "number"), [("Unreadable", 5), ("MemoryError", 12)])
async def test_a_socket_whose_modem_answers_with_noise_fails_and_is_closed(
        micropython: Run, error: str, number: int) -> None:
    """Want of memory keeps its name, ENOMEM: it is no broken connection."""
    async with bg95({}) as modem:
        out = await run(micropython, modem, f"""
    from ipa.modem import Unreadable
    from ipa.modem.sockets import Datagram

    class Noisy:
        largest, read_again_ms, spare = 100, 50, None
        _sockets = {{}}
        async def _receive(self, number, buf):
            raise {error}("+QIRD: 1x")
        async def _shut(self, number):
            print("shut", number)
    noisy = Noisy()
    socket = noisy._sockets[3] = Datagram(noisy, 3)
    await socket.wait(5000)
    print("failed", socket.readinto(bytearray(9)))
    socket.close()
    for _ in range(100):
        if noisy._sockets:
            await asyncio.sleep_ms(10)
    print(noisy._sockets)
""")
    assert out[-3:] == [f"failed -{number}", "shut 3", "{}"]


async def test_attach_says_what_the_network_said(micropython: Run) -> None:
    answers = {**ATTACHED, b"AT+CEREG?": lines("+CEREG: 1,3", "OK")}
    async with bg95(answers) as modem:
        out = await run(micropython, modem, """
    await failing(modem.attach("iot", 200))
""")
    assert out[-1] == "NoRegistration modem: denied"


async def test_a_context_that_is_active_already_is_kept(micropython: Run) -> None:
    answers = {**ATTACHED, b"AT+QIACT?": lines('+QIACT: 1,1,1,"10.0.0.2"', "OK"),
               b"AT+QICSGP=1": lines('+QICSGP: 1,"iot","","",0', "OK")}
    async with bg95(answers) as modem:
        await run(micropython, modem, '\n    await modem.attach("iot")\n')
    assert not {b"AT+QIACT=1", b"AT+QIDEACT=1"} & set(modem.lines)


@pytest.mark.parametrize(("answer", "expected"), [
    ('+CCLK: "26/11/22,21:15:00+00"', 1795382100),
    ('+CCLK: "26/11/22,23:15:00+08"', 1795382100),
    ('+CCLK: "26/11/22,15:45:00-22"', 1795382100),
    ('+CCLK: "28/02/29,00:00:00"', 1835395200),
    ('+CCLK: "80/01/06,00:00:24+00"', None),
    ('+CCLK: "garbage"', None),
])
async def test_27007_8_15_the_clock_is_utc_or_none_when_unset(
        micropython: Run, answer: str, expected: int | None) -> None:
    async with bg95({b"AT+CCLK?": lines(answer, "OK")}) as modem:
        out = await run(micropython, modem, "\n    print(await modem.clock())\n")
    assert out[-1] == str(expected)


@pytest.mark.parametrize(("answer", "expected"), [
    (("262017000000001", "OK"), "262017000000001"),
    (('+CIMI: "26201"', "+CIMI: 262010000000001", "OK"), "262010000000001"),
    (("+CME ERROR: 10",), ""),
])
async def test_27007_5_6_the_imsi_is_digits_or_empty_without_a_profile(
        micropython: Run, answer: tuple[str, ...], expected: str) -> None:
    async with bg95({b"AT+CIMI": lines(*answer)}) as modem:
        out = await run(micropython, modem, "\n    print('imsi', await modem.imsi())\n")
    assert out[-1].split(" ")[1] == expected


async def test_identity_of_modem_and_network(micropython: Run) -> None:
    answers = {b"AT+CGSN": lines("867223026000000", "OK")}
    for digits, expected in (("90170", "09f107"), ("310410", "130014"), ("", "None")):
        answers[b"AT+COPS=3,2;+COPS?"] = lines(f'+COPS: 0,2,"{digits}",9' if digits else "+COPS: 0", "OK")
        async with bg95(answers) as modem:
            out = await run(micropython, modem, """
    plmn = await modem.plmn()
    print(await modem.imei(), plmn and plmn.hex())
""")
        assert out[-1] == f"867223026000000 {expected}"


@pytest.mark.parametrize("session", ["+CCHO: 1", "1", "+CCHO: 00000000038aa32f"])
async def test_27007_8_45_the_session_is_an_opaque_handle(micropython: Run, session: str) -> None:
    handle = session.split()[-1].encode()
    answers = {b'AT+CCHO="A0000005591010FFFFFFFF8900000100"': lines(session, "OK"),
               b'AT+CGLA=%s,10,"80CA5A0000"' % handle: lines('+CGLA: 12,"5a02aBcd9000"', "OK"),
               b"AT+CCHC=" + handle: OK}
    async with bg95(answers) as modem:
        out = await run(micropython, modem, """
    await modem.carrier.open(bytes.fromhex("A0000005591010FFFFFFFF8900000100"))
    print((await modem.carrier.transmit(bytes.fromhex("80CA5A0000"))).hex())
    await modem.carrier.close()
    await failing(modem.carrier.transmit(bytes(5)))
""")
    assert out == ["5a02abcd9000", "ChannelError no channel open"]


@pytest.mark.parametrize("answer", ['+CGLA: 8,"9000"', '+CGLA: 4,"90x0"', "+CGLA: 4", '+CGLA: 2,"90"', None])
async def test_an_unreadable_apdu_answer_is_named(micropython: Run, answer: str | None) -> None:
    answers = {b'AT+CCHO="A0"': lines("+CCHO: 1", "OK"),
               b'AT+CGLA=1,10,"80CA5A0000"': lines(answer, "OK") if answer else OK}
    async with bg95(answers) as modem:
        out = await run(micropython, modem, """
    await modem.carrier.open(b"\\xa0")
    await failing(modem.carrier.transmit(bytes.fromhex("80CA5A0000")))
""")
    assert out[-1].startswith("ChannelError")


async def test_channels_left_open_by_an_earlier_run_are_closed(micropython: Run) -> None:
    opened = []

    def answer(line: bytes) -> bytes | None:
        if line == b'AT+CCHO="A0"':
            opened.append(line)
            return lines("+CCHO: 3", "OK") if len(opened) == 2 else lines("+CME ERROR: 4")
        if line.startswith(b"AT+CCHC"):
            return lines("ERROR") if line.endswith(b"3") else OK
        return PREAMBLE.get(line)

    async with PtyModem(answer) as modem:
        out = await run(micropython, modem, """
    await modem.carrier.open(b"\\xa0")
    print("open")
""")
    assert out[-1] == "open"
    assert modem.lines[-4:-1] == [b"AT+CCHC=1", b"AT+CCHC=2", b"AT+CCHC=3"]


class CsimModem:
    """A modem that knows +CSIM and no +CCHO; its card answers with these status words."""

    def __init__(self, channel: int = 1, manage: str = "9000", select: str = "610F") -> None:
        opened = f"{channel:02X}9000" if manage == "9000" else manage
        self.sws = {"0070000001": opened, "00A4": select, "40A4": select, "01A4": select}

    def answer(self, line: bytes) -> bytes | None:
        if not line.startswith(b"AT+CSIM"):
            return lines("ERROR") if b"+CC" in line else PREAMBLE.get(line)
        apdu = line.split(b'"')[1].decode()
        response = next((sw for start, sw in self.sws.items() if apdu.startswith(start)), None)
        response = response or ("6110" if apdu[2:4] == "E2" else "9000")
        return lines(f'+CSIM: {len(response)},"{response}"', "OK")


async def test_a_card_without_the_application_is_named(micropython: Run) -> None:
    async with PtyModem(CsimModem(select="6A82").answer) as modem:
        out = await run(micropython, modem, "\n    await failing(modem.carrier.open(bytes(16)))\n")
    assert out[-1] == "ChannelError no such application: card answered 6A82"
    assert modem.lines[-1] == b'AT+CSIM=8,"00708001"'  # the channel is not left open


async def test_27007_8_17_csim_is_the_second_choice_and_carries_the_channel_in_cla(micropython: Run) -> None:
    csim = CsimModem(channel=4)
    async with PtyModem(csim.answer) as modem:
        out = await run(micropython, modem, """
    await modem.carrier.open(b"\\xa0")
    print((await modem.carrier.transmit(bytes.fromhex("80E2910003BF2000"))).hex())
    await modem.carrier.close()
    await modem.carrier.open(b"\\xa0")
""")
    assert out[-1] == "6110"
    asked = [line for line in modem.lines if b"CSIM" in line or b"CCHO" in line]
    opening = [b'AT+CSIM=10,"0070000001"', b'AT+CSIM=12,"40A4040001A0"']
    assert asked == [b'AT+CCHO="A0"', b'AT+CCHO="A0"', *opening, b'AT+CSIM=16,"C0E2910003BF2000"',
                     b'AT+CSIM=8,"00708004"', *opening]


async def test_a_card_that_gives_no_channel_is_named(micropython: Run) -> None:
    async with PtyModem(CsimModem(manage="6A81").answer) as modem:
        out = await run(micropython, modem, "\n    await failing(modem.carrier.open(bytes(16)))\n")
    assert out[-1] == "ChannelError no channel: card answered 6A81"


async def test_refresh_waits_for_the_network_of_the_new_profile(micropython: Run) -> None:
    def answer(line: bytes) -> bytes | None:
        if line == b'AT+CCHO="A0"':
            return lines("+CCHO: 1", "OK", "+CEREG: 0")  # what follows the answer is REFRESH
        if line == b"AT+CEREG?":
            state = ("+CEREG: 1,1", "+CEREG: 1,2", "+CEREG: 1,1")[modem.lines.count(line) - 1]
            return lines(state, "OK") + (lines("+CEREG: 1") if state.endswith("2") else b"")
        return {**PREAMBLE, **ATTACHED}.get(line)

    async with PtyModem(answer) as modem:
        out = await run(micropython, modem, """
    await modem.attach("iot")
    await modem.carrier.open(b"\\xa0")
    await modem.await_refresh()
    await modem.attach("iot")
    print("refreshed")
""")
    assert out[-1] == "refreshed"
    assert b"AT+CFUN=0" not in modem.lines
    assert modem.lines[-1] == b"AT+QIACT=1"


async def test_a_modem_that_ignores_refresh_gets_its_radio_switched(micropython: Run) -> None:
    states = iter([lines("ERROR"), lines("+CPIN: READY", "OK")])

    def answer(line: bytes) -> bytes | None:
        if line == b"AT+CPIN?":
            return next(states)
        return {**PREAMBLE, **ATTACHED, b"AT+CFUN=0": OK}.get(line)

    async with PtyModem(answer) as modem:
        out = await run(micropython, modem, """
    await modem.attach("iot")
    await modem.await_refresh(300)
    print("refreshed")
""")
    assert out[-1] == "refreshed"
    assert b"AT+CFUN=0" in modem.lines


class Sockets:
    """A BG95 whose far end is ``peer``: datagrams it gives are read with QIRD."""

    def __init__(self, peer: Callable[[bytes], list[bytes]], **answers: bytes) -> None:
        self.peer, self.waiting = peer, []
        self.answers = {**PREAMBLE, **ATTACHED, b"AT+QICLOSE=0": OK}
        self.open_answers = [answers.get("open", lines("OK", "+QIOPEN: 0,0"))]
        self.modem = PtyModem(self.answer, self.data)

    def answer(self, line: bytes) -> bytes | None:
        if line.startswith(b"AT+QIOPEN"):
            return self.open_answers.pop(0) if len(self.open_answers) > 1 else self.open_answers[0]
        if line.startswith(b"AT+QIRD=0"):
            if not self.waiting:
                return lines("+QIRD: 0", "OK")
            data = self.waiting.pop(0)
            return b"\r\n+QIRD: %d\r\n" % len(data) + data + lines("", "OK")
        sending = re.fullmatch(rb"AT\+QISEND=0,(\d+)", line)
        if sending:
            self.modem.binary = int(sending[1])
            return b"\r\n> "
        return self.answers.get(line)

    def data(self, payload: bytes) -> bytes:
        answers = self.peer(payload)
        quiet = not self.waiting
        self.waiting += answers
        return lines("SEND OK", *(['+QIURC: "recv",0'] if answers and quiet else []))


UDP = """
    udp = await modem.udp("eim.microipa.example", 5684)
    buf = bytearray(1500)
    async def receive():
        while True:
            n = udp.readinto(buf)
            if n is not None:
                return bytes(buf[:n]) if n >= 0 else n
            await udp.wait(5000)
"""


async def test_datagrams_keep_their_borders_both_ways(micropython: Run) -> None:
    big = bytes(range(256)) * 5
    got = []

    def peer(payload: bytes) -> list[bytes]:
        got.append(payload)
        return [b"one\r\nOK\r\n", big, b"three"] if len(got) == 2 else []

    sockets = Sockets(peer)
    async with sockets.modem as modem:
        out = await run(micropython, modem, UDP + """
    big = bytes(range(256)) * 5
    print(udp.readinto(buf), udp.write(big), udp.write(b"no room yet"))
    await udp.flush()
    print(udp.write(b"second"), udp.write(bytes(1461)))
    for expected in (b"one\\r\\nOK\\r\\n", big, b"three"):
        assert await receive() == expected
    udp.close()
    print(udp.readinto(buf) < 0, udp.write(b"x") < 0)
    while modem._sockets:
        await asyncio.sleep_ms(5)
""")
    assert out == ["None 1280 None", "6 -90", "True True"]
    assert got == [big, b"second"]
    assert b'AT+QIOPEN=1,0,"UDP","eim.microipa.example",5684,0,0' in modem.lines
    assert modem.lines[-1] == b"AT+QICLOSE=0"


async def test_a_socket_the_modem_does_not_open_is_named(micropython: Run) -> None:
    async with Sockets(lambda _: [], open=lines("OK", "+QIOPEN: 0,565")).modem as modem:
        out = await run(micropython, modem, """
    await failing(modem.udp("eim.microipa.example", 5684))
    await failing(modem.udp('x",1,0,0\\rAT+CFUN=0', 5684))
""")
    assert out == ["SocketError no socket to eim.microipa.example port 5684: error 565",
                   r"""SocketError not a host name or APN: 'x",1,0,0\rAT+CFUN=0'"""]
    assert not any(b"CFUN" in line for line in modem.lines)


async def test_a_socket_opens_although_the_final_line_of_its_command_got_lost(micropython: Run) -> None:
    async with Sockets(lambda _: [], open=lines("+QIOPEN: 0,0")).modem as modem:
        out = await run(micropython, modem, UDP + '\n    print("open")\n', timeout=30)
    assert out[-1] == "open"


async def test_a_card_is_there_although_a_stray_line_says_so_as_well(micropython: Run) -> None:
    async with bg95({b"AT+CPIN?": lines("+CPIN: READY", "+CPIN: READY", "OK")}) as modem:
        out = await run(micropython, modem, """
    await modem.await_card()
    print("there")
""")
    assert out[-1] == "there"
    assert modem.lines.count(b"AT+CPIN?") == 1


async def test_a_socket_left_open_by_an_earlier_run_is_closed_first(micropython: Run) -> None:
    sockets = Sockets(lambda _: [])
    sockets.open_answers.insert(0, lines("OK", "+QIOPEN: 0,563"))
    async with sockets.modem as modem:
        out = await run(micropython, modem, UDP + '\n    print("open")\n')
    assert out[-1] == "open"
    assert b"AT+QICLOSE=0" in modem.lines


@pytest.mark.parametrize("urc", ['+QIURC: "closed",0', '+QIURC: "pdpdeact",1'])
async def test_a_socket_that_the_network_closed_says_so(micropython: Run, urc: str) -> None:
    sockets = Sockets(lambda _: [])
    sockets.answers[b"AT+QINOTHING"] = lines("OK", urc)
    async with sockets.modem as modem:
        out = await run(micropython, modem, UDP + """
    await modem.at.command(b"AT+QINOTHING")
    print(await receive() == -__import__("errno").ENOTCONN)
""")
    assert out[-1] == "True"


CLOSED = {"URC first": (lines('+QIURC: "closed",0'), b""), "URC in between": (b"", lines('+QIURC: "closed",0'))}


@pytest.mark.parametrize("when", CLOSED)
async def test_a_socket_that_closes_while_it_is_read_loses_no_datagram(micropython: Run, when: str) -> None:
    """walter-arduino #109: the URC came between the command and the data."""
    before, between = CLOSED[when]
    waiting = [b"one", b"two", b"three"]

    class Closing(Sockets):
        def answer(self, line: bytes) -> bytes | None:
            if not line.startswith(b"AT+QIRD=0"):
                return super().answer(line)
            if not waiting:
                return lines("ERROR")  # this modem forgets it at once
            data = waiting.pop(0)
            told = between if len(waiting) == 2 else b""
            return told + b"\r\n+QIRD: %d\r\n" % len(data) + data + lines("", "OK")

    closing = Closing(lambda _: [])
    closing.answers[b"AT+QINOTHING"] = lines("OK") + before
    async with closing.modem as modem:
        out = await run(micropython, modem, UDP + """
    await modem.at.command(b"AT+QINOTHING")
    for _ in range(4):
        print(await receive())
""")
    assert out[:3] == ["b'one'", "b'two'", "b'three'"]
    assert int(out[-1]) < 0


class TcpSocket(Sockets):
    """A BG95 with a TCP connection: ``room`` is what QISEND takes before it says SEND FAIL once."""

    def __init__(self, received: bytes = b"", room: int = 1 << 20) -> None:
        super().__init__(lambda _: [])
        self.stream, self.sent, self.room = received, b"", room
        self.modem = PtyModem(self.answer, self.data)

    def answer(self, line: bytes) -> bytes | None:
        reading = re.fullmatch(rb"AT\+QIRD=0,(\d+)", line)
        if reading:
            data, self.stream = self.stream[: int(reading[1])], self.stream[int(reading[1]) :]
            return b"\r\n+QIRD: %d\r\n" % len(data) + data + lines("", "OK")
        return super().answer(line)

    def data(self, payload: bytes) -> bytes:
        if len(self.sent) + len(payload) > self.room:
            self.room = 1 << 20
            return lines("SEND FAIL")
        self.sent += payload
        return lines("SEND OK")


TCP = """
    tcp = await modem.tcp("smdpp.microipa.example", 443)
    buf = bytearray(300)
    async def receive(size):
        data = b""
        while len(data) < size:
            n = tcp.readinto(buf)
            if n is None:
                await tcp.wait(5000)
            elif n > 0:
                data += buf[:n]
            else:
                return data, n
        return data
    async def send(data):
        view = memoryview(data)
        while view:
            n = tcp.write(view)
            if n is None:
                await tcp.wait(5000)
            else:
                view = view[n:]
        await tcp.flush()
"""


async def test_a_tcp_stream_loses_no_byte_whatever_the_pieces(micropython: Run) -> None:
    data = bytes(range(256)) * 12
    socket = TcpSocket(data)
    async with socket.modem as modem:
        out = await run(micropython, modem, TCP + """
    data = bytes(range(256)) * 12
    assert await receive(len(data)) == data
    print(tcp.readinto(buf))
    await send(data)
    tcp.close()
    print(tcp.readinto(buf) < 0, tcp.write(b"x") < 0)
    while modem._sockets:
        await asyncio.sleep_ms(5)
""")
    assert out == ["None", "True True"]
    assert socket.sent == data
    assert b'AT+QIOPEN=1,0,"TCP","smdpp.microipa.example",443,0,0' in modem.lines
    assert modem.lines[-1] == b"AT+QICLOSE=0"


async def test_what_came_before_the_peer_closed_a_tcp_stream_is_read_to_the_end(micropython: Run) -> None:
    socket = TcpSocket(bytes(2000))
    socket.answers[b"AT+QINOTHING"] = lines("OK", '+QIURC: "closed",0')
    async with socket.modem as modem:
        out = await run(micropython, modem, TCP + """
    await modem.at.command(b"AT+QINOTHING")
    data, end = await receive(9999)
    print(len(data), end, tcp.write(b"x") < 0)
""")
    assert out == ["2000 0 True"]


async def test_a_modem_without_room_for_more_of_a_tcp_stream_is_asked_again(micropython: Run) -> None:
    socket = TcpSocket(room=1500)
    async with socket.modem as modem:
        await run(micropython, modem, TCP + "\n    await send(bytes(range(256)) * 8)\n")
    assert socket.sent == bytes(range(256)) * 8


async def test_a_tcp_stream_that_may_have_a_hole_is_dead(micropython: Run) -> None:
    socket = TcpSocket()
    socket.modem = PtyModem(socket.answer, lambda _: lines("ERROR"))
    async with socket.modem as modem:
        out = await run(micropython, modem, TCP + """
    tcp.write(b"some")
    await tcp.flush()
    print(tcp.write(b"more") == -__import__("errno").EIO)
""")
    assert out[-1] == "True"


async def test_a_read_without_its_final_line_ends_a_tcp_stream_that_may_have_a_hole(micropython: Run) -> None:
    class Holes(TcpSocket):
        def answer(self, line: bytes) -> bytes | None:
            if line.startswith(b"AT+QIRD"):
                return b"\r\n+QIRD: 100\r\n" + bytes(80) + lines("", "OK")
            return super().answer(line)

    async with Holes().modem as modem:
        out = await run(micropython, modem, TCP + """
    data, end = await receive(9999)
    print(data, end == -__import__("errno").EIO)
""")
    assert out[-1] == "b'' True"


async def test_a_network_that_is_gone_ends_a_tcp_stream_with_an_error(micropython: Run) -> None:
    socket = TcpSocket(bytes(100))
    socket.answers[b"AT+QINOTHING"] = lines("OK", '+QIURC: "pdpdeact",1')
    async with socket.modem as modem:
        out = await run(micropython, modem, TCP + """
    await modem.at.command(b"AT+QINOTHING")
    data, end = await receive(9999)
    print(end == -__import__("errno").ENOTCONN)
""")
    assert out[-1] == "True"
