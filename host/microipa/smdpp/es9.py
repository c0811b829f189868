"""ES9+: the five functions of SGP.22 clause 5.6, whatever binding carries them.

Each takes decoded fields and returns a dataclass of fields, or raises Refused with the codes of the standard.
They run to their end without waiting for anything, so that requests of one session cannot overtake another.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec as curves
from sqlalchemy import select
from sqlalchemy.orm import Session

from microipa.asn1.tlv import tlv
from microipa.crypto import ec
from microipa.crypto.revocation import Issuer
from microipa.smdpp import bpp, results
from microipa.smdpp.answers import AuthenticateServerOk, CancelSessionOk, PrepareDownloadOk, signature_tlv
from microipa.smdpp.authentication import (
    SM_DP,
    Authentication,
    InitiateAuthenticationOk,
    check_transaction,
    verify_signature,
)
from microipa.smdpp.eligibility import choose
from microipa.smdpp.identity import Identity
from microipa.smdpp.json_binding import failed
from microipa.smdpp.progress import EXECUTED, Point, report, reported
from microipa.smdpp.refusal import Refused
from microipa.smdpp.sessions import Authenticated, RspSession, Sessions
from microipa.smdpp.store import Download, Notification, Order, OrderState, Store
from microipa.storage.database import utc_now
from microipa.trace import Trace

MAX_ATTEMPTS = 10  # downloads begun for one order
MAX_CONFIRMATION_FAILURES = 3
POSTPONED = {1, 2}  # postponed, timeout: somebody was asked and has not said yes yet
RETRY_AFTER = POSTPONED | {5}  # loadBppExecutionError; after these the order stays open


@dataclass(frozen=True)
class AuthenticateClientOk:
    transaction_id: bytes
    profile_metadata: bytes
    smdp_signed2: bytes
    smdp_signature2: bytes
    smdp_certificate: bytes


@dataclass(frozen=True)
class GetBoundProfilePackageOk:
    transaction_id: bytes
    bound_profile_package: bytes


class Es9:
    """The SM-DP+ side of ES9+ over one store."""

    def __init__(
        self,
        identities: Sequence[Identity],
        store: Store,
        sessions: Sessions,
        *,
        address: str,
        card_cis: Sequence[Issuer] = (),
        ppk: bool,
        trace: Trace | None,
    ) -> None:
        """``identities``: one for each CI under which this SM-DP+ works, the preferred one first. ``card_cis``: see
        Authentication."""
        self._identities = {identity.ci_pk_id: identity for identity in identities}
        self._store = store
        self._sessions = sessions
        self._authentication = Authentication(SM_DP, self._identities, sessions, address, card_cis)
        self._ppk = ppk
        self._trace = trace

    # ES9+.InitiateAuthentication, clause 5.6.1

    def initiate_authentication(
        self, euicc_challenge: bytes, euicc_info1: bytes, smdp_address: str
    ) -> InitiateAuthenticationOk:
        """Begin a session: sign the eUICC's challenge and pose our own."""
        return self._authentication.initiate(euicc_challenge, euicc_info1, smdp_address)

    # ES9+.AuthenticateClient, clause 5.6.3

    def authenticate_client(
        self, transaction_id: bytes, authenticate_server_response: bytes
    ) -> AuthenticateClientOk:
        """Verify the eUICC, find its order, offer the profile."""
        session = self._sessions.get(transaction_id)
        return session.once(
            "authenticateClient",
            authenticate_server_response,
            lambda: self._authenticate_client(
                session, AuthenticateServerOk.parse(authenticate_server_response)
            ),
        )

    def _authenticate_client(self, session: RspSession, proof: AuthenticateServerOk) -> AuthenticateClientOk:
        eid, public_key = self._authentication.verify(session, proof)
        with self._store.work() as database:
            order = _for(self._store.find(database, proof.matching_id, eid), proof.matching_id, eid)
            with reported(database, order, Point.ELIGIBILITY, eid):
                _check_startable(order)
                chosen = choose(proof.euicc_info2, order.packages, order.profile_metadata)
            report(database, order, Point.ELIGIBILITY, eid)
            order.attempts += 1
            kept = self._kept(database, order, eid)
            if order.state is OrderState.DOWNLOADED:
                order.move(OrderState.RELEASED)  # the attempt before this one was interrupted
            which = f", package {chosen + 1} of {len(order.packages)}" if order.variants else ""
            order_id, name, metadata = order.id, order.name, order.profile_metadata
            with_code = order.confirmation_hash is not None
            otpk = tlv(0x5F49, kept.euicc_otpk) if kept else b""
            self._sessions.end_others(order_id, keep=session)
            self._sessions.keep(session)
        code_flag = tlv(0x01, b"\xff" if with_code else b"\x00")
        signed = tlv(0x30, tlv(0x80, session.transaction_id), code_flag, otpk)
        signer = self._identities[session.identity.ci_pk_id].pb
        signature = signer.sign(signed + signature_tlv(proof.euicc_signature1))
        session.authenticated = Authenticated(eid, public_key, proof.euicc_certificate, order_id, signature, chosen)
        self._record(name, f"eUICC {eid} is offered the profile{which}")
        return AuthenticateClientOk(
            session.transaction_id, metadata, signed, signature_tlv(signature), signer.der
        )

    def _kept(self, database: Session, order: Order, eid: str) -> Download | None:
        """The bound profile package this eUICC was given before and may still have the key to."""
        last = database.get(Download, order.transaction_id) if order.transaction_id else None
        return last if last and last.eid == eid and last.result is None else None

    # ES9+.GetBoundProfilePackage, clause 5.6.2

    def get_bound_profile_package(
        self, transaction_id: bytes, prepare_download_response: bytes
    ) -> GetBoundProfilePackageOk:
        """Encipher the profile for this eUICC and this session."""
        session = self._sessions.get(transaction_id)
        return session.once(
            "getBoundProfilePackage",
            prepare_download_response,
            lambda: self._bind(session, PrepareDownloadOk.parse(prepare_download_response)),
        )

    def _bind(self, session: RspSession, ready: PrepareDownloadOk) -> GetBoundProfilePackageOk:
        peer = _authenticated(session)
        signed = ready.euicc_signed2 + signature_tlv(peer.smdp_signature2)
        verify_signature(peer.public_key, ready.euicc_signature2, signed)
        check_transaction(session, ready.transaction_id)
        with self._store.work() as database:
            order = database.get_one(Order, peer.order_id)
            if order.state is not OrderState.RELEASED:
                raise Refused("8.2", "1.2", f"order {order.name} is {order.state}")
            with reported(database, order, Point.CONFIRMATION, peer.eid):
                _check_confirmation_code(order, session.transaction_id, ready.hash_cc)
            protected = self._protected(database, order, session, ready.euicc_otpk)
            order.move(OrderState.DOWNLOADED)
            order.bound_to, order.transaction_id = peer.eid, session.name
            database.add(
                Download(
                    transaction_id=session.name,
                    order_id=order.id,
                    eid=peer.eid,
                    euicc_certificate=peer.euicc_certificate,
                    euicc_otpk=protected.euicc_otpk,
                    smdp_otpk=protected.smdp_otpk,
                    parts=protected.parts,
                )
            )
            report(database, order, Point.BPP_DOWNLOAD, peer.eid)
            name = order.name
        package = bpp.bind(protected, session.transaction_id, self._identities[session.identity.ci_pk_id].pb)
        self._record(name, f"bound for eUICC {peer.eid}, {len(package)} bytes")
        return GetBoundProfilePackageOk(session.transaction_id, package)

    def _protected(
        self, database: Session, order: Order, session: RspSession, euicc_otpk: bytes
    ) -> bpp.Protected:
        """What an interrupted download was given, when the eUICC comes with the same key; else anew."""
        peer = _authenticated(session)
        kept = self._kept(database, order, peer.eid)
        if kept and hmac.compare_digest(kept.euicc_otpk, euicc_otpk):
            return bpp.Protected(kept.euicc_otpk, kept.smdp_otpk, kept.parts)
        try:
            return bpp.protect(
                order.packages[peer.package],
                order.profile_metadata,
                eid=peer.eid,
                euicc_otpk=euicc_otpk,
                curve=session.identity.auth.private_key.curve,
                ppk=self._ppk,
            )
        except ec.PointInvalid as error:
            raise Refused("8.1", "6.1", f"otPK.EUICC: {error}") from error

    # ES9+.HandleNotification, clause 5.6.4

    def handle_notification(self, pending_notification: bytes) -> None:
        """Take note of what a card reports. Repeats change nothing."""
        notification = results.read_pending_notification(pending_notification)
        if isinstance(notification, results.InstallationResult):
            self._installation_result(notification)
        else:
            self._other_notification(notification)

    def _installation_result(self, result: results.InstallationResult) -> None:
        transaction_id = result.transaction_id.hex().upper()
        with self._store.work() as database:
            download = database.get(Download, transaction_id)
            if download is None:
                # Refused, the card would keep a result that nobody will ever want.
                self._record(None, f"result of unknown transaction {transaction_id}: {result.words}")
                return
            verify_signature(_public_key(download.euicc_certificate), result.signature, result.data)
            self._check_oid(result.smdp_oid)
            if download.result is not None:
                return
            _conclude(download, result)
            report(database, download.order, Point.BPP_INSTALLATION, download.eid, _status(result), result.raw)
            name, state = download.order.name, download.order.state
        self._sessions.end(result.transaction_id)
        self._record(name, f"{result.words}, the order is {state}")

    def _other_notification(self, other: results.OtherNotification) -> None:
        eid, public_key = self._authentication.verify_chain(other.euicc_certificate, other.eum_certificate)
        verify_signature(public_key, other.signature, other.data)
        told = other.notification
        same = select(Notification.id).where(
            Notification.eid == eid,
            Notification.seq_number == told.seq_number,
            Notification.event == told.event,
        )
        with self._store.work() as database:
            if database.scalars(same).first() is None:
                database.add(
                    Notification(eid=eid, seq_number=told.seq_number, event=told.event, iccid=told.iccid)
                )
        self._record(None, f"eUICC {eid}: {told.event} of profile {told.iccid or 'without ICCID'}")

    # ES9+.CancelSession, clause 5.6.5

    def cancel_session(self, transaction_id: bytes, cancel_session_response: bytes) -> None:
        """The eUICC gives up: the order stays open or ends, by its reason."""
        session = self._sessions.get(transaction_id)
        session.once(
            "cancelSession",
            cancel_session_response,
            lambda: self._cancel(session, CancelSessionOk.parse(cancel_session_response)),
        )

    def _cancel(self, session: RspSession, cancelled: CancelSessionOk) -> None:
        peer = _authenticated(session)
        verify_signature(peer.public_key, cancelled.signature, cancelled.signed)
        check_transaction(session, cancelled.transaction_id)
        self._check_oid(cancelled.smdp_oid)
        with self._store.work() as database:
            order = database.get_one(Order, peer.order_id)
            _give_up(order, cancelled)
            refusal = Refused("8.10", "4.2", f"the eUICC cancelled the session: {cancelled.words}")
            report(database, order, Point.BPP_DOWNLOAD, peer.eid, failed(refusal))
            name, state = order.name, order.state
        session.authenticated = None  # nothing more can be asked, but a lost answer can be had again
        self._record(name, f"cancelled by the eUICC, {cancelled.words}: the order is {state}")

    # checks that several functions share

    def _check_oid(self, oid: str) -> None:
        known = {identity.oid for identity in self._identities.values()}
        if oid not in known:
            raise Refused("8.8", "3.10", f"the eUICC names SM-DP+ {oid}, this is {' or '.join(sorted(known))}")

    def _record(self, order: str | None, text: str) -> None:
        if self._trace:
            self._trace.record("smdpp", "order", matching_id=order, text=text)


def _public_key(certificate: bytes) -> curves.EllipticCurvePublicKey:
    """Of a certificate that was verified when its session began."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    assert isinstance(key, curves.EllipticCurvePublicKey)
    return key


def _authenticated(session: RspSession) -> Authenticated:
    if session.authenticated is None:
        raise Refused("8.10.1", "3.9", f"transaction {session.name} has no authenticated eUICC")
    return session.authenticated


def _for(order: Order | None, matching_id: str | None, eid: str) -> Order:
    """The order, if it is for this eUICC. Raises Refused."""
    if order is None and not matching_id:
        raise Refused("8.1.1", "3.8", f"there is no order for EID {eid}")
    if order is None:
        raise Refused("8.2.6", "3.8", f"there is no order for matchingId {(matching_id or '')[:128]!a}")
    owner = order.eid or order.bound_to
    if owner not in (None, eid):
        raise Refused("8.1.1", "3.8", f"order {order.name} is for another eUICC than {eid}")
    return order


def _check_startable(order: Order) -> None:
    """Whether a download may begin now. Raises Refused, and an order that is past its time or attempts ends."""
    if order.expires and order.expires < utc_now():
        if order.state is OrderState.RELEASED:
            order.result = f"expired {order.expires:%Y-%m-%d %H:%M}"
            order.move(OrderState.ERROR)
        raise Refused("8.8.5", "4.10", f"order {order.name} expired {order.expires:%Y-%m-%d %H:%M}")
    if order.state not in (OrderState.RELEASED, OrderState.DOWNLOADED):
        raise Refused("8.2", "1.2", f"order {order.name} is {order.state}, not released")
    if order.attempts >= MAX_ATTEMPTS:
        order.result = f"given up after {order.attempts} attempts"
        order.move(OrderState.ERROR)
        raise Refused("8.8.5", "6.4", order.result)


def _check_confirmation_code(order: Order, transaction_id: bytes, hash_cc: bytes | None) -> None:
    """hashCc = SHA256(SHA256(code) || transactionId). Raises Refused."""
    if order.confirmation_hash is None:
        return
    if hash_cc is None:
        raise Refused("8.2.7", "2.2", f"order {order.name} requires a confirmation code")
    if hmac.compare_digest(hash_cc, sha256(order.confirmation_hash + transaction_id).digest()):
        return
    order.confirmation_failures += 1
    if order.confirmation_failures < MAX_CONFIRMATION_FAILURES:
        left = MAX_CONFIRMATION_FAILURES - order.confirmation_failures
        raise Refused("8.2.7", "3.8", f"the confirmation code is wrong, {left} attempts are left")
    order.result = f"given up after {order.confirmation_failures} wrong confirmation codes"
    order.move(OrderState.ERROR)
    raise Refused("8.2.7", "6.4", order.result)


def _give_up(order: Order, cancelled: CancelSessionOk) -> None:
    """After RETRY_AFTER the order stays open, for any eUICC it is meant for; otherwise it ends."""
    if order.state not in (OrderState.RELEASED, OrderState.DOWNLOADED):
        return
    order.result = f"cancelled by the eUICC: {cancelled.words}"
    order.bound_to = None
    if cancelled.reason in POSTPONED and order.state is OrderState.RELEASED:
        order.attempts -= 1  # nothing was tried
    if cancelled.reason not in RETRY_AFTER:
        order.move(OrderState.ERROR)
    elif order.state is OrderState.DOWNLOADED:
        order.move(OrderState.RELEASED)


def _status(result: results.InstallationResult) -> dict[str, Any]:
    """As an operator is told."""
    return EXECUTED if result.error_reason is None else failed(Refused("8.2.10", "4.2", result.words))


def _conclude(download: Download, result: results.InstallationResult) -> None:
    """Installed is installed, whichever attempt it was; a failure counts if no newer attempt has begun."""
    download.result = result.words
    order = download.order
    if result.error_reason is None:
        if order.state is not OrderState.INSTALLED:
            order.move(OrderState.INSTALLED)
        order.bound_to, order.result = download.eid, result.words
    elif order.transaction_id == download.transaction_id and order.state is OrderState.DOWNLOADED:
        order.result = result.words
        again = result.error_reason == results.INTERRUPTED
        order.move(OrderState.RELEASED if again else OrderState.ERROR)
