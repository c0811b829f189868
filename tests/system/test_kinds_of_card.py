"""A real board with cards of other worlds: with an IPA inside (SGP.32 3.8), consumer and M2M eUICCs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from microipa.euicc import ProfileState
from microipa.lab import BOOTSTRAP_OPERATOR, Lab, new_profile
from microipa.saip import build
from microipa.trace import Event, Trace
from scene import QUICK, answered, es10


class Room:
    """A quick lab with a card of some kind, and what was said in it."""

    def __init__(self, lab: Lab, events: list[Event]) -> None:
        self.lab = lab
        self._events = events

    @property
    def log(self) -> str:
        return "\n".join(event.fields["text"] for event in self._events if event.kind == "log")

    async def run(self) -> None:
        """The board works until nothing is left to do."""
        await self.lab.board.start()
        assert await self.lab.board.wait() == 0

    async def until(self, words: str) -> None:
        """The board works until it says these words, then its power goes."""
        said = asyncio.Event()
        self.lab.trace.listen(lambda event: said.set() if words in str(event.fields.get("text")) else None)
        await self.lab.board.start()
        try:
            await asyncio.wait_for(said.wait(), 60)
        finally:
            self.lab.board.kill()


@asynccontextmanager
async def room(
        folder: Path, config: dict[str, Any] | None = None, heap: str = "180K", **card: Any) -> AsyncIterator[Room]:
    trace = Trace()
    events: list[Event] = []
    trace.listen(events.append)
    settings = QUICK | (config or {})
    async with Lab(folder, radio="none", trace=trace, board_config=settings, heap=heap, card=card) as lab:
        yield Room(lab, events)


def packages(room: Room) -> list[tuple[str, str | None]]:
    return [(view.state, view.result) for view in room.lab.eim.orders() if view.kind == "package"]


# ---- an IPA inside the card


async def test_3_8_2_the_assistant_takes_over_from_an_ipa_inside_the_card(tmp_path: Path) -> None:
    async with room(tmp_path, ipae=True) as it:
        it.lab.eim.order_package(it.lab.eid, [("listEim", {})])
        await it.run()
        assert packages(it) == [("done", "listEim: eim.microipa.example")]


async def test_3_8_2_or_stays_silent_and_leaves_the_card_to_it(tmp_path: Path) -> None:
    async with room(tmp_path, ipae=True, config={"ipae": "stay-silent"}) as it:
        it.lab.eim.order_package(it.lab.eid, [("listEim", {})])
        await it.run()
        assert [state for state, _ in packages(it)] == ["queued"]
        assert "IPAe) is in charge, this assistant stays silent" in it.log
    assert not es10(tmp_path, "BF5500")[0xA0].value  # nor did it give the card an eIM


async def test_3_8_2_where_there_is_no_ipa_inside_nobody_has_to_stay_silent(tmp_path: Path) -> None:
    async with room(tmp_path, config={"ipae": "stay-silent"}) as it:
        it.lab.eim.order_package(it.lab.eid, [("listEim", {})])
        await it.run()
        assert [state for state, _ in packages(it)] == ["done"]


# ---- cards that obey no eIM


async def test_sgp02_an_m2m_card_is_recognised_and_refused_for_a_reason(tmp_path: Path) -> None:
    async with room(tmp_path, kind="m2m") as it:
        await it.until("CardUnfit")
        assert "card: an M2M eUICC (SGP.02)" in it.log
        assert "takes commands from an SM-SR over the air" in it.log


async def test_sgp22_a_consumer_card_is_named_and_the_way_out_with_it(tmp_path: Path) -> None:
    async with room(tmp_path, kind="consumer") as it:
        await it.until("CardUnfit")
        assert "card: a consumer eUICC (SGP.22), SVN 2.5.0" in it.log
        assert '"emulation": true' in it.log


# ---- a consumer card that is made to obey

EMULATION = {"emulation": True}
ROOM = "216K"  # the modules of the emulation and their numbers want a quarter more heap


async def enrol(room: Room) -> None:
    """The board makes its key, the operator takes it to the eIM."""
    await room.run()
    key = (room.lab.folder / "board/ipa.journal.card.pub").read_bytes()
    room.lab.eim.add_device(room.lab.eid, device_key=key)


async def install_second(room: Room) -> ProfileState:
    """A second profile of the bootstrap's operator, downloaded through the eIM."""
    package = build(new_profile("Second", BOOTSTRAP_OPERATOR))
    room.lab.eim.order_download(room.lab.eid, room.lab.offer(package, operator=BOOTSTRAP_OPERATOR), needs_proof=False)
    await room.run()
    return room.lab.euicc.profiles()[1]


async def test_sgp22_an_emulated_consumer_card_enables_and_lists_and_the_result_is_verified(tmp_path: Path) -> None:
    async with room(tmp_path, EMULATION, ROOM, kind="consumer") as it:
        lab = it.lab
        await enrol(it)
        [bootstrap] = lab.euicc.profiles()
        second = await install_second(it)
        lab.eim.order_package(lab.eid, [("listProfileInfo", {}), ("enable", {"iccid": second.iccid})])
        await it.run()
        [(state, result)] = packages(it)
        assert state == "done", result
        assert [profile.state for profile in lab.euicc.profiles()] == ["disabled", "enabled"]
        view = lab.eim.device(lab.eid)
        assert view.device_key
        assert not view.alarms
        assert [profile["state"] for profile in view.profiles or ()] == ["disabled", "enabled"]
        assert bootstrap.iccid in (result or "")


async def test_sgp22_a_power_cut_right_after_the_card_has_switched_loses_no_result(tmp_path: Path) -> None:
    async with room(tmp_path, EMULATION, ROOM, kind="consumer") as it:
        lab = it.lab
        await enrol(it)
        second = await install_second(it)
        switched = answered(0xBF31)
        lab.trace.listen(lambda event: lab.board.kill() if switched(event) else None)
        lab.eim.order_package(lab.eid, [("enable", {"iccid": second.iccid})])
        await lab.board.start()
        assert await lab.board.wait() == -9
        await it.run()
        assert packages(it) == [("done", "enable: ok")]
        assert [profile.state for profile in lab.euicc.profiles()] == ["disabled", "enabled"]
