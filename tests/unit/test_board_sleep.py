"""A virtual board sleeps as chips do: what it keeps, what it loses, and what wakes it."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from board_bench import heard
from microipa.board import VirtualBoard
from microipa.board.sleep import FIFO
from microipa.common.clock import Clock
from microipa.modem.serial import Serial
from microipa.trace import Event, Trace

DAY_MS = 86_400_000
START = """
import os
from board import Board
from ipa import compat
board = Board()
print("woken by", board.woken(), "with", board.rtc_memory(), "at", compat.unix_time() or 0)
"""


class Desk:
    """A board whose sleeps its clock skips."""

    def __init__(self, folder: Path, said: list[Event]) -> None:
        trace = Trace()
        trace.listen(said.append)
        self.clock = Clock()
        self.serial = Serial(lambda data: None)
        self.board = VirtualBoard(folder / "flash", self.serial.path, clock=self.clock, skips_under_s=math.inf,
                                  uart_sleeps=self.serial.board_sleeps, trace=trace)
        self.board.install({})

    async def run(self, program: str) -> None:
        (self.board.folder / "main.py").write_text(START + program)
        await self.board.start()


@pytest.fixture
async def desk(tmp_path: Path, said: list[Event]) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path, said)
    yield desk
    desk.board.kill()
    desk.serial.close()


async def line(said: list[Event]) -> str:
    return str((await heard(said, "log")).fields["text"])


async def test_deep_sleep_begins_the_program_again_after_the_time_and_keeps_flash_and_rtc_memory(
        desk: Desk, said: list[Event]) -> None:
    await desk.run(f"""
if board.woken() == "power":
    board.set_clock(1800000000)
    open("flash.txt", "w").close()
    board.rtc_memory(b"kept")
    board.deep_sleep({DAY_MS})
print("flash.txt" in os.listdir(), "lives", "forgotten" in globals())
""")
    assert await line(said) == "woken by power with b'' at 0"
    text = await line(said)
    assert text.startswith("woken by timer with b'kept' at 18000864")
    assert await line(said) == "True lives False"
    assert desk.clock.time() - time.time() == pytest.approx(86400, abs=1)


async def test_a_power_cut_during_deep_sleep_loses_rtc_memory_and_clock(desk: Desk, said: list[Event]) -> None:
    await desk.run(f"""
if board.woken() == "power" and not "again" in os.listdir():
    open("again", "w").close()
    board.set_clock(1800000000)
    board.rtc_memory(b"kept")
    board.deep_sleep({DAY_MS})
""")
    desk.board._sleeper._skips_under_s = 0
    await heard(said, "sleep", state="deep", ms=DAY_MS)
    assert desk.board.running
    assert desk.board.asleep
    desk.board.kill()
    assert not desk.board.running
    said.clear()
    await desk.board.start()
    assert await line(said) == "woken by power with b'' at 0"


@pytest.mark.parametrize("state", ["light", "deep"])
async def test_a_pin_wakes_the_board_before_its_time(desk: Desk, said: list[Event], state: str) -> None:
    desk.clock.call_later(3600, desk.board.wake)
    await desk.run(f"""
if board.woken() == "power":
    board.set_clock(1800000000)
    board.{state}_sleep({DAY_MS})
    print("goes on at", compat.unix_time())
""")
    await heard(said, "wake", why="pin")
    assert desk.clock.ahead_s == pytest.approx(3600, abs=1)
    expected = "goes on at 18000036" if state == "light" else "woken by pin with b'' at 18000036"
    assert (await line(said)).startswith(expected)


async def test_a_light_sleep_stops_the_program_and_its_uart_keeps_what_fits_into_a_fifo(
        desk: Desk, said: list[Event]) -> None:
    said_meanwhile = b"x" * (FIFO + 1000)
    desk.clock.call_later(10, lambda: desk.serial.write(said_meanwhile))
    await desk.run("""
kept = bytearray(10)
uart = board.uart()
board.light_sleep(60000)
data = b""
while len(data) < 128:
    data += uart.read(256) or b""
print("took", len(data), "kept", len(kept))
import time
time.sleep_ms(50)
print("then", uart.read(256))
""")
    await line(said)
    assert await line(said) == f"took {FIFO} kept 10"
    assert await line(said) == "then b''"


async def test_what_the_uart_says_during_deep_sleep_is_lost(desk: Desk, said: list[Event]) -> None:
    desk.clock.call_later(10, lambda: desk.serial.write(b"RDY\r\n"))
    await desk.run("""
if board.woken() == "power":
    board.deep_sleep(60000)
print("heard", board.uart().read(256))
""")
    await line(said)
    await line(said)
    assert await line(said) == "heard b''"


async def test_a_watchdog_does_not_bite_during_light_sleep_and_a_reset_is_no_wake(
        tmp_path: Path, said: list[Event]) -> None:
    trace = Trace()
    trace.listen(said.append)
    board = VirtualBoard(tmp_path / "flash", watchdog_s=0.3, trace=trace)
    board.install({})
    (board.folder / "main.py").write_text(START + """
if board.woken() == "power":
    board.feed()
    board.light_sleep(600)
    board.feed()
    board.reset()
import time
time.sleep(5)
""")
    await board.start()
    try:
        assert await line(said) == "woken by power with b'' at 0"
        assert (await line(said)).startswith("woken by reset")
    finally:
        board.kill()


async def test_a_sleep_takes_longer_than_the_rtc_counts_where_it_drifts(tmp_path: Path, said: list[Event]) -> None:
    trace = Trace()
    trace.listen(said.append)
    clock = Clock()
    board = VirtualBoard(tmp_path / "flash", clock=clock, skips_under_s=math.inf, drift_percent=5, trace=trace)
    board.install({})
    (board.folder / "main.py").write_text(START + """
if board.woken() == "power":
    board.set_clock(1800000000)
    board.deep_sleep(100000000)
import time
time.sleep(5)
""")
    await board.start()
    try:
        await line(said)
        assert (await line(said)).startswith("woken by timer with b'' at 18001000")
        assert clock.ahead_s == pytest.approx(105000, abs=1)
    finally:
        board.kill()


async def test_timers_of_the_lab_come_in_their_order_when_time_is_skipped() -> None:
    clock = Clock()
    came: list[tuple[str, float]] = []
    began = clock.time()
    clock.call_later(20, lambda: came.append(("second", round(clock.time() - began))))
    clock.call_later(10, lambda: clock.call_later(5, lambda: came.append(("first", round(clock.time() - began)))))
    cancelled = clock.call_later(12, lambda: came.append(("never", 0)))
    cancelled.cancel()
    await clock.skip(30)
    assert came == [("first", 15), ("second", 20)]
    assert clock.time() - began == pytest.approx(30, abs=0.5)
