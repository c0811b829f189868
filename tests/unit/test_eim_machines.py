"""An eIM on two machines, played by two servers on one PostgreSQL behind a balancer, and a standby that takes over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from eim_balancer import balancing
from eim_cards import Cards
from eim_postgresql import database, own, server
from microipa.asn1.tlv import tlv
from microipa.crypto.tls import client_context
from microipa.load.device import NO_PACKAGE, HttpsLink
from microipa.load.fleet import Fleet, eid
from microipa.load.server import running, write_configuration

DEVICES, ORDERS = 4, 5


@asynccontextmanager
async def two_machines(folder: Path, pki, database: str) -> AsyncIterator[tuple]:
    """Two servers behind a balancer, with orders for each device; what ``balancing`` gives is the last."""
    fleet = Fleet(database, pki.eim_tls, DEVICES, DEVICES)
    one, other = (write_configuration(folder / name, pki, database) for name in ("one", "other"))
    for device in range(DEVICES):
        fleet.queue(device, ORDERS)
    async with running(one) as first, running(other) as second, balancing(first, second) as balanced:
        yield first, second, balanced


async def test_a_device_is_served_by_either_machine_over_udp_and_tcp(pki, database, tmp_path):
    cards = Cards(pki, DEVICES)
    async with two_machines(tmp_path, pki, database) as (first, second, (balanced, udp, tcp)):
        async with cards.working(balanced):
            await cards.reach(DEVICES * ORDERS)
        assert {way.server.pid for way in udp.ways.values()} == {first.pid, second.pid}
        for _ in range(2):
            link = HttpsLink(client_context([pki.ci.certificate]), ("127.0.0.1", balanced.ports["https"]), pki.eim_fqdn)
            assert await (await link.open()).ask(tlv(0xBF4F, tlv(0x5A, bytes.fromhex(eid(0))))) == NO_PACKAGE
            link.close()
        assert tcp.connections == [1, 1]
    cards.check(database)


async def test_when_a_machine_is_gone_the_other_goes_on_with_its_devices(pki, database, tmp_path):
    cards = Cards(pki, DEVICES)
    async with two_machines(tmp_path, pki, database) as (first, _, (balanced, _, _)), cards.working(balanced):
        await cards.reach(DEVICES)
        os.kill(first.pid, signal.SIGKILL)
        await cards.reach(DEVICES * ORDERS)
    cards.check(database)


async def test_a_standby_takes_over_no_acknowledged_result_is_lost_and_devices_go_on(pki, own, tmp_path):
    own.create("eim")
    with own.standby() as standby:
        database = own.url_with(standby, "eim")
        cards = Cards(pki, DEVICES)
        async with two_machines(tmp_path, pki, database) as (_, _, (balanced, _, _)), cards.working(balanced):
            await cards.reach(DEVICES)
            await asyncio.to_thread(own.stop)
            await asyncio.to_thread(standby.promote)
            await cards.reach(DEVICES * ORDERS)
        cards.check(standby.url("eim"))
