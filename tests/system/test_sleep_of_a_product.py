"""What a product has of the sleep: its own loop, its vote, word of the wake; and what the assistant knows after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from microipa.lab import Lab
from switching import Device, cut_eim_off, logged
from test_sleep import SETTINGS, an_order, finishes, flash, is_done, polled, slept, woken

OWN_LOOP = """
    from ipa.agent import WOKEN
    agent.on(lambda event, detail: event == WOKEN and print("told of", detail, "as", board.woken()))
    wait = agent.next_poll_ms()
    while True:
        await agent.sleep(wait)
        wait = await agent.poll_once()
"""
TOLD = """
    from ipa.agent import WOKEN
    agent.on(lambda event, detail: event == WOKEN and print("told of", detail, "as", board.woken()))
    await agent.run()
"""
HOME_PLMN = "00f110"
HOURLY = """
    agent.on_sleep(lambda: 3600000)
    await agent.run()
"""


@asynccontextmanager
async def product(folder: Path, end_of_main: str, *quirks: str, **config: Any) -> AsyncIterator[tuple[Device, Lab]]:
    """A board with a main.py that ends so, in its first sleep; sleeps take no time."""
    device = Device(folder, {**SETTINGS, **config}, quirks=quirks, options={"skips_sleep": True})
    async with device.lab() as lab:
        main = lab.board.folder / "main.py"
        text = main.read_text()
        assert text.count("    await agent.run()\n") == 1
        main.write_text(text.replace("    await agent.run()\n", end_of_main))
        await lab.board.start()
        await device.until(slept)
        yield device, lab


async def test_a_product_with_a_loop_of_its_own_polls_and_sleeps_as_one_without(tmp_path: Path) -> None:
    async with product(tmp_path, OWN_LOOP) as (device, lab):
        await device.until(polled)
        await device.until(slept)
        before = flash(device)
        await device.until(polled)
        await device.until(slept)
        assert flash(device) == before
        order = an_order(lab)
        await finishes(device, lab, order)
        log = device.log()
        assert log.count("card: EID") == 1
        assert log.count("told of timer as timer") == len([event for event in device.events if woken(event)])


@pytest.mark.parametrize("by", ["timer", "pin"])
async def test_a_product_is_told_after_a_deep_sleep_what_woke_the_board(tmp_path: Path, by: str) -> None:
    async with product(tmp_path, TOLD) as (device, lab):
        await device.until(woken)
        if by == "pin":
            device.when(slept, lambda: lab.clock.call_later(3600, lab.board.wake))
        known = len(device.log())
        await device.until(slept)
        await device.until(logged("told of"))
        assert f"told of {by} as {by}" in device.log()[known:]


async def test_a_product_that_wants_to_run_each_hour_is_woken_each_hour_and_the_poll_stays_at_its_time(
        tmp_path: Path) -> None:
    async with product(tmp_path, HOURLY, poll_interval_s=4 * 3600, poll_jitter_percent=0) as (device, lab):
        await device.until(polled)
        began, known = lab.clock.time(), len(device.events)
        await device.until(polled)
        assert lab.clock.time() - began == pytest.approx(4 * 3600, abs=60)
        sleeps = [event.fields["ms"] for event in device.events[known:] if slept(event)]
        assert len(sleeps) == 4
        assert max(sleeps) == 3_600_000


async def test_the_back_off_grows_over_deep_sleeps(tmp_path: Path) -> None:
    settings = {"backoff_s": 600, "backoff_max_s": 86400, "dtls_timeout_s": 1}
    async with product(tmp_path, TOLD, **settings) as (device, lab):
        put_back = cut_eim_off(lab)
        order = an_order(lab)
        known = len(device.events)
        for _ in range(2):
            await device.until(slept)
        put_back()
        await finishes(device, lab, order)
        pauses = [event.fields["ms"] / 1000 for event in device.events[known:] if slept(event)][:2]
        assert 1.2 < pauses[1] / pauses[0] < 3.4, pauses


async def test_an_eim_hears_of_the_network_once_and_not_after_each_sleep(tmp_path: Path) -> None:
    async with product(tmp_path, TOLD) as (device, lab):
        for _ in range(3):
            await device.until(polled)
        asked = [str(event.fields["message"]) for event in device.events
                 if event.kind == "esipa" and event.fields["direction"] == "in"]
        assert [HOME_PLMN in message for message in asked] == [True] + [False] * (len(asked) - 1)
        assert is_done(lab, an_order(lab)) is False


async def test_what_the_path_does_not_take_is_learnt_twice_and_known_after_that(tmp_path: Path) -> None:
    async with product(tmp_path, TOLD, "mtu:640") as (device, lab):
        for _ in range(5):
            order = lab.eim.order_data(lab.eid, ["euiccInfo2"])
            await finishes(device, lab, order)
        assert device.log().count("next with blocks of") <= 2
