"""The SM-DP+ as the lab sees it: take download orders, serve ES9+."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from sqlalchemy import select
from starlette.applications import Starlette

from microipa import saip
from microipa.asn1.tlv import parse
from microipa.crypto.pki import Pki
from microipa.smdpp.es9 import Es9
from microipa.smdpp.es9_http import es9_routes
from microipa.smdpp.identity import Identity
from microipa.smdpp.server import serve_https
from microipa.smdpp.sessions import Sessions
from microipa.smdpp.store import Order, OrderInvalid, OrderState, Store
from microipa.trace import Trace

MAX_PACKAGE = 1_000_000  # bytes
MAX_ACTIVATION_CODE = 255  # characters, SGP.22 clause 4.1
_MATCHING_ID_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that a person mixes up


@dataclass(frozen=True)
class OrderView:
    """One download order as it stands."""

    matching_id: str
    iccid: str
    eid: str | None  # the eUICC it is for, or that has it
    state: OrderState
    attempts: int
    result: str | None  # last outcome in words
    created: datetime
    changed: datetime


class Smdpp:
    """An SM-DP+ whose orders live in ``folder``/smdpp.sqlite.

    Several processes may open the same folder: one serves, others add orders. ``keys``: our own PKI, or an
    Identity for each CI, the preferred one first. ``ppk``: protect profiles with keys of their own instead of
    the session keys.
    """

    def __init__(
        self,
        keys: Pki | Sequence[Identity],
        folder: Path,
        *,
        address: str = "smdpp.microipa.example",
        ppk: bool = False,
        trace: Trace | None = None,
    ) -> None:
        identities = [Identity.of(keys)] if isinstance(keys, Pki) else list(keys)
        self._tls = identities[0].tls
        self._address = address
        self._store = Store(folder / "smdpp.sqlite")
        self.es9 = Es9(identities, self._store, Sessions(), address=address, ppk=ppk, trace=trace)
        self.app = Starlette(routes=es9_routes(self.es9, trace))

    def add_profile(
        self,
        package: bytes,
        *,
        matching_id: str | None = None,
        eid: str | None = None,
        confirmation_code: str | None = None,
        metadata: bytes | None = None,
        expires: datetime | None = None,
    ) -> str:
        """Order the download of ``package`` (unprotected profile package, DER); returns its matchingId.

        ``eid`` (32 digits) reserves it for one eUICC, which then needs no matchingId. ``metadata`` is a
        StoreMetadataRequest to send instead of one made from the package. Raises OrderInvalid, SaipError and
        TlvError.
        """
        if len(package) > MAX_PACKAGE:
            raise OrderInvalid(f"the profile package has {len(package)} bytes, {MAX_PACKAGE} is the limit")
        if eid is not None and not re.fullmatch("[0-9]{32}", eid):
            raise OrderInvalid(f"an EID has 32 digits, {eid!r} has not")
        profile = saip.ProfilePackage.parse(package)
        if profile.elements[0].name != "header":
            raise OrderInvalid(f"the profile package begins with {profile.elements[0].name}, not its header")
        if metadata is not None and parse(metadata).tag != 0xBF25:
            raise OrderInvalid(f"metadata is {metadata[:2].hex()}…, not a StoreMetadataRequest bf25…")
        order = Order(
            matching_id=self._checked(matching_id or _new_matching_id()),
            iccid=profile.iccid,
            package=package,
            profile_metadata=metadata or saip.metadata(profile, notification_address=self._address),
            eid=eid,
            confirmation_hash=sha256(confirmation_code.encode()).digest() if confirmation_code else None,
            expires=expires,
            state=OrderState.AVAILABLE,
        )
        order.move(OrderState.LINKED if eid else OrderState.ALLOCATED)
        order.move(OrderState.CONFIRMED)
        order.move(OrderState.RELEASED)
        with self._store.transaction() as database:
            if database.scalars(select(Order).where(Order.matching_id == order.matching_id)).first():
                raise OrderInvalid(f"matchingId {order.matching_id} is taken, choose another or leave it out")
            database.add(order)
            return order.name

    def activation_code(self, matching_id: str) -> str:
        """What a device is given to download the order: LPA:1$address$matchingId (SGP.22 clause 4.1).

        Raises OrderInvalid when there is no such order.
        """
        with self._store.transaction() as database:
            order = database.scalars(select(Order).where(Order.matching_id == matching_id)).first()
            if order is None:
                raise OrderInvalid(f"there is no order with matchingId {matching_id!r}")
            code = f"LPA:1${self._address}${matching_id}"
            return f"{code}$$1" if order.confirmation_hash else code

    def orders(self) -> list[OrderView]:
        """All download orders, oldest first."""
        with self._store.transaction() as database:
            return [
                OrderView(
                    order.matching_id or "",
                    order.iccid,
                    order.bound_to or order.eid,
                    order.state,
                    order.attempts,
                    order.result,
                    order.created,
                    order.changed,
                )
                for order in database.scalars(select(Order).order_by(Order.created, Order.id))
            ]

    def serve(self, port: int = 0) -> AbstractAsyncContextManager[int]:
        """Serve ES9+ by HTTPS on 127.0.0.1: ``async with smdpp.serve() as port``. Raises PortTaken."""
        return serve_https(self.app, self._tls, port)

    def _checked(self, matching_id: str) -> str:
        if not re.fullmatch("[0-9A-Z-]+", matching_id):
            raise OrderInvalid(
                f"matchingId {matching_id!r} has more than capital letters, digits and hyphens"
            )
        if len(f"LPA:1${self._address}${matching_id}$$1") > MAX_ACTIVATION_CODE:
            raise OrderInvalid(f"matchingId {matching_id} makes an activation code that is too long")
        return matching_id


def _new_matching_id() -> str:
    """Five groups of four letters, 100 bits: whoever knows it may download the profile."""
    return "-".join("".join(secrets.choice(_MATCHING_ID_LETTERS) for _ in range(4)) for _ in range(5))
