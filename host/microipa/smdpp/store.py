"""Download orders and what became of them: SQLAlchemy over one SQLite file.

Other processes add orders while a server runs, so nothing is cached: each function of ES9+ opens a
transaction, reads, decides and writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, ForeignKey, UniqueConstraint, create_engine, event, inspect, select
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeDecorator

from microipa.errors import MicroipaError
from microipa.smdpp.refusal import Refused, ServerBusy

SCHEMA = 2  # grows with every change of the tables
BUSY_TIMEOUT_MS = 5000  # how long to wait for another process to finish its transaction


class OrderInvalid(MicroipaError):
    """A download order that cannot be accepted or does not exist."""


class OrderStateError(MicroipaError):
    """A step that the state of a download order does not allow."""


class StoreOutdated(MicroipaError):
    """The database was made by another version of this program."""


class OrderState(StrEnum):
    """The profile states of SGP.22 clause 3.1.6, seen from the SM-DP+."""

    AVAILABLE = "available"  # in stock
    ALLOCATED = "allocated"  # reserved, for whichever eUICC comes with the matchingId
    LINKED = "linked"  # reserved for one EID
    CONFIRMED = "confirmed"  # matchingId and, perhaps, confirmation code are set
    RELEASED = "released"  # may be downloaded
    DOWNLOADED = "downloaded"  # a bound profile package has been handed out
    INSTALLED = "installed"
    ERROR = "error"
    UNAVAILABLE = "unavailable"  # its operator does not want it given out any more


_ENDED = frozenset({OrderState.AVAILABLE, OrderState.UNAVAILABLE})  # by cancelOrder
_NEXT: dict[OrderState, frozenset[OrderState]] = {
    OrderState.AVAILABLE: frozenset({OrderState.ALLOCATED, OrderState.LINKED, OrderState.UNAVAILABLE}),
    OrderState.ALLOCATED: _ENDED | {OrderState.LINKED, OrderState.CONFIRMED},
    OrderState.LINKED: _ENDED | {OrderState.CONFIRMED},
    OrderState.CONFIRMED: _ENDED | {OrderState.RELEASED},
    # installed: the result of an earlier attempt may arrive after a new one has begun, or after we gave up
    OrderState.RELEASED: _ENDED | {OrderState.DOWNLOADED, OrderState.INSTALLED, OrderState.ERROR},
    OrderState.DOWNLOADED: frozenset({OrderState.RELEASED, OrderState.INSTALLED, OrderState.ERROR}),
    OrderState.ERROR: _ENDED | {OrderState.INSTALLED},
    OrderState.INSTALLED: frozenset(),
    OrderState.UNAVAILABLE: frozenset(),
}


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


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012  (SQLAlchemy's way)


class Order(Base):
    """One profile package: in stock, waiting for an eUICC, or gone to it."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    iccid: Mapped[str] = mapped_column(index=True)
    profile_type: Mapped[str | None]
    package: Mapped[bytes] = mapped_column(deferred=True)  # unprotected profile package, DER
    profile_metadata: Mapped[bytes] = mapped_column(deferred=True)  # StoreMetadataRequest, DER
    state: Mapped[OrderState] = mapped_column(default=OrderState.AVAILABLE)
    owner: Mapped[str | None]  # functionRequesterIdentifier of the operator that ordered it by ES2+
    matching_id: Mapped[str | None] = mapped_column(unique=True)
    eid: Mapped[str | None]  # 32 digits: the only eUICC that may have it
    confirmation_hash: Mapped[bytes | None]  # SHA-256 of the confirmation code
    expires: Mapped[datetime | None]
    smds_address: Mapped[str | None]  # where the order is registered as an event
    attempts: Mapped[int] = mapped_column(default=0)  # downloads begun
    confirmation_failures: Mapped[int] = mapped_column(default=0)
    transaction_id: Mapped[str | None]  # of the last bound profile package handed out
    bound_to: Mapped[str | None]  # EID that has it, or has it on the way
    result: Mapped[str | None]  # the last outcome in words
    created: Mapped[datetime] = mapped_column(default=utc_now)
    changed: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)

    @property
    def name(self) -> str:
        """How a message calls it."""
        return self.matching_id or f"of profile {self.iccid}"

    def move(self, state: OrderState) -> None:
        """Go to ``state``. Raises OrderStateError when SGP.22 knows no such step."""
        if state not in _NEXT[self.state]:
            raise OrderStateError(f"order {self.name} is {self.state} and cannot become {state}")
        self.state = state


class Download(Base):
    """One bound profile package handed out: kept, because its result may arrive days and restarts later."""

    __tablename__ = "downloads"

    transaction_id: Mapped[str] = mapped_column(primary_key=True)  # upper-case hex
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id))
    eid: Mapped[str]
    euicc_certificate: Mapped[bytes]  # DER, verified when the session was authenticated
    euicc_otpk: Mapped[bytes]  # the one-time keys it is protected under, and what is protected
    smdp_otpk: Mapped[bytes]
    parts: Mapped[bytes] = mapped_column(deferred=True)
    created: Mapped[datetime] = mapped_column(default=utc_now)
    result: Mapped[str | None]  # profile installation result in words
    order: Mapped[Order] = relationship()


class Notification(Base):
    """An enable, disable or delete that a card told us about (SGP.22 clause 3.5)."""

    __tablename__ = "notifications"
    __table_args__ = (UniqueConstraint("eid", "seq_number", "event"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    eid: Mapped[str]
    seq_number: Mapped[int]  # the card's own
    event: Mapped[str]
    iccid: Mapped[str | None]
    received: Mapped[datetime] = mapped_column(default=utc_now)


class Store:
    """The database of one SM-DP+."""

    def __init__(self, path: Path) -> None:
        """Open ``path``, created readable by its owner alone: profile packages contain subscriber keys."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        with self._busy_is_named(), self._engine.begin() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version != SCHEMA and inspect(connection).get_table_names():
                raise StoreOutdated(f"{path} is of another version of microipa: remove it")
            Base.metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Read, decide and write as one. Undone by an exception, except Refused: a refusal is a decision too,
        and what it changed (a counter, an order that ends) is kept.

        Raises ServerBusy when another process holds the database for longer than BUSY_TIMEOUT_MS.
        """
        refusal: Refused | None = None
        with self._busy_is_named(), Session(self._engine) as session, session.begin():
            try:
                yield session
            except Refused as error:
                refusal = error
        if refusal:
            raise refusal

    def find(self, session: Session, matching_id: str | None, eid: str) -> Order | None:
        """The order a card asks for: by matchingId, or without one the oldest linked to its EID."""
        if matching_id:
            return session.scalars(select(Order).where(Order.matching_id == matching_id)).first()
        waiting = (OrderState.RELEASED, OrderState.DOWNLOADED)
        return session.scalars(
            select(Order).where(Order.eid == eid, Order.state.in_(waiting)).order_by(Order.created).limit(1)
        ).first()

    @contextmanager
    def _busy_is_named(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise ServerBusy(f"the order database cannot be used now: {error.orig}") from error


def _prepare(connection: Any, record: object) -> None:
    """Let SQLAlchemy, not the driver, begin transactions; readers and one writer side by side (WAL)."""
    connection.isolation_level = None
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A transaction that read first could not become a writer after another process wrote.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
