"""ipa.modem.clock: what the clocks of modems tell, and what the network told them (TS 27.007 8.15, 8.41)."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_run import Run
from family_bench import Bench
from microipa.modem import FAMILIES

CLOCK = """
import asyncio
from ipa import compat
from ipa.compat import ticks_add, ticks_ms
from ipa.modem import clock
from ipa.modem.at import AtError
compat.log_sink = lambda line: None

class Modem:
    clock_off = 0
    network_time = ({told}, ticks_add(ticks_ms(), -{age})) if {told} else None
    async def command(self, text, prefix):
        if {line} is None:
            raise AtError("AT+CCLK", "ERROR")
        return [{line}]
Modem.at = Modem()
modem = Modem()

async def main():
    print(await clock.read(modem), modem.clock_off, await clock.read(modem))
asyncio.run(main())
"""
NOON = 1795435200  # 2026-11-23T12:00:00Z
EAST = '"+44",1,"2026/11/23,23:00:00"'


async def read(micropython: Run, line: str | None, told: str = "", age: int = 0) -> list[str]:
    script = CLOCK
    for name, value in (("line", line and line.encode()), ("told", told.encode()), ("age", age)):
        script = script.replace("{" + name + "}", repr(value))
    return (await micropython(script)).split()


@pytest.mark.parametrize(("line", "seconds"), [
    ('"26/11/23,12:00:00+00"', NOON),
    ('"26/11/23,14:00:00+08"', NOON),
    ('"26/11/23,06:30:00-22"', NOON),
    ('"26/11/23,14:00:00+08",1', NOON),
    ('"26/11/23,14:00:00+08,1"', NOON),
    ('"2026/11/23,12:00:00"', NOON),
    ("26/11/23,12:00:00+00", NOON),
    ('"28/02/29,00:00:00+00"', 1835395200),
    ('"26/12/31,23:59:60+00"', 1798761600),
    ('"26/02/31,10:00:00+00"', None),
    ('"27/02/29,10:00:00+00"', None),
    ('"26/13/01,10:00:00+00"', None),
    ('"26/00/10,10:00:00+00"', None),
    ('"26/11/00,10:00:00+00"', None),
    ('"26/11/31,10:00:00+00"', None),
    ('"26/11/23,25:00:00+00"', None),
    ('"26/11/23,12:61:00+00"', None),
    ('"26/11/23,12:00:00+99"', None),
    ('"80/01/06,00:00:24+00"', None),
    ('"70/01/01,00:00:00+00"', None),
    ('"26/08/23,12:00:00+00"', None),  # before this was written
    ('"26/11/23"', None),
    ('"26/11,12:00:00"', None),
    ('""', None),
    (None, None),
])
async def test_a_clock_tells_utc_or_none_when_nobody_set_it_or_no_calendar_has_its_date(
        micropython: Run, line: str | None, seconds: int | None) -> None:
    assert await read(micropython, line) == [str(seconds), "0", str(seconds)]


@pytest.mark.parametrize(("line", "off"), [
    ('"26/11/23,23:00:03+44"', 0),
    ('"26/11/23,12:00:03+44"', -11 * 3600),  # Greenwich's hours beside the zone: MKRNB #28
    ('"26/11/23,23:00:03"', 11 * 3600),
    ('"26/11/23,22:00:03+44"', -3600),
])
async def test_a_clock_that_is_hours_off_what_the_network_told_is_set_right_and_stays_so(
        micropython: Run, line: str, off: int) -> None:
    assert await read(micropython, line, EAST) == [str(NOON + 3), str(off), str(NOON + 3)]


@pytest.mark.parametrize("line", [None, '"26/02/31,25:61:00+44"', '"80/01/06,00:00:24+00"'])
@pytest.mark.parametrize("told", [EAST, '"44","62113221000044","01"'])
async def test_without_a_clock_the_time_is_what_the_network_told(micropython: Run, line: str | None, told: str) -> None:
    assert (await read(micropython, line, told, age=60000))[0] == str(NOON + 60)


@pytest.mark.parametrize("told", ['"+44",1', '"+44"', "", '"44",,"01"', '"44","6211322100","01"', '"a",1,"b","c"'])
async def test_a_network_that_tells_no_time_changes_nothing(micropython: Run, told: str) -> None:
    assert (await read(micropython, '"26/11/23,14:00:00+08"', told))[0] == str(NOON)


async def test_what_the_network_told_long_ago_counts_no_more(micropython: Run) -> None:
    assert (await read(micropython, '"26/11/23,12:00:00+00"', EAST, age=3700000))[:2] == [str(NOON), "0"]


TOLD = """
import time
await modem.attach("iot")
print(abs(await modem.clock() - time.time()) < 60)
"""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quirk", ["error", "gmt", "local", "dst", "no-zone", "impossible"])
async def test_every_family_tells_the_time_whatever_its_clock_does(
        family: str, quirk: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family, (f"cclk-{quirk}",)).on() as bench:
        assert await bench.run(micropython, TOLD) == ["True"]


@pytest.mark.parametrize("family", ["sara-r5", "nrf91"])
async def test_zones_in_the_west_are_as_good(family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family, ("cclk-gmt",)).on() as bench:
        bench.modem.network.timezone_quarters = -22
        assert await bench.run(micropython, TOLD) == ["True"]
