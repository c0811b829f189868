"""One transaction for all that is asked of the database at the same moment: what a disk needs to keep it is paid once.

An answer leaves when its transaction is kept, as if it had been alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from microipa.common.errors import Busy, MicroipaError
from microipa.eim.store import Store
from microipa.storage.unit_of_work import Work

T = TypeVar("T")
Step = Callable[[Work], T]
"""Reads, decides and writes. It may be called once more, in a transaction of its own."""

MOST = 64  # steps in one transaction: others wait for its end


class _SpoiltError(Exception):
    """A step failed after it had written, so the transaction is undone for all of them."""


class Together:
    """The steps of one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: list[tuple[Step[Any], asyncio.Future[Any]]] = []

    async def work(self, step: Step[T]) -> T:
        """What ``step`` returns or raises, once its transaction has ended. Raises StoreBusy."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = copy_context()  # each with what is known of its own request
        self._asked.append((lambda db: context.run(step, db), future))
        if len(self._asked) == 1:
            loop.call_soon(self._work_all)
        return await future

    def _work_all(self) -> None:
        asked, self._asked = self._asked[:MOST], self._asked[MOST:]
        if self._asked:
            asyncio.get_running_loop().call_soon(self._work_all)
        if len(asked) == 1:
            self._work_alone(*asked[0])
            return
        try:
            outcomes = self._in_one(asked)
        except Exception as failure:  # noqa: BLE001 (each step tells its own error when it is alone)
            if isinstance(failure, Busy) and self._store.is_sqlite:  # so would each be that is alone
                for _, future in asked:
                    _settle(future, None, failure)
                return
            for step, future in asked:
                self._work_alone(step, future)
            return
        for (_, future), (result, error) in zip(asked, outcomes, strict=True):
            _settle(future, result, error)

    def _in_one(self, asked: list[tuple[Step[Any], asyncio.Future[Any]]]) -> list[tuple[Any, MicroipaError | None]]:
        outcomes: list[tuple[Any, MicroipaError | None]] = []
        with self._store.work() as db:
            for step, _ in asked:
                db.wrote = False
                try:
                    outcomes.append((step(db), None))
                    db.flush()
                except MicroipaError as error:
                    if db.wrote or not db.is_flushed:
                        raise _SpoiltError from error
                    outcomes.append((None, error))
        return outcomes

    def _work_alone(self, step: Step[Any], future: asyncio.Future[Any]) -> None:
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
