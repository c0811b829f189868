"""The serial line of a modem sleeps where a command allows it and a pin says so; what is sent to it then is lost."""

from __future__ import annotations

import asyncio

from microipa.modem.serial import LineSleep
from modem_bench import bench


async def test_what_is_sent_to_a_line_that_sleeps_is_lost_until_the_pin_wakes_it() -> None:
    async with bench() as b:
        assert await b.ask("AT+QSCLK=1") == ["OK"]
        assert b.modem.sleep_pin
        b.modem.sleep_pin(True)
        await b.terminal.send(b"AT+CGMM\r")
        for _ in range(20):  # the loop has read it
            await asyncio.sleep(0)
        b.modem.sleep_pin(False)
        assert await b.ask("AT") == ["OK"]


async def test_without_the_command_a_pin_puts_no_line_to_sleep() -> None:
    async with bench() as b:
        assert b.modem.sleep_pin
        b.modem.sleep_pin(True)
        assert await b.ask("AT") == ["OK"]
        assert "ERROR" in (await b.ask("AT+QSCLK=7"))[-1]


def test_idle_mode_lasts_until_the_pin_is_let_go_and_asserted_again() -> None:
    line = LineSleep()
    line.allow(False, until_moved=True)
    line.move(False)
    assert line.asleep
    line.move(True)
    assert line.asleep
    line.move(False)
    assert not line.asleep
