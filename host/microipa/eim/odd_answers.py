"""An eIM that differs from the standard, made of one that does not: between its transport and its desk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from microipa.asn1.tlv import parse, tlv
from microipa.common.errors import Busy
from microipa.eim import esipa
from microipa.eim.behaviour import Behaviour

_LONG_S = 3600.0
_OK, _KEY_ID = 0xA0, 0x04  # inside InitiateAuthenticationResponseEsipa
_SHORT = 4
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
        if behaviour.short_key_id and answer.startswith(esipa.INITIATE_AUTHENTICATION.to_bytes(2, "big")):
            return _shortened(answer)
        if behaviour.foreign and answer and parse(answer).tag == esipa.PROVIDE_EIM_PACKAGE_RESULT:
            return esipa.acknowledge(list(range(1, _FOREIGN_RESULTS)))
        return answer


def _shortened(answer: bytes) -> bytes:
    """BF39 with the beginning of the key identifier alone."""
    whole = parse(answer)
    choice = whole.children()[0]
    if choice.tag != _OK:
        return answer
    fields = (tlv(_KEY_ID, field.value[:_SHORT]) if field.tag == _KEY_ID else field.raw for field in choice)
    return tlv(whole.tag, tlv(choice.tag, *fields))
