"""The board loses its supply in the middle and gets it back: the end is always the same."""

from __future__ import annotations

from typing import Any

import pytest

from microipa.hil.fixtures import Board, CardView
from microipa.hil.moments import answered, logged, order_done
from microipa.hil.servers import EimDesk, SmdppCounter
from microipa.hil.station import Matcher, Offer

GROUP = "SGP.33-2: interruptions"

pytestmark = pytest.mark.needs("power switch")

IN_DOWNLOAD: dict[str, Matcher] = {
    "the trigger has come": logged("download: trigger for"),
    "the card has authenticated the SM-DP+": answered(0xBF38),
    "a package flows into the card": logged("flows into the card"),
    "installed and nobody knows": answered(0xBF37),
    "the eIM knows and the card still keeps the result": order_done("download"),
}
IN_SWITCH: dict[str, Matcher] = {
    "before the card has the package": logged("bytes goes to the card"),
    "executed and not yet switched": answered(0xBF51),
    "while the modem attaches again": logged("modem: searching"),
    "the eIM has the result": order_done("package"),
}

AT_THE_CARD = ("the card has authenticated the SM-DP+", "installed and nobody knows", "executed and not yet switched")


def _moments(named: dict[str, Matcher]) -> list[Any]:
    """Those in which the card answers are seen at its contacts only."""
    contacts = pytest.mark.needs("card contacts")
    return [pytest.param(name, marks=contacts) if name in AT_THE_CARD else name for name in named]


@pytest.mark.sgp(GROUP, "SGP.32 3.2.3.2")
@pytest.mark.needs("own SM-DP+")
@pytest.mark.parametrize("moment", _moments(IN_DOWNLOAD))
def test_a_download_ends_well_whenever_the_power_goes(
    moment: str, board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter
) -> None:
    offer = smdpp.offer()
    order = eim.download(offer.code)
    board.cut_power_when(IN_DOWNLOAD[moment])
    board.start()
    board.wait_dark()
    board.give_power()
    board.wait()
    assert eim.outcome(order)[0] == "done", eim.outcome(order)
    assert card.profiles()[offer.iccid] == "disabled"
    smdpp.until("installed", offer)


@pytest.mark.sgp(GROUP, "SGP.32 3.3.1")
@pytest.mark.needs("disposable profile")
@pytest.mark.parametrize("moment", _moments(IN_SWITCH))
def test_a_switch_ends_well_whenever_the_power_goes(
    moment: str, board: Board, eim: EimDesk, card: CardView, spare: Offer
) -> None:
    order = eim.package(("enable", {"iccid": spare.iccid, "rollbackFlag": None}))
    board.cut_power_when(IN_SWITCH[moment])
    board.start()
    board.wait_dark()
    board.give_power()
    board.wait()
    assert eim.outcome(order) == ("done", "enable: ok")
    assert card.enabled() == spare.iccid
