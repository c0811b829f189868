"""One transaction for all that is asked of the database at the same moment: what a disk needs to keep it is paid once.

An answer leaves when its transaction is kept, as if it had been alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from microipa.common.errors import Busy, MicroipaError
from microipa.eim.store import Device, Store
from microipa.storage.unit_of_work import Work

T = TypeVar("T")
Step = Callable[[Work], T]
"""Reads, decides and writes. It may be called once more, in a transaction of its own."""
Asked = tuple[Step[Any], str | None, asyncio.Future[Any]]

MOST = 64  # steps in one transaction: others wait for its end


class _SpoiltError(Exception):
    """A step failed after it had written, so the transaction is undone for all of them."""


class Together:
    """The steps of one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: list[Asked] = []

    async def work(self, step: Step[T], eid: str | None = None) -> T:
        """What ``step`` returns or raises, once its transaction has ended. ``eid`` is the device that it is about,
        where that is known: all of them are read by one statement. Raises StoreBusy.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = copy_context()  # each with what is known of its own request
        self._asked.append((lambda db: context.run(step, db), eid, future))
        if len(self._asked) == 1:
            loop.call_soon(self._work_all)
        return await future

    def _work_all(self) -> None:
        asked, self._asked = self._asked[:MOST], self._asked[MOST:]
        if self._asked:
            asyncio.get_running_loop().call_soon(self._work_all)
        if len(asked) == 1:
            self._work_alone(asked[0])
            return
        try:
            outcomes = self._in_one(asked)
        except Exception as failure:  # noqa: BLE001 (each step tells its own error when it is alone)
            if isinstance(failure, Busy) and self._store.is_sqlite:  # so would each be that is alone
                for _, _, future in asked:
                    _settle(future, None, failure)
                return
            for one in asked:
                self._work_alone(one)
            return
        for (_, _, future), (result, error) in zip(asked, outcomes, strict=True):
            _settle(future, result, error)

    def _in_one(self, asked: list[Asked]) -> list[tuple[Any, MicroipaError | None]]:
        outcomes: list[tuple[Any, MicroipaError | None]] = []
        with self._store.work() as db:
            db.fetch(Device, (eid for _, eid, _ in asked if eid))
            for step, _, _ in asked:
                db.mark()
                try:
                    outcomes.append((step(db), None))
                except MicroipaError as error:
                    if db.changed:
                        raise _SpoiltError from error
                    outcomes.append((None, error))
        return outcomes

    def _work_alone(self, asked: Asked) -> None:
        step, _, future = asked
        try:
            with self._store.work() as db:
                result = step(db)
        except Exception as error:  # noqa: BLE001 (whoever asked is told)
            _settle(future, None, error)
        else:
            _settle(future, result, None)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():  # whoever asked has gone away
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)
