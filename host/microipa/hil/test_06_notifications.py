"""What the card tells the operators travels by the eIM, and is kept until it has arrived."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board, CardView, EimDesk, SmdppCounter
from microipa.hil.station import Offer


@pytest.mark.sgp("SGP.33-2: notifications, SGP.33-3 4.2.13: HandleNotification", "SGP.32 3.7")
@pytest.mark.needs("disposable profile")
def test_enable_and_disable_are_told_and_leave_the_card(
    board: Board, eim: EimDesk, card: CardView, spare: Offer
) -> None:
    eim.package(("enable", {"iccid": spare.iccid}))
    board.poll()
    assert card.enabled() == spare.iccid
    log = board.log()
    assert "notify: notification" in log or "acknowledged, removed from the card" in log
    assert "stays on the card" not in log


@pytest.mark.sgp("SGP.33-2: notifications, SGP.33-3 4.2.13: HandleNotification", "SGP.32 3.7")
@pytest.mark.needs("own SM-DP+", "card contacts")
def test_an_smdpp_that_was_away_hears_of_the_installation_later(
    board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter
) -> None:
    offer = smdpp.offer()
    hidden = smdpp.hide_when_installed()
    order = eim.download(offer.code)
    board.poll()
    assert eim.outcome(order)[0] == "done"
    assert smdpp.outcome(offer)[0] != "installed"
    hidden()
    smdpp.until("installed", offer)
