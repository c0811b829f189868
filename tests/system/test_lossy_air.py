"""A download over radio links that lose datagrams, send some twice, let some overtake others, or take no large ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from microipa.lab import Lab, new_profile
from microipa.lab.demo import Meter, run_board
from microipa.radio import LinkSettings
from microipa.saip import build
from microipa.trace import Event
from scene import QUICK

AIR = LinkSettings(loss=0.04, reorder=0.15, duplicate=0.05, seed=3, speedup=100)


@pytest.mark.parametrize("q_block", [False, True], ids=["RFC 7959", "RFC 9177"])
async def test_a_profile_comes_whole_in_blocks_and_in_bursts(tmp_path: Path, q_block: bool) -> None:
    events: list[Event] = []
    async with Lab(tmp_path, radio=AIR, heap="216K", board_config={**QUICK, "q_block": q_block}) as lab:
        lab.trace.listen(events.append)
        lab.eim.order_download(lab.eid, lab.offer(build(new_profile("Lossy", filler=15_000))), needs_proof=False)
        await run_board(lab, Meter(lab.trace))
        counters = lab.link.counters
        assert [view.state for view in lab.eim.orders(lab.eid)] == ["done", "done"]
        assert [profile.name for profile in lab.euicc.profiles()] == ["Bootstrap", "Lossy"]
    lost = counters.up.lost + counters.down.lost
    assert lost > 1
    if q_block:
        assert counters.round_trips < 18 < counters.down.datagrams - lost  # of 16 blocks and all the rest
    installs = [event for event in events if event.part == "smdpp" and event.kind == "es9"]
    assert [event.fields["function"] for event in installs].count("getBoundProfilePackage") == 1


async def test_a_path_for_small_packets_only_is_found_out_once(tmp_path: Path) -> None:
    events: list[Event] = []
    air = LinkSettings(mtu=640, speedup=100)
    async with Lab(tmp_path, radio=air, board_config=QUICK) as lab:
        lab.trace.listen(events.append)
        lab.eim.order_download(lab.eid, lab.offer(build(new_profile("Narrow", filler=3_000))), needs_proof=False)
        await run_board(lab, Meter(lab.trace))
        assert [view.state for view in lab.eim.orders(lab.eid)] == ["done", "done"]
    smaller = [event for event in events if "next with blocks of" in str(event.fields.get("text"))]
    assert [str(event.fields["text"]).split("next ")[1] for event in smaller] == ["with blocks of 512 bytes"]
