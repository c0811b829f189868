"""Devices that can be asked: those that keep their association open, and claim to listen there (SGP.32 3.1.1.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiocoap import Context, Message, error
from aiocoap.numbers import codes

from microipa.common.errors import MicroipaError
from microipa.eim import esipa
from microipa.eim.kept import SLOW_LINK

if TYPE_CHECKING:
    from microipa.eim.coap import Remote

ASN1_PATH = ("gsma", "rsp2", "asn1")
ANSWER_SECONDS = 120.0  # for a device to carry out what it was sent, and every retransmission


class Unreachable(MicroipaError):
    """A device that does not listen, or did not answer."""


@dataclass(eq=False)
class Listener:
    """A device at the newest association over which it got no package more.

    Whoever knows an EID can poll in its name: an association over which its card's signed result came is left for
    another one only when it is lost or does not answer.
    """

    remote: Remote
    given: bytes | None = None
    """The package it has and has not answered for."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever hands packages over."""
    asking: asyncio.Timeout | None = None
    instead: Remote | None = None
    """A newer association, over which nothing signed has come."""


class Listeners:
    """Those of one server. ``claims`` tells whether the IPA of an EID takes packages that it did not ask for.

    It is asked once for each association, and again after a result, which may have told what the IPA can do.
    """

    def __init__(self, claims: Callable[[str], bool]) -> None:
        self._claims = claims
        self._listening: dict[str, Listener] = {}
        self._context: Context | None = None

    def open(self, context: Context | None) -> None:
        """Ask through this server from now on; None when it stops."""
        self._context = context
        self._listening.clear()

    @property
    def some(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listening)

    def get(self, eid: str) -> Listener | None:
        return self._listening.get(eid)

    def note(self, remote: Remote, request: bytes, answer: bytes) -> None:
        """An ESipa exchange over an association."""
        if proved := esipa.proved(request, answer):
            remote.proved = proved
        eid = esipa.polled_in_vain(request, answer)
        if eid is None:
            if esipa.is_result(request):
                remote.asked = None
        elif eid != remote.asked:
            remote.asked = eid
            if self._claims(eid):
                self._listens(eid, remote)

    def _listens(self, eid: str, remote: Remote) -> None:
        known = self._listening.get(eid)
        if known and known.remote is remote:
            return
        if known and known.remote.proved == eid != remote.proved:
            known.instead = remote
            return
        if known and known.asking and not known.asking.expired():
            known.asking.reschedule(asyncio.get_running_loop().time())  # the association it came from is no more
        self._listening[eid] = Listener(remote)
        remote.listening.add(eid)

    def lost(self, remote: Remote) -> None:
        """An association has ended."""
        for eid in remote.listening:
            if (known := self._listening.get(eid)) and known.remote is remote:
                self._leave(eid, known)

    def forget(self, eid: str, listener: Listener | None = None) -> None:
        """The device does not listen any more, or not as ``listener``."""
        if (known := self._listening.get(eid)) and listener in (None, known):
            known.remote.asked = None
            known.remote.listening.discard(eid)
            self._leave(eid, known)

    def _leave(self, eid: str, known: Listener) -> None:
        del self._listening[eid]
        if known.instead:
            self._listens(eid, known.instead)

    async def ask(self, eid: str, message: bytes) -> bytes:
        """POST one message to a device and wait for its answer. Raises Unreachable; the device is forgotten then."""
        listener = self._listening.get(eid)
        if listener is None or self._context is None:
            raise Unreachable(f"{eid} has no association with this eIM now: it gets its orders at its next poll")
        request = Message(code=codes.POST, uri_path=ASN1_PATH, payload=message, transport_tuning=SLOW_LINK)
        request.remote = listener.remote
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as listener.asking:
                response = await self._context.request(request).response
        except (error.Error, OSError, TimeoutError) as silent:
            self.forget(eid, listener)
            raise Unreachable(f"{eid} no longer answers: {type(silent).__name__}") from silent
        finally:
            listener.asking = None
        if not response.code.is_successful():
            self.forget(eid, listener)
            raise Unreachable(f"{eid} does not accept packages: {response.code}")
        return bytes(response.payload)
