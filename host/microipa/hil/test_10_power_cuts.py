"""The board loses its supply in the middle and gets it back: the end is always the same."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board, CardView
from microipa.hil.moments import answered, logged, order_done
from microipa.hil.servers import EimDesk, SmdppCounter
from microipa.hil.station import Matcher, Offer

GROUP = "SGP.33-2: interruptions"

pytestmark = pytest.mark.needs("power switch")

CONTACTS = pytest.mark.needs("card contacts")  # where the card's answers are seen

IN_DOWNLOAD = [
    pytest.param(logged("download: trigger for"), id="the trigger has come"),
    pytest.param(answered(0xBF38), id="the card has authenticated the SM-DP+", marks=CONTACTS),
    pytest.param(logged("flows into the card"), id="a package flows into the card"),
    pytest.param(answered(0xBF37), id="installed and nobody knows", marks=CONTACTS),
    pytest.param(order_done("download"), id="the eIM knows and the card still keeps the result"),
]
IN_SWITCH = [
    pytest.param(logged("bytes goes to the card"), id="before the card has the package"),
    pytest.param(answered(0xBF51), id="executed and not yet switched", marks=CONTACTS),
    pytest.param(logged("modem: searching"), id="while the modem attaches again"),
    pytest.param(order_done("package"), id="the eIM has the result"),
]


def _poll_with_a_cut(board: Board, moment: Matcher) -> None:
    board.cut_power_when(moment)
    board.start()
    board.wait_dark()
    board.give_power()
    board.wait()


@pytest.mark.sgp(GROUP, "SGP.32 3.2.3.2")
@pytest.mark.needs("own SM-DP+")
@pytest.mark.parametrize("moment", IN_DOWNLOAD)
def test_a_download_ends_well_whenever_the_power_goes(
    moment: Matcher, board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter
) -> None:
    offer = smdpp.offer()
    order = eim.download(offer.code)
    _poll_with_a_cut(board, moment)
    assert eim.outcome(order)[0] == "done", eim.outcome(order)
    assert card.profiles()[offer.iccid] == "disabled"
    smdpp.until("installed", offer)


@pytest.mark.sgp(GROUP, "SGP.32 3.3.1")
@pytest.mark.needs("disposable profile")
@pytest.mark.parametrize("moment", IN_SWITCH)
def test_a_switch_ends_well_whenever_the_power_goes(
    moment: Matcher, board: Board, eim: EimDesk, card: CardView, spare: Offer
) -> None:
    order = eim.package(("enable", {"iccid": spare.iccid, "rollbackFlag": None}))
    _poll_with_a_cut(board, moment)
    assert eim.outcome(order) == ("done", "enable: ok")
    assert card.enabled() == spare.iccid
