"""The scenarios: what devices do, how often at once, and what it cost the server."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from microipa.asn1.tlv import integer
from microipa.common.errors import MicroipaError
from microipa.crypto.pki import Pki
from microipa.crypto.tls import client_context
from microipa.load import postgresql
from microipa.load.device import CoapsLink, Device, HttpsLink, dtls_context
from microipa.load.fleet import TOKEN, Fleet, eid
from microipa.load.server import Server, running, write_configuration

LOOPBACK = "127.0.0.1"
SETTLE_SECONDS = 2.0  # for a server to have done with good-byes, which count for nothing
ACTIVE = 32  # devices that work at the same time
DISABLED = integer(0x84, 0)  # disableResult ok

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

    def __init__(self, server: Server, fleet: Fleet, pki: Pki, active: int, operations: int) -> None:
        self._server, self._fleet, self._active, self._operations = server, fleet, active, operations
        self._dtls, self._tls = dtls_context(pki.ci.certificate), client_context([pki.ci.certificate])
        key = pki.eim_tls  # any key on P-256 serves as the devices'
        self._devices = [Device(eid(n), key, TOKEN, pki.eim_fqdn, DISABLED) for n in range(active)]
        self._name = pki.eim_fqdn

    def coaps(self) -> CoapsLink:
        return CoapsLink(self._dtls, (LOOPBACK, self._server.ports["coaps"]))

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

    async def memory(self, associations: int) -> float:
        """Bytes of the server for each living association, after each has polled once."""
        device, links = self._devices[0], []
        await self._open_all()
        before = self._server.memory()
        for _ in range(associations):
            links.append(await self.coaps().open())
            await device.poll(links[-1].ask)
        each = (self._server.memory() - before) / associations
        for link in links:
            link.close()
        await asyncio.sleep(SETTLE_SECONDS)
        return each

    async def _open_all(self) -> None:
        """What a server loads when it is first asked counts for nothing."""
        for link in [await self.coaps().open() for _ in range(ACTIVE)]:
            await self._devices[0].poll(link.ask)
            link.close()
        https = await self.https().open()
        await self._devices[0].poll(https.ask)
        https.close()

    async def _measure(self, name: str, work: Work) -> Figures:
        return await measure(self._server, name, self._active, self._operations, work)


@dataclass(frozen=True)
class Size:
    """One row of the table: a server and its fleet."""

    database: str
    workers: int
    devices: int
    orders: int
    """Queued for devices that do not work."""


async def run(size: Size, operations: int, associations: int, tell: Callable[[Figures], None]) -> float:
    """All scenarios on a fresh server; bytes of memory for each association. Raises NoPostgresql."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="microipa-load-")))
        database = str(folder / "eim.sqlite")
        others: tuple[int, ...] = ()
        if size.database == "postgresql":
            server = stack.enter_context(postgresql.running())
            database, others = server.create("eim"), (server.pid,)
        pki = Pki.open(folder / "pki")
        config = write_configuration(folder, pki, database)
        active = max(min(ACTIVE, size.devices - 1), 1)  # one at least has the orders of the others
        fleet = Fleet(database, pki.eim_tls, size.devices, active)
        fleet.queue_for_others(size.orders)
        async with running(config, "--workers", str(size.workers), others=others) as serving:
            load = Load(serving, fleet, pki, active, operations)
            each = await load.memory(associations)
            for scenario in (load.poll, load.poll_with_handshake, load.https_poll, load.https_poll_with_handshake,
                             load.cycle):
                tell(await scenario())
            return each
