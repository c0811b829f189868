"""The scenarios: what devices do, how often at once, and what it cost the server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from microipa.asn1.tlv import integer
from microipa.common.errors import MicroipaError
from microipa.crypto.pki import Pki
from microipa.crypto.tls import client_context
from microipa.load import crowd, download, postgresql
from microipa.load.device import CoapsLink, Device, Failed, HttpsLink, dtls_context
from microipa.load.download import Euicc, Shop
from microipa.load.fleet import TOKEN, Fleet, eid
from microipa.load.server import Server, running, write_configuration

LOOPBACK = "127.0.0.1"
HOSTS, PORTS = range(3, 255), range(20_000, 30_000)  # of associations that only live: 127.0.0.3:20000, …
ACTIVE = 32  # devices that work at the same time
DISABLED = integer(0x84, 0)  # disableResult ok

SCENARIOS = ("operations", "downloads", "returning", "attacked")
DOWNLOAD_COSTS, DOWNLOADING = 12, 8  # operations that one download stands for; devices that download at the same time

Work = Callable[[int], Awaitable[None]]
"""One operation of the device with this number."""


@dataclass(frozen=True)
class Figures:
    """What one scenario came to; seconds, bytes."""

    name: str
    operations: int
    failures: int
    cpu: float
    elapsed: float
    latencies: list[float]

    @property
    def cpu_each(self) -> float:
        return self.cpu / max(self.operations - self.failures, 1)

    @property
    def rate(self) -> float:
        return (self.operations - self.failures) / self.elapsed

    def percentile(self, share: float) -> float:
        done = sorted(self.latencies)
        return done[min(int(len(done) * share), len(done) - 1)] if done else 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.latencies) if self.latencies else 0.0


async def measure(server: Server, name: str, active: int, operations: int, work: Work) -> Figures:
    """``operations`` in all, by ``active`` devices side by side."""
    latencies: list[float] = []
    failures = 0

    async def run(device: int) -> None:
        nonlocal failures
        for _ in range(operations // active):
            began = time.perf_counter()
            try:
                await work(device)
            except MicroipaError:
                failures += 1
            else:
                latencies.append(time.perf_counter() - began)

    cpu, began = server.cpu(), time.perf_counter()
    await asyncio.gather(*(run(device) for device in range(active)))
    elapsed = time.perf_counter() - began
    return Figures(name, operations // active * active, failures, server.cpu() - cpu, elapsed, latencies)


class Load:
    """A server with its fleet, and the scenarios."""

    def __init__(
        self, server: Server, fleet: Fleet, pki: Pki, active: int, operations: int, shop: Shop | None = None
    ) -> None:
        """Without a shop there are no downloads."""
        self._server, self._fleet, self._active, self._operations = server, fleet, active, operations
        self._dtls, self._tls = dtls_context(pki.ci.certificate), client_context([pki.ci.certificate])
        key = pki.eim_tls  # any key on P-256 serves as the devices'
        self._device = lambda n: Device(eid(n), key, TOKEN, pki.eim_fqdn, DISABLED)
        self._devices = [self._device(n) for n in range(active)]
        self._name = pki.eim_fqdn
        self._pki, self._shop = pki, shop

    def coaps(self, source: tuple[str, int] | None = None) -> CoapsLink:
        return CoapsLink(self._dtls, (LOOPBACK, self._server.ports["coaps"]), source=source)

    def https(self) -> HttpsLink:
        return HttpsLink(self._tls, (LOOPBACK, self._server.ports["https"]), self._name)

    async def poll(self) -> Figures:
        links = [await self.coaps().open() for _ in self._devices]
        figures = await self._measure("poll, CoAPS", lambda n: self._devices[n].poll(links[n].ask))
        for link in links:
            link.close()
        return figures

    async def poll_with_handshake(self) -> Figures:
        async def work(number: int) -> None:
            link = await self.coaps().open()
            try:
                await self._devices[number].poll(link.ask)
            finally:
                link.close()

        return await self._measure("poll with DTLS handshake", work)

    async def https_poll(self) -> Figures:
        links = [await self.https().open() for _ in self._devices]
        figures = await self._measure("poll, HTTPS kept alive", lambda n: self._devices[n].poll(links[n].ask))
        for link in links:
            link.close()
        return figures

    async def https_poll_with_handshake(self) -> Figures:
        async def work(number: int) -> None:
            link = await self.https().open()
            try:
                await self._devices[number].poll(link.ask)
            finally:
                link.close()

        return await self._measure("poll with TLS handshake", work)

    async def cycle(self) -> Figures:
        for number in range(self._active):
            self._fleet.queue(number, self._operations // self._active)
        links = [await self.coaps().open() for _ in self._devices]
        figures = await self._measure("package cycle, CoAPS", lambda n: self._devices[n].cycle(links[n].ask))
        for link in links:
            link.close()
        return figures

    async def downloads(self) -> Figures:
        """Through the eIM, of a profile each; over HTTPS, where a message is not cut into blocks."""
        assert self._shop
        active = min(self._active, DOWNLOADING)
        each = max(self._operations // DOWNLOAD_COSTS // active, 1)
        cards = [Euicc(self._pki, eid(number)) for number in range(active)]
        for number in range(active):
            self._fleet.queue_downloads(number, self._shop.codes(each))
        links = [await self.https().open() for _ in cards]
        figures = await measure(self._server, "download through the eIM", active, each * active,
                                lambda n: cards[n].download(links[n].ask))
        for link in links:
            link.close()
        return figures

    async def living(self, associations: int) -> tuple[float, Figures]:
        """Bytes of the server for each existing association, after each has polled once; and what a poll costs over
        those that were opened first, beside all the others."""
        await self._open_all()
        links: list[CoapsLink] = []
        places = _places()
        before = self._server.memory()

        async def one(number: int) -> None:
            link = await self._coaps_from_the_next(places)
            await self._devices[0].poll(link.ask)
            if number < self._active:
                links.append(link)
            else:
                link.close(silently=True)  # the server keeps it, and this process needs no more files

        for first in range(0, associations, ACTIVE):
            await asyncio.gather(*map(one, range(first, min(first + ACTIVE, associations))))
        each = (self._server.memory() - before) / associations
        name = f"poll of {associations} associations"
        figures = await measure(self._server, name, len(links), self._operations,
                                lambda n: self._devices[n].poll(links[n].ask))
        for link in links:
            link.close()
        return each, figures

    async def returning(self, devices: int = 5000, within: float = 60.0, rtt: float = 2.0) -> Figures:
        """Devices that come back within a minute after a power cut; their latency is that of a handshake and a poll."""
        cpu = self._server.cpu()
        fleet = [self._device(number % self._fleet.devices) for number in range(devices)]
        needed, elapsed = await crowd.returning(self._dtls, self._server, fleet, within, rtt)
        cpu = self._server.cpu() - cpu
        return Figures(f"{devices} return in {within:.0f} s", devices, devices - len(needed), cpu, elapsed, needed)

    async def attacked(
        self, devices: int = 50, rtt: float = 10.0, ports: int = 6000, rate: float = 1000.0
    ) -> tuple[Figures, Figures]:
        """Devices far away get in while one host begins handshakes; also what a hello of the attacker costs."""
        cpu, began = self._server.cpu(), time.monotonic()
        fleet = [self._device(number % self._fleet.devices) for number in range(devices)]
        async with crowd.attack(self._dtls, self._server, ports, rate) as attackers:
            await crowd.until_full(attackers)
            needed, elapsed = await crowd.returning(self._dtls, self._server, fleet, 1.0, rtt)
        cpu, seconds = self._server.cpu() - cpu, time.monotonic() - began
        hellos = sum(attacker.begun for attacker in attackers)
        honest = Figures(f"{devices} in an attack", devices, devices - len(needed), 0.0, elapsed, needed)
        return honest, Figures("hello of the attacker", hellos, 0, cpu, seconds, [])

    async def run(self, scenario: str) -> list[Figures]:
        """The figures of one of SCENARIOS."""
        if scenario == "downloads":
            return [await self.downloads()]
        if scenario == "returning":
            return [await self.returning()]
        if scenario == "attacked":
            return [*await self.attacked()]
        return [
            await self.poll(), await self.poll_with_handshake(), await self.https_poll(),
            await self.https_poll_with_handshake(), await self.cycle(),
        ]

    async def _open_all(self) -> None:
        """What a server loads when it is first asked counts for nothing."""
        for link in [await self.coaps().open() for _ in range(ACTIVE)]:
            await self._devices[0].poll(link.ask)
            link.close()
        https = await self.https().open()
        await self._devices[0].poll(https.ask)
        https.close()

    async def _coaps_from_the_next(self, places: Iterator[tuple[str, int]]) -> CoapsLink:
        """An association from the first place that nobody has: another load may run on this machine."""
        for place in places:
            try:
                return await self.coaps(place).open()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise Failed(f"all {len(HOSTS) * len(PORTS)} addresses of loopback for associations are taken")

    async def _measure(self, name: str, work: Work) -> Figures:
        return await measure(self._server, name, self._active, self._operations, work)


def _places() -> Iterator[tuple[str, int]]:
    """Addresses that associations come from, each once: the server takes a second one from there for the first."""
    for host, port in itertools.product(HOSTS, PORTS):
        yield f"127.0.0.{host}", port


@dataclass(frozen=True)
class Size:
    """One row of the table: a server and its fleet."""

    database: str
    workers: int
    devices: int
    orders: int
    """Queued for devices that do not work."""


async def run(
    size: Size, operations: int, associations: int, tell: Callable[[Figures], None],
    scenarios: Sequence[str] = SCENARIOS[:1],
) -> float:
    """Scenarios on a fresh server; bytes of memory for each association. Raises NoPostgresql."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="microipa-load-")))
        database = str(folder / "eim.sqlite")
        others: tuple[int, ...] = ()
        if size.database == "postgresql":
            server = stack.enter_context(postgresql.running())
            database, others = server.create("eim"), tuple(filter(None, [server.pid]))
        pki = Pki.open(folder / "pki")
        shop = await stack.enter_async_context(download.shop(folder, pki))
        config = write_configuration(folder, pki, database, shop.port)
        active = max(min(ACTIVE, size.devices - 1), 1)  # one at least has the orders of the others
        fleet = Fleet(database, pki.eim_tls, size.devices, active)
        fleet.queue_for_others(size.orders)
        async with running(config, "--workers", str(size.workers), others=others) as serving:
            load = Load(serving, fleet, pki, active, operations, shop)
            each, polls = await load.living(associations)
            tell(polls)
            for scenario in scenarios:
                for figures in await load.run(scenario):
                    tell(figures)
            return each
