"""A board that downloads directly from servers of another maker, SM-DS and SM-DP+ under a CI that is not the lab's,
over the real mbedTLS (SGP.32 3.2.3.1, SGP.22 3.6.2, 4.5.2)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from microipa import saip
from microipa.eim import Smds
from microipa.lab import Lab, new_profile
from microipa.lab.keys import LabKeys
from microipa.trace import Event, Trace
from scene import QUICK
from sgp26_like import BRAINPOOL, NIST, SMDPP_ADDRESS, SMDS_ADDRESS, TestSet


@pytest.fixture(scope="module")
def sets() -> dict[str, TestSet]:
    nist = TestSet.make(NIST)
    return {"P-256": nist, "brainpoolP256r1": TestSet.make(BRAINPOOL, nist.web)}


async def download(folder: Path, keys: LabKeys) -> tuple[str, int, str]:
    """State of an order to ask the card's SM-DS, how many profiles came of it, and what the board said."""
    trace, events = Trace(), list[Event]()
    trace.listen(events.append)
    config = {**QUICK, "download": "direct"}
    async with Lab(folder, radio="none", heap="264K", board_config=config, keys=keys, trace=trace) as lab:
        before = len(lab.euicc.profiles())
        lab.smdpp.add_profile(saip.build(new_profile("Foreign")), eid=lab.eid, smds_address=lab.smds.address)
        await lab.smdpp.deliver()
        number = lab.eim.order_download(lab.eid, Smds())
        await lab.board.start()
        await asyncio.wait_for(lab.board.wait(), 60)
        state = next(view.state for view in lab.eim.orders() if view.id == number)
        log = "\n".join(event.fields["text"] for event in events if (event.part, event.kind) == ("board", "log"))
        return state, len(lab.euicc.profiles()) - before, log


@pytest.mark.parametrize("curve", ["P-256", "brainpoolP256r1"])
async def test_3_2_3_1_all_servers_and_the_card_are_under_a_foreign_ci(
        curve: str, sets: dict[str, TestSet], tmp_path: Path) -> None:
    """TLS is on P-256 in both: the card, and not mbedTLS, has to do with the other curve."""
    own = sets[curve].write(tmp_path / "set")
    keys = LabKeys((own / "smdpp",), own / "eim", own / "card", (own / "smds",))
    state, installed, log = await download(tmp_path / "lab", keys)
    assert (state, installed) == ("done", 1), log
    assert f"asking the SM-DS {SMDS_ADDRESS}" in log
    assert f"first from {SMDPP_ADDRESS}" in log


async def test_5_6_1_a_foreign_sm_dp_that_is_trusted_but_has_no_key_under_the_cards_ci_says_so(
        sets: dict[str, TestSet], tmp_path: Path) -> None:
    """Card, eIM and SM-DS are the lab's: with the SM-DS under one CI and the SM-DP+ under the other TLS is made."""
    own = sets["P-256"].write(tmp_path / "set")
    state, installed, log = await download(tmp_path / "lab", LabKeys((own / "smdpp",)))
    assert (state, installed) == ("failed", 0)
    assert f"first from {SMDPP_ADDRESS}" in log
    assert "8.8.2/3.1" in log
