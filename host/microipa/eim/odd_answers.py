"""An eIM that differs from the standard, made of one that does not: between its transport and its desk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from microipa.asn1.tlv import parse, tlv
from microipa.common.errors import Busy
from microipa.eim import esipa, packages
from microipa.eim.behaviour import Behaviour

_LONG_S = 3600.0
_OK, _KEY_ID = 0xA0, 0x04  # inside InitiateAuthenticationResponseEsipa
_SHORT = 4
_CURIOUS = b"whatsaid"  # eimTransactionId
_FOREIGN_RESULTS = 64  # seqNumbers of a card that is new
EVERYTHING = esipa.acknowledge(list(range(1, _FOREIGN_RESULTS)))


class OddAnswers:
    """``answer`` is how the eIM itself answers a message."""

    def __init__(self, answer: Callable[[bytes], Awaitable[bytes]], behaviour: Behaviour) -> None:
        self._answer = answer
        self._behaviour = behaviour
        self._messages = self._notifications = 0
        self._asked = False

    async def __call__(self, request: bytes) -> bytes:
        """Raises EsipaRefused and Busy."""
        if self._behaviour.curious and (answer := self._curious(request)):
            return answer
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
        if behaviour.blanks and answer.startswith(esipa.GET_EIM_PACKAGE.to_bytes(2, "big")):
            return _with_blanks(answer)
        if behaviour.foreign and answer and parse(answer).tag == esipa.PROVIDE_EIM_PACKAGE_RESULT:
            return EVERYTHING
        return answer


    def _curious(self, request: bytes) -> bytes:
        """The first question is answered by one for everybody's results, its answer by an acknowledgement of all."""
        if not self._asked and request.startswith(esipa.GET_EIM_PACKAGE.to_bytes(2, "big")):
            self._asked = True
            return tlv(esipa.GET_EIM_PACKAGE, packages.data_request(tlv(0x5C, b"\xa2"), _CURIOUS))
        return EVERYTHING if _CURIOUS in request else b""


def _with_blanks(answer: bytes) -> bytes:
    """An answer to GetEimPackage; the activation code in a trigger has been copied from a letter."""
    trigger = parse(answer).get(esipa.DOWNLOAD_TRIGGER)
    if trigger is None:
        return answer
    fields = []
    for field in trigger.children():
        code = field.get(0x80) if field.tag == _OK else None
        if code:
            middle = len(code.value) // 2
            spread = code.value[:middle] + b"\r\n  " + code.value[middle:]
            fields.append(tlv(_OK, tlv(0x80, b" " + spread.replace(b":", b": ").replace(b"$", b" $ ") + b"\n")))
        else:
            fields.append(field.raw)
    return tlv(esipa.GET_EIM_PACKAGE, tlv(trigger.tag, *fields))


def _shortened(answer: bytes) -> bytes:
    """BF39 with the beginning of the key identifier alone."""
    whole = parse(answer)
    choice = whole.children()[0]
    if choice.tag != _OK:
        return answer
    fields = (tlv(_KEY_ID, field.value[:_SHORT]) if field.tag == _KEY_ID else field.raw for field in choice)
    return tlv(whole.tag, tlv(choice.tag, *fields))
