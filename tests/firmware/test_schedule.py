"""When the next poll begins, under MicroPython: jitter, and the window of the day."""

from __future__ import annotations

import pytest
from board_run import Run

JITTER = """
from ipa import config, schedule
settings = dict(config.DEFAULTS, poll_interval_s=1000, **SETTINGS)
waits = sorted([schedule.until_next(settings) for _ in range(200)])
print(waits[0], waits[-1])
"""
WINDOW = """
from ipa import schedule
schedule.unix_time = lambda: 1800000000 // 86400 * 86400 + NOW  # NOW seconds into a day
waits = sorted([schedule.into_window("WINDOW", WAIT) for _ in range(200)])
ends = [(NOW + wait) / 3600 for wait in waits]
print(*ends[::199])
"""


@pytest.mark.parametrize(("settings", "least", "most"), [
    ({"poll_jitter_percent": 0}, 1_000_000, 1_000_000),
    ({}, 900_000, 1_100_000),
    ({"poll_jitter_percent": 50}, 500_000, 1_500_000),
])
async def test_no_two_devices_of_a_fleet_poll_in_step(
        micropython: Run, settings: dict[str, int], least: int, most: int) -> None:
    first, last = (await micropython(JITTER.replace("SETTINGS", repr(settings)))).split()
    assert least <= int(first) <= int(last) <= most
    assert int(last) - int(first) >= (most - least) * 0.8


@pytest.mark.parametrize(("now_h", "wait_h", "window", "from_h", "to_h"), [
    (1, 2, "02:00-04:30", 3, 3),  # inside: as it is
    (1, 0.5, "02:00-04:30", 2, 4.5),  # before: moved into it
    (1, 5, "02:00-04:30", 26, 28.5),  # behind: the next day
    (20, 1, "22:00-01:00", 22, 25),
    (20, 4.5, "22:00-01:00", 24.5, 24.5),  # over midnight
    (20, 24, "22:00-01:00", 46, 49),
])
async def test_a_poll_outside_its_window_moves_into_the_next(
        micropython: Run, now_h: float, wait_h: float, window: str, from_h: float, to_h: float) -> None:
    script = WINDOW.replace("WINDOW", window).replace("NOW", str(int(now_h * 3600))).replace(
        "WAIT", str(int(wait_h * 3600)))
    first, last = map(float, (await micropython(script)).split())
    assert from_h <= first <= last <= to_h
    assert last - first >= (to_h - from_h) * 0.8  # spread over it


async def test_without_a_clock_the_interval_stays(micropython: Run) -> None:
    out = await micropython("""
from ipa import schedule
schedule.unix_time = lambda: None
print(schedule.into_window("02:00-04:30", 77))
""")
    assert out.split()[-1] == "77"
