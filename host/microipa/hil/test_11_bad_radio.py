"""Air that loses, doubles and holds back what is sent, or takes nothing large."""

from __future__ import annotations

from typing import Any

import pytest

from microipa.hil.fixtures import Board, CardView, Radio
from microipa.hil.moments import in_profile, logged, nth
from microipa.hil.servers import EimDesk, SmdppCounter

GROUP = "SGP.33-2: bad radio"

pytestmark = pytest.mark.needs("own SM-DP+")

AIRS: dict[str, dict[str, Any]] = {
    "losses, doubles and overtaking": {"loss": 0.03, "reorder": 0.1, "duplicate": 0.05},
    "no large packets": {"mtu": 640},
}


@pytest.mark.sgp(GROUP, "SGP.32 6.2, RFC 7959")
@pytest.mark.needs("radio control")
@pytest.mark.parametrize("air", AIRS)
def test_a_profile_comes_whole(
    air: str, board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter, radio: Radio
) -> None:
    offer = smdpp.offer(filler=4_000)
    radio.degrade(**AIRS[air])
    before = radio.lost()
    order = eim.download(offer.code)
    board.poll()
    assert eim.outcome(order)[0] == "done", eim.outcome(order)
    assert offer.iccid in card.profiles()
    assert radio.lost() > before or air != "no large packets"


@pytest.mark.sgp(GROUP, "SGP.32 3.2.3.2")
@pytest.mark.needs("coverage control", "card contacts")
def test_a_hole_in_the_coverage_in_the_middle_of_a_profile_means_another_attempt(
    board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter, radio: Radio
) -> None:
    board.set(attach_timeout_s=3, dtls_timeout_s=2)
    offer = smdpp.offer(filler=8_000)
    radio.hole(nth(20, in_profile), logged("agent: next try"))
    order = eim.download(offer.code)
    board.poll()
    assert eim.outcome(order)[0] == "done", eim.outcome(order)
    assert offer.iccid in card.profiles()
    assert smdpp.asked().count("getBoundProfilePackage") == 2
