"""Polls that find nothing: most of what an eIM does, so they write nothing and ask one question of the database.

When a device polled last is noted here and written now and then, for many devices at once: a crash loses a second of
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from sqlalchemy import bindparam, exists, select, update

from microipa.asn1.tlv import Tlv
from microipa.asn1.words import plmn
from microipa.eim import clients, esipa, store
from microipa.eim.store import Device, Order, Store
from microipa.storage.database import StoreBusy

log = logging.getLogger(__name__)

WRITE_SECONDS = 1.0
MOST_UNWRITTEN = 10_000  # polls noted where no server runs that writes them

_waits = exists().where(Order.eid == Device.eid, store.IS_OPEN)
_FOUND = select(Device.rplmn, _waits).where(Device.eid == bindparam("device"))
_POLLED = update(Device).where(Device.eid == bindparam("device")).values(last_poll=bindparam("moment"))


class Polls:
    """The polls of one server process."""

    def __init__(self, store_: Store) -> None:
        self._store = store_
        self._unwritten: dict[str, float] = {}

    def in_vain(self, message: Tlv) -> bool:
        """Whether GetEimPackage finds nothing and tells nothing that has to be kept.

        Raises EidRefused, EsipaRefused, TlvError, StoreBusy.
        """
        eid = esipa.eid_of(message.get(esipa.EID))
        clients.check(eid)
        with self._store.question() as connection:
            found = connection.execute(_FOUND, {"device": eid}).first()
        if found is None:
            raise esipa.EidRefused(esipa.EID_NOT_FOUND, f"{eid} is not a device of this eIM: add it first")
        known, waits = found
        rplmn = message.get(0x82)
        moved = rplmn is not None and len(rplmn.value) == 3 and plmn(rplmn.value) != known
        if waits or moved or 0x80 in message or esipa.TROUBLE.get():
            return False
        self._unwritten[eid] = time.time()
        if len(self._unwritten) > MOST_UNWRITTEN:
            with contextlib.suppress(StoreBusy):
                self.write()
        return True

    def write(self) -> None:
        """Let everybody see them. Raises StoreBusy."""
        if not self._unwritten:
            return
        polls = [{"device": eid, "moment": moment} for eid, moment in sorted(self._unwritten.items())]
        with self._store.work() as db:
            db.execute(_POLLED, polls)
        self._unwritten.clear()

    async def run(self) -> None:
        """Write them for ever."""
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                self._try()
        finally:
            self._try()

    def _try(self) -> None:
        try:
            self.write()
        except StoreBusy as busy:
            log.warning("%s", busy)
