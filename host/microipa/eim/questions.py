"""What an eIM asks its database on the way of a poll and a result: statements made once, and none that grows.

Each is answered by an index, however many devices there are, orders queued for others, or orders settled long ago:
tests/unit/test_eim_plans.py looks at their plans.
"""

from __future__ import annotations

import time

from sqlalchemy import String, bindparam, delete, func, or_, select

from microipa.eim.store import (
    DATA,
    DELIVERED,
    IS_DOWNLOADING,
    IS_DUE,
    IS_OPEN,
    QUEUED,
    Alarm,
    Device,
    DownloadSession,
    Forward,
    Order,
)
from microipa.storage.unit_of_work import Work, table_of

MAX_ALARMS = 1000
MAX_ALARMS_OF_ONE = 50  # device; also of all messages together that name none
LARGEST_EVIDENCE = 4096
MAX_AT_ONCE = 32  # notifications on their way to SM-DP+ servers
MAX_NEWS = 10_000  # orders looked at in one go
MOST_LATE = 1000  # orders ended in one transaction
MAX_SESSIONS = 8  # kept for each download order
MOST_DOWNLOADS = 100  # under way at a time, among which one is found without its eimTransactionId

_orders, _sessions, _alarms, _forwards = map(table_of, (Order, DownloadSession, Alarm, Forward))
_order, _session, _alarm, _forward = (table.c for table in (_orders, _sessions, _alarms, _forwards))
_eid = bindparam("eid", type_=String)
_of_kinds = _order.kind.in_(bindparam("kinds", expanding=True))

_NEXT = select(_orders).where(_order.eid == _eid, IS_OPEN).order_by(_order.kind != DATA, _order.id).limit(1)
_WITH_CONTENT = select(_orders).where(_order.eid == _eid, IS_OPEN, _order.content == bindparam("content")).limit(1)
_NEWEST = select(func.max(_order.id))
_AFTER = select(_order.id, _order.eid).where(_order.id > bindparam("number")).order_by(_order.id).limit(MAX_NEWS)
_LATE = (
    select(_orders)
    .where(IS_OPEN, or_(_order.state == QUEUED, _order.due.is_not(None)), _order.expires <= bindparam("now"))
    .order_by(_order.expires)
    .limit(MOST_LATE)
)
_DELIVERED = (
    select(_orders)
    .where(_order.eid == _eid, IS_OPEN, _order.state == DELIVERED, _of_kinds)
    .order_by(_order.id.desc())
    .limit(1)
)
_is_transaction = _order.transaction_id == bindparam("transaction_id")
_TRANSACTION = select(_orders).where(_is_transaction, _order.eid == _eid).limit(1)
_OWNER = select(_order.eid).where(_is_transaction).limit(1)
_UNDER_WAY = select(_orders).where(IS_DOWNLOADING).limit(MOST_DOWNLOADS + 1)
_QUESTION = select(_order.id).where(_order.eid == _eid, _order.kind == DATA, IS_OPEN).limit(1)
_BOOKED = select(_order.id).where(_order.eid == _eid, _order.sequence == bindparam("sequence")).limit(1)
_OLD_SESSIONS = (
    select(_session.transaction_id)
    .where(_session.order_id == bindparam("order_id"))
    .order_by(_session.smdp_signed_2.is_(None), _session.created.desc())
    .offset(MAX_SESSIONS)
)
_DUE = (
    select(_forwards)
    .where(IS_DUE, _forward.due <= bindparam("now"))
    .order_by(_forward.due)
    .limit(MAX_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_NEXT_DUE = select(_forward.due).where(IS_DUE).order_by(_forward.due).limit(1)
_WAITING = select(func.count()).where(_forward.eid == _eid, IS_DUE)


# Orders


def next_order(db: Work, eid: str) -> Order | None:
    """What this device is to get now: first asked, first delivered, a data request before all others."""
    return db.first(Order, _NEXT, eid=eid)


def open_order(db: Work, eid: str, content: bytes) -> Order | None:
    """The one of a device that asks exactly this, if it waits or is under way."""
    return db.first(Order, _WITH_CONTENT, eid=eid, content=content)


def newest_order(db: Work) -> int:
    """The number of the order that came last; 0 before the first."""
    return db.scalar(_NEWEST) or 0


def orders_after(db: Work, number: int) -> list[tuple[int, str]]:
    """Number and EID of the orders that came after one; the first thousands of them."""
    return [(found, eid) for found, eid in db.connection.execute(_AFTER, {"number": number})]


def late_orders(db: Work) -> list[Order]:
    """Orders that are late, the first of them."""
    return db.all(Order, _LATE, now=time.time())


def find_order(db: Work, eid: str, kinds: tuple[str, ...], transaction_id: bytes | None) -> Order | None:
    """The order a result belongs to. A result without eimTransactionId belongs to the one delivered now."""
    if transaction_id is None:
        return db.first(Order, _DELIVERED, eid=eid, kinds=kinds)
    order = db.first(Order, _TRANSACTION, transaction_id=transaction_id, eid=eid)
    return order if order and order.kind in kinds else None


def order_of_transaction(db: Work, transaction_id: bytes) -> Order | None:
    """The order with this eimTransactionId, whoever names it."""
    eid = db.scalar(_OWNER, transaction_id=transaction_id)
    if eid is None or db.get(Device, eid) is None:  # which keeps others from it before the order is read
        return None
    return db.first(Order, _TRANSACTION, transaction_id=transaction_id, eid=eid)


def delivered_downloads(db: Work) -> list[Order]:
    """Downloads under way; none where there are so many that none can be told from the others."""
    found = db.all(Order, _UNDER_WAY)
    return found if len(found) <= MOST_DOWNLOADS else []


def has_open_question(db: Work, eid: str) -> bool:
    """Whether a data request waits for its answer."""
    return db.scalar(_QUESTION, eid=eid) is not None


def is_booked(db: Work, eid: str, sequence: int) -> bool:
    """Whether an order was settled by the card's message with this seqNumber."""
    return db.scalar(_BOOKED, eid=eid, sequence=sequence) is not None


# Sessions, alarms, notifications


def open_session(db: Work, session: DownloadSession) -> bool:
    """Keep a session, and of its order the newest ones: results of abandoned ones come late or never.

    Those whose eUICC the SM-DP+ has authenticated stay longer: anybody can begin one in the name of a device.

    False for a transactionId that is another order's: no SM-DP+ shall take over what goes to another.
    """
    known = db.get(DownloadSession, session.transaction_id)
    if known and known.order_id != session.order_id:
        return False
    db.put(session)
    old = delete(_sessions).where(_session.transaction_id.in_(_OLD_SESSIONS))
    db.execute(old, {"order_id": session.order_id})
    return True


def raise_alarm(db: Work, eid: str | None, text: str, evidence: bytes) -> None:
    """Keep an alarm, one that comes again once; of a device, and of all, the oldest go when there are too many."""
    evidence, of_device = evidence[:LARGEST_EVIDENCE], _alarm.eid == eid
    known = select(_alarms).where(of_device, _alarm.text == text, _alarm.evidence == evidence).limit(1)
    if again := db.first(Alarm, known):
        again.created = time.time()
        return
    db.add(Alarm(eid=eid, text=text, evidence=evidence))
    older = select(_alarm.id).where(of_device).order_by(_alarm.id.desc()).offset(MAX_ALARMS_OF_ONE)
    db.execute(delete(_alarms).where(_alarm.id.in_(older)))
    newest = db.scalar(select(func.max(_alarm.id))) or 0
    db.execute(delete(_alarms).where(_alarm.id <= newest - MAX_ALARMS))


def waiting_forwards(db: Work, eid: str) -> int:
    """How many notifications of one device have not reached their SM-DP+."""
    return db.scalar(_WAITING, eid=eid) or 0


def due_forwards(db: Work, now: float) -> list[Forward]:
    """Notifications whose next attempt is due, the first of them."""
    return db.all(Forward, _DUE, now=now)


def next_forward(db: Work) -> float | None:
    """When the next attempt is due; None when nothing waits."""
    due: float | None = db.scalar(_NEXT_DUE)
    return due
