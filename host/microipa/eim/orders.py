"""Which package a poll gets, and how an order moves: queued, delivered, then done, failed or expired.

First asked, first delivered, one at a time for each eUICC. A package is signed when it is first delivered and
its bytes are kept: a repeat of an unanswered one is the same to the last byte, counter and transaction too.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from microipa.asn1.tlv import Tlv, number, tlv
from microipa.asn1.words import plmn
from microipa.common.errors import MicroipaError
from microipa.crypto.pki import Credential
from microipa.eim import clients, confirmation, esipa, features, packages, questions, sources, store, words
from microipa.eim.store import Device, Order
from microipa.storage.unit_of_work import Work
from microipa.trace import Trace

ABOUT_EUICC = tlv(0x5C, bytes.fromhex("81 BF22 83 84 A5 A6 A8 A9"))
"""Asked before the first package of a device: token, certificates, what card, IPA and device can."""
ABOUT_EUICC_LEAST = tlv(0x5C, bytes.fromhex("84 A5 A6"))
ABOUT_DEFAULT_SMDP = tlv(0x5C, b"\x81")
"""Asked before a download from there, by an eIM that does not know it."""
STORED_RESULTS = tlv(0x5C, bytes.fromhex("84 A2"))
"""Asked after a replayError: the result of that package may still be on the card."""
QUESTIONS = {
    ABOUT_EUICC: "ask the eUICC who it is",
    ABOUT_EUICC_LEAST: "ask the eUICC who it is, in short",
    ABOUT_DEFAULT_SMDP: "ask the eUICC for its default SM-DP+",
    STORED_RESULTS: "fetch the results the eUICC keeps",
}
PROOF = packages.encode_operations([("listProfileInfo", {"tagList": bytes.fromhex("5A")})])
TRANSACTION_ID_BYTES = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 3600.0  # before an interrupted download is offered again, from the second time
MOST_INTERRUPTIONS = 36  # with these pauses: an SM-DP+ may be away for more than a day
MAX_REFUSALS = 3
FIRST_SKIP, SKIP_GROWTH = 1_000, 16  # of the 8 388 607 values a card must take (SGP.32 2.11.1.1)


class OrderSettled(MicroipaError):
    """An order that has come to its end and cannot be cancelled."""


class Orders:
    """The order book of one eIM."""

    def __init__(self, signer: Credential, eim_id: str, trace: Trace | None) -> None:
        self._signer = signer
        self._eim_id = eim_id
        self._trace = trace

    def get_package(self, db: Work, message: Tlv) -> bytes:
        """The answer to GetEimPackage (SGP.32 5.14.5). Raises EidRefused, TlvError."""
        device = device_of(db, esipa.eid_of(message.get(esipa.EID)))
        device.last_poll = time.time()
        rplmn = message.get(0x82)
        if rplmn and len(rplmn.value) == 3:
            device.rplmn = plmn(rplmn.value)
        if 0x80 in message:
            cause = message.get(0x81)
            device.state_change = words.name("StateChangeCause", number(cause)) if cause else "undefined"
            device.state_changed = device.last_poll
            if self._trace:
                self._trace.record("eim", "state_change", eid=device.eid, cause=device.state_change)
        if trouble := esipa.TROUBLE.get():
            device.trouble, device.trouble_told = trouble, device.last_poll
            if self._trace:
                self._trace.record("eim", "trouble", eid=device.eid, text=trouble)
        package = self.next_package(db, device)
        if package is None:
            return esipa.package_error(esipa.NO_EIM_PACKAGE)
        return tlv(esipa.GET_EIM_PACKAGE, package)

    def next_package(self, db: Work, device: Device) -> bytes | None:
        """The eIM package this device is to get now, however it gets it; None when nothing waits."""
        while order := questions.next_order(db, device.eid):
            if order.is_late:
                self._end_late(db, order)
                continue
            if question := _first(order):
                order = self.ask(db, device, question)
            elif order.needs_proof and device.proven_token is None:
                order = self._proof(db, device)
            if order.confirmation_hash and order.message is None and (why := confirmation.obstacle(device)):
                self.alarm(db, order.eid, f"order {order.id}: {why}; its IPA capabilities were not signed", b"")
                self.settle(db, order, store.FAILED, why)
                continue
            wait = 0.0 if order.due is None else order.due - time.time()
            if 0 < wait <= LONGEST_PAUSE_S:  # a longer one was set by a clock that was wrong
                return None
            return self._deliver(order)
        return None

    def ask(self, db: Work, device: Device, question: bytes) -> Order:
        """An IpaEuiccDataRequest that goes before whatever waits."""
        order = Order(device=device, kind=store.DATA, content=question, summary=QUESTIONS[question])
        db.add(order)
        db.flush()
        self.tell(order)
        return order

    def _proof(self, db: Work, device: Device) -> Order:
        """A package that changes nothing, for the sake of its signature: goes before an activation code."""
        order = questions.open_order(db, device.eid, PROOF)
        if order is None:
            order = Order(device=device, kind=store.PACKAGE, content=PROOF, summary="authenticate the eUICC")
            db.add(order)
            db.flush()
            self.tell(order)
        return order

    def settle(self, db: Work, order: Order, state: str, result: str, details: dict[str, Any] | None = None) -> None:
        """End an order. A question or proof that failed takes along what waits for it, or it would never end."""
        order.state, order.result, order.details, order.settled = state, result, details, time.time()
        order.confirmation_hash = order.due = None
        self.tell(order)
        if state == store.FAILED and (order.kind == store.DATA or order.content == PROOF):
            db.flush()
            waiting = questions.next_order(db, order.eid)
            if waiting and waiting.kind != store.DATA:
                self.settle(db, waiting, store.FAILED, f"{order.summary}: {result}")

    def interrupt(self, db: Work, order: Order, reason: str, wait: float | None = None) -> None:
        """Something that may pass ended an attempt at a download: it is offered again, ever more rarely.

        ``wait``: seconds before which the SM-DP+ does not want to be asked.
        """
        if order.state not in store.OPEN:
            return
        # Once for each delivery: who asks for nonsense in a session does not use the attempts up.
        count = order.interruptions = min((order.interruptions or 0) + 1, max(order.deliveries, 1))
        if count == MOST_INTERRUPTIONS:
            self.settle(db, order, store.FAILED, f"{reason}; given up after {count} attempts")
            return
        pause = 0.0 if count == 1 else FIRST_PAUSE_S * 2 ** (count - 2)
        order.due = time.time() + min(max(pause, wait or 0.0), LONGEST_PAUSE_S)
        order.result = f"{reason}; attempt {count} of {MOST_INTERRUPTIONS}, the next one at a later poll"
        self.tell(order)

    def doubt(
        self, db: Work, order: Order, text: str, evidence: bytes, details: dict[str, Any] | None = None
    ) -> bool:
        """What nobody signed says that an order came to nothing: it is offered again, with an alarm, until that has
        happened MAX_REFUSALS times, once for each delivery at most. Returns whether it has ended."""
        if order.refusals and order.result and text not in order.result:  # why it failed at first comes first
            text = f"{order.result}; then {text}"
        elif order.result and text not in order.result:  # what the eIM saw itself
            text = f"{text}; {order.result}"
        else:
            text = order.result or text
        order.refusals = min(order.refusals + 1, order.deliveries)
        ends = order.refusals >= MAX_REFUSALS
        what = "it ends here" if ends else "once more"
        self.alarm(db, order.eid, f"order {order.id}: {text}; that was not signed: {what}", evidence)
        if ends:
            self.settle(db, order, store.FAILED, text, details)
        else:
            order.result, order.details = text, details
        return ends

    def expire(self, db: Work) -> bool:
        """End what was not fetched in time, as much as one transaction should. Returns whether there was any."""
        late = questions.late_orders(db)
        for order in late:
            self._end_late(db, order)
        return bool(late)

    def _end_late(self, db: Work, order: Order) -> None:
        why = f"; the last attempt: {order.result}" if order.result else ""
        self.settle(db, order, store.EXPIRED, f"the device did not poll in time{why}")

    def sign_again(self, order: Order) -> None:
        """The card did not accept the package as it was signed: same counter, new signature."""
        order.state, order.message = store.QUEUED, None
        self.tell(order)

    def catch_up(self, order: Order) -> None:
        """The card has seen higher counters than ours: skip ahead, further each time."""
        order.device.counter += FIRST_SKIP * SKIP_GROWTH ** (order.refusals - 1)
        order.counter = None
        self.sign_again(order)

    def introduce(self, db: Work, eid: str) -> None:
        """Ask a device who it is when something of it cannot be verified."""
        device = db.get(Device, eid)
        if device and device.is_unknown and not questions.has_open_question(db, eid):
            self.ask(db, device, ABOUT_EUICC)

    def cancel(self, db: Work, order: Order) -> None:
        """Raises OrderSettled."""
        if order.state not in store.OPEN:
            raise OrderSettled(f"order {order.id} is {order.state} already")
        under_way = order.state == store.DELIVERED
        text = "cancelled; the device already has it and may have executed it" if under_way else "cancelled"
        self.settle(db, order, store.CANCELLED, text)

    def tell(self, order: Order) -> None:
        if self._trace:
            self._trace.record(
                "eim",
                "order",
                order=order.id,
                eid=order.eid,
                what=order.kind,
                state=order.state,
                summary=order.summary,
                result=order.result,
            )

    def alarm(self, db: Work, eid: str | None, text: str, evidence: bytes) -> None:
        """Something is wrong that no order tells: an operator should look at it."""
        questions.raise_alarm(db, eid, text, evidence)
        if self._trace:
            self._trace.record("eim", "alarm", eid=eid, text=text)

    def _deliver(self, order: Order) -> bytes:
        if order.message is None:
            order.transaction_id = order.transaction_id or secrets.token_bytes(TRANSACTION_ID_BYTES)
            order.message = self._package(order, order.transaction_id)
        order.deliveries += 1
        order.due = None
        if order.state == store.QUEUED:
            order.state, order.delivered = store.DELIVERED, time.time()
            self.tell(order)
        return order.message

    def _package(self, order: Order, transaction_id: bytes) -> bytes:
        if order.kind in (store.DATA, store.QUERY):
            return packages.data_request(order.content, transaction_id)
        if order.kind == store.DOWNLOAD:
            source = sources.read(order.content.decode())
            ours = features.has(order.device, features.DOWNLOAD_DATA) and source.at(order.device.default_smdp)
            return packages.download_trigger(None if ours else source.data, transaction_id)
        device = order.device
        if order.counter is None:
            device.counter += 1
            order.counter = device.counter
        assert device.token is not None  # get_package asks for it first
        return packages.euicc_package(
            self._signer,
            eim_id=self._eim_id,
            eid=device.eid,
            counter=order.counter,
            transaction_id=transaction_id,
            token=device.token,
            content=order.content,
        )


def _first(order: Order) -> bytes | None:
    """What must be asked before this order can be carried out."""
    if order.kind == store.DATA:
        return None
    if order.device.is_unknown:
        return ABOUT_EUICC
    from_default = order.kind == store.DOWNLOAD and order.content == sources.DefaultSmdp.text.encode()
    return ABOUT_DEFAULT_SMDP if from_default and order.device.default_smdp is None else None


def device_of(db: Work, eid: str) -> Device:
    """Raises EidRefused with eidNotFound, EsipaRefused for a client that may not speak for it."""
    clients.check(eid)
    device = db.get(Device, eid)
    if device is None:
        raise esipa.EidRefused(esipa.EID_NOT_FOUND, f"{eid} is not a device of this eIM: add it first")
    return device
