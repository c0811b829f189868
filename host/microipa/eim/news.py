"""How a process hears of orders that others have queued: PostgreSQL tells it, SQLite has to be asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import String, bindparam, func, select

from microipa.eim.store import Store
from microipa.storage.database import CONNECT_TIMEOUT_S
from microipa.storage.unit_of_work import Work

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two questions where nobody tells
CHANNEL = "microipa_orders"
_NOTIFY = select(func.pg_notify(CHANNEL, bindparam("eid", type_=String)))
Wake = Callable[[str | None], None]
"""Is told the EID of a device that has a new order, or None where there may be some for any."""


def tell(db: Work, eid: str) -> None:
    """Let all processes hear of a new order, once this transaction is kept."""
    if db.connection.dialect.name == "postgresql":
        db.execute(_NOTIFY, {"eid": eid})


async def listen(store: Store, wake: Wake) -> None:
    """Call ``wake`` for ever, whenever there may be a new order."""
    while True:
        if not store.is_sqlite:
            await _listen(store, wake)
        await asyncio.sleep(LOOK_SECONDS)
        wake(None)


async def _listen(store: Store, wake: Wake) -> None:
    """As long as the database is there."""
    import psycopg

    _, arguments = store.engine.dialect.create_connect_args(store.engine.url)
    arguments.update(autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    try:
        async with await psycopg.AsyncConnection.connect(**arguments) as connection:
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            wake(None)  # for what came before
            async for told in connection.notifies():
                wake(told.payload)
    except psycopg.OperationalError as away:
        log.warning("the database does not announce new orders at present: %s", " ".join(str(away).split()))
