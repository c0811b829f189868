"""The SM-DP+ as the lab sees it: take download orders, serve ES9+ and ES2+."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.types import ASGIApp

from microipa import saip
from microipa.asn1.tlv import parse
from microipa.crypto.pki import Pki
from microipa.crypto.revocation import Issuer
from microipa.net.https_server import LOOPBACK, serve_https
from microipa.net.rsp_client import RspClient
from microipa.quirks import QUIRKS
from microipa.smdpp import es2
from microipa.smdpp.behaviour import Behaviour
from microipa.smdpp.callers import Callers
from microipa.smdpp.es2 import Es2
from microipa.smdpp.es2_http import es2_routes
from microipa.smdpp.es9 import Es9
from microipa.smdpp.es9_http import es9_routes
from microipa.smdpp.events import Events, event
from microipa.smdpp.identity import Identity
from microipa.smdpp.odd_server import OddServer
from microipa.smdpp.outbox import Outbox
from microipa.smdpp.sessions import Sessions
from microipa.smdpp.store import Operator, Order, OrderInvalid, OrderState, Outgoing, Store, Variant
from microipa.trace import Trace
from microipa.trace.key_log import KeyLog

MAX_PACKAGE = 1_000_000  # bytes
MAX_ACTIVATION_CODE = 255  # characters, SGP.22 clause 4.1
_MATCHING_ID_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that a person mixes up


@dataclass(frozen=True)
class OrderView:
    """One profile as it stands, in stock or ordered."""

    matching_id: str  # empty: none yet, or of a card that asks its default SM-DP+
    iccid: str
    eid: str | None  # the eUICC it is for, or that has it
    state: OrderState
    profile_type: str | None
    owner: str | None  # OID of the operator that ordered it by ES2+
    confirmation_code: bool  # one is wanted
    smds_address: str | None  # where it is an event
    expires: datetime | None
    attempts: int
    result: str | None  # last outcome in words
    created: datetime
    changed: datetime

    @classmethod
    def of(cls, order: Order) -> OrderView:
        return cls(
            order.matching_id or "",
            order.iccid,
            order.bound_to or order.eid,
            order.state,
            order.profile_type,
            order.owner,
            order.confirmation_hash is not None,
            order.smds_address,
            order.expires,
            order.attempts,
            order.result,
            order.created,
            order.changed,
        )


class Smdpp:
    """An SM-DP+ whose orders live in ``folder``/smdpp.sqlite.

    Several processes may open the same folder: one serves, others add orders. ``keys``: our own PKI, or an
    Identity for each CI, the preferred one first. ``peers``: the issuers, besides the CIs, under which operators and
    an SM-DS have their TLS certificates, by default the one of our own PKI. ``card_cis``: other CIs under which
    eUICCs are taken that trust one of ours. ``ppk``: protect profiles with keys of
    their own instead of the session keys. ``routes`` gives names of SM-DS and operators a loopback address, when
    they are called.
    """

    def __init__(
        self,
        keys: Pki | Sequence[Identity],
        folder: Path,
        *,
        ppk: bool = False,
        peers: Sequence[x509.Certificate | Issuer] = (),
        card_cis: Sequence[x509.Certificate] = (),
        routes: Mapping[str, tuple[str, int]] | None = None,
        quirks: Iterable[str] = (),
        trace: Trace | None = None,
    ) -> None:
        identities = [Identity.of(keys)] if isinstance(keys, Pki) else list(keys)
        self._tls = identities[0].tls
        self.address = address = identities[0].address
        self.ci_pk_ids = frozenset(identity.ci_pk_id for identity in identities)
        self._store = Store(folder / "smdpp.sqlite")
        if isinstance(keys, Pki) and not peers:
            peers = [keys.operators.certificate]
        issuers = [*(identity.issuer for identity in identities), *peers]
        self._operators = Callers(issuers, ("tls",), roleless=True, named=self._operator_with)
        self.key_log: KeyLog | None = None
        """A file that is there: an ES9+ server that starts later writes the secrets of its connections into it."""
        self.routes = {} if routes is None else routes
        client = RspClient("smdpp", issuers, self.routes, trace, self._tls)
        oid = identities[0].oid
        self._outbox = Outbox(self._store, client, oid)
        sessions = Sessions()
        self.es9 = Es9(identities, self._store, sessions, address=address, card_cis=[Issuer(ci) for ci in card_cis],
                       ppk=ppk, trace=trace)
        self.app: ASGIApp = Starlette(routes=es9_routes(self.es9, trace))
        behaviour = QUIRKS.behaviour("smdpp", Behaviour(), quirks)
        if behaviour != Behaviour():
            self.app = OddServer(self.app, behaviour, sessions.forget)
        es2_ = Es2(
            self._store,
            sessions,
            Events(client, oid, address),
            address=address,
            new_matching_id=self._matching_id,
            trace=trace,
        )
        self.operators_app = Starlette(routes=es2_routes(es2_, self._operators, trace))

    # Orders

    def stock(
        self,
        package: bytes,
        *,
        profile_type: str = "iot",
        metadata: bytes | None = None,
        variants: Sequence[bytes] = (),
    ) -> str:
        """Put a profile into stock, for an operator to order by its type or its ICCID, which is returned.

        ``package`` is an unprotected profile package (DER), ``metadata`` a StoreMetadataRequest to send instead of
        one made from it, ``variants`` other packages of the same profile: each eUICC is given the one that fits it.
        Raises OrderInvalid, SaipError and TlvError.
        """
        order = self._profile(package, metadata, variants)
        order.profile_type = profile_type
        with self._store.work() as database:
            if database.scalars(select(Order).where(Order.iccid == order.iccid)).first():
                raise OrderInvalid(f"profile {order.iccid} is already in stock or ordered")
            database.add(order)
            return order.iccid

    def add_profile(
        self,
        package: bytes,
        *,
        matching_id: str | None = None,
        eid: str | None = None,
        confirmation_code: str | None = None,
        metadata: bytes | None = None,
        variants: Sequence[bytes] = (),
        expires: datetime | None = None,
        smds_address: str | None = None,
    ) -> str:
        """Order the download of ``package``, ready at once, without an operator; returns its matchingId.

        ``eid`` (32 digits) reserves it for one eUICC, which then needs no matchingId; an empty ``matching_id``
        is for an eUICC whose default SM-DP+ this is. With ``smds_address`` the SM-DS there is told while the
        server runs. ``metadata`` and ``variants`` as with ``stock``. Raises OrderInvalid, SaipError and TlvError.
        """
        if eid is not None and not re.fullmatch("[0-9]{32}", eid):
            raise OrderInvalid(f"an EID has 32 digits, unlike {eid!r}")
        if eid is None and (matching_id == "" or smds_address):
            raise OrderInvalid("an eUICC that is to find its order by itself needs an EID")
        if matching_id == "" and smds_address:
            raise OrderInvalid("an order of a default SM-DP+ is not an event of an SM-DS: give it a matchingId")
        order = self._profile(package, metadata, variants)
        order.matching_id = None if matching_id == "" else self._matching_id(matching_id)
        order.eid, order.expires, order.smds_address = eid, expires, smds_address
        order.confirmation_hash = sha256(confirmation_code.encode()).digest() if confirmation_code else None
        order.move(OrderState.LINKED if eid else OrderState.ALLOCATED)
        order.move(OrderState.CONFIRMED)
        order.move(OrderState.RELEASED)
        with self._store.work() as database:
            if order.matching_id and self._find(database, order.matching_id):
                raise OrderInvalid(f"matchingId {order.matching_id} is taken, choose another or leave it out")
            database.add(order)
            if smds_address:
                database.add(Outgoing.of(smds_address, "es12", "registerEvent", event(order, self.address)))
            return order.matching_id or ""

    def cancel(self, name: str) -> None:
        """End an order for good. ``name``: its matchingId or ICCID. Raises OrderInvalid, and Refused when it is
        downloaded or over."""
        with self._store.work() as database:
            es2.cancel(self._known(database, name), OrderState.UNAVAILABLE)

    def activation_code(self, matching_id: str) -> str:
        """What a device is given to download the order: LPA:1$address$matchingId (SGP.22 clause 4.1).

        Raises OrderInvalid when there is no such order.
        """
        with self._store.work() as database:
            order = self._known(database, matching_id)
            code = f"LPA:1${self.address}${order.matching_id or ''}"
            return f"{code}$$1" if order.confirmation_hash else code

    def orders(self) -> list[OrderView]:
        """All profiles, oldest first."""
        with self._store.view() as database:
            return [OrderView.of(order) for order in database.scalars(select(Order).order_by(Order.created, Order.id))]

    def add_operator(
        self, oid: str, address: str | None = None, certificate: x509.Certificate | None = None
    ) -> None:
        """Let the operator with this OID order by ES2+; at ``address``, a host, it hears of its downloads.

        ``certificate`` is its TLS certificate where that does not name the OID: one from an issuer of the public.
        Again, without an address or a certificate, it keeps the one it has.
        """
        with self._store.view() as database:
            if address is None and database.get(Operator, oid) is not None:
                return
        with self._store.work() as database:
            known = database.get(Operator, oid) or Operator(oid=oid)
            if address is not None:
                known.address = address
            if certificate is not None:
                known.certificate = certificate.fingerprint(SHA256())
            database.add(known)

    def _operator_with(self, certificate: bytes) -> str | None:
        """The OID of the operator whose certificate (DER) this is."""
        with self._store.work() as database:
            return database.scalar(select(Operator.oid).where(Operator.certificate == sha256(certificate).digest()))

    # Servers

    @asynccontextmanager
    async def serve(self, port: int = 0, host: str = LOOPBACK) -> AsyncIterator[int]:
        """Serve ES9+ by HTTPS at ``host``, ``async with smdpp.serve() as port``, and tell operators and SM-DS what
        they are to know. Raises PortTaken."""
        async with serve_https(self.app, self._tls, port, host=host, key_log=self.key_log) as bound:
            telling = asyncio.create_task(self._outbox.run())
            try:
                yield bound
            finally:
                telling.cancel()
                with suppress(asyncio.CancelledError):
                    await telling

    async def deliver(self) -> None:
        """Tell now what operators and SM-DS are to know."""
        await self._outbox.deliver_due()

    def serve_operators(self, port: int = 0, host: str = LOOPBACK) -> AbstractAsyncContextManager[int]:
        """Serve ES2+ by HTTPS with mutual authentication: devices have no business there, so it has a port of its
        own. Raises PortTaken."""
        return serve_https(self.operators_app, self._tls, port, host=host, clients=self._operators.issuers)

    # What orders are made of

    def _profile(self, package: bytes, metadata: bytes | None, variants: Sequence[bytes]) -> Order:
        profile, *others = (_parsed(one) for one in (package, *variants))
        for other in others:
            if other.iccid != profile.iccid:
                raise OrderInvalid(f"packages of one order are of one profile, not {profile.iccid} and {other.iccid}")
        if metadata is not None and parse(metadata).tag != 0xBF25:
            raise OrderInvalid(f"metadata is {metadata[:2].hex()}…, not a StoreMetadataRequest bf25…")
        return Order(
            iccid=profile.iccid,
            package=package,
            variants=[Variant(package=variant) for variant in variants],
            profile_metadata=metadata or saip.metadata(profile, notification_address=self.address),
            state=OrderState.AVAILABLE,
        )

    def _matching_id(self, wanted: str | None) -> str:
        """``wanted`` when an activation code can carry it, a fresh one without. Raises OrderInvalid."""
        matching_id = wanted or _new_matching_id()
        if not re.fullmatch("[0-9A-Z-]+", matching_id):
            raise OrderInvalid(
                f"matchingId {matching_id!r} may only have capital letters, digits and hyphens"
            )
        if len(f"LPA:1${self.address}${matching_id}$$1") > MAX_ACTIVATION_CODE:
            raise OrderInvalid(f"matchingId {matching_id} makes an activation code that is too long")
        return matching_id

    @staticmethod
    def _find(database: Session, name: str) -> Order | None:
        """The newest order with this matchingId or ICCID."""
        named = or_(Order.matching_id == name, Order.iccid == name)
        return database.scalars(select(Order).where(named).order_by(Order.id.desc())).first()

    def _known(self, database: Session, name: str) -> Order:
        order = self._find(database, name)
        if order is None:
            raise OrderInvalid(f"there is no order with matchingId or ICCID {name!r}")
        return order


def _parsed(package: bytes) -> saip.ProfilePackage:
    """Raises OrderInvalid and SaipError."""
    if len(package) > MAX_PACKAGE:
        raise OrderInvalid(f"the profile package has {len(package)} bytes, {MAX_PACKAGE} is the limit")
    profile = saip.ProfilePackage.parse(package)
    if profile.elements[0].name != "header":
        raise OrderInvalid(f"the profile package begins with {profile.elements[0].name}, not its header")
    return profile


def _new_matching_id() -> str:
    """Five groups of four letters, 100 bits: whoever knows it may download the profile."""
    return "-".join("".join(secrets.choice(_MATCHING_ID_LETTERS) for _ in range(4)) for _ in range(5))
