"""TransferEimPackage: eIM packages for a device that did not ask, over the association it keeps open (SGP.32 3.1.1.2).

An order is the same whichever way it goes: what cannot be handed over now waits for the next poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy import bindparam, select

from microipa.asn1.tlv import Tlv, TlvError, parse, tlv
from microipa.eim import answers, esipa, new_orders, packages, questions
from microipa.eim.listeners import Listeners, Unreachable
from microipa.eim.orders import Orders, device_of
from microipa.eim.store import Device, Store
from microipa.storage.database import StoreBusy

log = logging.getLogger(__name__)

IPA_INJECT_COAPS = "ipaInjectCoaps"
ERROR = 0x02
RECEIVED_WITH_ID, ERROR_WITH_ID = 0xBF60, 0xBF61  # of v1.3
RECEIVED = (0x05, RECEIVED_WITH_ID)
_CAPABILITIES = select(Device.ipa_capabilities).where(Device.eid == bindparam("device"))

Note = Callable[[str, bytes], None]


class Injector:
    """``provide_result`` acts on a ProvideEimPackageResult and answers it; ``note`` hears every message."""

    def __init__(
        self, store_: Store, orders: Orders, provide_result: Callable[[Tlv], Awaitable[bytes]], note: Note
    ) -> None:
        self._store = store_
        self._orders = orders
        self.listeners = Listeners(self._claims)
        self._provide_result = provide_result
        self._note = note
        self._changed = asyncio.Event()
        self._pushing: dict[str, asyncio.Task[None]] = {}

    def wake(self, eid: str | None = None) -> None:
        """There is a new order, of this device or of some."""
        if eid is None:
            self._changed.set()
        else:
            self._begin(eid)

    async def push(self, eid: str) -> bool:
        """Hand over what waits for this device. True when nothing waits any more.

        Raises EidRefused, Unreachable; what was not handed over waits for a poll.
        """
        listener = self.listeners.get(eid)
        async with listener.turn if listener else contextlib.nullcontext():
            return await self._push_all(eid)

    async def _push_all(self, eid: str) -> bool:
        while True:
            with self._store.work() as db:
                device = device_of(db, eid)
                if IPA_INJECT_COAPS not in _protocols(device.ipa_capabilities):
                    raise Unreachable(f"the IPA of {eid} does not report {IPA_INJECT_COAPS}: it must poll")
                package = self._orders.next_package(db, device)
            if package is None:
                return True
            listener = self.listeners.get(eid)
            if listener and package == listener.given:
                return False
            if listener:
                listener.given = package
            answer = await self._ask(eid, package)
            if answer.tag in RECEIVED:  # the result comes later, over whatever association
                return False
            if listener and answer.tag in (ERROR, ERROR_WITH_ID):
                listener.given = None
            await self._settle(eid, answer, package)

    async def run(self) -> None:
        """For ever: as soon as there is a new order for a device that listens, hand it over.

        A device listens once a poll of its has found nothing, so whatever waits for it is newer.
        """
        newest = -1
        listening = asyncio.create_task(new_orders.listen(self._store, self.wake))
        try:
            while True:
                self._changed.clear()
                try:
                    newest = self._look(newest)
                except StoreBusy as busy:
                    log.warning("%s", busy)
                await self._changed.wait()
        finally:
            listening.cancel()
            for task in self._pushing.values():
                task.cancel()

    def _look(self, newest: int) -> int:
        """Begin to hand over the orders that came after ``newest``. Returns the newest there is now."""
        with self._store.work() as db:
            if newest < 0 or not self.listeners.some:
                return questions.newest_order(db)
            found = questions.orders_after(db, newest)
        for eid in {eid for _, eid in found}:
            self._begin(eid)
        return max([newest, *(number for number, _ in found)])

    def _begin(self, eid: str) -> None:
        if self.listeners.get(eid) and eid not in self._pushing:
            self._pushing[eid] = asyncio.create_task(self._push(eid))

    def _claims(self, eid: str) -> bool:
        with self._store.question() as connection:
            return IPA_INJECT_COAPS in _protocols(connection.scalar(_CAPABILITIES, {"device": eid}))

    async def _push(self, eid: str) -> None:
        try:
            await self.push(eid)
        except (Unreachable, StoreBusy, esipa.EidRefused) as reason:
            log.info("%s", reason)
        finally:
            del self._pushing[eid]

    async def _ask(self, eid: str, content: bytes) -> Tlv:
        """Send one TransferEimPackageRequest. Returns what is inside the response."""
        request = tlv(esipa.TRANSFER_EIM_PACKAGE, content)
        self._note("out", request)
        response = await self.listeners.ask(eid, request)
        self._note("in", response)
        with contextlib.suppress(TlvError):
            message = parse(response)
            inside = message.children()
            if message.tag == esipa.TRANSFER_EIM_PACKAGE and len(inside) == 1:
                return inside[0]
        self.listeners.forget(eid)
        raise Unreachable(f"{eid} answers TransferEimPackage with {response.hex()[:64] or 'nothing'}")

    async def _settle(self, eid: str, answer: Tlv, package: bytes) -> None:
        """The same as when the device provides its result; what is acknowledged goes out as a package of its own."""
        result = _error(answer, package) if answer.tag in (ERROR, ERROR_WITH_ID) else answer.raw
        provided = tlv(esipa.PROVIDE_EIM_PACKAGE_RESULT, tlv(esipa.EID, bytes.fromhex(eid)), result)
        try:
            settled = parse(await self._provide_result(parse(provided)))
        except (TlvError, esipa.EsipaRefused) as malformed:
            self.listeners.forget(eid)
            raise Unreachable(f"{eid} answers TransferEimPackage with a malformed message: {malformed}") from malformed
        acknowledged = settled.get(esipa.ACKNOWLEDGEMENTS)
        if acknowledged:
            await self._ask(eid, acknowledged.raw)


def _error(answer: Tlv, package: bytes) -> bytes:
    """The error of a ProvideEimPackageResult: about the package that was answered, which is known here."""
    transaction_id = packages.transaction_id(parse(package))
    given = answer if answer.tag == ERROR else answer[ERROR]
    return tlv(0xA0, tlv(0x80, transaction_id) if transaction_id else b"", given.raw)


def _protocols(ipa_capabilities: bytes | None) -> list[str]:
    if ipa_capabilities is None:
        return []
    return answers.capabilities(parse(ipa_capabilities)).get("ipaSupportedProtocols", [])
