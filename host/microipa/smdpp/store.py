"""Download orders and what became of them.

Other processes add orders while a server runs: each function of ES9+ opens a transaction, reads, decides and
writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, object_session, relationship

from microipa.common.errors import MicroipaError
from microipa.smdpp.refusal import Refused
from microipa.storage.database import Database, UtcDateTime, utc_now
from microipa.storage.schema import Schema


class OrderInvalid(MicroipaError):
    """A download order that cannot be accepted or does not exist."""


class OrderStateError(MicroipaError):
    """A step that the state of a download order does not allow."""


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
_OVER = _ENDED | {OrderState.INSTALLED, OrderState.ERROR}  # nobody is to come for it
_NEXT: dict[OrderState, frozenset[OrderState]] = {
    OrderState.AVAILABLE: frozenset({OrderState.ALLOCATED, OrderState.LINKED, OrderState.UNAVAILABLE}),
    OrderState.ALLOCATED: _ENDED | {OrderState.LINKED, OrderState.CONFIRMED},
    OrderState.LINKED: _ENDED | {OrderState.CONFIRMED},
    OrderState.CONFIRMED: _ENDED | {OrderState.RELEASED},
    OrderState.RELEASED: _ENDED | {OrderState.DOWNLOADED, OrderState.ERROR},
    OrderState.DOWNLOADED: frozenset({OrderState.RELEASED, OrderState.ERROR}),
    OrderState.ERROR: _ENDED,
    OrderState.INSTALLED: frozenset(),
    OrderState.UNAVAILABLE: frozenset(),
}


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012  (SQLAlchemy's way)


class Order(Base):
    """One profile: in stock, waiting for an eUICC, or gone to it."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    iccid: Mapped[str] = mapped_column(index=True)
    profile_type: Mapped[str | None]
    package: Mapped[bytes] = mapped_column(deferred=True)  # unprotected profile package, DER
    profile_metadata: Mapped[bytes] = mapped_column(deferred=True)  # StoreMetadataRequest, DER
    state: Mapped[OrderState] = mapped_column(default=OrderState.AVAILABLE)
    owner: Mapped[str | None]  # functionRequesterIdentifier of the operator that ordered it by ES2+
    matching_id: Mapped[str | None] = mapped_column(unique=True)  # None: of a card that asks its default SM-DP+
    eid: Mapped[str | None]  # 32 digits: the only eUICC that may have it
    confirmation_hash: Mapped[bytes | None]  # SHA-256 of the confirmation code
    expires: Mapped[datetime | None]
    smds_address: Mapped[str | None]  # where the order is, or is to be, an event
    attempts: Mapped[int] = mapped_column(default=0)  # downloads begun
    confirmation_failures: Mapped[int] = mapped_column(default=0)
    transaction_id: Mapped[str | None]  # of the last bound profile package handed out
    bound_to: Mapped[str | None]  # EID that has it, or has it on the way
    result: Mapped[str | None]  # the last outcome in words
    created: Mapped[datetime] = mapped_column(default=utc_now)
    changed: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    variants: Mapped[list[Variant]] = relationship(order_by="Variant.id")

    @property
    def name(self) -> str:
        """How a message calls it."""
        return self.matching_id or f"of profile {self.iccid}"

    @property
    def packages(self) -> list[bytes]:
        """Every package of the profile, the one it was ordered with first."""
        return [self.package, *(variant.package for variant in self.variants)]

    def move(self, state: OrderState) -> None:
        """Go to ``state``. Raises OrderStateError when SGP.22 knows no such step.

        Installed it may become at any time: the result of an earlier attempt arrives after a new one has begun, or
        after everybody gave up.
        """
        if state not in _NEXT[self.state] | {OrderState.INSTALLED}:
            raise OrderStateError(f"order {self.name} is {self.state} and cannot become {state}")
        self.state = state
        database = object_session(self)
        if database and self.smds_address and state in _OVER:
            gone = {"eid": self.eid, "eventId": self.matching_id}
            database.add(Outgoing.of(self.smds_address, "es12", "deleteEvent", gone))
            self.smds_address = None


class Variant(Base):
    """Another package of the same profile, smaller or for other eUICCs."""

    __tablename__ = "variants"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id))
    package: Mapped[bytes]  # unprotected profile package, DER


class Operator(Base):
    """Who may order profiles by ES2+, and the host that hears how its downloads go on."""

    __tablename__ = "operators"

    oid: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str | None]
    certificate: Mapped[bytes | None] = mapped_column(unique=True)  # SHA-256 of one that does not name the OID


class Outgoing(Base):
    """A request to another server that waits until it is taken, see ``outbox``."""

    __tablename__ = "outgoing"

    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str]
    interface: Mapped[str]
    function: Mapped[str]
    body: Mapped[str]  # JSON, without the header
    attempts: Mapped[int] = mapped_column(default=0)
    due: Mapped[datetime] = mapped_column(default=utc_now)
    created: Mapped[datetime] = mapped_column(default=utc_now)

    @classmethod
    def of(cls, address: str, interface: str, function: str, fields: dict[str, Any]) -> Outgoing:
        return cls(address=address, interface=interface, function=function, body=json.dumps(fields))


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


SCHEMA = Schema(Base.metadata, Path(__file__).with_name("migrations"))


class Store(Database):
    """The database of one SM-DP+. Profile packages in it contain subscriber keys."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA)

    @contextmanager
    def work(self) -> Iterator[Session]:
        """As a Database, but Refused undoes nothing: a refusal is a decision too, and what it changed (a counter, an
        order that ends) is kept."""
        refusal: Refused | None = None
        with super().work() as session:
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
