"""One transaction over rows that are read and changed as objects, by statements of SQLAlchemy's Core.

What SQLAlchemy's own Session does, for tables whose rows refer to each other by keys only: it sees what has changed by
comparing, and writes that in the order in which it was read. A Session takes twenty times as long for a row, which is
most of what an eIM would spend on a device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        self._wrote = False
        self._locks = locks
        self._known: dict[tuple[type, Any], Any] = {}
        self._read: dict[tuple[type, Any], Mapping[str, Any]] = {}
        self._touched: dict[tuple[type, Any], Any] = {}
        self._touched_before: dict[tuple[type, Any], Any] = {}
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
        return None if row is None else self._made_with_beside(kind, row)

    def fetch(self, kind: type[DeclarativeBase], keys: Iterable[Any]) -> None:
        """Read many rows by one statement, so that ``get`` has them. They are locked in the order of their keys, or
        two processes would wait for each other."""
        lock = self._locks and getattr(kind, "locked", False)
        wanted = [key for key in set(keys) if (kind, key) not in self._known]
        for row in self.connection.execute(_by_keys(kind, lock), {"keys": wanted}) if wanted else ():
            self._made_with_beside(kind, row)

    def get_one(self, kind: type[T], key: Any) -> T:
        """The same of a row that is there. Raises LookupError."""
        if (found := self.get(kind, key)) is None:
            raise LookupError(f"{kind.__name__} {key}")
        return found

    def all(self, kind: type[T], statement: Select[Any], **parameters: Any) -> list[T]:
        """The rows of a statement over the table of ``kind`` alone, in which a parameter that is named as a column is
        what the column has to be."""
        self._flush_for(kind, parameters)
        return [self._made(kind, row) for row in self.connection.execute(statement, parameters)]

    def first(self, kind: type[T], statement: Select[Any], **parameters: Any) -> T | None:
        """The first of them."""
        self._flush_for(kind, parameters)
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
        self._wrote = True
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

    def mark(self) -> None:
        """Let ``changed`` tell what comes from now on."""
        self._touched_before |= self._touched
        self._touched.clear()
        self._wrote = False

    @property
    def changed(self) -> bool:
        """Whether anything was changed since ``mark`` that an error must take back."""
        return self._wrote or bool(self._new) or next(self._changes(self._touched), None) is not None

    def flush(self) -> None:
        """Write what has changed. New rows have their numbers then."""
        self._write_new()
        self._write(self._changes(self._touched_before | self._touched))
        self._touched.clear()
        self._touched_before.clear()

    def _flush_for(self, kind: type[DeclarativeBase], parameters: Mapping[str, Any]) -> None:
        """Write what an answer about this table may depend on."""
        self._write_new()
        touched = self._touched_before | self._touched
        concerned = {identity: row for identity, row in touched.items() if identity[0] is kind}
        self._write([one for one in self._changes(concerned) if _may_answer(*one, self._read[one[0]], parameters)])

    def _write(self, changes: Iterable[tuple[tuple[type, Any], dict[str, Any]]]) -> None:
        alike: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
        for (kind, key), changed in changes:
            alike[kind, *changed].append({"key_": key, **changed})
            self._read[kind, key] = {**self._read[kind, key], **changed}
        for (kind, *_), rows in alike.items():
            self._wrote = True
            self.connection.execute(_update(kind), rows if len(rows) > 1 else rows[0])

    def _changes(self, touched: Mapping[tuple[type, Any], Any]) -> Iterator[tuple[tuple[type, Any], dict[str, Any]]]:
        for identity, row in touched.items():
            read, now = self._read[identity], row.__dict__
            changed = {name: now[name] for name, value in read.items() if now[name] is not value}
            changed = {name: value for name, value in changed.items() if value != read[name]}
            if changed:
                yield identity, changed

    def _write_new(self) -> None:
        while self._new:
            row = self._new.pop(0)
            kind: type[DeclarativeBase] = type(row)
            self._wrote = True
            written = self.connection.execute(insert(table_of(kind)), _fields(row))
            used = written.last_inserted_params()
            assert written.inserted_primary_key is not None
            assert isinstance(used, Mapping)
            key = written.inserted_primary_key[0]
            for name, value in {**dict.fromkeys(_names(kind)), **used, _key(kind).key: key}.items():
                setattr(row, name, value)
            self._absent.discard((kind, key))
            self._remember(kind, key, row)

    def _made_with_beside(self, kind: type[T], read: Sequence[Any]) -> T:
        own, beside = len(_names(kind)), getattr(kind, "beside", None)
        if beside:  # the row of the same key in another table, or nothing there
            if read[own] is None:
                self._absent.add((beside, read[_names(kind).index(_key(kind).key)]))
            else:
                self._made(beside, read[own:])
        return self._made(kind, read[:own])

    def _made(self, kind: type[T], read: Sequence[Any]) -> T:
        fields = dict(zip(_names(kind), read, strict=True))
        key = fields[_key(kind).key]
        if (known := self._known.get((kind, key))) is not None:
            return cast(T, known)
        row = kind()
        row.__dict__.update(fields)  # as they were read: no change of which anybody is to be told
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


def _may_answer(
    identity: tuple[type, Any], changed: Mapping[str, Any], now: Mapping[str, Any], parameters: Mapping[str, Any]
) -> bool:
    """Whether a row is none that a question leaves out, before it was changed and after."""
    return all(now[name] == value for name, value in parameters.items() if name in now and name not in changed)


@cache
def _with_beside(kind: type[DeclarativeBase]) -> Select[Any]:
    table, beside = table_of(kind), getattr(kind, "beside", None)
    if not beside:
        return select(table)
    return select(table, table_of(beside)).outerjoin(table_of(beside), _key(beside) == _key(kind))


@cache
def _by_key(kind: type[DeclarativeBase], lock: bool) -> Select[Any]:
    statement = _with_beside(kind).where(_key(kind) == bindparam("key"))
    return statement.with_for_update(of=table_of(kind)) if lock else statement


@cache
def _by_keys(kind: type[DeclarativeBase], lock: bool) -> Select[Any]:
    statement = _with_beside(kind).where(_key(kind).in_(bindparam("keys", expanding=True)))
    return statement.order_by(_key(kind)).with_for_update(of=table_of(kind)) if lock else statement


@cache
def _update(kind: type[DeclarativeBase]) -> Any:
    return update(table_of(kind)).where(_key(kind) == bindparam("key_"))
