"""Notifies the processes of an eIM of new orders: PostgreSQL sends notifications, SQLite has to be polled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import String, bindparam, func, select

from microipa.eim.store import Store
from microipa.storage.database import CONNECT_TIMEOUT_S
from microipa.storage.unit_of_work import Work

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks, where there are no notifications
CHANNEL = "microipa_orders"
_NOTIFY = select(func.pg_notify(CHANNEL, bindparam("eid", type_=String)))
Wake = Callable[[str | None], None]
"""Called with the EID of a device that has a new order, or None if any device may have one."""


def announce(db: Work, eid: str) -> None:
    """Notify all processes of a new order, when this transaction is committed."""
    if db.connection.dialect.name == "postgresql":
        db.execute(_NOTIFY, {"eid": eid})


async def listen(store: Store, wake: Wake) -> None:
    """Call ``wake`` whenever there may be a new order. Never returns."""
    while True:
        if not store.is_sqlite:
            await _listen(store, wake)
        await asyncio.sleep(LOOK_SECONDS)
        wake(None)


async def _listen(store: Store, wake: Wake) -> None:
    """Call ``wake`` for each notification, until the database closes the connection."""
    import psycopg

    _, arguments = store.engine.dialect.create_connect_args(store.engine.url)
    arguments.update(autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    try:
        async with await psycopg.AsyncConnection.connect(**arguments) as connection:
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            wake(None)  # for what came before
            async for notice in connection.notifies():
                wake(notice.payload)
    except psycopg.OperationalError as away:
        log.warning("the database does not announce new orders at present: %s", " ".join(str(away).split()))
