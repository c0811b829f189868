"""What the eIM knows and must not forget: devices, orders, ES9+' sessions, notifications to pass on, alarms.

One SQLite file in the lab folder. Every unit of work is one transaction, so a killed eIM finds the state of
the last answered message; other processes (``microipa order …``) write to the same file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from microipa.storage.database import Connections
from microipa.storage.schema import Schema
from microipa.storage.unit_of_work import Row, Work

QUEUED, DELIVERED, DONE, FAILED, EXPIRED = "queued", "delivered", "done", "failed", "expired"
CANCELLED = "cancelled"
OPEN = (QUEUED, DELIVERED)
IS_OPEN = text("orders.state IN ('queued', 'delivered')")
"""The same for questions: word for word as in the indexes, or a database does not see that they answer it."""
IS_DOWNLOADING = text("orders.kind = 'download' AND orders.state = 'delivered'")
IS_DUE = text("forwards.delivered IS NULL")
DATA, PACKAGE, DOWNLOAD, QUERY = "data", "package", "download", "query"


def _open_orders(name: str, *columns: str) -> Index:
    """An index that has nothing in it of what was settled."""
    return Index(name, *columns, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)


class Base(Row, DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON, list[dict[str, Any]]: JSON, list[str]: JSON}


class DeviceKey(Base):
    """The key of a device that obeys an eIM in place of its consumer card, as an operator enrolled it."""

    __tablename__ = "device_keys"

    eid: Mapped[str] = mapped_column(ForeignKey("devices.eid"), primary_key=True)
    spki: Mapped[bytes]
    """SubjectPublicKeyInfo DER, P-256."""


class Device(Base):
    """An eUICC this eIM manages, by its EID, and what it told about itself."""

    __tablename__ = "devices"

    eid: Mapped[str] = mapped_column(primary_key=True)
    counter: Mapped[int] = mapped_column(default=0)
    """counterValue of the newest signed package."""
    token: Mapped[int | None]
    """associationToken; 0 when the card has none, which signs the same (``84 01 00``); None: not learnt."""
    proven_token: Mapped[int | None]
    """The associationToken over which the newest result was signed; None before the first."""
    euicc_certificate: Mapped[bytes | None]
    eum_certificate: Mapped[bytes | None]
    euicc_info2: Mapped[bytes | None]
    info2_signed: Mapped[bool | None]
    """The card signed it, in an AuthenticateServerResponse."""
    ipa_capabilities: Mapped[bytes | None]
    device_info: Mapped[bytes | None]
    compact_failed: Mapped[bool | None]
    """A compact form could not be rebuilt: none is taken before a plain one has shown what the card is now."""
    default_smdp: Mapped[str | None]
    """Address of the card's default SM-DP+; empty when it has none; None: not learnt."""
    default_signed: Mapped[bool | None]
    """The card signed that it has this one, in a package result."""
    highest_sequence: Mapped[int] = mapped_column(default=0)
    """seqNumber of the newest accepted eUICC package result (SGP.32 5.14.6)."""
    profiles: Mapped[list[dict[str, Any]] | None]
    """The newest whole listProfileInfo, and what was done since. Replaced, never changed in place."""
    profiles_known: Mapped[float | None]
    """When that list came."""
    eims: Mapped[list[str] | None]
    """The same for listEim: eimIds."""
    state_change: Mapped[str | None]
    """Cause of the newest change the IPA notified."""
    state_changed: Mapped[float | None]
    trouble: Mapped[str | None]
    """What the device said of its own state beside ESipa: restarts, settings that do not hold, tasks that crashed."""
    trouble_told: Mapped[float | None]
    last_poll: Mapped[float | None]
    label: Mapped[str | None]
    maker: Mapped[str | None]
    """Words of the operator's own, like ``label``."""
    rplmn: Mapped[str | None]
    """MCC-MNC of the newest poll that named its network: an IPA does when that has changed."""

    beside = DeviceKey
    locked = True
    """Whoever decides something about a device keeps the others from it: its row stands for all that it has."""

    def relate(self, work: Work) -> None:
        self._enrolled = work.get(DeviceKey, self.eid)

    @property
    def enrolled(self) -> DeviceKey | None:
        """Who signs results in place of the card; None where the card does."""
        return self.__dict__.get("_enrolled")

    @property
    def is_proven(self) -> bool:
        """Whether a result can be verified."""
        return self.enrolled is not None or self.euicc_certificate is not None

    @property
    def is_unknown(self) -> bool:
        """Whether a package cannot be signed for this card, or its result not be verified."""
        return self.token is None or not self.is_proven


class Order(Base):
    """One eIM package for one device. Its DER is kept: a repeat of an unanswered one is byte-identical."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    eid: Mapped[str] = mapped_column(ForeignKey("devices.eid"))
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(default=QUEUED)
    summary: Mapped[str]
    content: Mapped[bytes]
    """package: DER of EuiccPackage; download: the text of its source; data and query: fields of the request."""
    confirmation_hash: Mapped[bytes | None]
    """SHA-256 of a download's confirmation code, as long as it may be wanted."""
    transaction_id: Mapped[bytes | None] = mapped_column(index=True)
    counter: Mapped[int | None]
    message: Mapped[bytes | None]
    """The eIM package as delivered (BF51, BF52, BF54)."""
    deliveries: Mapped[int] = mapped_column(default=0)
    refusals: Mapped[int] = mapped_column(default=0)
    """Times the card answered with an unsigned error."""
    result: Mapped[str | None]
    details: Mapped[dict[str, Any] | None]
    sequence: Mapped[int | None]
    """seqNumber of the card's result."""
    created: Mapped[float] = mapped_column(default=time.time)
    delivered: Mapped[float | None]
    settled: Mapped[float | None]
    expires: Mapped[float | None]
    """After this time an order that was never delivered, or was interrupted, is not delivered any more."""
    needs_proof: Mapped[bool | None]
    """The device gets this activation code once its card has signed a result for this eIM."""
    interruptions: Mapped[int | None]
    """Attempts at a download that ended because its SM-DP+ could not be asked."""
    due: Mapped[float | None]
    """When an interrupted download may be delivered again; None while it is under way."""

    def relate(self, work: Work) -> None:
        self.device = work.get_one(Device, self.eid)

    @property
    def device(self) -> Device:
        """Whose it is."""
        device: Device = self.__dict__["_device"]
        return device

    @device.setter
    def device(self, device: Device) -> None:
        self._device, self.eid = device, device.eid

    @property
    def is_late(self) -> bool:
        """Not fetched in time, and not under way: else the card may have executed it."""
        waits = self.state == QUEUED or self.due is not None
        return waits and self.expires is not None and self.expires <= time.time()

    __table_args__ = (
        Index("orders_of_device", "eid", "id"),
        Index("orders_by_sequence", "eid", "sequence"),
        _open_orders("open_orders", "eid", "id"),
        _open_orders("expiring_orders", "expires"),
        Index("downloading_orders", "id", sqlite_where=IS_DOWNLOADING, postgresql_where=IS_DOWNLOADING),
    )


class DownloadSession(Base):
    """An ES9+' session the eIM relays (SGP.32 3.2.3.2)."""

    __tablename__ = "sessions"

    transaction_id: Mapped[str] = mapped_column(primary_key=True)
    """Lower-case hex; servers differ in case."""
    server_transaction_id: Mapped[str]
    """As the SM-DP+ wrote it."""
    smdp_address: Mapped[str]
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    created: Mapped[float] = mapped_column(default=time.time, index=True)
    server_signed_1: Mapped[bytes | None]
    server_certificate: Mapped[bytes | None]
    ctx_params_1: Mapped[bytes | None]
    """What the eIM made for the card, where it makes it."""
    profile_metadata: Mapped[bytes | None]
    smdp_signed_2: Mapped[bytes | None]
    smdp_signature_2: Mapped[bytes | None]

    def relate(self, work: Work) -> None:
        self._order = work.get_one(Order, self.order_id)

    @property
    def order(self) -> Order:
        """Whose download it is."""
        order: Order = self.__dict__["_order"]
        return order

    @property
    def is_direct(self) -> bool:
        """Whether the device downloaded past this eIM, which knows of it by its result."""
        return self.server_signed_1 is None


class RelayedAnswer(Base):
    """What a device gets once more if it does not receive it: an SM-DP+ answers some functions once in a session."""

    __tablename__ = "relayed_answers"

    request: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of the device's request."""
    answer: Mapped[bytes]
    created: Mapped[float] = mapped_column(default=time.time, index=True)


class Forward(Base):
    """A signed notification on its way to the SM-DP+ that wants it."""

    __tablename__ = "forwards"

    digest: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of the message: a notification delivered twice is passed on once."""
    eid: Mapped[str | None] = mapped_column(index=True)
    address: Mapped[str]
    message: Mapped[bytes]
    summary: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    created: Mapped[float | None] = mapped_column(default=time.time)
    due: Mapped[float] = mapped_column(default=time.time)
    delivered: Mapped[float | None]
    """When it was taken, refused or given up; ``last_error`` tells."""
    last_error: Mapped[str | None]

    __table_args__ = (
        Index("due_forwards", "due", sqlite_where=IS_DUE, postgresql_where=IS_DUE),
        Index("delivered_forwards", "delivered"),
    )


class Alarm(Base):
    """Something an operator should look at; ``evidence`` is the message that caused it."""

    __tablename__ = "alarms"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    eid: Mapped[str | None] = mapped_column(index=True)
    text: Mapped[str]
    evidence: Mapped[bytes]
    created: Mapped[float] = mapped_column(default=time.time)


@dataclass(frozen=True)
class OrderView:
    """An order as people and programs see it.

    ``kind``: package, download, query, or data (asked automatically, before the first package and to find a
    lost result). ``state``: queued, delivered, done, failed, expired, cancelled. ``result`` is words, ``details``
    the same JSON-able.
    """

    id: int
    eid: str
    kind: str
    state: str
    summary: str
    result: str | None
    details: dict[str, Any] | None
    eim_transaction_id: str | None
    deliveries: int
    created: datetime
    delivered: datetime | None
    settled: datetime | None
    expires: datetime | None

    @classmethod
    def of(cls, order: Order) -> OrderView:
        return cls(
            order.id,
            order.eid,
            order.kind,
            order.state,
            order.summary,
            order.result,
            order.details,
            order.transaction_id.hex() if order.transaction_id else None,
            order.deliveries,
            datetime.fromtimestamp(order.created, UTC),
            moment(order.delivered),
            moment(order.settled),
            moment(order.expires),
        )

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON; times are ISO 8601 in UTC."""
        return plain(asdict(self))


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a view for JSON."""
    return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in fields.items()}


SCHEMA = Schema(Base.metadata, Path(__file__).with_name("migrations"))


class Store(Connections):
    """The database of one eIM."""

    def __init__(self, place: Path | str) -> None:
        """Raises StoreUnusable, StoreBusy, OSError."""
        super().__init__(place, SCHEMA)

    @contextmanager
    def work(self) -> Iterator[Work]:
        """One transaction. What was read may be looked at afterwards. Raises StoreBusy."""
        with self.transaction() as connection:
            work = Work(connection, locks=not self.is_sqlite)
            yield work
            work.flush()

    @contextmanager
    def view(self) -> Iterator[Work]:
        """Read as of one moment, beside whoever writes. Raises StoreBusy."""
        with self.reader() as connection:
            yield Work(connection)
