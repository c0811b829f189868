"""The eIM's database: versions of its tables, what a poll costs it, and who waits for whom."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from eim_ipa import OTHER_EID, Refusal, order
from eim_questions import questions
from euicc_peer import EID
from microipa.asn1.tlv import tlv
from microipa.eim import Eim, UnknownDevice, upkeep
from microipa.eim.forwarder import Forwarder
from microipa.eim.questions import next_order
from microipa.eim.store import SCHEMA, Base, Device, Forward, Order, RelayedAnswer, Store
from microipa.eim.together import Together
from microipa.eim.upkeep import Upkeep
from microipa.storage.schema import StoreUnusable
from microipa.storage.unit_of_work import Work
from sqlalchemy import create_engine, inspect

LIST = [("listProfileInfo", {})]
BEFORE_VERSIONS = Path(__file__).with_name("eim_before_versions.sql")


def raw(folder: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(folder / "eim.sqlite"))


# Versions of the tables


def earlier(folder: Path) -> None:
    """A database from before versions, with a device and an order for it."""
    with raw(folder) as database:
        database.executescript(BEFORE_VERSIONS.read_text())
        database.execute("INSERT INTO devices (eid, counter, highest_sequence) VALUES (?, 7, 3)", (EID,))
        database.execute(
            "INSERT INTO orders (eid, kind, state, summary, content, deliveries, refusals, created)"
            " VALUES (?, 'query', 'queued', 'ask', x'5C0181', 0, 0, 1.0)", (EID,)
        )
        database.commit()


def test_tables_from_before_versions_become_those_of_a_new_database(tmp_path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    earlier(tmp_path)
    store = Store(tmp_path / "eim.sqlite")
    with store.work() as db:
        context = MigrationContext.configure(db.connection)
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == SCHEMA.newest


async def test_an_eim_from_before_versions_goes_on_with_what_it_had(pki, tmp_path):
    earlier(tmp_path)
    desk = Eim(pki, tmp_path, es9_routes={})
    assert desk.device(EID).counter == 7
    assert b"\xbf\x52" in await desk.handle(tlv(0xBF4F, tlv(0x5A, bytes.fromhex(EID))))
    assert [(view.summary, view.state) for view in desk.orders()][0] == ("ask", "queued")


def test_a_column_that_an_earlier_version_lacked_is_added(tmp_path):
    earlier(tmp_path)
    with raw(tmp_path) as database:
        database.execute("ALTER TABLE devices DROP COLUMN rplmn")
        database.execute("DROP TABLE device_keys")
        database.commit()
    Store(tmp_path / "eim.sqlite")
    with raw(tmp_path) as database:
        assert "rplmn" in [row[1] for row in database.execute("PRAGMA table_info(devices)")]
        assert database.execute("SELECT count(*) FROM device_keys").fetchone() == (0,)


def test_a_new_database_needs_no_steps_and_opens_again(tmp_path):
    Store(tmp_path / "eim.sqlite")
    with questions() as asked:
        Store(tmp_path / "eim.sqlite")
    assert not [statement for statement, _ in asked if statement.startswith(("CREATE", "ALTER", "INSERT"))]


def test_tables_newer_than_the_program_are_refused_with_both_versions(tmp_path):
    Store(tmp_path / "eim.sqlite")
    with raw(tmp_path) as database:
        database.execute("UPDATE alembic_version SET version_num = '0999'")
        database.commit()
    with pytest.raises(StoreUnusable, match=f"has version 0999 .* up to {SCHEMA.newest}"):
        Store(tmp_path / "eim.sqlite")


def test_tables_of_an_earlier_version_stay_as_they_are_where_they_can_only_be_read(tmp_path):
    earlier(tmp_path)
    engine = create_engine(f"sqlite:///{tmp_path / 'eim.sqlite'}")
    with engine.connect() as connection:
        with pytest.raises(StoreUnusable, match="here is of an earlier version and cannot be written"):
            SCHEMA.prepare(connection, "here", reads_only=True)
        assert not inspect(connection).has_table("alembic_version")
    engine.dispose()


@pytest.mark.parametrize("url", ["mysql://host/eim", "postgresql://host:port/eim", "://"])
def test_a_url_of_no_database_is_named(url):
    with pytest.raises(StoreUnusable, match="postgresql://"):
        Store(url)


# What the upkeep removes, and when the forwarder looks again


def test_the_upkeep_removes_what_is_old_a_part_at_a_time_and_tells_when_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "AT_ONCE", 2)
    store = Store(tmp_path / "eim.sqlite")
    now = time.time()
    with store.work() as db:
        for number, age in enumerate((9, 9, 9, 0)):
            db.add(RelayedAnswer(request=str(number), answer=b"", created=now - age * upkeep.ANSWER_SECONDS))
    more = []
    for _ in range(3):
        with store.work() as db:
            more.append(upkeep._prune_answers(db))
    assert more == [True, False, False]
    with raw(tmp_path) as database:
        assert database.execute("SELECT request FROM relayed_answers").fetchall() == [("3",)]


def test_the_upkeep_has_nothing_to_do_twice_for_a_time_that_a_wrong_clock_has_set(tmp_path):
    store = Store(tmp_path / "eim.sqlite")
    now = time.time()
    with store.work() as db:
        db.add(Forward(digest="a", address="x", message=b"", summary="s", due=now + 1e6))
    with store.work() as db:
        assert upkeep._bring_forward(db) is False
    with raw(tmp_path) as database:
        assert database.execute("SELECT due FROM forwards").fetchone()[0] < now + 60


def test_the_upkeep_ends_all_late_orders_of_a_file(desk, tmp_path):
    number = desk.order_package(EID, LIST)
    with raw(tmp_path) as database:
        database.execute("UPDATE orders SET expires = 1.0")
        database.commit()
    Upkeep(desk._store, desk._orders).expire()
    assert order(desk, number).state == "expired"


@pytest.mark.parametrize(("due", "least", "most"), [
    (None, 30, 30), (-100, 0, 0), (10, 5, 10), (100, 30, 30)])
def test_the_forwarder_looks_again_when_the_next_is_due_and_after_half_a_minute(tmp_path, due, least, most):
    store = Store(tmp_path / "eim.sqlite")
    if due is not None:
        with store.work() as db:
            db.add(Forward(digest="a", address="x", message=b"", summary="s", due=time.time() + due))
    pause = Forwarder(store, None)._pause()  # asks no server
    assert least <= pause <= most


# What goes on the way of a poll and of a result


async def test_a_poll_that_finds_nothing_asks_once_and_writes_nothing(desk, ipa):
    with questions() as asked, pytest.raises(Refusal):
        await ipa.get()
    assert len([statement for statement, _ in asked if statement.startswith("SELECT")]) == 1
    assert not [statement for statement, _ in asked if statement.startswith(("BEGIN IMMEDIATE", "UPDATE", "INSERT"))]


async def test_a_poll_is_seen_though_it_was_not_written_yet(desk, ipa):
    before = time.time()
    with pytest.raises(Refusal):
        await ipa.get()
    last_poll = desk.device(EID).last_poll
    assert last_poll is not None
    assert last_poll.timestamp() >= before


async def test_a_serving_eim_writes_polls_for_other_processes(desk, ipa, pki, tmp_path):
    async with desk.serve():
        with pytest.raises(Refusal):
            await ipa.get()
    assert Eim(pki, tmp_path, es9_routes={}).device(EID).last_poll is not None


async def test_a_late_order_ends_at_its_devices_poll_and_those_of_others_are_left_to_the_upkeep(desk, ipa, tmp_path):
    desk.add_device(OTHER_EID)
    ours, theirs = (desk.order_data(eid, ["deviceInfo"]) for eid in (EID, OTHER_EID))
    with raw(tmp_path) as database:
        database.execute("UPDATE orders SET expires = 1.0")
        database.commit()
    with pytest.raises(Refusal):
        await ipa.get()
    with raw(tmp_path) as database:
        states = dict(database.execute("SELECT id, state FROM orders"))
    assert states == {ours: "expired", theirs: "queued"}
    assert order(desk, theirs).state == "expired"


def test_an_unknown_eid_is_answered_with_a_few_of_those_that_are_known(desk):
    for number in range(50):
        desk.add_device(f"{number:032d}")
    with pytest.raises(UnknownDevice) as refusal:
        desk.device(OTHER_EID)
    assert len(str(refusal.value)) < 300


def test_who_looks_at_devices_does_not_wait_for_whoever_writes(desk, tmp_path):
    with raw(tmp_path) as database:
        database.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert [view.eid for view in desk.devices()] == [EID]
        assert time.monotonic() - began < 2


# What is asked at the same moment


async def test_what_is_asked_at_the_same_moment_is_kept_by_one_transaction(desk):
    desk.add_device(OTHER_EID)
    polls = [tlv(0xBF4F, tlv(0x5A, bytes.fromhex(eid))) for eid in (EID, OTHER_EID)]
    for eid in (EID, OTHER_EID):
        desk.order_data(eid, ["deviceInfo"])
    with questions() as asked:
        answers = await asyncio.gather(*(desk.handle(poll) for poll in polls))
    assert all(b"\xbf\x52" in answer for answer in answers)
    assert [statement for statement, _ in asked].count("BEGIN IMMEDIATE") == 1


def writes(eid: str) -> Callable[[Work], None]:
    def step(db: Work) -> None:
        db.get_one(Device, eid).rplmn = "001-01"

    return step


def writes_and_fails(db: Work) -> None:
    db.get_one(Device, EID).rplmn = "999-99"
    raise UnknownDevice("after all")


async def test_a_step_that_fails_after_it_has_written_takes_back_its_own_and_nothing_of_the_others(desk, tmp_path):
    desk.add_device(OTHER_EID)
    together = Together(Store(tmp_path / "eim.sqlite"))
    steps = writes(EID), writes_and_fails, writes(OTHER_EID)
    first, failed, last = await asyncio.gather(*map(together.work, steps), return_exceptions=True)
    assert (first, str(failed), last) == (None, "after all", None)
    assert [view.rplmn for view in desk.devices()] == ["001-01", "001-01"]


async def test_a_thousand_steps_at_once_all_come_to_their_end(tmp_path, desk):
    together = Together(Store(tmp_path / "eim.sqlite"))

    def count(db: Work) -> int:
        device = db.get_one(Device, EID)
        device.counter += 1
        return device.counter

    assert sorted(await asyncio.gather(*(together.work(count) for _ in range(1000)))) == list(range(1, 1001))


async def test_what_many_devices_ask_at_once_is_read_and_written_by_few_statements(desk, pki, tmp_path):
    eids = [f"{number:032d}" for number in range(20)]
    for eid in eids:
        desk.add_device(eid, device_key=pki.eim_tls.spki)
        desk.order_package(eid, LIST)
    with raw(tmp_path) as database:
        database.execute("UPDATE devices SET token = 1")
        database.commit()
    with questions() as asked:
        await asyncio.gather(*(desk.handle(tlv(0xBF4F, tlv(0x5A, bytes.fromhex(eid)))) for eid in eids))
    statements = [statement for statement, _ in asked]
    assert len([one for one in statements if one.startswith("UPDATE")]) == 2  # devices, orders
    assert len([one for one in statements if "FROM devices LEFT OUTER JOIN device_keys" in one]) == 1


def test_a_question_sees_what_was_changed_before_it_and_writes_nothing_of_another_device(desk, tmp_path):
    desk.add_device(OTHER_EID)
    number, others = (desk.order_data(eid, ["deviceInfo"]) for eid in (EID, OTHER_EID))
    with Store(tmp_path / "eim.sqlite").work() as db:
        for one in (number, others):
            db.get_one(Order, one).state = "cancelled"
        with questions() as asked:
            assert next_order(db, EID) is None
        assert [parameters[-1] for statement, parameters in asked if statement.startswith("UPDATE")] == [number]
    assert {view.state for view in desk.orders()} == {"cancelled"}
