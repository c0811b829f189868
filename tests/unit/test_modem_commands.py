"""AT command lines: V.250 syntax, results, echo, unsolicited lines, limits (TS 27.007 clause 4 and 9)."""

import asyncio
import gc
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from microipa.modem.behaviour import Behaviour
from microipa.modem.commands import CommandFailed, Form, Request, parse_line
from microipa.modem.interpreter import INPUT_LIMIT, LINE_LIMIT, Interpreter
from microipa.trace import Trace
from modem_bench import bench


def parsed(line):
    return [(one.name, one.form, one.arguments) for one in parse_line(line)]


def test_basic_commands_run_on_v_250_5_2_1():
    assert parsed("&FE0") == [("&F", Form.RUN, ()), ("E", Form.RUN, ("0",))]


def test_extended_commands_end_with_a_semicolon():
    assert parsed('e1+cmee=2;+CSQ;+CPIN?;+CGLA=?') == [
        ("E", Form.RUN, ("1",)), ("+CMEE", Form.SET, ("2",)), ("+CSQ", Form.RUN, ()),
        ("+CPIN", Form.READ, ()), ("+CGLA", Form.TEST, ())]


def test_quotes_protect_commas_and_semicolons():
    assert parsed('+X="a,b;c",,1, "d"') == [("+X", Form.SET, ("a,b;c", None, "1", "d"))]


def test_an_empty_string_is_not_a_missing_argument():
    assert parsed('+X="",') == [("+X", Form.SET, ("", None))]


@pytest.mark.parametrize("line", ["+CSQ?1", "?", "=", '+X="a', '+X="a"b', '+X=a"b"', "+"])
def test_what_is_no_command_fails(line):
    with pytest.raises(CommandFailed):
        parsed(line)


@pytest.mark.parametrize("text", ["-1", "12", "1x", "x", "", "²", "9" * 11])
def test_numbers_outside_their_range_fail(text):
    with pytest.raises(CommandFailed) as failed:
        Request("+X", Form.SET, (text,)).number(0, 0, 11)
    assert failed.value.cme == 50


@pytest.mark.parametrize("text", ["0", "zz", "00" * 5, "00 0"])
def test_hexadecimal_is_checked(text):
    with pytest.raises(CommandFailed):
        Request("+X", Form.SET, (text,)).octets(0, 4)


async def test_results_are_framed_by_cr_lf():
    async with bench() as b:
        await b.terminal.send(b"AT+CSQ\r")
        assert await b.until(b"OK\r\n") == b"\r\n+CSQ: 18,99\r\n\r\nOK\r\n"


async def test_echo_is_on_at_boot_and_off_on_demand():
    async with bench(echo_off=False) as b:
        await b.terminal.send(b"ATE0\r")
        assert (await b.until(b"OK\r\n")).endswith(b"ATE0\r\r\nOK\r\n")
        assert await b.ask("AT") == ["OK"]


async def test_errors_follow_cmee_ts_27_007_9_1():
    async with bench() as b:
        assert await b.ask("AT+CFUN=2") == ["+CME ERROR: 50"]
        assert await b.ask("AT+CMEE=2;+CFUN=2") == ["+CME ERROR: Incorrect parameters"]
        assert await b.ask("AT+CMEE=0;+CFUN=2") == ["ERROR"]
        assert await b.ask("AT+CMEE?") == ["+CMEE: 0", "OK"]


async def test_an_unknown_command_is_a_plain_error():
    async with bench() as b:
        assert await b.ask("AT+NOSUCH=1") == ["ERROR"]
        assert await b.ask("AT+CPIN") == ["ERROR"]


async def test_a_failing_command_ends_its_line():
    async with bench() as b:
        assert await b.ask("AT+CMEE=0;+NOSUCH;+CMEE=2") == ["ERROR"]
        assert await b.ask("AT+CMEE?") == ["+CMEE: 0", "OK"]


async def test_noise_before_at_is_skipped_and_noise_alone_is_not_answered():
    async with bench() as b:
        await b.terminal.send(b"\xff\x00noise\r")
        assert await b.ask("\x00\x7fAT+CMEE?") == ["+CMEE: 1", "OK"]


async def test_backspace_erases_and_line_feeds_are_ignored():
    async with bench() as b:
        await b.terminal.send(b"\nAT+CMEX\x08E?\r\n")
        assert await b.terminal.lines_until("OK") == ["+CMEE: 1", "OK"]


async def test_a_line_that_is_too_long_is_an_error_and_forgotten():
    async with bench() as b:
        await b.terminal.send(b"AT+" + b"X" * (3 * LINE_LIMIT))
        assert await b.ask("") == ["ERROR"]
        assert await b.ask("AT") == ["OK"]


async def test_urcs_wait_for_the_end_of_a_command():
    async with bench(search_s=1, speedup=20, delay_s=0) as b:
        assert await b.ask("AT+CEREG=1;+CREG=1") == ["OK"]
        assert await b.line() == "+CREG: 1"
        assert await b.line() == "+CEREG: 1"


async def test_every_line_is_traced_and_payload_as_hex(tmp_path):
    trace, events = Trace(), []
    trace.listen(events.append)
    async with bench(trace=trace) as b:
        await b.connected()
        await b.terminal.send(b"AT+QISEND=0,2\r")
        await b.until(b"> ")
        await b.terminal.send(b"\x00\xff")
        assert await b.line() == "SEND OK"
    at = [(e.fields["direction"], e.fields.get("text"), e.fields.get("data")) for e in events
          if (e.part, e.kind) == ("modem", "at")]
    assert ("in", "AT+QISEND=0,2", None) in at
    assert ("in", None, "00ff") in at
    assert ("out", "SEND OK", None) in at


async def test_settings_are_told_as_they_were_set_and_lost_with_power():
    async with bench() as b:
        assert await b.ask('AT+CPSMS=1,,,"00000100","00001111"') == ["OK"]
        assert await b.ask("AT+CPSMS?") == ['+CPSMS: 1,,,"00000100","00001111"', "OK"]
        assert await b.ask('AT+QCFG="psm/urc",1') == ["OK"]
        assert await b.ask('AT+QCFG="psm/urc"') == ['+QCFG: "psm/urc",1', "OK"]
        assert await b.ask('AT+QCFG="nonsense",1') == ["+CME ERROR: 50"]
        await b.modem.power(False)
        await b.modem.power(True)
        await b.until(b"APP RDY\r\n")
        await b.ask("ATE0")
        b.terminal.bytes.clear()
        assert await b.ask("AT+CPSMS?") == ["+CPSMS: 0", "OK"]


async def test_cfun_1_1_answers_and_boots_again():
    async with bench() as b:
        assert await b.ask("AT+CFUN=1,1") == ["OK"]
        await b.until(b"APP RDY\r\n")
        assert b.card.powered


async def test_identity_of_the_modem():
    async with bench() as b:
        assert await b.ask("AT+CGSN") == ["490154203237518", "OK"]
        assert await b.ask("AT+GSN") == ["490154203237518", "OK"]
        assert await b.ask("AT+CGSN=1") == ['+CGSN: "490154203237518"', "OK"]
        assert await b.ask("ATI") == ["Quectel", "BG95-M3", "Revision: BG95M3LAR02A04", "OK"]
        assert (await b.ask("AT+CGMI"))[0] == "Quectel"
        assert (await b.ask("AT+CGMM"))[0] == "BG95-M3"
        assert (await b.ask("AT+CGMR"))[0] == "BG95M3LAR02A04"


async def test_without_power_the_line_is_dead():
    async with bench() as b:
        await b.modem.power(False)
        await b.terminal.send(b"AT\r")
        await b.modem.power(True)
        assert await b.line() == "APP RDY"  # and no answer to what was said before


async def test_nothing_stays_open_after_stop():
    tasks, files = asyncio.all_tasks(), open_files()
    async with bench() as b:
        await b.connected()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
    assert open_files() <= files


def open_files():
    """How many files this process has open, where the system tells; what earlier tests forgot is collected first."""
    gc.collect()
    try:
        return len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"AT", b"AT+", b"\r", b'="', b",", b"?", b"+QISEND=0,5\r", b"\x08", b"=?", b";", b"E0"]),
), max_size=30))
def test_random_bytes_never_stop_the_interpreter(chunks):
    async def play():
        output = bytearray()

        async def execute(request):
            if request.name == "+QISEND":
                await interpreter.prompt(request.number(1, 0, 100))

        interpreter = Interpreter(output.extend, execute, Behaviour(), data_timeout_s=0.001)
        task = asyncio.create_task(interpreter.run())
        for chunk in chunks:
            interpreter.feed(chunk)
            await asyncio.sleep(0)
        for _ in range(3):
            interpreter.feed(b"\r")
            await asyncio.sleep(0.002)
        output.clear()
        interpreter.feed(b"AT\r")
        await asyncio.sleep(0.001)
        assert output.endswith(b"\r\nOK\r\n")
        assert not task.done()
        task.cancel()

    asyncio.run(play())


@given(st.text(max_size=80))
def test_any_text_parses_or_fails_by_name(line):
    try:
        requests = parsed(line)
    except CommandFailed:
        return
    assert all(name for name, _, _ in requests)


def test_input_is_bounded():
    async def play():
        interpreter = Interpreter(lambda _: None, None, Behaviour(), data_timeout_s=1)
        for _ in range(100):
            interpreter.feed(bytes(4096))
        return len(interpreter._input)

    assert asyncio.run(play()) == INPUT_LIMIT
