"""Air that loses, doubles and holds back what is sent, takes nothing large, or is not there for a while."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board, CardView, EimDesk, Radio, SmdppCounter, logged

GROUP = "SGP.33-2: bad radio"

pytestmark = pytest.mark.needs("disposable profile", "radio control")

AIRS = {
    "losses, doubles and overtaking": {"loss": 0.03, "reorder": 0.1, "duplicate": 0.05},
    "no large packets": {"mtu": 640},
}


@pytest.mark.sgp(GROUP, "SGP.32 6.2, RFC 7959")
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


@pytest.mark.sgp(GROUP, "SGP.32 3.1.1.1")
@pytest.mark.needs("coverage control")
def test_a_hole_in_the_coverage_in_the_middle_of_a_profile_means_another_attempt(
    board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter, radio: Radio
) -> None:
    offer = smdpp.offer(filler=10_000)
    order = eim.download(offer.code)
    board.start()
    board.until(logged("flows into the card"))
    radio.cover(radio.HOME, False)
    board.until(logged("modem: searching"))
    radio.cover(radio.HOME, True)
    board.wait()
    assert eim.outcome(order)[0] == "done", eim.outcome(order)
    assert offer.iccid in card.profiles()
