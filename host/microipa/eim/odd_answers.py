"""An eIM that differs from the standard, made of one that does not: between its transport and its desk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from microipa.asn1.tlv import parse
from microipa.eim import esipa
from microipa.eim.behaviour import Behaviour
from microipa.errors import Busy

_LONG_S = 3600.0
_FOREIGN_RESULTS = 64  # seqNumbers of a card that is new


class OddAnswers:
    """``answer`` is how the eIM itself answers a message."""

    def __init__(self, answer: Callable[[bytes], Awaitable[bytes]], behaviour: Behaviour) -> None:
        self._answer = answer
        self._behaviour = behaviour
        self._messages = self._notifications = 0

    async def __call__(self, request: bytes) -> bytes:
        """Raises EsipaRefused and Busy."""
        behaviour = self._behaviour
        self._messages += 1
        if behaviour.slow_s:
            await asyncio.sleep(behaviour.slow_s)
        if self._messages == behaviour.silent_at:
            await asyncio.sleep(_LONG_S)
        if self._messages <= behaviour.busy:
            raise Busy("try again later")
        if request.startswith(esipa.HANDLE_NOTIFICATION.to_bytes(2, "big")):
            self._notifications += 1
            if self._notifications <= behaviour.refuses_notifications:
                raise esipa.EsipaRefused("this notification is not wanted")
        answer = await self._answer(request)
        if self._messages == behaviour.garbled_at:
            return answer[: len(answer) // 2] or b"\0"
        if behaviour.foreign and answer and parse(answer).tag == esipa.PROVIDE_EIM_PACKAGE_RESULT:
            return esipa.acknowledge(list(range(1, _FOREIGN_RESULTS)))
        return answer
