"""eIM package retrieval: when the board asks, and what it does when nobody answers."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board
from microipa.hil.moments import logged
from microipa.hil.servers import EimDesk

RETRIEVAL = "SGP.33-2: eIM package retrieval"


@pytest.mark.sgp(RETRIEVAL, "SGP.32 3.1.1.1")
def test_several_orders_are_carried_out_in_their_order_in_one_poll(board: Board, eim: EimDesk) -> None:
    orders = [eim.package(("listProfileInfo", {})), eim.package(("getRAT", {})), eim.ask("euiccInfo2")]
    board.poll()
    views = [eim.order(number) for number in orders]
    assert [view.state for view in views] == ["done"] * 3
    settled = [view.settled.timestamp() for view in views if view.settled]
    assert settled == sorted(settled)
    assert board.log().count("poll: DTLS with") == 1


@pytest.mark.sgp(RETRIEVAL, "SGP.32 3.1.1.1")
def test_a_cancelled_order_is_never_fetched(board: Board, eim: EimDesk) -> None:
    order = eim.package(("listProfileInfo", {}))
    eim.cancel_what_waits()
    board.poll()
    assert (eim.order(order).state, eim.order(order).deliveries) == ("cancelled", 0)


@pytest.mark.sgp(RETRIEVAL, "SGP.32 3.1.1.1")
def test_a_board_in_the_field_polls_again_and_again(board: Board, eim: EimDesk) -> None:
    board.set(**board.often)
    board.start()
    for _ in range(2):
        board.until(logged("poll: the eIM has no package"))
    order = eim.package(("listProfileInfo", {}))
    board.until(logged("poll: the eIM has no more"))
    assert eim.outcome(order)[0] == "done"


@pytest.mark.sgp(RETRIEVAL, "SGP.32 3.1.1.1")
@pytest.mark.needs("network between")
def test_an_eim_that_is_away_is_tried_again(board: Board, eim: EimDesk) -> None:
    order = eim.package(("listProfileInfo", {}))
    put_back = eim.hide()
    board.set(dtls_timeout_s=1)
    board.start()
    board.until(logged("agent: next try in"))
    put_back()
    board.wait()
    assert eim.outcome(order)[0] == "done"


@pytest.mark.sgp("SGP.33-2: eIM package injection", "SGP.32 3.1.1.2")
def test_a_package_is_injected_into_a_board_that_listens(board: Board, eim: EimDesk) -> None:
    board.set(stop_when_idle=False, inject_wait_s=60)
    eim.ask()  # so that it hears of this ability
    board.start()
    board.until(logged("inject: listening"))
    order = eim.package(("listProfileInfo", {}))
    board.until(logged("acknowledged, removed from the card"))
    assert eim.outcome(order)[0] == "done"
    assert "out BF4E" in eim.messages()
