"""Which part of the eIM answers an ESipa message, and what is left when it cannot be read or proves nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from microipa.asn1.tlv import Tlv, TlvError, parse
from microipa.common.errors import Busy, MicroipaError
from microipa.eim import esipa
from microipa.eim.behaviour import Behaviour
from microipa.eim.esipa import EsipaRefused, ResultRefused
from microipa.eim.notices import Notices
from microipa.eim.odd_answers import OddAnswers
from microipa.eim.orders import Orders
from microipa.eim.polls import Polls
from microipa.eim.relay import Relay
from microipa.eim.relayed import AUTHENTICATE, CANCEL, GET_PACKAGE, INITIATE
from microipa.eim.results import Results
from microipa.eim.store import Store
from microipa.eim.together import Together
from microipa.storage.database import StoreBusy
from microipa.storage.schema import StoreUnusable
from microipa.trace import Trace

log = logging.getLogger(__name__)

RELAYED = frozenset(function.tag for function in (INITIATE, AUTHENTICATE, GET_PACKAGE, CANCEL))
RESULT = esipa.PROVIDE_EIM_PACKAGE_RESULT.to_bytes(2, "big")


class Dispatch:
    """The ESipa functions of one eIM; ``wake_forwarder`` is called when notifications may have come along."""

    def __init__(
        self, store: Store, orders: Orders, results: Results, notices: Notices, relay: Relay, polls: Polls,
        wake_forwarder: Callable[[], None], behaviour: Behaviour, trace: Trace | None,
    ) -> None:
        self._store, self._orders, self._results, self._notices = store, orders, results, notices
        self._relay, self._polls, self._wake_forwarder, self._trace = relay, polls, wake_forwarder, trace
        self._together = Together(store)
        self._speak: Callable[[bytes], Awaitable[bytes]]
        self._speak = self._answer if behaviour == Behaviour() else OddAnswers(self._answer, behaviour)

    async def handle(self, request: bytes) -> bytes:
        """Answer one ESipa message in its ASN.1 binding; empty for HandleNotification.

        Raises EsipaRefused for what cannot be read and what the standard has no error code for, and Busy when
        nothing can be kept now; its text tells a device nothing of this machine.
        """
        self.note("in", request)
        try:
            answer = await self._speak(request)
        except (StoreBusy, StoreUnusable) as trouble:
            log.error("%s", trouble)
            raise Busy("the eIM cannot work now: try again later") from trouble
        self.note("out", answer)
        return answer

    async def _answer(self, request: bytes) -> bytes:
        try:
            message = parse(request)
        except TlvError as malformed:
            if request[:2] == RESULT:
                self._unreadable(request, malformed)
            raise EsipaRefused(str(malformed)) from malformed
        try:
            if message.tag in RELAYED:
                return await self._relay.handle(message)
            if message.tag == esipa.GET_EIM_PACKAGE:
                return await self._get_package(message)
            if message.tag == esipa.PROVIDE_EIM_PACKAGE_RESULT:
                return await self.provide_result(message)
            if message.tag == esipa.HANDLE_NOTIFICATION:
                return await self._handle_notification(message)
        except TlvError as malformed:
            raise EsipaRefused(str(malformed)) from malformed
        raise EsipaRefused(f"{message.tag:02X} is not a message to an eIM")

    async def _get_package(self, message: Tlv) -> bytes:
        try:
            if self._polls.in_vain(message):
                return esipa.package_error(esipa.NO_EIM_PACKAGE)
            return await self._together.work(lambda db: self._orders.get_package(db, message), _named(message))
        except esipa.EidRefused as refusal:
            return esipa.package_error(refusal.code)

    async def provide_result(self, message: Tlv) -> bytes:
        """The answer to ProvideEimPackageResult. Raises TlvError, EsipaRefused."""
        try:
            acknowledged = await self._together.work(lambda db: self._results.take(db, message), _named(message))
        except esipa.EidRefused as refusal:
            return esipa.result_error(refusal.code)
        except ResultRefused as refusal:
            self._alarm(refusal, message)
            return esipa.result_error(esipa.UNDEFINED)
        except (TlvError, EsipaRefused) as unreadable:
            self._unreadable(message.raw, unreadable)
            raise
        self._wake_forwarder()  # notifications may have come along
        return esipa.acknowledge(acknowledged)

    async def _handle_notification(self, message: Tlv) -> bytes:
        """BF3D: a result under its own tag, or a PendingNotification under A0 or, by some peers, bare."""
        inside = message.children()
        if len(inside) == 1 and inside[0].tag == 0xA0:
            inside = inside[0].children()
        if len(inside) != 1:
            raise TlvError(f"BF3D holds {len(inside)} objects instead of one", message.offset)
        try:
            is_result = inside[0].tag == esipa.PROVIDE_EIM_PACKAGE_RESULT
            take = self._results.take if is_result else self._notices.accept
            await self._together.work(lambda db: take(db, inside[0]))
        except TlvError as unreadable:
            self._unreadable(inside[0].raw, unreadable)
            raise
        except esipa.EidRefused as refusal:
            raise EsipaRefused(str(refusal)) from refusal
        except ResultRefused as refusal:
            self._alarm(refusal, message)
            raise EsipaRefused(str(refusal)) from refusal
        self._wake_forwarder()
        return b""

    def _unreadable(self, message: bytes, reason: MicroipaError) -> None:
        with self._store.work() as db:
            self._results.unreadable(db, message, str(reason))

    def _alarm(self, refusal: ResultRefused, message: Tlv) -> None:
        """Keep the evidence; the transaction that looked at the message was undone."""
        with self._store.work() as db:
            self._orders.alarm(db, refusal.eid, str(refusal), message.raw)
            if refusal.eid:
                self._orders.introduce(db, refusal.eid)

    def note(self, direction: str, message: bytes) -> None:
        """For the trace."""
        if self._trace:
            self._trace.record("eim", "esipa", direction=direction, message=message)


def _named(message: Tlv) -> str | None:
    """The device that a message names."""
    field = message.get(esipa.EID)
    return field.value.hex() if field else None
