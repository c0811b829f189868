"""Which eIMs the card obeys, as its eIM says."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board
from microipa.hil.servers import EimDesk

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


@pytest.mark.sgp("SGP.33-3 4.2.7: updateEim", "SGP.32 3.5.1.2")
def test_an_eim_moves_to_another_address(board: Board, eim: EimDesk) -> None:
    theirs = eim.configuration() | {"eimId": ANOTHER}
    orders = [
        eim.package(("addEim", theirs)),
        eim.package(("updateEim", {"eimId": ANOTHER, "eimFqdn": "new.another.example"})),
        eim.package(("deleteEim", {"eimId": ANOTHER})),
        eim.package(("updateEim", {"eimId": ANOTHER, "eimFqdn": "late.another.example"})),
    ]
    board.poll()
    added, *others = (eim.outcome(number) for number in orders)
    assert added[0] == "done"  # and the words have the token
    assert others == [
        ("done", "updateEim: ok"), ("done", "deleteEim: ok"), ("failed", "updateEim: eimNotFound"),
    ]  # fmt: skip


@pytest.mark.sgp("SGP.33-3 4.2.8: deleteEim", "SGP.32 3.5.1.3")
def test_an_eim_that_is_not_there_cannot_be_dismissed(board: Board, eim: EimDesk) -> None:
    order = eim.package(("deleteEim", {"eimId": ANOTHER}))
    board.poll()
    assert eim.outcome(order) == ("failed", "deleteEim: eimNotFound")
