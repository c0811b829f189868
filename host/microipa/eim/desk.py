"""The eIM as others see it: orders go in, ESipa is answered, notifications leave for their SM-DP+."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from microipa.asn1.tlv import integer, parse, tlv
from microipa.common.errors import MicroipaError
from microipa.crypto.pki import Credential, Pki, subject_key_identifier
from microipa.crypto.revocation import Issuer
from microipa.eim import confirmation, devices, new_orders, packages, store
from microipa.eim.behaviour import Behaviour
from microipa.eim.coap import serve
from microipa.eim.devices import DeviceView
from microipa.eim.dispatch import Dispatch
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.eim.forwarder import Forwarder
from microipa.eim.http import application
from microipa.eim.identity import EimIdentity
from microipa.eim.injector import Injector
from microipa.eim.json_binding import Handle
from microipa.eim.notices import Notices
from microipa.eim.odd_injector import OddInjector
from microipa.eim.orders import Orders
from microipa.eim.packages import Operation
from microipa.eim.polls import Polls
from microipa.eim.relay import Relay
from microipa.eim.results import Results
from microipa.eim.sources import ActivationCode, Source
from microipa.eim.store import Device, Order, OrderView, Store
from microipa.eim.upkeep import Upkeep
from microipa.net.https_server import LOOPBACK, Renewals, serve_https
from microipa.net.rsp_client import Network, RspClient
from microipa.quirks import QUIRKS
from microipa.storage.unit_of_work import Work, table_of
from microipa.trace import Trace
from microipa.trace.key_log import KeyLog

LAST_ORDER = (1 << 63) - 1  # that SQLite can count to
MOST_NAMED = 3  # devices, where one is asked for that is unknown
PROTOCOLS = b"\x04\xd0"  # eimSupportedProtocol: eimRetrieveHttps, eimRetrieveCoaps, eimInjectCoaps


class UnknownDevice(MicroipaError):
    """An EID this eIM does not manage, or that is no EID."""


class UnknownOrder(MicroipaError):
    """A number that no order has."""


class BadTrust(MicroipaError):
    """A way to trust the eIM's TLS server that SGP.32 does not know."""


class Eim:
    """An eIM whose devices and orders live in ``database``: a folder, for its eim.sqlite, or a path or URL of its own.

    Several processes may open the same database: some serve, others queue orders. ``es9_routes`` gives SM-DP+
    names a loopback address; it is looked at when a name is called, so it may be filled later. SM-DP+ prove
    their names under the CI of the cards or by a certificate of ``es9_trust``; those that have no public address
    are called in ``es9_networks`` alone, or at a route. ``smdpp_cis``: under which SM-DP+ have their certificates
    besides the CI of the cards. With ``clients``, issuers of client certificates, only
    devices with a certificate under one of them are served. ``dtls`` has the limits of CoAPS. ``part`` of
    ``quirks`` is who it is.
    """

    def __init__(
        self,
        keys: Pki | EimIdentity,
        database: Path | str,
        *,
        es9_routes: Mapping[str, tuple[str, int]],
        es9_trust: Sequence[x509.Certificate | Issuer] = (),
        es9_networks: Sequence[Network] = (),
        smdpp_cis: Sequence[x509.Certificate | Issuer] = (),
        clients: Sequence[x509.Certificate] = (),
        part: str = "eim",
        quirks: Iterable[str] = (),
        dtls: DtlsSettings = DtlsSettings(),
        trace: Trace | None = None,
    ) -> None:
        identity = EimIdentity.of(keys) if isinstance(keys, Pki) else keys
        self._identity, self._clients, self._dtls = identity, clients, dtls
        self.fqdn = identity.fqdn
        self._trace = trace
        self._store = Store(database / "eim.sqlite" if isinstance(database, Path) else database)
        es9 = RspClient("eim", [identity.issuer, *es9_trust], es9_routes, trace, networks=es9_networks)
        self._polls = Polls(self._store)
        self._orders = Orders(identity.signing, identity.fqdn, trace)
        self._upkeep = Upkeep(self._store, self._orders)
        self._forwarder = Forwarder(self._store, es9)
        self._behaviour = QUIRKS.behaviour(part, Behaviour(), quirks)
        notices = Notices(self._orders, identity.issuer)
        results = Results(self._orders, notices, identity.issuer, identity.fqdn)
        relay = Relay(self._store, es9, self._orders, [identity.issuer, *map(Issuer.of, smdpp_cis)], trace)
        dispatch = Dispatch(self._store, self._orders, results, notices, relay, self._polls, self._forwarder.wake,
                            self._behaviour, trace)
        self.handle: Handle = dispatch.handle
        """Answers one ESipa message (see ``Dispatch.handle``)."""
        injector = OddInjector if self._behaviour.injects else Injector
        self._injector = injector(self._store, self._orders, dispatch.provide_result, dispatch.note)
        self.key_log: KeyLog | None = None
        """A file that is there: servers that start later write the secrets of their connections into it."""
        self._serving = 0
        self._renewals: Renewals = []

    @property
    def tls_root(self) -> bytes:
        """The certificate (DER) under which its server's is, for devices that have it from the factory."""
        return self._identity.tls_issuer.public_bytes(Encoding.DER)

    def configuration(self, trust: str = "ca", port: int | None = None) -> bytes:
        """EimConfigurationData (SGP.32 2.11.1.1.1, DER) that makes a card belong to this eIM.

        ``trust`` says what trustedPublicKeyDataTls holds: "ca" the issuer's certificate, "certificate" the
        server's own, "pin" its bare public key. ``port`` goes into eimFqdn where it is not the transport's own.
        Raises BadTrust.
        """
        anchors = {
            "ca": (0xA1, self.tls_root),
            "certificate": (0xA1, self._identity.tls.der),
            "pin": (0xA0, self._identity.tls.spki),
        }
        if trust not in anchors:
            raise BadTrust(f"{trust!r} is not a way to trust a TLS server: {', '.join(anchors)}")
        tag, anchor = anchors[trust]
        return tlv(
            0x30,
            tlv(0x80, self.fqdn.encode()),
            tlv(0x81, (self.fqdn if port is None else f"{self.fqdn}:{port}").encode()),
            integer(0x82, 2),  # eimIdTypeFqdn
            integer(0x83, 0),
            integer(0x84, -1),  # the card allocates an association token
            tlv(0xA5, tlv(0xA0, parse(self._identity.signing.spki).value)),
            b"" if self._behaviour.anchorless else tlv(0xA6, tlv(tag, parse(anchor).value)),
            tlv(0x87, PROTOCOLS),
            tlv(0x88, subject_key_identifier(self._identity.ci)),
            tlv(0x89),  # indirectProfileDownload
        )

    # Orders -------------------------------------------------------------------------------------------------

    def add_device(self, eid: str, *, device_key: bytes | None = None) -> None:
        """Manage this eUICC (EID of 32 digits) from now on; again changes nothing but the key.

        ``device_key`` (SubjectPublicKeyInfo DER) signs results where the device obeys in place of a consumer
        card: the operator vouches for it. Raises UnknownDevice, BadDeviceKey.
        """
        if not re.fullmatch("[0-9]{32}", eid):
            raise UnknownDevice(f"{eid[:64]!r} is not an EID: an EID has 32 digits")
        with self._store.view() as db:
            if device_key is None and db.get(Device, eid) is not None:
                return
        with self._store.work() as db:
            device = db.get(Device, eid)
            if device is None:
                device = Device(eid=eid)
                db.add(device)
            if device_key is not None:
                devices.enrol(db, device, device_key)

    def remove_device(self, eid: str) -> None:
        """Forget a device with all that is known of it, its orders too. Raises UnknownDevice, and OrdersOpen."""
        with self._store.work() as db:
            devices.remove(db, self._device(db, eid))

    def order_download(
        self,
        eid: str,
        source: str | Source,
        *,
        confirmation_code: str | None = None,
        needs_proof: bool = True,
        expires: datetime | None = None,
    ) -> int:
        """Queue a profile download (SGP.32 3.2.3). Returns the order's number.

        ``source`` is an activation code, ``DefaultSmdp()`` or ``Smds(address)``; an SM-DS is asked by devices that
        download directly. The eIM gives the ``confirmation_code``, so such a download goes through it. Whoever
        knows an EID can ask for its orders: an activation code goes out once the card has signed a result for
        this eIM. Without ``needs_proof`` it goes out at once: only where the SM-DP+ serves this EID alone, as the
        lab's does. Not delivered after ``expires``.
        Raises UnknownDevice, ActivationCodeInvalid and CodeNotGiven.
        """
        source = ActivationCode.parse(source) if isinstance(source, str) else source
        code_hash = confirmation.hashed(confirmation_code) if confirmation_code is not None else None
        if code_hash:
            with self._store.work() as db:
                confirmation.require_way(self._device(db, eid), source)
        content, secret = source.text.encode(), isinstance(source, ActivationCode)
        return self._order(eid, store.DOWNLOAD, content, str(source), expires, code_hash, needs_proof and secret)

    def order_package(self, eid: str, operations: Sequence[Operation], *, expires: datetime | None = None) -> int:
        """Queue an eUICC package of PSMOs or of eCOs, in asn1tools notation. Returns the order's number.

        An ICCID may be given by its digits. Not delivered after ``expires``. Raises UnknownDevice,
        PackageInvalid, SchemaError and SaipError.
        """
        content = packages.encode_operations(operations)
        packages.check_eim_certificates(content, self._identity.issuer)
        return self._order(eid, store.PACKAGE, content, packages.describe(operations), expires)

    def order_data(
        self,
        eid: str,
        names: Sequence[str] = (),
        *,
        ci_key_id: bytes | None = None,
        notification: int | str | None = None,
        result: int | None = None,
        expires: datetime | None = None,
    ) -> int:
        """Queue a question to the IPA and its eUICC (SGP.32 2.11.1.2). Returns the order's number.

        ``names`` are fields of IpaEuiccData, none means all; the searches are those of ``packages.question``.
        Not delivered after ``expires``. Raises UnknownDevice and PackageInvalid.
        """
        question = packages.question(names, ci_key_id=ci_key_id, notification=notification, result=result)
        return self._order(eid, store.QUERY, question, f"ask for {', '.join(names) or 'everything'}", expires)

    def orders(self, eid: str | None = None, *, newest: int | None = None) -> list[OrderView]:
        """All orders, or those of one device, or the ``newest`` of them; oldest first."""
        wanted = select(table_of(Order)).order_by(Order.id.desc()).limit(newest)
        if not self._store.reads_only:
            self._upkeep.expire()
        with self._store.view() as db:
            chosen = wanted if eid is None else wanted.where(Order.eid == eid)
            return [OrderView.of(order) for order in reversed(db.all(Order, chosen))]

    def order(self, order_id: int) -> OrderView:
        """One order. Raises UnknownOrder."""
        if not self._store.reads_only:
            self._upkeep.expire()
        with self._store.view() as db:
            return OrderView.of(self._known_order(db, order_id))

    def cancel(self, order_id: int) -> None:
        """End an order: the device does not get it (again). Raises UnknownOrder, OrderSettled."""
        with self._store.work() as db:
            self._orders.cancel(db, self._known_order(db, order_id))

    async def inject(self, eid: str) -> bool:
        """Hand over what waits for this device now, over the association it keeps open (SGP.32 3.1.1.2).

        A serving eIM does so by itself within a second. True when nothing waits any more; False when a result
        is still to come. Raises UnknownDevice, and Unreachable when it has to wait for the device's next poll.
        """
        with self._store.work() as db:
            self._device(db, eid)
        return await self._injector.push(eid)

    def devices(self) -> list[DeviceView]:
        """What is known of all devices."""
        self._polls.write()
        with self._store.view() as db:
            found = db.all(Device, select(table_of(Device)).order_by(Device.eid))
            return [DeviceView.of(db, device) for device in found]

    def device(self, eid: str) -> DeviceView:
        """What is known of one device. Raises UnknownDevice."""
        self._polls.write()
        with self._store.view() as db:
            return DeviceView.of(db, self._device(db, eid))

    def _known_order(self, db: Work, order_id: int) -> Order:
        order = db.get(Order, order_id) if 0 < order_id <= LAST_ORDER else None
        if order is None:
            raise UnknownOrder(f"there is no order {order_id}")
        return order

    def _device(self, db: Work, eid: str) -> Device:
        device = db.get(Device, eid)
        if device is None:
            known = db.scalars(select(Device.eid).order_by(Device.eid).limit(MOST_NAMED + 1))
            others = ", ".join(known[:MOST_NAMED]) + (" and others" if len(known) > MOST_NAMED else "") or "none"
            raise UnknownDevice(
                f"this eIM does not manage {eid[:64]} but {others}: add it with `microipa enrol` or Eim.add_device"
            )
        return device

    def _order(
        self,
        eid: str,
        kind: str,
        content: bytes,
        summary: str,
        expires: datetime | None,
        confirmation_hash: bytes | None = None,
        needs_proof: bool = False,
    ) -> int:
        with self._store.work() as db:
            device = self._device(db, eid)
            end = expires.timestamp() if expires else None
            order = Order(device=device, kind=kind, content=content, summary=summary, expires=end)
            order.confirmation_hash, order.needs_proof = confirmation_hash, needs_proof
            db.add(order)
            db.flush()
            self._orders.tell(order)
            new_orders.announce(db, eid)
        self._injector.wake()
        return order.id

    # The server ---------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def serve(
        self, port: int = 0, host: str = LOOPBACK, *, bound: socket.socket | None = None
    ) -> AsyncIterator[int]:
        """Serve ESipa over CoAP and DTLS, at a socket that is ``bound`` if there is one: ``async with eim.serve() as
        port``. Raises PortTaken."""
        serving = serve(self.handle, self._identity.tls, host=host, port=port, settings=self._dtls,
                        listeners=self._injector.listeners, bound=bound, renewals=self._renewals,
                        issuers=self._clients, key_log=self.key_log)
        async with serving as listens_at, self._forwarding():
            injecting = asyncio.create_task(self._injector.run())
            try:
                yield listens_at
            finally:
                injecting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await injecting

    @contextlib.asynccontextmanager
    async def serve_https(
        self, port: int = 0, host: str = LOOPBACK, *, bound: socket.socket | None = None
    ) -> AsyncIterator[int]:
        """Serve the same over HTTPS, beside CoAP or alone."""
        serving = serve_https(application(self.handle), self._identity.tls, port, host=host, bound=bound,
                              clients=self._clients, renewals=self._renewals, key_log=self.key_log)
        async with serving as listens_at, self._forwarding():
            yield listens_at

    def renew(self, tls: Credential) -> None:
        """Prove this eIM by another TLS credential, in connections and associations that begin from now on."""
        for renew in self._renewals:
            renew(tls)

    def require_writable(self) -> None:
        """A server has to write. Raises ReadOnly."""
        self._store.require_writable()

    def close(self) -> None:
        """Let the connections to the database go; they are made anew when they are wanted."""
        self._store.engine.dispose()

    @contextlib.asynccontextmanager
    async def _forwarding(self) -> AsyncIterator[None]:
        """What goes on while any server runs: notifications go to their SM-DP+, polls are written,
        and what has had its time goes."""
        self._serving += 1
        if self._serving == 1:
            self._running = [asyncio.create_task(part.run()) for part in (self._forwarder, self._polls, self._upkeep)]
        try:
            yield
        finally:
            self._serving -= 1
            if not self._serving:
                for task in self._running:
                    task.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)
