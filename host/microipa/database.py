"""One SQLite file that several processes share: SQLAlchemy, one transaction for each decision, nothing cached."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, create_engine, event, inspect
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeDecorator

from microipa.errors import Busy, MicroipaError

BUSY_TIMEOUT_MS = 5000  # how long to wait for another process to finish its transaction


class StoreBusy(Busy):
    """The file cannot be read or written now: another process keeps it to itself, or the disk is full."""


class StoreUnusable(MicroipaError):
    """The file is no database, or was made by another version of this program."""


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


class Database:
    """The file ``path`` with the tables of ``base``; ``schema`` grows when they change so that old files do not fit.

    Several processes may have it open: each unit of work is one transaction.
    """

    def __init__(self, path: Path, base: type[DeclarativeBase], schema: int) -> None:
        """Created readable by its owner alone. Raises StoreUnusable, StoreBusy."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._path = path
        self._engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        with self._failures_are_named(), self._engine.begin() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version != schema and inspect(connection).get_table_names():
                raise StoreUnusable(f"{path} is of another version of microipa: remove it")
            base.metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {schema}")

    @contextmanager
    def work(self) -> Iterator[Session]:
        """Read, decide and write as one, undone by an exception. What was read may be looked at afterwards.

        Raises StoreBusy when another process holds the file for longer than BUSY_TIMEOUT_MS.
        """
        with self._failures_are_named(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _failures_are_named(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise StoreBusy(f"{self._path} cannot be used now: {error.orig}") from error
        except DatabaseError as error:
            if type(error.orig) is not sqlite3.DatabaseError:  # a defect of ours, such as a broken constraint
                raise
            raise StoreUnusable(f"{self._path} cannot be used, remove it: {error.orig}") from error


def _prepare(connection: Any, record: object) -> None:
    """Let SQLAlchemy, not the driver, begin transactions; readers and one writer side by side (WAL)."""
    connection.isolation_level = None
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A transaction that read first could not become a writer after another process wrote.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
