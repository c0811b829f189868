"""What an eIM's database is rid of while it serves: orders that came too late, what nobody looks at any more, and times
that a wrong clock has set.

| what | kept |
| --- | --- |
| a notification that its SM-DP+ has | FORWARD_DAYS: a device that repeats it later has it passed on once more |
| an ES9+' session | SESSION_DAYS, of which an order keeps its newest ones |
| an answer of an SM-DP+ | ANSWER_SECONDS, for a device that did not receive it |
| alarms | the newest ``store.MAX_ALARMS`` |
| devices, orders and their results | for ever |
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sqlalchemy import Delete, delete, func, select, update

from microipa.eim.forwarder import LEASE_S, LONGEST_PAUSE_S
from microipa.eim.orders import Orders
from microipa.eim.store import IS_DUE, DownloadSession, Forward, RelayedAnswer, Store
from microipa.storage.database import StoreBusy
from microipa.storage.unit_of_work import Work

log = logging.getLogger(__name__)

PAUSE_SECONDS = 60.0
DAY = 86_400.0
FORWARD_DAYS = 30
SESSION_DAYS = 30
ANSWER_SECONDS = 3600.0
Step = Callable[[Work], bool]
"""Does a part of something, and tells whether there may be more of it to do."""
TURN = select(func.pg_try_advisory_xact_lock(0x7570_6B65))  # any number of ours that is not schema.LOCK
AT_ONCE = 1000  # rows that go in one transaction: nobody waits for it long


class Upkeep:
    """Runs beside the servers of each process; one of them does it at a time."""

    def __init__(self, store_: Store, orders: Orders) -> None:
        self._store = store_
        self._orders = orders

    def expire(self) -> None:
        """End all orders that came too late. Raises StoreBusy."""
        while self._step(self._orders.expire):
            pass

    async def run(self) -> None:
        """For ever, a little at a time."""
        while True:
            try:
                steps = (self._orders.expire, _bring_forward, _prune_forwards, _prune_sessions, _prune_answers)
                left = [self._step(step) for step in steps]
            except StoreBusy as busy:
                log.warning("%s", busy)
                left = []
            await asyncio.sleep(0 if any(left) else PAUSE_SECONDS)

    def _step(self, step: Step) -> bool:
        with self._store.work() as db:
            return self._has_turn(db) and step(db)

    def _has_turn(self, db: Work) -> bool:
        """SQLite lets one process write; of PostgreSQL's, whoever comes first until its transaction ends."""
        return self._store.is_sqlite or bool(db.scalar(TURN))


def _bring_forward(db: Work) -> bool:
    """A notification that waits longer than any does got its time from a clock that was wrong."""
    now = time.time()
    never = Forward.due > now + LONGEST_PAUSE_S + LEASE_S
    db.execute(update(Forward).where(IS_DUE, never).values(due=now))
    return False


def _prune_forwards(db: Work) -> bool:
    old = select(Forward.digest).where(Forward.delivered < time.time() - FORWARD_DAYS * DAY).limit(AT_ONCE)
    return _delete(db, delete(Forward).where(Forward.digest.in_(old)))


def _prune_sessions(db: Work) -> bool:
    aged = DownloadSession.created < time.time() - SESSION_DAYS * DAY
    old = select(DownloadSession.transaction_id).where(aged).limit(AT_ONCE)
    return _delete(db, delete(DownloadSession).where(DownloadSession.transaction_id.in_(old)))


def _prune_answers(db: Work) -> bool:
    old = select(RelayedAnswer.request).where(RelayedAnswer.created < time.time() - ANSWER_SECONDS).limit(AT_ONCE)
    return _delete(db, delete(RelayedAnswer).where(RelayedAnswer.request.in_(old)))


def _delete(db: Work, statement: Delete) -> bool:
    """Whether there may be more."""
    return db.execute(statement).rowcount == AT_ONCE
