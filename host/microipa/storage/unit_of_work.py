"""One transaction over rows that are read and changed as objects, by statements of SQLAlchemy's Core.

What SQLAlchemy's own Session does, for tables whose rows refer to each other by keys only: it sees what has changed by
comparing, and writes that in the order in which it was read. A Session takes twenty times as long for a row, which is
most of what an eIM would spend on a device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import Column, Select, Table, bindparam, insert, select, update
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql import Executable

T = TypeVar("T", bound=DeclarativeBase)


class Row:
    """What makes the classes of tables fit for ``Work``: a row that is changed tells so."""

    def __setattr__(self, name: str, value: Any) -> None:
        if (tell := self.__dict__.get("_tell_change")) is not None:
            tell(self)
        super().__setattr__(name, value)


class Work:
    """The rows of one transaction: the same key is the same object, as long as it lasts.

    ``locks`` says that rows whose class has ``locked = True`` are kept from others until the end, where a database
    lets several write at once. A class whose ``beside`` is another one is read together with that one's row of the
    same key.
    """

    def __init__(self, connection: Connection, *, locks: bool = False) -> None:
        self.connection = connection
        self.wrote = False
        """Whether anything has gone to the database that an error must take back."""
        self._locks = locks
        self._known: dict[tuple[type, Any], Any] = {}
        self._read: dict[tuple[type, Any], Mapping[str, Any]] = {}
        self._touched: dict[tuple[type, Any], Any] = {}
        self._absent: set[tuple[type, Any]] = set()
        self._new: list[Any] = []

    def get(self, kind: type[T], key: Any) -> T | None:
        """The row with this primary key."""
        if (known := self._known.get((kind, key))) is not None:
            return cast(T, known)
        if (kind, key) in self._absent:
            return None
        self._write_new()
        lock = self._locks and getattr(kind, "locked", False)
        row = self.connection.execute(_by_key(kind, lock), {"key": key}).first()
        if row is None:
            return None
        own, beside = len(_names(kind)), getattr(kind, "beside", None)
        if beside:  # the row of the same key in another table, or nothing there
            if row[own] is None:
                self._absent.add((beside, key))
            else:
                self._made(beside, row[own:])
        return self._made(kind, row[:own])

    def get_one(self, kind: type[T], key: Any) -> T:
        """The same of a row that is there. Raises LookupError."""
        if (found := self.get(kind, key)) is None:
            raise LookupError(f"{kind.__name__} {key}")
        return found

    def all(self, kind: type[T], statement: Select[Any], **parameters: Any) -> list[T]:
        """The rows of a statement over the table of ``kind``."""
        self.flush()
        return [self._made(kind, row) for row in self.connection.execute(statement, parameters)]

    def first(self, kind: type[T], statement: Select[Any], **parameters: Any) -> T | None:
        """The first of them."""
        self.flush()
        row = self.connection.execute(statement, parameters).first()
        return None if row is None else self._made(kind, row)

    def scalar(self, statement: Select[Any], **parameters: Any) -> Any:
        """The first column of the first row; None without one."""
        self.flush()
        return self.connection.execute(statement, parameters).scalar()

    def scalars(self, statement: Select[Any], **parameters: Any) -> list[Any]:
        """The first column of all rows."""
        self.flush()
        return list(self.connection.execute(statement, parameters).scalars())

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Anything else. Rows that were read stay as they were read."""
        self.flush()
        self.wrote = True
        return self.connection.execute(statement, parameters)

    def add(self, row: DeclarativeBase) -> None:
        """A row that is not there yet."""
        self._new.append(row)

    def put(self, row: DeclarativeBase) -> None:
        """A row as it is to be, there already or not."""
        kind, fields = type(row), _fields(row)
        known = self.get(kind, fields[_key(kind).key])
        if known is None:
            self.add(row)
            return
        for name, value in fields.items():
            setattr(known, name, value)

    def flush(self) -> None:
        """Write what has changed. New rows have their numbers then."""
        self._write_new()
        for (kind, key), changed in list(self._changes()):
            self.wrote = True
            self.connection.execute(_update(kind), {"key_": key, **changed})
            self._read[kind, key] = {**self._read[kind, key], **changed}
        self._touched.clear()

    @property
    def is_flushed(self) -> bool:
        """Whether the database has been told all that was changed."""
        return not self._new and next(self._changes(), None) is None

    def _changes(self) -> Iterator[tuple[tuple[type, Any], dict[str, Any]]]:
        for identity, row in self._touched.items():
            read, now = self._read[identity], row.__dict__
            changed = {name: now[name] for name, value in read.items() if now[name] is not value}
            changed = {name: value for name, value in changed.items() if value != read[name]}
            if changed:
                yield identity, changed

    def _write_new(self) -> None:
        while self._new:
            row = self._new.pop(0)
            kind: type[DeclarativeBase] = type(row)
            self.wrote = True
            written = self.connection.execute(insert(table_of(kind)), _fields(row))
            used = written.last_inserted_params()
            assert written.inserted_primary_key is not None
            assert isinstance(used, Mapping)
            key = written.inserted_primary_key[0]
            for name, value in {**dict.fromkeys(_names(kind)), **used, _key(kind).key: key}.items():
                setattr(row, name, value)
            self._absent.discard((kind, key))
            self._remember(kind, key, row)

    def _made(self, kind: type[T], read: Sequence[Any]) -> T:
        fields = dict(zip(_names(kind), read, strict=True))
        key = fields[_key(kind).key]
        if (known := self._known.get((kind, key))) is not None:
            return cast(T, known)
        row = kind(**fields)
        self._remember(kind, key, row)
        return row

    def _remember(self, kind: type[DeclarativeBase], key: Any, row: Any) -> None:
        self._known[kind, key] = row
        self._read[kind, key] = _fields(row)
        row.__dict__["_tell_change"] = lambda changed: self._touched.setdefault((kind, key), changed)
        if relate := getattr(row, "relate", None):
            relate(self)


def _fields(row: DeclarativeBase) -> dict[str, Any]:
    """What a row has of its columns."""
    own = row.__dict__
    return {name: own[name] for name in _names(type(row)) if name in own}


def table_of(kind: type[DeclarativeBase]) -> Table:
    """What the rows of a class are in."""
    table = kind.__table__
    assert isinstance(table, Table)
    return table


@cache
def _names(kind: type[DeclarativeBase]) -> tuple[str, ...]:
    return tuple(table_of(kind).columns.keys())


@cache
def _key(kind: type[DeclarativeBase]) -> Column[Any]:
    (key,) = table_of(kind).primary_key.columns
    return key


@cache
def _by_key(kind: type[DeclarativeBase], lock: bool) -> Select[Any]:
    table, beside = table_of(kind), getattr(kind, "beside", None)
    statement = select(table)
    if beside:
        statement = select(table, table_of(beside)).outerjoin(table_of(beside), _key(beside) == _key(kind))
    statement = statement.where(_key(kind) == bindparam("key"))
    return statement.with_for_update(of=table) if lock else statement


@cache
def _update(kind: type[DeclarativeBase]) -> Any:
    return update(table_of(kind)).where(_key(kind) == bindparam("key_"))
