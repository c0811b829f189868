"""The eIM on PostgreSQL: some tests of orders, results and injection once more, then what several processes do."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from eim_ipa import Ipa, Refusal, order
from eim_postgresql import database, desk, events, server
from eim_questions import questions, sequential_scans
from euicc_peer import EID
from microipa.asn1.tlv import tlv
from microipa.common.errors import Busy
from microipa.eim import Eim, new_orders
from microipa.eim.store import Base, Device, Store
from microipa.eim.together import Together
from microipa.eim.upkeep import TURN
from microipa.load import postgresql
from microipa.storage.database import StoreBusy
from microipa.storage.schema import StoreUnusable
from microipa.storage.unit_of_work import Work
from sqlalchemy import create_engine
from test_eim_inject import (
    listener,
    test_3_1_1_2_a_serving_eim_hands_over_new_orders_by_itself,
    test_3_1_1_2_what_waits_is_handed_over_settled_and_acknowledged,
)
from test_eim_orders import (
    test_5_14_5_without_orders_there_is_no_package,
    test_an_order_that_nobody_fetched_in_time_expires,
    test_each_package_has_the_next_counter_and_a_transaction_of_its_own,
    test_orders_are_delivered_first_in_first_out_one_at_a_time,
)
from test_eim_results import (
    test_5_14_6_a_repeated_result_is_acknowledged_again_and_changes_nothing,
    test_5_14_6_a_result_may_come_with_an_empty_list_of_notifications,
    test_5_14_6_a_result_may_come_with_notifications,
    test_a_counter_behind_the_cards_is_caught_up,
    test_a_genuine_result_of_no_known_order_is_kept_as_an_alarm,
    test_a_lost_result_is_fetched_from_the_card_after_replay_error,
    test_interop_a_result_without_eid_is_found_by_its_transaction,
)

POLL = tlv(0xBF4F, tlv(0x5A, bytes.fromhex(EID)))


def test_the_steps_of_the_versions_lead_to_the_tables_of_a_new_database(database):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with Store(database).work() as db:
        assert compare_metadata(MigrationContext.configure(db.connection), Base.metadata) == []


def test_two_processes_that_begin_at_once_make_the_tables_once(database):
    failed: list[Exception] = []

    def begin() -> None:
        try:
            Store(database)
        except Exception as error:  # noqa: BLE001 (told below)
            failed.append(error)

    beginning = [threading.Thread(target=begin) for _ in range(4)]
    for one in beginning:
        one.start()
    for one in beginning:
        one.join()
    assert failed == []


def test_no_counter_is_given_twice_by_two_processes(database, desk):
    given: list[int] = []

    def count() -> None:
        store = Store(database)
        for _ in range(50):
            with store.work() as db:
                device = db.get_one(Device, EID)
                device.counter += 1
                given.append(device.counter)

    counting = [threading.Thread(target=count) for _ in range(3)]
    for one in counting:
        one.start()
    for one in counting:
        one.join()
    assert sorted(given) == list(range(1, 151))


async def test_a_device_that_asks_two_processes_at_once_gets_the_same_package(database, desk, ipa, pki):
    desk.order_package(EID, [("listProfileInfo", {})])
    await ipa.introduce()
    other = Eim(pki, database, es9_routes={})
    answers: list[bytes] = []
    asking = [threading.Thread(target=lambda eim=eim: answers.append(asyncio.run(eim.handle(POLL))))
              for eim in (desk, other)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert answers[0] == answers[1]
    assert desk.device(EID).counter == 1


async def test_a_result_may_go_to_another_process_than_the_package_came_from(database, desk, ipa, pki):
    number = desk.order_package(EID, [("listProfileInfo", {})])
    await ipa.introduce()
    package = await ipa.get()
    await Ipa(Eim(pki, database, es9_routes={}).handle, ipa.card).carry_out(package)
    assert order(desk, number).state == "done"


async def test_while_the_database_is_away_devices_are_told_to_come_again_and_then_it_goes_on_by_itself(pki):
    with postgresql.running("fsync=off") as own:
        desk = Eim(pki, own.create("eim"), es9_routes={})
        desk.add_device(EID)
        number = desk.order_data(EID, ["deviceInfo"])
        own.stop()
        for _ in range(2):
            with pytest.raises(Busy, match="try again later"):
                await desk.handle(POLL)
        own.start()
        assert b"\xbf\x52" in await desk.handle(POLL)
        assert order(desk, number).state == "queued"


def test_a_database_that_does_not_answer_is_asked_rarely(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = Store(server.url())
        store.engine = create_engine(f"postgresql+psycopg://127.0.0.1:{silent.getsockname()[1]}/eim?connect_timeout=2")
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(StoreBusy), store.work():
                pass
        assert 2 <= time.monotonic() - began < 3.9


async def test_a_database_that_may_only_be_read_now_is_busy_and_goes_on_by_itself(server, database, desk):
    number = desk.order_data(EID, ["deviceInfo"])
    server.set("default_transaction_read_only", "on")
    try:
        for _ in range(2):
            with pytest.raises(Busy, match="try again later"):
                await desk.handle(POLL)
    finally:
        server.reset("default_transaction_read_only")
    assert b"\xbf\x52" in await desk.handle(POLL)
    assert order(desk, number).state == "queued"


def test_a_database_that_is_not_there_is_one_sentence_before_long(server):
    began = time.monotonic()
    with pytest.raises(StoreBusy, match="cannot be used now: .*does not exist"):
        Store(server.url("nowhere"))
    with pytest.raises(StoreBusy, match="cannot be used now"):
        Store("postgresql://127.0.0.1:1/eim")
    assert time.monotonic() - began < 10


def test_a_password_in_the_url_is_not_told(server):
    with pytest.raises(StoreBusy) as refusal:
        Store("postgresql://eim:secret@127.0.0.1:1/eim")
    assert "secret" not in str(refusal.value)
    with pytest.raises(StoreUnusable):
        Store("postgresql://eim:secret@host:port/eim")


async def test_an_order_of_another_process_is_handed_over_at_once(database, desk, listener, pki, monkeypatch):
    monkeypatch.setattr(new_orders, "LOOK_SECONDS", 3600.0)
    number = Eim(pki, database, es9_routes={}).order_package(EID, [("listProfileInfo", {})])
    await asyncio.wait_for(listener.acknowledged.wait(), 20)
    assert order(desk, number).state == "done"


def test_one_process_at_a_time_does_the_upkeep(database, desk):
    number = desk.order_data(EID, ["deviceInfo"], expires=datetime.now(UTC) - timedelta(seconds=1))
    with Store(database).work() as other:
        assert other.scalar(TURN)
        assert order(desk, number).state == "queued"
    assert order(desk, number).state == "expired"


async def test_two_processes_that_take_the_same_devices_in_another_order_do_not_wait_for_each_other(database, desk):
    eids = [f"{number:032d}" for number in range(40)]
    for eid in eids:
        desk.add_device(eid)
    failed: list[BaseException] = []

    async def count(ordered: list[str]) -> None:
        together = Together(Store(database))
        for _ in range(10):
            steps = (together.work(lambda db, eid=eid: counted(db, eid), eid) for eid in ordered)
            failed.extend(one for one in await asyncio.gather(*steps, return_exceptions=True) if one)

    began = time.monotonic()
    counting = [threading.Thread(target=lambda ordered=ordered: asyncio.run(count(ordered)))
                for ordered in (eids, eids[::-1])]
    for one in counting:
        one.start()
    for one in counting:
        one.join()
    assert failed == []
    assert {view.counter for view in desk.devices() if view.eid in eids} == {20}
    assert time.monotonic() - began < 10


def counted(db: Work, eid: str) -> None:
    db.get_one(Device, eid).counter += 1


async def test_a_poll_that_finds_nothing_is_answered_beside_whoever_writes(database, desk, ipa):
    with Store(database).work() as db:
        db.get_one(Device, EID)
        with pytest.raises(Refusal):
            await ipa.get()


async def test_no_question_on_the_way_of_polls_and_results_looks_at_all_rows(database, desk, ipa):
    desk.order_data(EID, ["euiccInfo2"])
    with questions() as asked:
        for _ in range(2):
            desk.order_package(EID, [("listProfileInfo", {})])
            await ipa.work()
    assert len({statement for statement, _ in asked}) > 10
    assert sequential_scans(database, asked) == set()
