"""The benchmark of the eIM in small, with bounds on ratios, which hold on any machine."""

from __future__ import annotations

from microipa.load.run import Figures, Size, run

OPERATIONS = 320


async def measured(devices: int, orders: int) -> tuple[dict[str, Figures], float]:
    figures: dict[str, Figures] = {}

    def tell(found: Figures) -> None:
        figures[found.name] = found

    memory = await run(Size("sqlite", 1, devices, orders), OPERATIONS, 400, tell)
    return figures, memory


async def test_no_operation_costs_more_for_what_is_queued_for_others_and_an_association_takes_25_kb_at_most():
    few, memory = await measured(10, 0)
    many, _ = await measured(2000, 20_000)
    assert memory < 25_000
    for name, figures in many.items():
        assert figures.failures == 0, name
        assert figures.cpu < 2.5 * few[name].cpu + 0.1, name
    poll = many["poll, CoAPS"].cpu_each
    assert many["poll with DTLS handshake"].cpu_each > poll
    assert many["package cycle, CoAPS"].cpu_each < 20 * poll
