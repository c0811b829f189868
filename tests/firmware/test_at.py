"""ipa.modem.at over a pty: one line engine for answers, URCs, prompts and raw data (V.250, TS 27.007)."""

from __future__ import annotations

import asyncio
import random

import pytest
from board_run import Run
from pty_modem import OK, PtyModem

START = """
import asyncio, sys
from ipa.modem.at import At, AtError, AtOverflow, AtTimeout
at = At(open(sys.argv[1], "r+b", 0))
heard = []
at.on(b"+CEREG:", heard.append)

async def failing(awaitable):
    try:
        print("no error", await awaitable)
    except (AtError, AtOverflow, AtTimeout) as error:
        print(type(error).__name__, error)

async def body():
"""
END = """
async def main():
    at.start()
    await body()
    at.stop()
asyncio.run(main())
"""


def script(body: str) -> str:
    return START + body + END


@pytest.mark.parametrize("echo", [False, True])
async def test_an_answer_is_the_lines_with_its_prefix_and_urcs_go_elsewhere(
        micropython: Run, echo: bool) -> None:
    answers = {b"AT+QIACT?": b'\r\n+QIACT: 1,1,1,"10.0.0.1"\r\n\r\n+CEREG: 2\r\n+QIACT: 2,0\r\n' + OK,
               b"AT+CGSN": b"\r\n+CEREG: 1\r\n\r\n867223026000000\r\n" + OK}
    async with PtyModem(answers.get, echo=echo) as modem:
        out = await micropython(script("""
    print(await at.command(b"AT+QIACT?", prefix=b"+QIACT:"))
    print(await at.command(b"AT+CGSN", prefix=b""))
    print(heard)
"""), modem.path)
    assert out.splitlines() == ["[b'1,1,1,\"10.0.0.1\"', b'2,0']", "[b'867223026000000']", "[b'2', b'1']"]


async def test_errors_carry_the_final_line_and_its_number(micropython: Run) -> None:
    answers = {b"AT+CPIN?": b"\r\n+CME ERROR: 13\r\n", b"AT+CMGS=1": b"\r\n+CMS ERROR: 500\r\n",
               b"AT+X": b"\r\nERROR\r\n", b"AT+Y": b"\r\n+CME ERROR: SIM b\xffsy\r\n"}
    async with PtyModem(answers.get) as modem:
        out = await micropython(script("""
    for text in (b"AT+CPIN?", b"AT+CMGS=1", b"AT+X", b"AT+Y"):
        try:
            await at.command(text)
        except AtError as error:
            print(error.command, error.code)
"""), modem.path)
    assert out.splitlines() == ["AT+CPIN 13", "AT+CMGS 500", "AT+X None", "AT+Y None"]


async def test_commands_of_several_tasks_take_turns(micropython: Run) -> None:
    async with PtyModem(lambda line: b"\r\n+N: " + line[-1:] + b"\r\n" + OK) as modem:
        out = await micropython(script("""
    async def ask(n):
        return await at.command(b"AT+N=%d" % n, prefix=b"+N:")
    print(await asyncio.gather(*[ask(n) for n in range(6)]))
"""), modem.path)
    assert out.strip() == "[[b'0'], [b'1'], [b'2'], [b'3'], [b'4'], [b'5']]"


async def test_a_prompt_is_answered_with_the_payload_whatever_bytes_it_has(micropython: Run) -> None:
    payload = bytes(range(256)) * 5
    got = []

    def answer(line: bytes) -> bytes:
        if line == b"AT+REFUSE":
            return b"\r\nERROR\r\n"
        modem.binary = len(payload)
        return b"\r\n> "

    def data(received: bytes) -> bytes:
        got.append(received)
        return b"\r\nSEND OK\r\n"

    async with PtyModem(answer, data) as modem:
        out = await micropython(script("""
    payload = bytes(range(256)) * 5
    print(await at.command(b"AT+QISEND=0,1280", payload=payload))
    await failing(at.command(b"AT+REFUSE", payload=payload))
    await at.command(b"AT+QISEND=0,1280", payload=memoryview(payload))
"""), modem.path)
    assert got == [payload, payload]
    assert out.splitlines() == ["[]", "AtError AT+REFUSE: ERROR"]


async def test_raw_data_lands_in_the_callers_buffer(micropython: Run) -> None:
    raw = b"\r\nOK\r\n\r\nERROR\r\n> " + bytes(range(256)) * 3
    answers = {b"AT+QIRD=0": b"\r\n+QIRD: %d\r\n" % len(raw) + raw + b"\r\n" + OK,
               b"AT+QIRD=1": b"\r\n+QIRD: 0\r\n" + OK, b"AT": OK,
               b"AT+QIRD=2": b"\r\n+QIRD: 4\r\nabcd\r\n" + OK,
               b"AT+QIRD=3": b"\r\n+QIRD: 5\r\n\r\nOK\r" + b"\n" + OK}
    async with PtyModem(answers.get) as modem:
        out = await micropython(script("""
    buf = bytearray(900)
    print(await at.command(b"AT+QIRD=0", prefix=b"+QIRD:", into=buf))
    print(bytes(buf[:785]).hex())
    print(await at.command(b"AT+QIRD=1", prefix=b"+QIRD:", into=buf))
    await failing(at.command(b"AT+QIRD=2", prefix=b"+QIRD:", into=bytearray(3)))
    print(await at.command(b"AT+QIRD=2", prefix=b"+QIRD:", into=buf), bytes(buf[:4]))
"""), modem.path)
    assert out.splitlines() == [
        f"[b'{len(raw)}']", raw.hex(), "[b'0']", "AtOverflow 4 bytes where 3 have room", "[b'4'] b'abcd'"]


async def test_apdus_go_out_in_upper_case_hexadecimal(micropython: Run) -> None:
    async with PtyModem(lambda line: OK) as modem:
        await micropython(script("""
    await at.command(b'AT+CGLA=1,520,"', apdu=memoryview(bytes(range(256)) + b"abcd"))
"""), modem.path)
    assert modem.lines == [b'AT+CGLA=1,520,"' + (bytes(range(256)) + b"abcd").hex().upper().encode() + b'"']


async def test_a_line_that_never_ends_fails_the_command_and_the_next_one_works(micropython: Run) -> None:
    def answer(line: bytes) -> bytes | None:
        if line == b"AT+LONG":
            return b"\r\n+X: " + b"a" * 3000
        return {b"AT": b"aaaa" + OK, b"AT+NEXT": b"\r\n+X: 1\r\n" + OK}.get(line)

    async with PtyModem(answer) as modem:
        out = await micropython(script("""
    await failing(at.command(b"AT+LONG", prefix=b"+X:"))
    print(await at.command(b"AT+NEXT", prefix=b"+X:"))
"""), modem.path)
    assert out.splitlines() == ["AtOverflow line of more than 640 bytes", "[b'1']"]


async def test_an_answer_that_never_ends_fails_the_command(micropython: Run) -> None:
    answers = {b"AT+MANY": b"+X: 1\r\n" * 30 + OK, b"AT": OK}
    async with PtyModem(answers.get) as modem:
        out = await micropython(script("""
    await failing(at.command(b"AT+MANY", prefix=b"+X:"))
    await at.command(b"AT")
"""), modem.path)
    assert "AtOverflow answer of more than 16 lines" in out


async def test_the_late_answer_to_an_abandoned_command_is_not_taken_for_the_next(micropython: Run) -> None:
    late = []

    def answer(line: bytes) -> bytes | None:
        if line == b"AT+SLOW":
            late.append(b"\r\n+X: late\r\n\r\nERROR\r\n")
            return None
        if line == b"AT":  # the modem was busy until now
            return (late.pop() if late else b"") + OK
        return b"\r\n+X: 2\r\n" + OK

    async with PtyModem(answer) as modem:
        out = await micropython(script("""
    await failing(at.command(b"AT+SLOW", prefix=b"+X:", timeout_ms=50))
    try:
        await at.sync()
        await asyncio.wait_for_ms(at.command(b"AT+SLOW"), 50)
    except asyncio.TimeoutError:
        print("cancelled")
    print(await at.command(b"AT+FAST", prefix=b"+X:"))
"""), modem.path)
    assert out.splitlines()[0] == "AtTimeout no answer to AT+SLOW"
    assert out.splitlines()[-2:] == ["cancelled", "[b'2']"]


async def test_a_final_line_that_got_lost_behind_its_answer_costs_two_seconds_and_no_later_command(
        micropython: Run) -> None:
    def answer(line: bytes) -> bytes:
        if line.startswith(b"AT+CGLA"):
            return b'\r\n+CGLA: 4,"9000"\r\n'
        if line == b"AT+SLOW":
            return b"\r\n+X: 1\r\n"
        return OK if line == b"AT" else b"\r\n+X: 2\r\n" + OK

    async with PtyModem(answer) as modem:
        out = await micropython(script("""
    from ipa.compat import ticks_diff, ticks_ms
    before = ticks_ms()
    print(await at.command(b'AT+CGLA=1,8,"', prefix=b"+CGLA:", apdu=bytes(4), timeout_ms=60000))
    print(ticks_diff(ticks_ms(), before) < 4000)
    print(await at.command(b"AT+FAST", prefix=b"+X:"))
    print(await at.command(b"AT+SLOW", prefix=b"+X:", timeout_ms=60000))
    print(await at.command(b"AT+FAST", prefix=b"+X:"))
"""), modem.path)
    assert out.splitlines() == ["[b'4,\"9000\"']", "True", "[b'2']", "[b'1']", "[b'2']"]


async def test_a_final_line_that_is_late_is_not_taken_for_that_of_the_next_command(micropython: Run) -> None:
    late: list[bytes] = []

    def answer(line: bytes) -> bytes:
        if line == b"AT+SLOW":
            late.append(OK)
            return b"\r\n+X: 1\r\n"
        if line == b"AT":  # what was asked for comes with what is late
            return (late.pop() if late else b"") + OK
        return b"\r\n+X: 2\r\n" + OK

    async with PtyModem(answer) as modem:
        out = await micropython(script("""
    print(await at.command(b"AT+SLOW", prefix=b"+X:", timeout_ms=60000))
    print(await at.command(b"AT+FAST", prefix=b"+X:"))
"""), modem.path)
    assert out.splitlines() == ["[b'1']", "[b'2']"]


async def test_data_on_the_line_of_their_number_may_lose_their_final_line_as_well(micropython: Run) -> None:
    """SIM7080G: what was expected of such a line must not be expected of the next command's."""
    answers = {b"AT+CARECV=0": b"\r\n+CARECV: 0\r\n", b"AT": OK, b"AT+NEXT": b"\r\n+X: 1,2\r\n" + OK}
    async with PtyModem(answers.get) as modem:
        out = await micropython(script("""
    print(await at.command(b"AT+CARECV=0", prefix=b"+CARECV:", into=bytearray(9), inline=1))
    print(await at.command(b"AT+NEXT", prefix=b"+X:"))
"""), modem.path)
    assert out.splitlines() == ["[b'0']", "[b'1,2']"]


async def test_a_modem_that_is_busy_with_its_radio_has_time_to_answer(micropython: Run) -> None:
    """One that needs seven seconds for whatever follows AT+CFUN=1 is not dead."""
    async def later(data: bytes) -> None:
        await asyncio.sleep(7)
        modem.say(data)

    tasks = []

    def answer(line: bytes) -> bytes | None:
        if line == b"AT+CFUN=1":
            return OK
        if not tasks:
            tasks.append(asyncio.create_task(later(b"\r\n+CPIN: READY\r\n" + OK)))
            return None
        return None if line == b"AT+MUTE" else OK

    async with PtyModem(answer) as modem:
        out = await micropython(script("""
    from ipa.compat import ticks_diff, ticks_ms
    await at.command(b"AT+CFUN=1")
    print(await at.command(b"AT+CPIN?", prefix=b"+CPIN:"))
    before = ticks_ms()
    await failing(at.command(b"AT+MUTE", timeout_ms=50))
    print(ticks_diff(ticks_ms(), before) < 1000)
"""), modem.path)
    assert out.splitlines() == ["[b'READY']", "AtTimeout no answer to AT+MUTE", "True"]


async def test_blanks_and_nuls_around_an_answer_are_nothing(micropython: Run) -> None:
    answers = {b"AT+CGACT?": b"\0\r\n\0\0+CGACT:   1, 1  \r\n" + OK,
               b"AT+QIRD=0": b"\r\n\0+QIRD:   5 \r\nhello\r\n\0OK \r\n",
               b"AT+CARECV=0": b"\r\n\0\0+CARECV:  5,\0 ,\0 \r\n" + OK,
               b"AT+CIPRXGET=2": b"\r\n+CIPRXGET:    2,0, 3,0\r\nabc\r\n" + OK}
    async with PtyModem(answers.get) as modem:
        out = await micropython(script("""
    buf = bytearray(5)
    print(await at.command(b"AT+CGACT?", prefix=b"+CGACT:"))
    print(await at.command(b"AT+QIRD=0", prefix=b"+QIRD:", into=buf), bytes(buf))
    print(await at.command(b"AT+CARECV=0", prefix=b"+CARECV:", into=buf, inline=1), bytes(buf))
    print(await at.command(b"AT+CIPRXGET=2", prefix=b"+CIPRXGET: 2,", into=buf, field=1), bytes(buf[:3]))
"""), modem.path)
    assert out.splitlines() == ["[b'1,1']", "[b'5'] b'hello'", "[b'5'] b'\\x00 ,\\x00 '", "[b'0,3,0'] b'abc'"]


async def test_card_errors_are_known_in_numbers_and_in_words(micropython: Run) -> None:
    """TS 27.007 9.2"""
    answers = {b"AT+%d" % i: b"\r\n+CME ERROR: %s\r\n" % text
               for i, text in enumerate((b"10", b"13", b"14", b"SIM busy", b"SIM not inserted", b"4", b"SIM PIN"))}
    async with PtyModem(answers.get) as modem:
        out = await micropython(script("""
    for i in range(7):
        try:
            await at.command(b"AT+%d" % i)
        except AtError as error:
            print(error.card)
"""), modem.path)
    assert out.split() == ["True"] * 5 + ["False"] * 2


async def test_a_silent_modem_is_named(micropython: Run) -> None:
    async with PtyModem(lambda line: None) as modem:
        out = await micropython(script("""
    await failing(at.sync(2))
    await failing(at.command(b"AT+QISEND=0,4", payload=b"abcd", timeout_ms=50))
"""), modem.path)
    assert out.splitlines() == ["AtTimeout modem does not answer AT", "AtTimeout no answer to AT+QISEND"]


async def test_a_modem_that_takes_no_bytes_is_named_like_one_that_answers_none(micropython: Run) -> None:
    """Flow control that a hung modem holds: without an end of the waiting nobody would press its power key."""
    out = await micropython(script("""
    import io

    class Held(io.IOBase):
        def write(self, data): return None
        def readinto(self, buf): return None
        def ioctl(self, request, arg): return 0

    held = At(Held())
    await failing(held.command(b"AT+X", timeout_ms=50))
    await failing(held.sync(2))
"""), "/dev/null")
    assert out.splitlines() == ["AtTimeout the modem takes no more bytes", "AtTimeout modem does not answer AT"]


async def test_nothing_is_written_to_a_uart_whose_write_would_wait_for_room(micropython: Run) -> None:
    """The ESP32's: it takes what its transmit buffer has room for, and then waits as long as CTS is high."""
    out = await micropython(script("""
    import io

    class Esp32(io.IOBase):
        waiting = 0
        clear_to_send = False
        def txdone(self):
            if self.clear_to_send: self.waiting = 0
            return not self.waiting
        def write(self, data):
            self.waiting += len(data)
            if self.waiting > 2048: print("waits without end")
            return len(data)
        def readinto(self, buf): return None
        def ioctl(self, request, arg): return 0

    uart = Esp32()
    held = At(uart)
    for _ in range(3):
        await failing(held.command(b"AT+CGLA=1,10,", apdu=bytes(900), timeout_ms=50))
    await failing(held.sync(2))
    uart.clear_to_send = True
    await failing(held.command(b"AT+CGLA=1,10,", apdu=bytes(900), timeout_ms=50))
    print(uart.waiting < 2048)
"""), "/dev/null")
    assert out.splitlines() == [
        "AtTimeout no answer to AT+CGLA", *["AtTimeout modem does not answer AT"] * 2,
        "AtTimeout modem does not answer AT", "AtTimeout modem does not answer AT", "True"]


async def test_a_line_of_any_length_is_taken_in_pieces_where_it_may_be(micropython: Run) -> None:
    """What AT+COPS=? answers where forty networks are heard, some of them with brackets in their names."""
    entries = ",".join(f'({i % 4},"Net {i} (roaming), (x)","N{i}","{26200 + i}",7)' for i in range(40))
    line = f"+COPS: {entries},,(0,1,2,3,4),(0,1,2)".encode()
    assert len(line) > 2 * 640

    def answer(command: bytes) -> bytes:
        return b"\r\n" + line + b"\r\n" + OK if command == b"AT+COPS=?" else OK

    async with PtyModem(answer) as modem:
        out = await micropython(script("""
    from ipa.modem.scan import networks
    class Modem: pass
    Modem.at = at
    for _ in range(2):
        found = await networks(Modem)
        print(len(found), found[0].hex(), found[-1].hex())
    print(await at.command(b"AT"))
    await failing(at.command(b"AT+COPS=?", prefix=b"+COPS:"))
"""), modem.path)
    assert out.splitlines() == [
        "40 62f200 62f293", "40 62f200 62f293", "[]", "AtOverflow line of more than 640 bytes"]


async def test_a_line_that_never_falls_silent_is_given_up(micropython: Run) -> None:
    """Noise, or a modem at another speed."""
    async def chatter(modem: PtyModem) -> None:
        while True:
            modem.say(b"\xf8\x00\r\n")
            await asyncio.sleep(0.01)

    async with PtyModem(lambda line: OK) as modem:
        noise = asyncio.create_task(chatter(modem))
        try:
            await micropython(script("""
    from ipa import compat
    compat.log_level = 0
    await failing(at.sync(2))
"""), modem.path, timeout=30)
        finally:
            noise.cancel()


async def test_a_waiting_command_lets_the_application_run(micropython: Run) -> None:
    async with PtyModem(lambda line: None) as modem:
        out = await micropython(script("""
    import time
    worst = ticks = 0
    async def application():
        nonlocal worst, ticks
        while True:
            before = time.ticks_ms()
            await asyncio.sleep_ms(5)
            worst = max(worst, time.ticks_diff(time.ticks_ms(), before))
            ticks += 1
    task = asyncio.create_task(application())
    cpu = time.clock()
    await failing(at.command(b"AT+SLOW", timeout_ms=300))
    print(ticks > 20, worst < 200, time.clock() - cpu < 0.15)
    task.cancel()
"""), modem.path)
    assert out.splitlines()[-1] == "True True True"


async def test_random_bytes_never_stop_the_engine(micropython: Run) -> None:
    dice = random.Random(7)
    noise = [b"\r\n", b"+QIRD: 9999999999\r\n", b"+QIRD: -1\r\n", b"OK", b"ERROR", b"> ", b"+CEREG:\r\n",
             b"\n", b"AT"]

    def answer(line: bytes) -> bytes:
        if line == b"AT":
            return b"\r\n" + OK
        return b"".join(dice.choice([*noise, dice.randbytes(20)]) for _ in range(20))

    async with PtyModem(answer) as modem:
        out = await micropython(script("""
    from ipa import compat
    compat.log_level = 0
    buf = bytearray(100)
    at.on(b"+CEREG:", int)
    for n in range(20):
        try:
            await at.command(b"AT+QIRD=%d" % n, prefix=b"+QIRD:", into=buf, timeout_ms=20)
        except (AtError, AtOverflow, AtTimeout):
            pass
    await at.sync()
    print("alive")
"""), modem.path)
    assert out.strip() == "alive"
