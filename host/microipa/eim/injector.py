"""TransferEimPackage: eIM packages for a device that did not ask, over the association it keeps open (SGP.32 3.1.1.2).

An order is the same whichever way it goes: what cannot be handed over now waits for the next poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable

from microipa.asn1.tlv import Tlv, TlvError, parse, tlv
from microipa.database import StoreBusy
from microipa.eim import answers, esipa, store
from microipa.eim.coap import Listeners, Unreachable
from microipa.eim.orders import Orders, device_of
from microipa.eim.store import Device, Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks for new orders, which other processes write as well
IPA_INJECT_COAPS = "ipaInjectCoaps"
RECEIVED, ERROR = 0x05, 0x02

Note = Callable[[str, bytes], None]


class Injector:
    """``provide_result`` acts on a ProvideEimPackageResult and answers it; ``note`` hears every message."""

    def __init__(
        self, store_: Store, orders: Orders, listeners: Listeners, provide_result: Callable[[Tlv], bytes], note: Note
    ) -> None:
        self._store = store_
        self._orders = orders
        self._listeners = listeners
        self._provide_result = provide_result
        self._note = note
        self._given: dict[str, bytes] = {}  # what each device has and has not answered for
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pushing: dict[str, asyncio.Task[None]] = {}

    async def push(self, eid: str) -> bool:
        """Hand over what waits for this device. True when nothing waits any more.

        Raises EidRefused, Unreachable; what was not handed over waits for a poll.
        """
        async with self._turns[eid]:
            return await self._push_all(eid)

    async def _push_all(self, eid: str) -> bool:
        while True:
            with self._store.work() as db:
                device = device_of(db, eid)
                if IPA_INJECT_COAPS not in _protocols(device):
                    raise Unreachable(f"the IPA of {eid} does not claim {IPA_INJECT_COAPS}: it has to poll")
                package = self._orders.next_package(db, device)
            if package is None:
                return True
            if package == self._given.get(eid) and eid in self._listeners.eids():
                return False
            self._given[eid] = package
            answer = await self._ask(eid, package)
            if answer.tag == RECEIVED:  # the result comes later, over whatever association
                return False
            await self._settle(eid, answer)

    async def run(self) -> None:
        """For ever: as soon as an order waits for a device that listens, hand it over."""
        try:
            while True:
                await self._listeners.some.wait()
                try:
                    for eid in self._waiting():
                        self._pushing[eid] = asyncio.create_task(self._push(eid))
                except StoreBusy as busy:
                    log.warning("%s", busy)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in self._pushing.values():
                task.cancel()

    def _waiting(self) -> list[str]:
        """Devices that listen, are not being served, and have something new to get."""
        found = []
        with self._store.work() as db:
            for eid in self._listeners.eids():
                order, device = store.next_order(db, eid), db.get(Device, eid)
                new = order and (order.message is None or order.message != self._given.get(eid))
                if eid not in self._pushing and new and device and IPA_INJECT_COAPS in _protocols(device):
                    found.append(eid)
        return found

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
        response = await self._listeners.ask(eid, request)
        self._note("in", response)
        with contextlib.suppress(TlvError):
            message = parse(response)
            inside = message.children()
            if message.tag == esipa.TRANSFER_EIM_PACKAGE and len(inside) == 1:
                return inside[0]
        self._listeners.forget(eid)
        raise Unreachable(f"{eid} answers TransferEimPackage with {response.hex()[:64] or 'nothing'}")

    async def _settle(self, eid: str, answer: Tlv) -> None:
        """The same as when the device provides its result; what is acknowledged goes out as a package of its own."""
        result = tlv(0xA0, answer.raw) if answer.tag == ERROR else answer.raw
        provided = tlv(esipa.PROVIDE_EIM_PACKAGE_RESULT, tlv(esipa.EID, bytes.fromhex(eid)), result)
        try:
            settled = parse(self._provide_result(parse(provided)))
        except (TlvError, esipa.EsipaRefused) as malformed:
            self._listeners.forget(eid)
            raise Unreachable(f"{eid} answers TransferEimPackage with nonsense: {malformed}") from malformed
        acknowledged = settled.get(esipa.ACKNOWLEDGEMENTS)
        if acknowledged:
            await self._ask(eid, acknowledged.raw)


def _protocols(device: Device) -> list[str]:
    if device.ipa_capabilities is None:
        return []
    return answers.capabilities(parse(device.ipa_capabilities)).get("ipaSupportedProtocols", [])
