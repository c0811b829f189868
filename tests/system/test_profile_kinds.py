"""Kinds of profile packages through the whole lab: chosen by the SM-DP+, loaded by the board, attached with."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from microipa.lab import Lab, new_profile
from microipa.saip import ProfilePackage, build, iccid_to_bytes
from microipa.trace import Event, Trace
from scene import QUICK

TS48 = Path("data", "ts48", "ts48-v7-nobertlv.der")


async def switch(folder: Path, *packages: bytes) -> list[Event]:
    """Download the profile of ``packages`` and enable it; what happened on the way."""
    said: list[Event] = []
    trace = Trace()
    trace.listen(said.append)
    iccid = ProfilePackage.parse(packages[0]).iccid
    async with Lab(folder, radio="none", trace=trace, board_config=QUICK) as lab:
        lab.eim.order_download(lab.eid, lab.offer(*packages), needs_proof=False)
        lab.eim.order_package(lab.eid, [("enable", {"iccid": iccid_to_bytes(iccid), "rollbackFlag": None})])
        await lab.board.start()
        assert await lab.board.wait() == 0
        assert {order.state for order in lab.eim.orders()} == {"done"}, lab.eim.orders()
        assert {profile.iccid: profile.state for profile in lab.euicc.profiles()}[iccid] == "enabled"
    return said


def attached(said: list[Event]) -> str:
    """The IMSI of the last attach, which the network let in by AKA."""
    return [event.fields["imsi"] for event in said if event.fields.get("event") == "attach accepted"][-1]


def test_an_order_with_both_packages_gives_the_lab_s_card_the_minimal_one(tmp_path: Path) -> None:
    full = new_profile("Meter")
    minimal = replace(full, template="iot-minimal")
    said = asyncio.run(switch(tmp_path, build(full), build(minimal)))
    offered = [event.fields["text"] for event in said if (event.part, event.kind) == ("smdpp", "order")]
    assert any(text.endswith("is offered the profile, package 2 of 2") for text in offered)
    assert attached(said) == full.imsi


def test_the_test_profile_of_gsma_attaches_by_the_test_algorithm(tmp_path: Path) -> None:
    found = [path for folder in Path(__file__).parents if (path := folder / "shared" / TS48).exists()]
    if not found:
        pytest.skip("GSMA TS.48 profiles are not beside this checkout")
    assert attached(asyncio.run(switch(tmp_path, found[0].read_bytes()))) == "001010123456789"
