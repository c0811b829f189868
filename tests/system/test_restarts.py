"""A program that begins again finds the modem as it is: what holds already is not made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from microipa.lab import LabFolder
from switching import Device, logged

CALM = {"stop_when_idle": False, "poll_interval_s": 1, "poll_jitter_percent": 0}


@pytest.mark.parametrize("family", ["bg95", "sim7080g", "gm02s", "sara-r5", "nrf91", "tx62"])
async def test_a_modem_that_is_registered_stays_so_over_a_restart_of_the_board(tmp_path: Path, family: str) -> None:
    LabFolder(tmp_path, create=True)
    device = Device(tmp_path, dict(CALM), family=family)
    async with device.lab() as lab:
        await lab.board.start()
        await device.until(logged("poll: the eIM has no"))
        for _ in range(2):
            began = len(device.events)
            lab.board.kill()
            await lab.board.wait()
            await lab.board.start()
            await device.until(logged("poll: the eIM has no"))
        since = device.events[began:]
    assert not [event for event in since if event.kind == "network"]
    commands = [event.fields for event in since if event.kind == "at" and event.fields["direction"] == "in"]
    assert not [one for one in commands if str(one.get("text")).startswith(("AT+CFUN=", "AT+COPS=0", "AT+CGDCONT="))]


async def test_a_poll_with_nothing_to_do_attaches_nothing_and_resets_nothing(tmp_path: Path) -> None:
    LabFolder(tmp_path, create=True)
    device = Device(tmp_path, dict(CALM))
    async with device.lab() as lab:
        await lab.board.start()
        await device.until(logged("poll: the eIM has no"))
        await device.until(logged("poll: DTLS with"))
        began = len(device.events)
        await device.until(logged("poll: DTLS with"))
        since = device.events[began:]
    assert not [event for event in since if event.kind == "network"]
    commands = [event for event in since if event.kind == "at" and event.fields["direction"] == "in"]
    assert len(commands) < 50
