"""Notifications on their way to SM-DP+ servers: kept until taken, tried again ever more rarely."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from microipa.eim import questions
from microipa.eim.store import Forward, Store
from microipa.net.rsp_client import RspClient, RspRefused, RspUnavailable, b64
from microipa.storage.database import StoreBusy

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 3600.0
LOOK_S = 30.0
LEASE_S = 120.0  # in which no other process tries what one has taken; longer than any call of an SM-DP+
MOST_ATTEMPTS = 350  # two weeks with these pauses, whatever the clock says: then a server does not get it any more


class Forwarder:
    """Delivers what ``store`` holds. One runs beside a serving eIM."""

    def __init__(self, store_: Store, es9: RspClient) -> None:
        self._store = store_
        self._es9 = es9
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """There is something new to deliver."""
        self._changed.set()

    async def run(self) -> None:
        """Deliver for ever what is due."""
        while True:
            self._changed.clear()
            try:
                await self.deliver_due()
                pause = self._pause()
            except StoreBusy as busy:
                log.warning("%s", busy)
                pause = FIRST_PAUSE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):  # wait_for of Python 3.11 may overhear that it is cancelled
                    await self._changed.wait()

    async def deliver_due(self) -> None:
        """One attempt for each notification whose time has come (ES9+.HandleNotification).

        Side by side, so that a server that hangs does not keep the others waiting.
        """
        with self._store.work() as db:
            due = questions.due_forwards(db, time.time())
            for forward in due:
                forward.due = time.time() + LEASE_S
        await asyncio.gather(*(self._try(forward) for forward in due))
        with self._store.work() as db:
            for forward in due:
                db.put(forward)
                if forward.delivered and forward.last_error:
                    text = f"{forward.address} has not received {forward.summary}: {forward.last_error}"
                    questions.raise_alarm(db, forward.eid, text, forward.message)

    async def _try(self, forward: Forward) -> None:
        forward.attempts += 1
        forward.last_error = None
        try:
            fields = {"pendingNotification": b64(forward.message)}
            await self._es9.call(forward.address, "handleNotification", fields)
        except RspUnavailable as error:
            forward.last_error = str(error)
            pause = max(FIRST_PAUSE_S * 2 ** min(forward.attempts - 1, 20), error.retry_after or 0.0)
            forward.due = time.time() + min(pause, LONGEST_PAUSE_S)
            log.info("%s stays here: %s", forward.summary, error)
            if forward.attempts < MOST_ATTEMPTS:
                return
            forward.last_error = f"given up after {forward.attempts} attempts: {error}"
        except RspRefused as refusal:  # final: the same bytes will not be liked better later
            forward.last_error = str(refusal)
        forward.delivered = time.time()

    def _pause(self) -> float:
        """Seconds until the next attempt, or until one looks for what other processes have left."""
        with self._store.work() as db:
            due = questions.next_forward(db)
        return LOOK_S if due is None else min(max(due - time.time(), 0.0), LOOK_S)
