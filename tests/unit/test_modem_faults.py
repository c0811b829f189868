"""Quirks of modems that fail for a time, once, or now and then (field.md 1): at the level of AT commands."""

import asyncio

import pytest
from modem_bench import bench
from test_modem_card import OPEN, cgla
from test_modem_quirks import STORE

SOON = 0.15  # seconds a quirk lasts here


async def radio_off_and_on(b):
    await b.ask("AT+CFUN=0")
    return await b.ask("AT+CFUN=1")


@pytest.mark.parametrize(("quirk", "code"), [
    ("sim-busy-after-cfun", 14), ("sim-failure-after-cfun", 13), ("no-sim-after-cfun", 10),
])
async def test_the_card_is_not_to_be_had_for_a_time_after_cfun_though_cpin_says_ready(quirk, code):
    async with bench(quirks={f"{quirk}:{SOON}"}) as b:
        await radio_off_and_on(b)
        assert await b.ask("AT+CPIN?") == ["+CPIN: READY", "OK"]
        for command in (OPEN, 'AT+CSIM=10,"0070000001"', cgla(1, STORE)):
            assert await b.ask(command) == [f"+CME ERROR: {code}"]
        await asyncio.sleep(SOON)
        assert (await b.ask(OPEN))[-1] == "OK"


async def test_sim_busy_after_refresh():
    async with bench(quirks={f"sim-busy-after-refresh:{SOON}"}) as b:
        await b.ask(OPEN)
        b.modem.faults.refreshed()
        assert await b.ask(OPEN) == ["+CME ERROR: 14"]
        await asyncio.sleep(SOON)
        assert (await b.ask(OPEN))[-1] == "OK"


async def test_busy_after_boot():
    async with bench(quirks={f"busy-after-boot:{SOON}"}) as b:
        assert await b.ask("AT&C1") == ["+CME ERROR: 14"]
        await asyncio.sleep(SOON)
        assert await b.ask("AT&C1") == ["OK"]


async def test_no_sim_at_boot_until_the_modem_is_reset():
    async with bench(quirks={"no-sim-at-boot:1"}) as b:
        await radio_off_and_on(b)
        for command in ("AT+CPIN?", OPEN):
            assert await b.ask(command) == ["+CME ERROR: 10"]
        await b.ask("AT+CFUN=1,1")
        await b.until(b"APP RDY")
        await b.registered()


async def test_slow_boot():
    begun = asyncio.get_running_loop().time()
    async with bench(quirks={f"slow-boot:{SOON}"}):
        assert asyncio.get_running_loop().time() - begun >= SOON


async def test_boots_radio_off():
    async with bench(quirks={"boots-radio-off"}) as b:
        assert await b.ask("AT+CFUN?") == ["+CFUN: 0", "OK"]
        assert await b.ask("AT+CPIN?") == ["+CME ERROR: 13"]
        await b.ask("AT+CFUN=1")
        await b.registered()


@pytest.mark.parametrize(("quirk", "last"), [("slow-cfun", "AT+CFUN=1"), ("slow-after-cfun", "AT")])
async def test_cfun_or_what_follows_it_is_slow(quirk, last):
    async with bench(quirks={f"{quirk}:{SOON}"}) as b:
        await b.ask("AT+CFUN=0")
        if last == "AT":
            await b.ask("AT+CFUN=1")
        begun = asyncio.get_running_loop().time()
        assert (await b.ask(last))[-1] == "OK"
        assert asyncio.get_running_loop().time() - begun >= SOON / 2


async def test_refuses_cfun_so_often():
    async with bench(quirks={"refuses-cfun:2"}) as b:
        assert [await b.ask("AT+CFUN=1") for _ in range(3)] == [["ERROR"], ["ERROR"], ["OK"]]


# Registration


async def test_cops_deregistered_until_automatic_selection_is_asked_for():
    async with bench(quirks={"cops-deregistered"}) as b:
        assert await b.ask("AT+COPS?") == ["+COPS: 2", "OK"]
        assert await b.ask("AT+COPS=0") == ["OK"]
        await b.registered()
        assert (await b.ask("AT+COPS?"))[0].startswith("+COPS: 0,")
        await radio_off_and_on(b)
        assert await b.ask("AT+CEREG?") == ["+CEREG: 0,0", "OK"]


async def test_operator_locked_over_a_reset_until_automatic_selection_is_asked_for():
    async with bench(quirks={"operator-locked"}) as b:
        await b.registered()
        assert (await b.ask("AT+COPS?"))[0].startswith("+COPS: 1,")
        operator = b.modem.registration.only
        b.network.add_subscriber("901700000000001", bytes(range(16)), bytes(range(16, 32)), operator="99999")
        await b.ask("AT+CFUN=1,1")
        await b.until(b"APP RDY")
        await b.ask("ATE0")
        assert b.modem.registration.only == operator
        assert (await b.ask("AT+CEREG?"))[0] == "+CEREG: 0,2"
        await b.ask("AT+COPS=0")
        await b.registered()
        assert b.modem.registration.attachment.operator == "99999"


async def test_an_operator_that_is_chosen_is_the_only_one():
    async with bench() as b:
        await b.registered()
        assert await b.ask('AT+COPS=1,2,"99999"') == ["OK"]
        assert (await b.ask("AT+CEREG?"))[0] == "+CEREG: 0,2"
        assert await b.ask("AT+COPS?") == ["+COPS: 1", "OK"]


async def test_cgreg_only():
    async with bench(quirks={"cgreg-only"}) as b:
        while (await b.ask("AT+CGREG?"))[0] != "+CGREG: 0,1":
            pass
        assert (await b.ask("AT+CEREG?"))[0] == "+CEREG: 0,0"


async def test_creg_denied():
    async with bench(quirks={"creg-denied"}) as b:
        await b.registered()
        assert [(await b.ask(f"AT+{name}?"))[0] for name in ("CREG", "CGREG")] == ["+CREG: 0,3", "+CGREG: 0,3"]


async def test_no_registration_urcs():
    async with bench(quirks={"no-registration-urcs"}) as b:
        await b.ask("AT+CEREG=1")
        await radio_off_and_on(b)
        await b.registered()
        assert await b.ask("AT") == ["OK"]


async def test_falls_off_the_network_once_and_searches_no_more():
    async with bench(quirks={f"falls-off-network:{SOON}"}) as b:
        await b.registered()
        await asyncio.sleep(SOON)
        assert (await b.ask("AT+CEREG?"))[0] == "+CEREG: 0,4"
        await radio_off_and_on(b)
        await b.registered()
        await asyncio.sleep(SOON)
        assert (await b.ask("AT+CEREG?"))[0] == "+CEREG: 0,1"


# Clock


@pytest.mark.parametrize(("kind", "answer"), [
    ("gmt", '+CCLK: "26/01/02,23:04:05+04"'), ("local", '+CCLK: "26/01/03,00:04:05+04"'),
    ("dst", '+CCLK: "26/01/02,23:04:05+04",1'), ("no-zone", '+CCLK: "26/01/02,23:04:05"'),
    ("impossible", '+CCLK: "26/02/31,25:61:00+04"'), ("error", "ERROR"),
])
async def test_cclk(kind, answer):
    from datetime import UTC, datetime

    async with bench(quirks={f"cclk-{kind}"}) as b:
        b.network.time = lambda: datetime(2026, 1, 2, 23, 4, 5, tzinfo=UTC)
        await b.registered()
        await b.ask("AT+CTZU=1")
        assert (await b.ask("AT+CCLK?"))[0] == answer


async def test_contexts_outlive_a_restart_as_they_were_defined():
    async with bench(quirks={"keeps-contexts"}) as b:
        await b.ask('AT+CGDCONT=1,"IP","iot"')
        await b.ask("AT+CFUN=1,1")
        await b.until(b"APP RDY")
        await b.ask("ATE0")
        assert '+CGDCONT: 1,"IP","iot","0.0.0.0",0,0' in await b.ask("AT+CGDCONT?")


# The serial line


async def test_stray_lines_come_before_the_answer():
    async with bench(quirks={"stray-lines"}) as b:
        assert await b.ask(OPEN) == ["SMS DONE", "^SIMST: 1", "+CPIN: READY", "DST: 0", "+CCHO: 1", "OK"]


async def test_nuls_and_spaces():
    async with bench(quirks={"nuls"}, echo_off=False) as b:
        await b.terminal.send(b"AT+CFUN?\r")
        assert b"\r\n\0\0+CFUN:   1  \r\n" in await b.until(b"OK\r\n")


async def test_verbose_errors():
    async with bench(quirks={"verbose-errors", "channels-forbidden"}) as b:
        await b.ask("AT+CMEE=1")
        assert await b.ask(OPEN) == ["+CME ERROR: operation not allowed"]


async def test_every_so_many_th_final_result_is_lost():
    async with bench(quirks={"lost-final:3"}) as b:
        await b.ask("AT")
        await b.terminal.send(b"AT+CFUN?\rAT+CSQ\r")
        assert b"OK" not in (await b.until(b"+CSQ")).split(b"+CFUN")[1]


async def test_holes_in_what_the_uart_delivers():
    async with bench(quirks={"uart-holes:100"}) as b:
        arrived = b"".join(b.modem.faults.on_the_line(bytes(range(200))) for _ in range(5))
    assert 1000 - 10 * 6 <= len(arrived) < 1000


async def test_restarts_in_the_middle_of_a_command_once():
    async with bench(quirks={"restarts:3"}) as b:
        await b.ask("AT")
        await b.terminal.send(b"AT+CFUN?\r")
        heard = await b.until(b"APP RDY")
        assert b"+CFUN" not in heard
        await b.ask("ATE0")
        for _ in range(4):
            assert await b.ask("AT") == ["OK"]


async def test_mute_until_the_power_key_is_pressed():
    async with bench(quirks={"mute:3"}) as b:
        await b.ask("AT")
        await b.terminal.send(b"AT\rAT\rAT\r")
        await asyncio.sleep(0.05)
        assert b"OK" not in b.terminal.bytes
        b.modem.press_power_key()
        await b.until(b"APP RDY")
        await b.ask("ATE0")
        assert await b.ask("AT") == ["OK"]


# Sockets


async def test_closed_in_read_tells_of_the_end_before_the_data_once():
    async with bench(quirks={"closed-in-read:1"}) as b:
        await b.connected()
        await b.bounce(b"hello")
        lines = await b.ask("AT+QIRD=0")
        assert lines[:2] == ['+QIURC: "closed",0', "+QIRD: 5"]
        assert await b.ask("AT+QISTATE?") == ["OK"]


async def test_open_hangs_once():
    async with bench(quirks={"open-hangs:1"}) as b:
        await b.registered()
        await b.ask('AT+QICSGP=1,1,"iot"')
        await b.ask("AT+QIACT=1")
        for connection in (0, 1):
            assert await b.ask(f'AT+QIOPEN=1,{connection},"UDP","echo.example",7,0,0') == ["OK"]
        assert await b.line() == "+QIOPEN: 1,0"
