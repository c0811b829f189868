"""A home network that is lost for good: the board falls back and tells its eIM."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board, CardView, Radio
from microipa.hil.moments import listened, logged, told
from microipa.hil.servers import EimDesk
from microipa.hil.station import Offer, Station

SOON = {
    "attach_timeout_s": 3, "dtls_timeout_s": 2,
    "fallback_unregistered_s": 3, "rollback_window_s": 60,
}  # fmt: skip


def _lose_home(board: Board, eim: EimDesk, radio: Radio, spare: Offer) -> None:
    """Let the home network go silent, and wait until the eIM has heard of the fallback."""
    board.set(**board.often, **SOON)
    eim.package(("setFallbackAttribute", {"iccid": spare.iccid}))
    board.start()
    board.until(logged("poll: the eIM has no more"))
    radio.cover(radio.HOME, False)
    board.until(told("fallback"))


@pytest.mark.sgp("SGP.33-1, SGP.33-2: fallback", "SGP.32 5.9.20")
@pytest.mark.needs("disposable profile", "coverage control")
def test_without_registration_it_falls_back_and_tells_its_eim(
    board: Board, eim: EimDesk, card: CardView, radio: Radio, spare: Offer
) -> None:
    _lose_home(board, eim, radio, spare)
    assert card.enabled() == spare.iccid
    assert eim.causes() == ["fallback"]


@pytest.mark.sgp("SGP.33-1, SGP.33-2: return from fallback", "SGP.32 5.9.21")
@pytest.mark.needs("disposable profile", "coverage control")
def test_it_comes_home_as_soon_as_home_is_heard_again_and_tells_that_too(
    board: Board, eim: EimDesk, card: CardView, radio: Radio, spare: Offer, station: Station
) -> None:
    _lose_home(board, eim, radio, spare)
    board.until(listened)  # that home is gone
    radio.cover(radio.HOME, True)
    board.until(told("fallback"))
    board.until(logged("home again"))
    assert card.enabled() == station.home
    assert eim.causes() == ["fallback", "fallback"]
