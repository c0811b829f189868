"""ES2+: how an operator orders the download of a profile (SGP.22 clause 5.3).

A profile is in stock (available); DownloadOrder reserves it, ConfirmOrder gives it its matchingId,
ReleaseProfile lets it go, CancelOrder ends it. Each function returns its fields, or raises Refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from microipa.smdpp.events import Events
from microipa.smdpp.refusal import MalformedRequest, Refused
from microipa.smdpp.sessions import Sessions
from microipa.smdpp.store import Operator, Order, OrderInvalid, OrderState, Store
from microipa.trace import Trace

RESERVED = (OrderState.ALLOCATED, OrderState.LINKED, OrderState.CONFIRMED)
FINAL = {"Available": OrderState.AVAILABLE, "Unavailable": OrderState.UNAVAILABLE}


@dataclass(frozen=True)
class DownloadOrderOk:
    iccid: str


@dataclass(frozen=True)
class ConfirmOrderOk:
    eid: str | None
    matching_id: str
    smdp_address: str


class Es2:
    """The SM-DP+ side of ES2+. ``requester`` is the OID of the operator, which its TLS certificate proved."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        events: Events,
        *,
        address: str,
        new_matching_id: Callable[[str | None], str],
        trace: Trace | None,
    ) -> None:
        """``new_matching_id`` checks the one that is wanted, or makes one; it raises OrderInvalid."""
        self._store = store
        self._sessions = sessions
        self._events = events
        self._address = address
        self._matching_id = new_matching_id
        self._trace = trace

    def download_order(
        self, requester: str, eid: str | None = None, iccid: str | None = None, profile_type: str | None = None
    ) -> DownloadOrderOk:
        """Reserve a profile, by ICCID or by type, for one eUICC or for any (clause 5.3.1)."""
        if iccid is None and profile_type is None:
            raise Refused("8.2.1", "2.3", "neither iccid nor profileType says which profile is wanted")
        with self._store.work() as database:
            _check_operator(database, requester)
            if iccid is not None:
                order = _find(database, requester, iccid)
                if order.state is not OrderState.AVAILABLE:
                    raise Refused("8.2.1", "3.3", f"profile {order.iccid} is {order.state}, not available")
                if profile_type not in (None, order.profile_type):
                    raise Refused("8.2.5", "3.8", f"profile {order.iccid} is of type {order.profile_type!a}")
            else:
                order = _of_type(database, str(profile_type))
            order.owner, order.eid = requester, eid
            order.move(OrderState.LINKED if eid else OrderState.ALLOCATED)
            self._record(order, f"operator {requester} reserved profile {order.iccid}")
            return DownloadOrderOk(order.iccid)

    async def confirm_order(
        self,
        requester: str,
        iccid: str,
        release: bool,
        eid: str | None = None,
        matching_id: str | None = None,
        confirmation_code: str | None = None,
        smds_address: str | None = None,
    ) -> ConfirmOrderOk:
        """Give the order its matchingId and, with ``release``, let it go (clause 5.3.2).

        An empty ``matching_id`` makes it wait for the eUICC whose default SM-DP+ this is. An order that is
        confirmed, and not yet released, may be confirmed again: its SM-DS was not there.
        """
        with self._store.work() as database:
            order = _owned(database, requester, iccid)
            if order.state not in RESERVED:
                raise Refused("8.2.1", "3.3", f"order {order.name} is {order.state}, it cannot be confirmed")
            if eid is not None and order.eid not in (None, eid):
                raise Refused("8.1.1", "3.10", f"profile {order.iccid} is for eUICC {order.eid}")
            order.eid = eid or order.eid
            if order.eid is None and (smds_address or matching_id == ""):
                raise Refused("8.1.1", "2.2", "an eUICC that is to find its order by itself needs an eid")
            order.matching_id = None if matching_id == "" else self._free(database, order, matching_id)
            if smds_address and order.matching_id is None:
                raise Refused("8.2.6", "2.2", "an event of an SM-DS needs a matchingId")
            order.confirmation_hash = sha256(confirmation_code.encode()).digest() if confirmation_code else None
            order.smds_address = smds_address or None
            if order.state is not OrderState.CONFIRMED:
                order.move(OrderState.CONFIRMED)
            self._record(order, f"operator {requester} confirmed the order")
            answer = ConfirmOrderOk(order.eid, order.matching_id or "", self._address)
        if release:
            await self.release_profile(requester, iccid)
        return answer

    async def release_profile(self, requester: str, iccid: str) -> None:
        """Let a confirmed order be downloaded; its SM-DS is told first (clause 5.3.4)."""
        with self._store.work() as database:
            order = _confirmed(database, requester, iccid)
            database.expunge(order)
        if order.smds_address:
            await self._events.register(order)
        with self._store.work() as database:
            order = _confirmed(database, requester, iccid)
            order.move(OrderState.RELEASED)
            self._record(order, f"operator {requester} released the order")

    def cancel_order(
        self, requester: str, iccid: str, final_status: str, eid: str | None = None, matching_id: str | None = None
    ) -> None:
        """End an order that is not downloaded: the profile goes back into stock, or is gone (clause 5.3.3)."""
        if final_status not in FINAL:
            raise MalformedRequest(f"finalProfileStatusIndicator {final_status[:32]!a} is none of {', '.join(FINAL)}")
        with self._store.work() as database:
            order = _owned(database, requester, iccid)
            if eid != order.eid:  # of a linked order the operator has to say whose it is
                named = eid or "no EID"
                raise Refused("8.1.1", "3.10", f"profile {order.iccid} is for {order.eid or 'any eUICC'}, not {named}")
            if matching_id is not None and matching_id != (order.matching_id or ""):
                raise Refused("8.2.6", "3.10", f"profile {order.iccid} has another matchingId")
            cancel(order, FINAL[final_status])
            self._sessions.end_others(order.id)
            self._record(order, f"operator {requester} cancelled the order, the profile is {order.state}")

    def _free(self, database: Session, order: Order, wanted: str | None) -> str:
        if order.matching_id and wanted is None:
            return order.matching_id
        try:
            matching_id = self._matching_id(wanted)
        except OrderInvalid as error:
            raise Refused("8.2.6", "2.1", str(error)) from error
        other = database.scalars(select(Order).where(Order.matching_id == matching_id, Order.id != order.id)).first()
        if other:
            raise Refused("8.2.6", "3.3", f"matchingId {matching_id} is in use")
        return matching_id

    def _record(self, order: Order, text: str) -> None:
        if self._trace:
            self._trace.record("smdpp", "order", matching_id=order.matching_id, text=text)


def cancel(order: Order, final: OrderState) -> None:
    """End ``order``; available again, it is as it was before it was ordered. Raises Refused 8.2.1/3.3."""
    if order.state not in (*RESERVED, OrderState.RELEASED, OrderState.ERROR):
        raise Refused("8.2.1", "3.3", f"order {order.name} is {order.state}, it cannot be cancelled")
    order.move(final)
    if final is OrderState.AVAILABLE:
        order.owner = order.eid = order.matching_id = order.confirmation_hash = order.expires = None
        order.transaction_id = order.bound_to = order.result = None
        order.attempts = order.confirmation_failures = 0


def _check_operator(database: Session, requester: str) -> None:
    if database.get(Operator, requester) is None:
        raise Refused("1.1", "1.2", f"{requester} is not an operator that may order here")


def _find(database: Session, requester: str, iccid: str) -> Order:
    """The newest order of a profile, if the requester may touch it."""
    wanted = iccid.rstrip("Ff")
    found = database.scalars(select(Order).where(Order.iccid == wanted).order_by(Order.id.desc())).first()
    if found is None:
        raise Refused("8.2.1", "3.9", f"there is no profile {wanted[:32]!a}")
    if found.owner not in (None, requester):
        raise Refused("8.2.1", "1.2", f"profile {wanted} is another operator's")
    return found


def _owned(database: Session, requester: str, iccid: str) -> Order:
    _check_operator(database, requester)
    order = _find(database, requester, iccid)
    if order.owner is None:
        raise Refused("8.2.1", "3.3", f"profile {order.iccid} is {order.state}, and not by an order of yours")
    return order


def _confirmed(database: Session, requester: str, iccid: str) -> Order:
    order = _owned(database, requester, iccid)
    if order.state is not OrderState.CONFIRMED:
        raise Refused("8.2.1", "3.3", f"order {order.name} is {order.state}, not confirmed")
    return order


def _of_type(database: Session, profile_type: str) -> Order:
    """The oldest in stock."""
    every = database.scalars(select(Order).where(Order.profile_type == profile_type).order_by(Order.id)).all()
    if not every:
        raise Refused("8.2.5", "3.9", f"no profile has the type {profile_type[:64]!a}")
    free = next((order for order in every if order.state is OrderState.AVAILABLE), None)
    if free is None:
        raise Refused("8.2.5", "3.7", f"no profile of type {profile_type} is left")
    return free
