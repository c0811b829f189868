"""What the card tells the operators travels by the eIM, and is kept until it has arrived."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board, CardView
from microipa.hil.moments import notified
from microipa.hil.servers import EimDesk, SmdppCounter
from microipa.hil.station import Station


@pytest.mark.sgp("SGP.33-2: notifications, SGP.33-3 4.2.13: HandleNotification", "SGP.32 3.7")
@pytest.mark.needs("own SM-DP+", "own operator")
def test_the_operator_hears_of_enable_disable_and_delete_and_nothing_stays_on_the_card(
    board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter, station: Station
) -> None:
    offer = smdpp.offer()
    orders = [eim.download(offer.code), eim.package(("enable", {"iccid": offer.iccid}))]
    board.poll()
    board.until(notified("enable", offer.iccid))
    orders += [eim.package(("enable", {"iccid": station.home})), eim.package(("delete", {"iccid": offer.iccid}))]
    board.poll()
    board.until(notified("disable", offer.iccid))
    board.until(notified("delete", offer.iccid))
    kept = eim.ask("notificationsList")
    board.poll()
    assert [eim.outcome(number)[0] for number in (*orders, kept)] == ["done"] * 5
    told = eim.order(kept).details
    assert told
    assert told["ipaEuiccData"]["notificationsList"] == []


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
