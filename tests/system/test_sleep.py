"""A device whose board sleeps between polls: what a wake costs, and that orders finish whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from microipa.lab import Lab
from microipa.trace import Event
from switching import Device

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
