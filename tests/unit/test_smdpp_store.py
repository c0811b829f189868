"""Databases of SM-DP+ and SM-DS that an earlier version of this program made."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from microipa import saip
from microipa.crypto.pki import Pki
from microipa.smdpp import OrderState, Smdpp
from microipa.smdpp.store import SCHEMA, Base, Store
from microipa.smds import store as smds
from microipa.storage.database import Database
from microipa.storage.schema import BEFORE, StoreUnusable

FOLDER = Path(__file__).with_name("smdpp_earlier")
EARLIER = [("0",), ("2",), ("2", "3"), ("2", "3", "4")]
"""What makes the tables of each earlier version: the later ones add to those before them."""
EID = "89049032123451234512345678901235"
ICCID = "8949000000000000000"
ORDER = f"""INSERT INTO orders (matching_id, iccid, package, profile_metadata, state, attempts, confirmation_failures,
    created, changed) VALUES ('ROOM-101', '{ICCID}', ?, ?, 'RELEASED', 0, 0, '2026-11-20 10:00:00.000000',
    '2026-11-20 10:00:00.000000')"""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=EARLIER, ids=lambda names: names[-1])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database of an earlier version with an order in it."""
    package = saip.build(saip.ProfileSpec(iccid=ICCID, imsi="901700000000001", k=bytes(16), opc=bytes(16)))
    path = tmp_path / "smdpp.sqlite"
    with closing(sqlite3.connect(path)) as database:
        for name in request.param:
            database.executescript((FOLDER / f"{name}.sql").read_text())
        database.execute(ORDER, (package, bytes.fromhex("bf2500")))
        database.commit()
    return path


def test_the_tables_become_those_of_a_new_database(earlier: Path) -> None:
    with Store(earlier).reader() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == SCHEMA.newest


def test_an_smdpp_goes_on_with_the_orders_it_had_and_says_which_versions(
        earlier: Path, pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        smdpp = Smdpp(pki, earlier.parent)
    [order] = smdpp.orders()
    assert (order.matching_id, order.iccid, order.state) == ("ROOM-101", ICCID, OrderState.RELEASED)
    assert caplog.messages == [f"{earlier}: tables migrated from version {BEFORE} to {SCHEMA.newest}"]


def test_a_bound_package_of_the_first_version_is_kept_as_its_history_and_not_handed_out_again(
        tmp_path: Path) -> None:
    path = tmp_path / "smdpp.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((FOLDER / "0.sql").read_text())
        database.execute(ORDER, (b"\x30\0", b"\xbf\x25\0"))
        database.execute("UPDATE orders SET transaction_id = 'AB'")
        database.execute(f"INSERT INTO downloads VALUES ('AB', 'ROOM-101', '{EID}', x'30', '2026-11-20 10:00', NULL)")
        database.commit()
    Store(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT transaction_id, order_id, eid FROM downloads").fetchall() == [("AB", 1, EID)]
        assert database.execute("SELECT transaction_id FROM orders").fetchall() == [(None,)]


def test_the_events_of_an_earlier_smds_stay(tmp_path: Path) -> None:
    path = tmp_path / "smds.sqlite"
    Database(path, smds.SCHEMA)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE alembic_version")
        database.execute(f"INSERT INTO events VALUES ('{EID}', 'EVENT', 'smdpp.example', '1.2', '2026-11-20 10:00:00')")
        database.execute("PRAGMA user_version = 1")
        database.commit()
    with Database(path, smds.SCHEMA).view() as session:
        assert session.query(smds.EventRecord).one().event_id == "EVENT"


def test_tables_newer_than_the_program_are_refused_with_both_versions(tmp_path: Path) -> None:
    Store(tmp_path / "smdpp.sqlite")
    with closing(sqlite3.connect(tmp_path / "smdpp.sqlite")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0999'")
        database.commit()
    with pytest.raises(StoreUnusable, match=f"has version 0999 .* up to {SCHEMA.newest}"):
        Store(tmp_path / "smdpp.sqlite")
