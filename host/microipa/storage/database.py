"""One database that several processes share: SQLAlchemy, one transaction for each decision, nothing cached.

SQLite by a path, PostgreSQL by a URL. Connections are kept: opening an SQLite file costs more than most questions.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import DateTime, Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

from microipa.common.errors import Busy, MicroipaError
from microipa.storage.schema import Schema, StoreUnusable

BUSY_TIMEOUT_MS = 5000  # how long to wait for another process to finish its transaction
TURN_MS = 20  # in which SQLite asks often
AWAY = 3  # times as long as it took to notice that PostgreSQL is away, nobody asks it: a server has other things to do
SILENT_MS = 6000  # after which a connection to it ends on which nothing is acknowledged
READ_ONLY = "25006"  # of PostgreSQL: read_only_sql_transaction
CONNECT_TIMEOUT_S = 3  # of PostgreSQL; a poll that finds it away is answered with a temporary error


class StoreBusy(Busy):
    """The database cannot be read or written now: another process keeps it to itself, the disk is full, it is away."""


class ReadOnly(MicroipaError):
    """The database can be read and not written."""


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. SQLite forgets the time zone, this remembers that it was UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


def utc_now() -> datetime:
    return datetime.now(UTC)


class Connections:
    """The way to the database at ``place``, a path or a URL. Several processes may have it open."""

    def __init__(self, place: Path | str, schema: Schema) -> None:
        """A file is created readable by its owner alone; one in a folder that cannot be written is only read.

        Tables of an earlier version are migrated. Raises StoreUnusable, StoreBusy, OSError.
        """
        self.reads_only = _is_sealed(place)
        self.place, self.engine = _open_to_read(Path(place)) if self.reads_only else _open(place)
        self._reading = self.engine.execution_options(reads_only=True)
        self._away_until = 0.0
        self._asking = self._reading if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        weakref.finalize(self, self.engine.dispose)
        with self.reader() if self.reads_only else self.transaction() as connection:
            schema.prepare(connection, self.place, self.reads_only)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read, decide and write as one, undone by an exception.

        Raises StoreBusy when another process holds the database for longer than BUSY_TIMEOUT_MS, and ReadOnly.
        """
        self.require_writable()
        with self.failures_are_named(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """Read as of one moment, beside whoever writes. Raises StoreBusy."""
        with self.failures_are_named(), self._reading.connect() as connection:
            yield connection

    def require_writable(self) -> None:
        """Raises ReadOnly."""
        if self.reads_only:
            raise ReadOnly(f"{self.place} cannot be written, or its folder cannot: only what reads works here")

    @contextmanager
    def question(self) -> Iterator[Connection]:
        """The same for one statement, which is a transaction by itself. Raises StoreBusy."""
        with self.failures_are_named(), self._asking.connect() as connection:
            yield connection

    @contextmanager
    def failures_are_named(self) -> Iterator[None]:
        """Raises StoreBusy, StoreUnusable for what drivers say."""
        began = time.monotonic()
        if began < self._away_until:
            raise StoreBusy(f"{self.place} did not answer a moment ago")
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if not self.is_sqlite and getattr(error.orig, "sqlstate", None) is None:  # not the server says so
                self._away_until = time.monotonic() + AWAY * (time.monotonic() - began)
            raise StoreBusy(f"{self.place} cannot be used now: {_sentence(error)}") from error
        except InternalError as error:
            if getattr(error.orig, "sqlstate", None) != READ_ONLY:
                raise
            self.engine.dispose()  # a server that may only be read now is another's standby: look who is written to
            raise StoreBusy(f"{self.place} cannot be written now: {_sentence(error)}") from error
        except DBAPIError as error:
            if type(error.orig) is not sqlite3.DatabaseError:  # a defect of ours, such as a broken constraint
                raise
            raise StoreUnusable(f"{self.place} cannot be used, remove it: {error.orig}") from error


class Database(Connections):
    """A database whose rows are read and changed by SQLAlchemy's sessions."""

    @contextmanager
    def work(self) -> Iterator[Session]:
        """One transaction. What was read may be looked at afterwards. Raises StoreBusy, ReadOnly."""
        self.require_writable()
        with self.failures_are_named(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def view(self) -> Iterator[Session]:
        """Read as of one moment, beside whoever writes. Raises StoreBusy."""
        with self.failures_are_named(), Session(self._reading, expire_on_commit=False) as session:
            yield session


def _is_sealed(place: Path | str) -> bool:
    """Whether there is a file that we may not change, or beside which SQLite could not put its own."""
    path = Path(place)
    if "://" in str(place) or not path.exists():
        return False
    effective = os.access in os.supports_effective_ids
    return not all(os.access(one, os.W_OK, effective_ids=effective) for one in (path, path.parent))


def _open_to_read(path: Path) -> tuple[str, Engine]:
    """The same as _open for a file that stays as it is."""
    # Without a log beside it nobody writes: then, and only then, SQLite needs no files of its own to read.
    still = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    engine = create_engine(f"sqlite:///file:{quote(str(path.absolute()))}?mode=ro{still}&uri=true")
    event.listen(engine, "begin", _begin_sqlite)
    return str(path), engine


def _open(place: Path | str) -> tuple[str, Engine]:
    """What to call it, and how to reach it. Raises StoreUnusable."""
    if "://" not in str(place):
        path = Path(place)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise StoreUnusable(f"{path} cannot be opened as a database: {reason}") from error
        engine = create_engine(f"sqlite:///{path}")
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return str(path), engine
    try:
        url = make_url(str(place))
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        if url.drivername != "postgresql+psycopg":
            raise StoreUnusable(f"{url.drivername} is no database this program keeps its state in: postgresql://…")
        options = f"-c lock_timeout={BUSY_TIMEOUT_MS} -c statement_timeout={6 * BUSY_TIMEOUT_MS}"
        arguments = {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": SILENT_MS, "options": options}
        return url.render_as_string(hide_password=True), create_engine(url, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise StoreUnusable(f"the database is no URL such as postgresql://user@host/name: {error}") from error
    except ModuleNotFoundError as error:
        raise StoreUnusable("PostgreSQL wants psycopg: pip install 'microipa[postgresql]'") from error


def _sentence(error: DBAPIError) -> str:
    """What a driver says, in one line."""
    return " ".join(str(error.orig).split())


def _prepare_sqlite(connection: Any, record: object) -> None:
    """Let SQLAlchemy, not the driver, begin transactions; readers and one writer side by side (WAL)."""
    connection.isolation_level = None
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("reads_only"):
        connection.exec_driver_sql("BEGIN")
        return
    # A transaction that read first could not become a writer after another process wrote. SQLite looks ever more
    # rarely whether that has ended, and misses its turn among several that write: so it is asked anew.
    driver, until = connection.connection.dbapi_connection, time.monotonic() + BUSY_TIMEOUT_MS / 1000
    assert isinstance(driver, sqlite3.Connection)
    driver.execute(f"PRAGMA busy_timeout={TURN_MS}")
    try:
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except OperationalError as error:
                held = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not held or time.monotonic() >= until:
                    raise
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
