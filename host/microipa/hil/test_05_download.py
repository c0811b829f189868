"""Profiles come onto the card, through the eIM and from the SM-DP+ itself."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board, CardView
from microipa.hil.servers import EimDesk, SmdppCounter

INDIRECT, DIRECT = "SGP.33-2: indirect profile download", "SGP.33-2: direct profile download"
ALL_OF_IT = ["initiateAuthentication", "authenticateClient", "getBoundProfilePackage", "handleNotification"]

pytestmark = pytest.mark.needs("own SM-DP+")


@pytest.fixture(params=["indirect", "direct"])
def download(request: pytest.FixtureRequest, board: Board) -> str:
    """How the board downloads in this case."""
    if request.param == "direct":
        board.set(download="direct")
    return str(request.param)


BOTH = pytest.mark.parametrize(
    "download",
    [
        pytest.param("indirect", marks=pytest.mark.sgp(INDIRECT, "SGP.32 3.2.3.2")),
        pytest.param("direct", marks=[pytest.mark.sgp(DIRECT, "SGP.32 3.2.3.1"),
                                      pytest.mark.needs("SM-DP+ in reach", "heap for direct downloads")]),
    ],
    indirect=True,
)


@BOTH
def test_a_profile_is_downloaded_and_everyone_hears_of_it(
    download: str, board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter
) -> None:
    offer = smdpp.offer()
    order = eim.download(offer.code)
    board.poll()
    assert eim.outcome(order)[0] == "done", eim.outcome(order)
    assert card.profiles()[offer.iccid] == "disabled"
    smdpp.until("installed", offer)
    assert smdpp.asked() == ALL_OF_IT
    assert ("in BF3B" in eim.messages()) == (download == "indirect")  # AuthenticateClientRequestEsipa


@BOTH
def test_an_order_that_the_smdpp_does_not_know_fails(download: str, board: Board, eim: EimDesk, card: CardView) -> None:
    before = card.profiles()
    order = eim.download("LPA:1$smdpp.microipa.example$NO-SUCH-ORDER")
    board.poll()
    assert eim.outcome(order)[0] == "failed"
    assert card.profiles() == before


@pytest.mark.sgp(INDIRECT, "SGP.32 3.2.3.2")
def test_a_large_profile_flows_through_a_small_heap(
    board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter
) -> None:
    offer = smdpp.offer("Large", filler=30_000)
    order = eim.download(offer.code)
    board.poll()
    assert eim.outcome(order)[0] == "done", eim.outcome(order)
    assert offer.iccid in card.profiles()


@pytest.mark.sgp(INDIRECT, "SGP.32 3.2.3.2")
def test_an_smdpp_that_is_away_leaves_the_order_open(board: Board, eim: EimDesk, smdpp: SmdppCounter) -> None:
    offer = smdpp.offer()
    smdpp.hide()
    order = eim.download(offer.code)
    board.poll()
    state, words = eim.outcome(order)
    assert state == "delivered"
    assert "the next one at a later poll" in words
