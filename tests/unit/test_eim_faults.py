"""An eIM whose processes are killed and whose database is full, away or used by another server, while devices work.

Nothing acknowledged is lost, nothing is done twice, and service goes on by itself. MICROIPA_KILLS says how often
processes are killed; by default a few times (make kills: 200 times).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from eim_balancer import balancing
from eim_cards import Cards, until
from eim_postgresql import own
from microipa.asn1.tlv import tlv
from microipa.crypto.tls import client_context
from microipa.load.device import CoapsLink, Failed, HttpsLink, dtls_context
from microipa.load.fleet import Fleet, eid
from microipa.load.postgresql import NoPostgresql, Postgresql
from microipa.load.server import Server, children, lives, running, write_configuration
from ports import port_for_later

KILLS = int(os.environ.get("MICROIPA_KILLS", "3"))
DEVICES = 4
ORDERS = 8  # for each device and kill
POLL = tlv(0xBF4F, tlv(0x5A, bytes.fromhex(eid(DEVICES))))


# Killed processes


class Supervised:
    """A server that is started again when it has ended, as systemd does."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.server: Server | None = None
        self._ended = asyncio.Event()

    @property
    def ports(self) -> dict[str, int]:
        assert self.server
        return self.server.ports

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(RuntimeError):  # the port is taken until the old workers have noticed
                async with running(self._config, "--workers", "2") as self.server:
                    await until(lambda: stop.is_set() or not lives(self.server.pid), 3600)


@contextlib.asynccontextmanager
async def supervised(config: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervised]:
    """On ports that stay."""
    for scheme, kind in (("coaps", socket.SOCK_DGRAM), ("https", socket.SOCK_STREAM)):
        monkeypatch.setenv(f"MICROIPA_EIM_{scheme.upper()}", f"127.0.0.1:{port_for_later(kind)}")
    stop, kept = asyncio.Event(), Supervised(config)
    task = asyncio.create_task(kept.run(stop))
    try:
        await until(lambda: kept.server is not None)
        yield kept
    finally:
        stop.set()
        await task


@contextlib.asynccontextmanager
async def kept_up(own: Postgresql) -> AsyncIterator[None]:
    """A PostgreSQL that is started again, as systemd does: it ends when the process is killed that recovers it."""
    stop = asyncio.Event()

    async def run() -> None:
        while not stop.is_set():
            await until(lambda: stop.is_set() or not own.pid, 3600)
            if not own.pid:
                with contextlib.suppress(NoPostgresql):  # killed once more, or it has begun by itself
                    await asyncio.to_thread(own.start, "fsync=off")

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        stop.set()
        await task


async def work_and_kill(kept: Supervised, cards: Cards, fleet: Fleet, others: Callable[[], list[int]]) -> None:
    for device in range(DEVICES):
        fleet.queue(device, ORDERS * KILLS)
    async with cards.working(kept):
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(0.05, 0.5))
            if kept.server and (there := [kept.server.pid, *kept.server.workers(), *others()]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(random.choice(there), signal.SIGKILL)
        await cards.reach(ORDERS * KILLS * DEVICES, 60 + 4 * KILLS)


@pytest.mark.timeout(180 + 8 * KILLS)
async def test_whatever_process_is_killed_at_any_moment_nothing_acknowledged_is_lost(pki, tmp_path, monkeypatch):
    config = write_configuration(tmp_path, pki, "eim.sqlite")
    fleet, cards = Fleet(tmp_path / "eim.sqlite", pki.eim_tls, DEVICES, DEVICES), Cards(pki, DEVICES)
    async with supervised(config, monkeypatch) as kept:
        await work_and_kill(kept, cards, fleet, list)
    cards.check(tmp_path)


@pytest.mark.timeout(180 + 8 * KILLS)
async def test_processes_of_postgresql_that_are_killed_too_lose_nothing_acknowledged(pki, own, tmp_path, monkeypatch):
    url = own.create("eim")
    config = write_configuration(tmp_path, pki, url)
    fleet, cards = Fleet(url, pki.eim_tls, DEVICES, DEVICES), Cards(pki, DEVICES)
    async with supervised(config, monkeypatch) as kept, kept_up(own):
        await work_and_kill(kept, cards, fleet, lambda: children(own.pid) if own.pid else [])
    cards.check(url)


async def test_workers_end_with_the_process_that_started_them(pki, tmp_path):
    config = write_configuration(tmp_path, pki, "eim.sqlite")
    async with running(config, "--workers", "2") as server:
        await until(lambda: (tmp_path / "serve.log").read_text().count('"serving"') == 2)
        workers = server.workers()
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: not any(lives(pid) for pid in workers))


# A database that cannot be written


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system with 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(("mount", "-t", "tmpfs", "-o", "size=4m", "none", disk), capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mount wants root: sudo pytest tests/unit/test_eim_faults.py")
    yield disk
    subprocess.run(("umount", "--lazy", disk), check=True)


async def refusals(pki, server: Server) -> tuple[str, str]:
    """How a poll that finds an order is answered over CoAPS and HTTPS."""
    said = []
    coaps = CoapsLink(dtls_context(pki.ci.certificate), ("127.0.0.1", server.ports["coaps"]))
    https = HttpsLink(client_context([pki.ci.certificate]), ("127.0.0.1", server.ports["https"]), pki.eim_fqdn)
    for link in (coaps, https):
        with pytest.raises(Failed) as refusal:
            await (await link.open()).ask(POLL)
        said.append(str(refusal.value))
        link.close()
    return said[0], said[1]


async def test_a_full_disk_is_a_temporary_error_and_the_eim_goes_on_when_there_is_room(pki, small_disk, tmp_path):
    config = write_configuration(tmp_path, pki, str(small_disk / "eim.sqlite"))
    fleet, cards = Fleet(small_disk / "eim.sqlite", pki.eim_tls, DEVICES + 1, DEVICES), Cards(pki, DEVICES)
    for device in range(DEVICES + 1):
        fleet.queue(device, 5)
    async with running(config) as server, cards.working(server):
        await cards.reach(DEVICES)
        ballast = small_disk / "ballast"
        fill(ballast)
        await until(lambda: "disk" in (tmp_path / "serve.log").read_text())
        assert await refusals(pki, server) == ("CoAP 5.03", "HTTP/1.1 503 Service Unavailable")
        ballast.unlink()
        await cards.reach(DEVICES * 5)
    cards.check(small_disk)


@contextlib.contextmanager
def sealed(folder: Path) -> Iterator[None]:
    """The database cannot be written meanwhile, not even by those who have it open: as after a fault of the disk."""
    files = [folder / "eim.sqlite", folder / "eim.sqlite-wal"]
    changed = subprocess.run(("chattr", "+i", *files), capture_output=True, check=False)
    try:
        if changed.returncode:
            pytest.skip("chattr wants root and ext4: sudo pytest tests/unit/test_eim_faults.py")
        yield
    finally:
        subprocess.run(("chattr", "-i", *files), capture_output=True, check=False)


async def test_an_sqlite_file_that_can_only_be_read_is_a_temporary_error_until_it_can_be_written(pki, tmp_path):
    database = tmp_path / "database"
    database.mkdir()
    config = write_configuration(tmp_path, pki, str(database / "eim.sqlite"))
    fleet, cards = Fleet(database / "eim.sqlite", pki.eim_tls, DEVICES + 1, DEVICES), Cards(pki, DEVICES)
    for device in range(DEVICES + 1):
        fleet.queue(device, 5)
    async with running(config) as server, cards.working(server):
        await cards.reach(DEVICES)
        with sealed(database):
            assert await refusals(pki, server) == ("CoAP 5.03", "HTTP/1.1 503 Service Unavailable")
        await cards.reach(DEVICES * 5)
    cards.check(database)


async def test_a_postgresql_that_can_only_be_read_is_a_temporary_error_until_it_can_be_written(pki, own, tmp_path):
    url = own.create("eim")
    config = write_configuration(tmp_path, pki, url)
    fleet, cards = Fleet(url, pki.eim_tls, DEVICES + 1, DEVICES), Cards(pki, DEVICES)
    for device in range(DEVICES + 1):
        fleet.queue(device, 5)
    async with running(config) as server, cards.working(server):
        await cards.reach(DEVICES)
        await asyncio.to_thread(own.set, "default_transaction_read_only", "on")
        await until(lambda: "cannot be written now" in (tmp_path / "serve.log").read_text())
        assert await refusals(pki, server) == ("CoAP 5.03", "HTTP/1.1 503 Service Unavailable")
        await asyncio.to_thread(own.reset, "default_transaction_read_only")
        await cards.reach(DEVICES * 5)
    cards.check(url)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


async def test_while_the_database_is_away_devices_get_a_temporary_error_and_then_all_goes_on(pki, own, tmp_path):
    url = own.create("eim")
    config = write_configuration(tmp_path, pki, url)
    fleet, cards = Fleet(url, pki.eim_tls, DEVICES + 1, DEVICES), Cards(pki, DEVICES)
    for device in range(DEVICES + 1):
        fleet.queue(device, 5)
    async with running(config, "--workers", "2") as server, cards.working(server):
        await cards.reach(DEVICES)
        await asyncio.to_thread(own.stop)
        assert await refusals(pki, server) == ("CoAP 5.03", "HTTP/1.1 503 Service Unavailable")
        await asyncio.to_thread(own.start, "fsync=off")
        await cards.reach(DEVICES * 5)
    cards.check(url)


async def test_two_servers_on_one_sqlite_folder_give_no_counter_twice(pki, tmp_path):
    database = tmp_path / "eim.sqlite"
    fleet, cards = Fleet(database, pki.eim_tls, DEVICES, DEVICES), Cards(pki, DEVICES)
    one, other = (write_configuration(tmp_path / name, pki, str(database)) for name in ("one", "other"))
    for device in range(DEVICES):
        fleet.queue(device, 10)
    async with (
        running(one) as first, running(other) as second,
        balancing(first, second) as (balanced, _, _), cards.working(balanced),
    ):
        await cards.reach(DEVICES * 10)
    cards.check(tmp_path)
