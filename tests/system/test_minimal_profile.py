"""The IoT Minimal Profile through the whole lab: chosen by the SM-DP+, loaded by the board, attached with."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from microipa.lab import Lab, new_profile
from microipa.saip import build, iccid_to_bytes
from microipa.trace import Event, Trace
from scene import QUICK


def test_an_order_with_both_packages_gives_the_lab_s_card_the_minimal_one(tmp_path: Path) -> None:
    full = new_profile("Meter")
    minimal = replace(full, template="iot-minimal")
    said: list[Event] = []

    async def switch() -> None:
        trace = Trace()
        trace.listen(said.append)
        async with Lab(tmp_path, radio="none", trace=trace, board_config=QUICK) as lab:
            lab.eim.order_download(lab.eid, lab.offer(build(full), build(minimal)))
            operations = [("enable", {"iccid": iccid_to_bytes(full.iccid), "rollbackFlag": None})]
            lab.eim.order_package(lab.eid, operations)
            await lab.board.start()
            assert await lab.board.wait() == 0
            assert {order.state for order in lab.eim.orders()} == {"done"}
            states = {profile.iccid: profile.state for profile in lab.euicc.profiles()}
            assert states[full.iccid] == "enabled"

    asyncio.run(switch())
    offered = [event.fields["text"] for event in said if (event.part, event.kind) == ("smdpp", "order")]
    assert any(text.endswith("is offered the profile, package 2 of 2") for text in offered)
    attached = [event.fields["imsi"] for event in said if event.fields.get("event") == "attach accepted"]
    assert attached[-1] == full.imsi
