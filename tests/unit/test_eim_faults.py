"""An eIM whose processes are killed while devices work: nothing acknowledged is lost, nothing is done twice.

MICROIPA_KILLS=200 says how often; by default a few times.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from microipa.asn1.tlv import Tlv, integer, number, parse, tlv
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.load.device import CoapsLink, Device, Failed, dtls_context
from microipa.load.fleet import TOKEN, Fleet, eid
from microipa.load.server import Server, running, write_configuration

KILLS = int(os.environ.get("MICROIPA_KILLS", "5"))
DEVICES = 4
DISABLED = integer(0x84, 0)


class Card(Device):
    """Executes each package once and answers a repeat as before; it complains of what no honest eIM does."""

    def __init__(self, name: str, pki: Pki) -> None:
        super().__init__(name, pki.eim_tls, TOKEN, pki.eim_fqdn, DISABLED)
        self.results: dict[bytes, tuple[int, bytes]] = {}
        self.acknowledged: set[int] = set()
        self.counter = 0

    async def work(self, server: Server, pki: Pki, until: asyncio.Event) -> None:
        """Poll for ever, over a new association whenever one has ended."""
        context = dtls_context(pki.ci.certificate)
        while not until.is_set():
            link = CoapsLink(context, ("127.0.0.1", server.ports["coaps"]), patience=2.0)
            try:
                await link.open()
                while not until.is_set():
                    await self._turn(link)
            except Failed:
                continue
            finally:
                link.close(silently=True)

    async def _turn(self, link: CoapsLink) -> None:
        package = parse(await link.ask(tlv(0xBF4F, self.eid))).children()[0]
        if package.tag == 0xBF51:
            await self._provide(link, *self._execute(package))
            return
        for sequence, result in self.results.values():  # kept, the answer to them was lost
            if sequence not in self.acknowledged:
                await self._provide(link, sequence, result)
        await asyncio.sleep(0.05)

    async def _provide(self, link: CoapsLink, sequence: int, result: bytes) -> None:
        answer = parse(await link.ask(tlv(0xBF50, self.eid, result))).children()[0]
        assert [number(one) for one in answer] == [sequence]
        self.acknowledged.add(sequence)

    def _execute(self, package: Tlv) -> tuple[int, bytes]:
        counter, transaction = number(package[0x30][0x81]), package[0x30][0x82].value
        if transaction in self.results:
            sequence, result = self.results[transaction]
            assert sequence not in self.acknowledged, "a package comes again whose result was acknowledged"
            return sequence, result
        assert counter > self.counter, "a counter comes twice"
        self.counter = counter
        sequence = len(self.results) + 1
        self.results[transaction] = sequence, self._result(package, sequence)
        return self.results[transaction]


async def work_and_kill(server: Server, pki: Pki, fleet: Fleet) -> list[Card]:
    cards, done = [Card(eid(number), pki) for number in range(DEVICES)], asyncio.Event()
    working = [asyncio.create_task(card.work(server, pki, done)) for card in cards]
    for _ in range(KILLS):
        for device in range(DEVICES):
            fleet.queue(device, 3)
        await asyncio.sleep(random.uniform(0.05, 0.5))
        if workers := server.workers():
            os.kill(random.choice(workers), signal.SIGKILL)
    all_done = lambda: all(len(card.acknowledged) >= 3 * KILLS for card in cards)  # noqa: E731
    await until(lambda: all_done() or any(task.done() for task in working), 60 + KILLS)
    done.set()
    await asyncio.gather(*working)
    return cards


async def until(true: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 (what other processes do tells no event)
            await asyncio.sleep(0.05)


@pytest.mark.timeout(180 + 4 * KILLS)
async def test_workers_that_are_killed_at_any_moment_lose_nothing_that_was_acknowledged(pki, tmp_path):
    config = write_configuration(tmp_path, pki, "eim.sqlite")
    fleet = Fleet(tmp_path / "eim.sqlite", pki.eim_tls, DEVICES, DEVICES)
    async with running(config, "--workers", "2") as server:
        cards = await work_and_kill(server, pki, fleet)
    orders = Eim(pki, tmp_path, es9_routes={}).orders()
    assert {view.state for view in orders} == {"done"}
    for number_, card in enumerate(cards):
        results = [view.details["seqNumber"] for view in orders if view.eid == eid(number_)]
        assert sorted(results) == sorted(card.acknowledged) == list(range(1, 3 * KILLS + 1))


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
