"""A PostgreSQL server for tests, and an eIM on a database of its own there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from microipa.eim import Eim
from microipa.load import postgresql
from microipa.load.postgresql import NoPostgresql, Postgresql
from microipa.trace import Trace


@contextmanager
def running(*settings: str) -> Iterator[Postgresql]:
    """A server; the test is skipped where PostgreSQL or psycopg is missing."""
    pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'microipa[postgresql]'")
    try:
        with postgresql.running(*settings) as server:
            yield server
    except NoPostgresql as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def server() -> Iterator[Postgresql]:
    """One for each worker of the test run."""
    with running("fsync=off", "synchronous_commit=off") as server:
        yield server


@pytest.fixture
def own() -> Iterator[Postgresql]:
    """A PostgreSQL that a test may stop and kill."""
    with running("fsync=off") as server:
        yield server


@pytest.fixture
def database(server: Postgresql) -> str:
    """The URL of an empty database."""
    return server.create(f"eim_{uuid.uuid4().hex[:12]}")


@pytest.fixture
def events() -> list:
    return []


@pytest.fixture
def desk(pki, database, events) -> Eim:
    """The eIM of the other tests, on PostgreSQL."""
    trace = Trace()
    trace.listen(events.append)
    desk = Eim(pki, database, es9_routes={}, trace=trace)
    desk.add_device("89049032123451234512345678901235")
    return desk
