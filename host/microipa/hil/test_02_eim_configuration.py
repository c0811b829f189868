"""Which eIMs the card obeys, as its eIM says."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board, EimDesk

ANOTHER = "eim.another.example"


@pytest.mark.sgp("SGP.33-3 4.2.6: addEim", "SGP.32 5.9.8")
def test_an_eim_joins_and_leaves_again(board: Board, eim: EimDesk) -> None:
    theirs = {name: value for name, value in eim.configuration().items() if name != "eimFqdn"} | {"eimId": ANOTHER}
    adding = eim.package(("addEim", theirs), ("listEim", {}))
    board.poll()
    assert eim.outcome(adding)[0] == "done", eim.outcome(adding)
    assert ANOTHER in eim.device().eims
    leaving = eim.package(("deleteEim", {"eimId": ANOTHER}), ("listEim", {}))
    board.poll()
    assert eim.outcome(leaving)[0] == "done", eim.outcome(leaving)
    assert ANOTHER not in eim.device().eims


@pytest.mark.sgp("SGP.33-3 4.2.8: deleteEim", "SGP.32 3.5.1.3")
def test_an_eim_that_is_not_there_cannot_be_dismissed(board: Board, eim: EimDesk) -> None:
    order = eim.package(("deleteEim", {"eimId": ANOTHER}))
    board.poll()
    assert eim.outcome(order) == ("failed", "deleteEim: eimNotFound")
