"""The benchmark of the eIM in small, with bounds on ratios, which hold on any machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from microipa.load.fleet import Fleet
from microipa.load.run import DOWNLOADING, SCENARIOS, Figures, Load, Size, run
from microipa.load.server import running, write_configuration

OPERATIONS = 192


async def measured(devices: int, orders: int) -> tuple[dict[str, Figures], float]:
    figures: dict[str, Figures] = {}

    def tell(found: Figures) -> None:
        figures[found.name] = found

    memory = await run(Size("sqlite", 1, devices, orders), OPERATIONS, 200, tell, SCENARIOS[:2])
    return figures, memory


async def test_no_operation_costs_more_for_what_is_queued_for_others_and_an_association_takes_25_kb_at_most():
    few, memory = await measured(10, 0)
    assert few["download through the eIM"].operations == 2 * DOWNLOADING
    many, _ = await measured(2000, 20_000)
    assert memory < 25_000
    for name, figures in many.items():
        assert (few[name].failures, figures.failures) == (0, 0), name
        assert figures.cpu < 2.5 * few[name].cpu + 0.1, name
    poll = many["poll, CoAPS"].cpu_each
    assert many["poll with DTLS handshake"].cpu_each > poll
    assert many["package cycle, CoAPS"].cpu_each < 20 * poll


@contextlib.asynccontextmanager
async def loaded(folder: Path, pki, limits: str = "") -> AsyncIterator[Load]:
    config = write_configuration(folder, pki, "eim.sqlite")
    with config.open("a") as file:
        file.write(f"[dtls]\n{limits}\n")
    fleet = Fleet(folder / "eim.sqlite", pki.eim_tls, 100, 8)
    async with running(config) as server:
        yield Load(server, fleet, pki, 8, OPERATIONS)


async def test_devices_that_come_back_together_over_a_slow_link_are_all_served(pki, tmp_path):
    async with loaded(tmp_path, pki) as load:
        figures = await load.returning(devices=150, within=1.0, rtt=0.5)
    assert figures.failures == 0
    assert figures.elapsed < 30


async def test_devices_far_away_get_in_while_a_host_that_finishes_no_handshake_fills_all_places(pki, tmp_path):
    async with loaded(tmp_path, pki, "max_half_open = 100") as load:
        honest, attacker = await load.attacked(devices=10, rtt=0.5, ports=200, rate=300)
    assert honest.failures == 0
    assert max(honest.latencies) < 20
    assert attacker.operations > 200


async def test_the_associations_that_polled_first_live_beside_all_that_came_later(pki, tmp_path):
    async with loaded(tmp_path, pki) as load:
        _, polls = await load.living(300)
    assert polls.failures == 0


async def test_two_loads_on_one_machine_do_not_take_each_others_addresses(pki, tmp_path):
    async with loaded(tmp_path, pki) as load:
        both = await asyncio.gather(load.living(40), load.living(40))
    assert [polls.failures for _, polls in both] == [0, 0]
