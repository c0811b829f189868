"""An eIM that has package after package does not keep a device awake for ever (SGP.32 3.1.1.1)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from microipa.lab import Lab
from microipa.trace import Event, Trace
from scene import QUICK


async def test_3_1_1_1_a_poll_is_bounded_says_so_and_the_next_one_goes_on(tmp_path: Path) -> None:
    trace = Trace()
    events: list[Event] = []
    trace.listen(events.append)
    config = {**QUICK, "packages_per_poll": 3, "poll_interval_s": 1}
    async with Lab(tmp_path / "lab", radio="none", trace=trace, board_config=config) as lab:
        for _ in range(6):
            lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
        await lab.board.start()
        assert await asyncio.wait_for(lab.board.wait(), 60) == 0
        assert {order.state for order in lab.eim.orders()} == {"done"}
    said = [str(event.fields["text"]) for event in events if (event.part, event.kind) == ("board", "log")]
    polls = [line for line in said if "poll: DTLS with" in line or "packages are enough" in line]
    assert [line.split(": ")[1].split(" ")[0] for line in polls] == ["DTLS", "3", "DTLS", "3", "DTLS"]
