"""What the SM-DP+ has to tell others: progress to operators (ES2+), ended events to an SM-DS (ES12).

Messages are kept in the store until they are taken, and tried again ever more rarely; after a week nobody
waits for them any more.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta

from sqlalchemy import select

from microipa.net.rsp_client import RspClient, RspRefused, RspUnavailable
from microipa.smdpp.json_binding import header
from microipa.smdpp.store import Outgoing, Store
from microipa.storage.database import StoreBusy, utc_now

log = logging.getLogger(__name__)

LOOK_S = 1.0  # other processes put messages in too
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(hours=1)
KEPT = timedelta(days=7)


class Outbox:
    """Delivers what ``store`` holds. One runs beside a serving SM-DP+; ``oid`` is by whom it is sent."""

    def __init__(self, store: Store, client: RspClient, oid: str) -> None:
        self._store = store
        self._client = client
        self._oid = oid

    async def run(self) -> None:
        """Deliver for ever what is due."""
        while True:
            try:
                await self.deliver_due()
            except StoreBusy as busy:
                log.warning("%s", busy)
            await asyncio.sleep(LOOK_S)

    async def deliver_due(self) -> None:
        """One attempt for the oldest message to each server whose time has come: in order, side by side."""
        while due := self._due():
            await asyncio.gather(*(self._try(message) for message in due))

    def _due(self) -> list[Outgoing]:
        first: dict[str, Outgoing] = {}
        with self._store.work() as database:
            for message in database.scalars(select(Outgoing).order_by(Outgoing.id)):
                first.setdefault(message.address, message)
            database.expunge_all()
        now = utc_now()
        return [message for message in first.values() if message.due <= now]

    async def _try(self, message: Outgoing) -> None:
        again: timedelta | None = None
        fields = {"header": header(self._oid, str(message.id)), **json.loads(message.body)}
        try:
            await self._client.call(message.address, message.function, fields, message.interface)
        except RspUnavailable:
            if utc_now() - message.created < KEPT:
                again = min(FIRST_PAUSE * 2 ** min(message.attempts, 12), LONGEST_PAUSE)
        except RspRefused as refusal:  # final: the same words will not be liked better later
            log.info("%s", refusal)
        with self._store.work() as database:
            kept = database.get(Outgoing, message.id)
            if kept is None:
                return  # another process was quicker; both told the same
            if again is None:
                database.delete(kept)
            else:
                kept.attempts += 1
                kept.due = utc_now() + again
