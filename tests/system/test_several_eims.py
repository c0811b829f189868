"""Several eIMs on one card, served by a real board: in turn, replaced in the field, one of them gone (SGP.32 3.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from microipa.asn1 import sgp32
from microipa.eim import OrderView
from microipa.lab import Lab
from microipa.lab.scenarios.switch_eim import replace_eim
from microipa.trace import Event, Trace
from scene import QUICK, es10

NEW = "eim2.microipa.example"


@asynccontextmanager
async def two_eims(
        folder: Path, events: list[Event], *, quirks: tuple[str, ...] = (), **config: object) -> AsyncIterator[Lab]:
    trace = Trace()
    trace.listen(events.append)
    async with Lab(folder, radio="none", trace=trace, board_config={**QUICK, **config}, two_eims=True,
                   quirks=quirks) as lab:
        yield lab


def order_new_eim(lab: Lab, *more: tuple[str, dict[str, object]]) -> int:
    """The eIM of the card orders that the second one joins it."""
    configuration = sgp32.decode("EimConfigurationData", lab.eim2.configuration("pin"))
    return lab.eim.order_package(lab.eid, [("addEim", configuration), *more])


def states(orders: list[OrderView]) -> list[str]:
    return [f"{view.kind} {view.state}" for view in orders]


def known(folder: Path) -> list[str]:
    """The eIMs in the card's memory."""
    return [one[0x80].value.decode() for one in es10(folder, "BF5500").children()[0].children()]


async def test_3_5_each_eim_is_served_with_its_own_address_trust_token_and_counter(tmp_path: Path) -> None:
    events: list[Event] = []
    async with two_eims(tmp_path, events) as lab:
        order_new_eim(lab)
        lab.eim2.order_package(lab.eid, [("listProfileInfo", {})])
        await lab.board.start()
        assert await lab.board.wait() == 0
        assert states(lab.eim.orders()) == ["package done", "data done"]
        assert states(lab.eim2.orders()) == ["package done", "data done"]
        assert (lab.eim.device(lab.eid).association_token, lab.eim2.device(lab.eid).association_token) == (1, 2)
        assert (lab.eim.device(lab.eid).counter, lab.eim2.device(lab.eid).counter) == (1, 1)
        lab.eim.order_package(lab.eid, [("listEim", {})])  # both again, the first one first
        lab.eim2.order_package(lab.eid, [("listEim", {})])
        await lab.board.start()
        assert await lab.board.wait() == 0
        assert states(lab.eim.orders())[-1] == states(lab.eim2.orders())[-1] == "package done"
        assert not lab.eim.device(lab.eid).alarms
        assert not lab.eim2.device(lab.eid).alarms
    assert known(tmp_path) == ["eim.microipa.example", NEW]


@pytest.mark.covers("eco.addEim.associationToken", "eco.deleteEim.ok", "eco.listEim.eimIdList")
async def test_3_5_1_an_eim_is_replaced_in_the_field_and_the_device_asks_the_new_one_alone(tmp_path: Path) -> None:
    events: list[Event] = []
    async with two_eims(tmp_path, events, stop_when_idle=False, poll_interval_s=1) as lab:
        outcome = await replace_eim(lab)
        assert outcome.succeeded
    dismissed = next(place for place, event in enumerate(events)
                     if event.kind == "order" and "deleteEim: ok" in (event.fields.get("result") or ""))
    assert {event.part for event in events[dismissed:] if event.kind == "esipa"} == {"eim2"}
    assert known(tmp_path) == [NEW]


async def test_3_5_1_2_an_eim_that_deletes_itself_gets_its_result_before_it_is_forgotten(tmp_path: Path) -> None:
    events: list[Event] = []
    async with two_eims(tmp_path, events) as lab:
        order_new_eim(lab, ("deleteEim", {"eimId": "eim.microipa.example"}))
        lab.eim2.order_package(lab.eid, [("listEim", {})])
        await lab.board.start()
        assert await lab.board.wait() == 0
        [replaced] = [view for view in lab.eim.orders() if view.kind == "package"]
        assert (replaced.state, replaced.result) == ("done", "addEim: token 2, deleteEim: ok")
        assert states(lab.eim2.orders()) == ["package done", "data done"]
    assert known(tmp_path) == [NEW]
    assert es10(tmp_path, "BF2B04A0028200").value == bytes.fromhex("A200")  # no result waits for anybody


async def test_3_1_1_1_an_eim_that_is_gone_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    events: list[Event] = []
    async with two_eims(tmp_path, events, dtls_timeout_s=2) as lab:
        order_new_eim(lab)
        await lab.board.start()
        assert await lab.board.wait() == 0
        lab.network.route("eim.microipa.example", 5684, ("127.0.0.1", 9))  # discard: nobody answers
        lab.eim2.order_package(lab.eid, [("listProfileInfo", {})])
        told = asyncio.Event()

        def hear(event: Event) -> None:
            if event.kind == "log" and "EimFailed: 1 of 2 eIMs" in event.fields["text"]:
                told.set()

        lab.trace.listen(hear)
        await lab.board.start()
        await asyncio.wait_for(told.wait(), 60)
        lab.board.kill()
        assert states(lab.eim2.orders()) == ["package done", "data done"]
    log = [event.fields["text"] for event in events if event.kind == "log"]
    assert any("poll: eIM eim.microipa.example:" in line for line in log)


async def test_3_1_1_2_an_eim_that_injects_acknowledgements_of_everything_removes_nothing_of_another(
        tmp_path: Path) -> None:
    events: list[Event] = []
    quirks = ("foreign-injects", "notification-4xx:1")  # what the first eIM refuses stays on the card for now
    async with two_eims(tmp_path, events, inject_wait_s=1, quirks=quirks) as lab:
        lab.eim.order_download(lab.eid, lab.offer(), needs_proof=False)
        await lab.board.start()
        assert await asyncio.wait_for(lab.board.wait(), 60) == 0
        assert states(lab.eim.orders()) == ["download done", "data done"]
    log = [event.fields["text"] for event in events if event.kind == "log"]
    assert [line for line in log if line.endswith("is not this eIM's to acknowledge")]
    assert es10(tmp_path, "BF2B00").raw.hex() == "bf2b02a000"  # in the end its own eIM has taken it


@pytest.mark.covers("cause.otherEim")
async def test_5_14_5_an_eim_hears_that_another_one_has_changed_the_profile(tmp_path: Path) -> None:
    events: list[Event] = []
    async with two_eims(tmp_path, events) as lab:
        order_new_eim(lab)
        lab.eim.order_download(lab.eid, lab.offer(), needs_proof=False)
        await lab.board.start()
        assert await lab.board.wait() == 0
        assert states(lab.eim.orders()) == ["package done", "download done", "data done"]
        lab.eim.order_package(lab.eid, [("enable", {"iccid": lab.euicc.profiles()[1].iccid})])
        await lab.board.start()
        assert await lab.board.wait() == 0
        assert states(lab.eim.orders())[-1] == "package done"
        assert lab.eim.device(lab.eid).state_change is None
        assert lab.eim2.device(lab.eid).state_change == "otherEim"
