"""A profile that does not reach the eIM is left again."""

from __future__ import annotations

import pytest

from microipa.eim.packages import ROLLED_BACK
from microipa.hil.fixtures import Board, CardView, Radio
from microipa.hil.moments import logged
from microipa.hil.servers import EimDesk
from microipa.hil.station import Offer, Station

GROUP = "SGP.33-1, SGP.33-2: rollback"
WINDOW = {"rollback_window_s": 2, "attach_timeout_s": 1, "dtls_timeout_s": 1}

pytestmark = pytest.mark.needs("disposable profile", "coverage control")


def switch(eim: EimDesk, spare: Offer, **more: None) -> int:
    return eim.package(("enable", {"iccid": spare.iccid, **more}))


@pytest.mark.sgp(GROUP, "SGP.32 3.3.2")
def test_without_coverage_the_card_goes_back_and_the_eim_is_told(
    board: Board, eim: EimDesk, card: CardView, radio: Radio, spare: Offer, station: Station
) -> None:
    board.set(**WINDOW)
    radio.cover(radio.AWAY, False)
    order = switch(eim, spare, rollbackFlag=None)
    board.poll()
    assert card.enabled() == station.home
    assert eim.outcome(order) == ("failed", f"{ROLLED_BACK}; before: enable: ok")
    assert eim.causes() == []  # what an eIM ordered itself it learns by the result


@pytest.mark.sgp(GROUP, "SGP.32 3.3.2")
def test_a_profile_that_proves_itself_within_the_window_stays(
    board: Board, eim: EimDesk, card: CardView, radio: Radio, spare: Offer
) -> None:
    board.set(**{**WINDOW, "rollback_window_s": 60})
    radio.cover(radio.AWAY, False)
    order = switch(eim, spare, rollbackFlag=None)
    board.start()
    board.until(logged("are left for the new profile"))
    radio.cover(radio.AWAY, True)
    board.wait()
    assert card.enabled() == spare.iccid
    assert eim.outcome(order) == ("done", "enable: ok")


@pytest.mark.sgp(GROUP, "SGP.32 3.3.2")
def test_without_the_flag_the_device_keeps_trying(
    board: Board, eim: EimDesk, card: CardView, radio: Radio, spare: Offer
) -> None:
    board.set(**WINDOW)
    radio.cover(radio.AWAY, False)
    order = switch(eim, spare)
    board.start()
    for _ in range(2):
        board.until(logged("agent: next try"))
    radio.cover(radio.AWAY, True)
    board.wait()
    assert card.enabled() == spare.iccid
    assert eim.outcome(order) == ("done", "enable: ok")
