"""Devices that work while servers are killed, moved or away, and complain of what no honest eIM does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from microipa.asn1.tlv import Tlv, integer, number, parse, tlv
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.load.device import CoapsLink, Device, Failed, dtls_context
from microipa.load.fleet import TOKEN, eid

DISABLED = integer(0x84, 0)
PAUSE_S = 0.05


class Found(Protocol):
    """Where the servers are."""

    @property
    def ports(self) -> dict[str, int]: ...


class Card(Device):
    """Executes each package once and answers a repeat as before; it complains of what no honest eIM does."""

    def __init__(self, name: str, pki: Pki) -> None:
        super().__init__(name, pki.eim_tls, TOKEN, pki.eim_fqdn, DISABLED)
        self.name = name
        self.results: dict[bytes, tuple[int, bytes]] = {}
        self.acknowledged: set[int] = set()
        self.counter = 0

    async def work(self, server: Found, pki: Pki, until: asyncio.Event) -> None:
        """Poll for ever, over a new association whenever one has ended."""
        context = dtls_context(pki.ci.certificate)
        while not until.is_set():
            link = CoapsLink(context, ("127.0.0.1", server.ports["coaps"]), patience=2.0)
            try:
                await link.open()
                while not until.is_set():
                    await self._turn(link)
            except Failed:
                await asyncio.sleep(PAUSE_S)
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
        await asyncio.sleep(PAUSE_S)

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


class Cards:
    """The devices of a Fleet that work."""

    def __init__(self, pki: Pki, count: int) -> None:
        self._pki = pki
        self._cards = [Card(eid(number), pki) for number in range(count)]
        self._working: list[asyncio.Task[None]] = []

    @property
    def acknowledged(self) -> int:
        """How many results an eIM has acknowledged."""
        return sum(len(card.acknowledged) for card in self._cards)

    @asynccontextmanager
    async def working(self, server: Found) -> AsyncIterator[None]:
        """Poll meanwhile, and send results."""
        done = asyncio.Event()
        self._working = [asyncio.create_task(card.work(server, self._pki, done)) for card in self._cards]
        try:
            yield
        finally:
            done.set()
            await asyncio.gather(*self._working)

    async def reach(self, acknowledged: int, seconds: float = 60) -> None:
        """Wait until so many results have been acknowledged, or a device complains."""
        await until(lambda: self.acknowledged >= acknowledged or any(task.done() for task in self._working), seconds)

    def check(self, database: Path | str) -> None:
        """All orders of these devices are done, each by the one result that its device had acknowledged."""
        names = {card.name for card in self._cards}
        orders = [view for view in Eim(self._pki, database, es9_routes={}).orders() if view.eid in names]
        assert {view.state for view in orders} == {"done"}
        for card in self._cards:
            results = [view.details["seqNumber"] for view in orders if view.details and view.eid == card.name]
            assert sorted(results) == sorted(card.acknowledged) == list(range(1, len(results) + 1))


async def until(true: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 (what other processes do tells no event)
            await asyncio.sleep(PAUSE_S)
