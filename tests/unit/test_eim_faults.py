"""An eIM whose processes are killed while devices work: nothing acknowledged is lost, nothing is done twice.

MICROIPA_KILLS=200 says how often; by default a few times.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from eim_cards import Cards, until
from microipa.load.fleet import Fleet
from microipa.load.server import Server, running, write_configuration

KILLS = int(os.environ.get("MICROIPA_KILLS", "5"))
DEVICES = 4


async def work_and_kill(server: Server, cards: Cards, fleet: Fleet) -> None:
    async with cards.working(server):
        for _ in range(KILLS):
            for device in range(DEVICES):
                fleet.queue(device, 3)
            await asyncio.sleep(random.uniform(0.05, 0.5))
            if workers := server.workers():
                os.kill(random.choice(workers), signal.SIGKILL)
        await cards.reach(3 * KILLS * DEVICES, 60 + KILLS)


@pytest.mark.timeout(180 + 4 * KILLS)
async def test_workers_that_are_killed_at_any_moment_lose_nothing_that_was_acknowledged(pki, tmp_path):
    config = write_configuration(tmp_path, pki, "eim.sqlite")
    fleet, cards = Fleet(tmp_path / "eim.sqlite", pki.eim_tls, DEVICES, DEVICES), Cards(pki, DEVICES)
    async with running(config, "--workers", "2") as server:
        await work_and_kill(server, cards, fleet)
    cards.check(tmp_path)


async def test_workers_end_with_the_process_that_started_them(pki, tmp_path):
    config = write_configuration(tmp_path, pki, "eim.sqlite")
    async with running(config, "--workers", "2") as server:
        await until(lambda: (tmp_path / "serve.log").read_text().count('"serving"') == 2)
        workers = server.workers()
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: not any(_lives(pid) for pid in workers))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
