"""A device whose board sleeps between polls: what a wake costs, and that orders finish whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from microipa.energy import figures
from microipa.lab import BOOTSTRAP_OPERATOR, Lab
from microipa.trace import Event
from switching import Device, logged

DAY_S = 86400
SETTINGS = {"sleep": "deep", "poll_interval_s": DAY_S, "psm_periodic_s": 4 * DAY_S, "stop_when_idle": False}
"""Of a device that polls once a day."""


@asynccontextmanager
async def asleep(folder: Path, **config: Any) -> AsyncIterator[tuple[Device, Lab]]:
    """A device in its first sleep of a day, which it has polled before, and whose sleeps take no time."""
    device = Device(folder, {**SETTINGS, **config}, options={"skips_sleep": True})
    async with device.lab() as lab:
        await lab.board.start()
        await device.until(slept)
        yield device, lab


def slept(event: Event) -> bool:
    return (event.part, event.kind) == ("board", "sleep")


def woken(event: Event) -> bool:
    return (event.part, event.kind) == ("board", "wake")


def polled(event: Event) -> bool:
    return event.part == "board" and "the eIM has no" in str(event.fields.get("text"))


async def polls(device: Device, number: int) -> None:
    for _ in range(number):
        await device.until(polled)


def flash(device: Device) -> dict[str, tuple[int, bytes]]:
    """What lies in the board's flash, and when it was written."""
    files = [path for path in (device.folder / "board").rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


async def test_a_wake_from_deep_sleep_is_no_boot_and_a_poll_with_nothing_to_do_writes_nothing_to_flash(
        tmp_path: Path) -> None:
    async with asleep(tmp_path) as (device, lab):
        await polls(device, 1)
        await device.until(slept)
        before, known = flash(device), len(device.events)
        await polls(device, 3)
        await device.until(slept)
        assert flash(device) == before
        said = [str(event.fields.get("text")) for event in device.events[known:] if event.kind == "at"]
        assert not [text for text in said if text.startswith(("AT+CFUN", "AT+QIACT=", "AT+QIDEACT", "AT+CGDCONT="))]
        assert not [event for event in device.events[known:] if event.kind == "network"]
        assert lab.clock.ahead_s > 3 * DAY_S
    assert "card: EID" not in "\n".join(device.log().splitlines()[-20:])


async def test_an_idle_poll_after_deep_sleep_takes_at_most_20_commands_and_8_apdus(tmp_path: Path) -> None:
    async with asleep(tmp_path) as (device, _):
        await polls(device, 1)
        await device.until(slept)
        known = len(device.events)
        await device.until(slept)
        events = device.events[known:]
    commands = [event for event in events if event.kind == "at" and event.fields["direction"] == "in"
                and str(event.fields.get("text")).startswith("AT")]
    assert len(commands) <= 20, [event.fields["text"] for event in commands]
    assert len([event for event in events if event.kind == "apdu"]) <= 8


def is_done(lab: Lab, order: int) -> bool:
    return any(one.id == order and one.state == "done" for one in lab.eim.orders())


async def finishes(device: Device, lab: Lab, order: int) -> None:
    """The order, within days of the lab's clock."""
    while not is_done(lab, order):
        await device.until(lambda event: event.kind == "order" and event.fields.get("state") == "done")


def an_order(lab: Lab) -> int:
    return lab.eim.order_package(lab.eid, [("listProfileInfo", {})])


@pytest.mark.parametrize("sleep", ["light", "deep"])
async def test_an_order_waits_for_the_next_wake_and_is_carried_out_then(tmp_path: Path, sleep: str) -> None:
    async with asleep(tmp_path, sleep=sleep) as (device, lab):
        order = an_order(lab)
        await finishes(device, lab, order)
        starts = [event for event in device.events if event.kind == "log" and "card: EID" in event.fields["text"]]
        assert len(starts) == 1


async def test_a_pin_wakes_the_device_and_it_polls_at_once(tmp_path: Path) -> None:
    device = Device(tmp_path, dict(SETTINGS), options={"skips_sleep": True})
    async with device.lab() as lab:
        orders: list[int] = []
        wakes: list[float] = []
        device.listen(lambda event: wakes.append(lab.clock.ahead_s) if woken(event) else None)

        def press() -> None:
            orders.append(an_order(lab))
            lab.board.wake()

        device.when(slept, lambda: lab.clock.call_later(3600, press))
        await lab.board.start()
        await device.until(woken)
        await finishes(device, lab, orders[0])
        assert wakes[0] == pytest.approx(3600, abs=1)
        done = [place for place, event in enumerate(device.events) if event.fields.get("state") == "done"]
        assert len([event for event in device.events[: done[0]] if woken(event)]) == 1


async def test_a_power_cut_during_sleep_loses_no_order(tmp_path: Path) -> None:
    device = Device(tmp_path, dict(SETTINGS))
    async with device.lab() as lab:
        await lab.board.start()
        await device.until(slept)
        order = an_order(lab)
        lab.board.kill()
        await lab.board.start()
        await finishes(device, lab, order)
        assert "restart" not in device.log()


@pytest.mark.parametrize("part", ["at", "apdu", "log"])
async def test_a_power_cut_at_the_wake_loses_no_order(tmp_path: Path, part: str) -> None:
    async with asleep(tmp_path) as (device, lab):
        order = an_order(lab)
        await device.until(woken)
        device.when(lambda event: event.kind == part, lab.board.kill)
        assert await asyncio.wait_for(lab.board.wait(), 30) < 0
        await lab.board.start()
        await finishes(device, lab, order)


@pytest.mark.parametrize("drift", [5, -5])
async def test_an_rtc_that_is_wrong_by_a_twentieth_is_set_right_at_each_wake(tmp_path: Path, drift: int) -> None:
    device = Device(tmp_path, {**SETTINGS, "poll_window": "02:00-03:00"},
                    options={"skips_sleep": True, "drift_percent": drift})
    async with device.lab() as lab:
        times: list[float] = []
        device.listen(lambda event: times.append(lab.clock.time()) if polled(event) else None)
        await lab.board.start()
        for _ in range(5):
            await device.until(polled)
        order = an_order(lab)
        await finishes(device, lab, order)
        late = [(moment - 2 * 3600) % DAY_S for moment in times[1:5]]
        most = 2 * DAY_S * 5 // 100  # of one sleep; that of five would be far more
        assert all(one < 3600 + most or one > DAY_S - most for one in late), late


async def test_a_night_without_coverage_ends_with_the_first_search_after_it(tmp_path: Path) -> None:
    async with asleep(tmp_path, attach_timeout_s=1) as (device, lab):
        lab.network.set_coverage(BOOTSTRAP_OPERATOR, False)
        order = an_order(lab)
        lab.clock.call_later(DAY_S + 9 * 3600, lambda: lab.network.set_coverage(BOOTSTRAP_OPERATOR, True))
        await finishes(device, lab, order)
        assert lab.clock.ahead_s < 3 * DAY_S
        pauses = [event.fields["ms"] for event in device.events if slept(event)][1:-1]
        assert pauses[0] == 900_000
        assert all(later == min(4 * earlier, DAY_S * 1000) for earlier, later in pairwise(pauses)), pauses


@pytest.mark.parametrize("quirk", ["network-grants-own-psm", "no-power-saving"])
async def test_a_network_that_grants_other_times_of_psm_or_none_changes_nothing_for_orders(
        tmp_path: Path, quirk: str) -> None:
    device = Device(tmp_path, dict(SETTINGS), quirks=(quirk,), options={"skips_sleep": True})
    async with device.lab() as lab:
        await lab.board.start()
        await device.until(slept)
        order = an_order(lab)
        await finishes(device, lab, order)
        assert "grants no PSM" in device.log() or "PSM granted, a sign of life every 7200 s" in device.log()


@pytest.mark.parametrize(("settings", "named"), [
    ({"psm_periodic_s": 3600}, "psm_periodic_s 3600 is shorter than poll_interval_s 86400"),
    ({"poll_interval_s": 31536000, "psm_periodic_s": 35712000}, "poll_interval_s 31536000 is longer than one sleep"),
    ({"keep_association_s": 60}, "keep_association_s is in vain"),
])
async def test_settings_that_do_not_go_together_are_named_at_boot_and_to_the_eim_and_the_device_goes_on(
        tmp_path: Path, settings: dict[str, Any], named: str) -> None:
    async with asleep(tmp_path, **settings) as (device, lab):
        assert named in device.log()
        order = an_order(lab)
        await finishes(device, lab, order)
        assert device.log().count(named) == 1


async def test_a_board_without_deep_sleep_says_so_and_stays_awake(tmp_path: Path) -> None:
    device = Device(tmp_path, {**SETTINGS, "poll_interval_s": 2})
    async with device.lab() as lab:
        board = lab.board.folder / "board.py"
        board.write_text(board.read_text().replace("def deep_sleep", "def no_sleep"))
        await lab.board.start()
        await polls(device, 2)
        order = an_order(lab)
        await finishes(device, lab, order)
        assert "the board has no deep sleep, so it stays awake" in device.log()
        assert not [event for event in device.events if slept(event)]


async def test_a_board_whose_rtc_has_no_memory_keeps_what_a_wake_needs_in_its_journal(tmp_path: Path) -> None:
    device = Device(tmp_path, dict(SETTINGS), options={"skips_sleep": True})
    async with device.lab() as lab:
        board = lab.board.folder / "board.py"
        board.write_text(board.read_text().replace("def rtc_memory", "def no_memory"))
        await lab.board.start()
        await device.until(slept)
        order = an_order(lab)
        await finishes(device, lab, order)
        assert device.log().count("card: EID") == 1


VOTES = """
    from ipa.agent import WOKEN
    asked = []
    def vote():
        asked.append(1)
        return 0 if len(asked) < 3 else 3600000
    agent.on_sleep(vote)
    agent.on(lambda event, detail: event == WOKEN and print("woken:", detail))
    await agent.run()
"""


async def test_the_product_is_asked_before_a_sleep_and_told_after_it(tmp_path: Path) -> None:
    device = Device(tmp_path, {**SETTINGS, "sleep": "light"}, options={"skips_sleep": True})
    async with device.lab() as lab:
        main = lab.board.folder / "main.py"
        text = main.read_text()
        assert text.count("    await agent.run()\n") == 1
        main.write_text(text.replace("    await agent.run()\n", VOTES))
        await lab.board.start()
        await device.until(slept)
        began = next(event for event in device.events if polled(event))
        first = next(event for event in device.events if slept(event))
        assert first.fields["ms"] == 3_600_000
        assert first.seconds - began.seconds >= 2  # asked three times, a second between
        await device.until(logged("woken:"))
        order = an_order(lab)
        await finishes(device, lab, order)


async def test_a_week_without_coverage_takes_two_milliampere_hours_a_day_by_the_model(tmp_path: Path) -> None:
    """Searches are counted; each is taken to last as long as the settings allow, on a true network."""
    async with asleep(tmp_path, attach_timeout_s=3) as (device, lab):
        lab.network.set_coverage(BOOTSTRAP_OPERATOR, False)
        began = lab.clock.time()
        searches: list[float] = []
        device.listen(lambda event: searches.append(lab.clock.time() - began)
                      if event.part == "board" and "NoRegistration" in str(event.fields.get("text")) else None)
        while lab.clock.time() - began < 8 * DAY_S:
            await device.until(slept)
    week = [moment for moment in searches if moment - searches[0] < 7 * DAY_S]
    modem, chip = figures.load("modem", "bg95", "nbiot", {}), figures.load("chip", "esp32s3", "nbiot", {})
    searching_w = modem["attach_j"] / modem["attach_s"] + chip.watts("awake")
    seconds = 180 + (len(week) - 1) * 60
    joules = seconds * searching_w + 7 * DAY_S * chip.watts("deep")
    assert joules / 7 / 3.7 / 3.6 <= 2  # of a cell of 3.7 V
