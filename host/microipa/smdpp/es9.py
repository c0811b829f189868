"""ES9+: the five functions of SGP.22 clause 5.6, whatever binding carries them.

Each takes decoded fields and returns a dataclass of fields, or raises Refused with the codes of the standard.
They run to their end without waiting for anything, so that requests of one session cannot overtake another.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec as curves
from sqlalchemy import select

from microipa.asn1.tlv import tlv
from microipa.crypto import ec
from microipa.crypto.pki import CertificateInvalid, Pki, subject_key_identifier, verify_euicc_chain
from microipa.smdpp import bpp, results
from microipa.smdpp.answers import (
    AuthenticateServerOk,
    CancelSessionOk,
    EuiccInfo1,
    PrepareDownloadOk,
    signature_tlv,
)
from microipa.smdpp.eligibility import check_eligible
from microipa.smdpp.refusal import MalformedRequest, Refused
from microipa.smdpp.sessions import CHALLENGE_BYTES, Authenticated, RspSession, Sessions
from microipa.smdpp.store import Download, Notification, Order, OrderState, Store, utc_now
from microipa.trace import Trace

MAX_ATTEMPTS = 10  # downloads begun for one order
MAX_CONFIRMATION_FAILURES = 3
SVN_MAJOR = 2
RETRY_AFTER = {1, 2, 5}  # postponed, timeout, loadBppExecutionError: the order stays open


@dataclass(frozen=True)
class InitiateAuthenticationOk:
    transaction_id: bytes
    server_signed1: bytes
    server_signature1: bytes
    euicc_ci_pk_id_to_be_used: bytes
    server_certificate: bytes


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
        self, pki: Pki, store: Store, sessions: Sessions, *, address: str, ppk: bool, trace: Trace | None
    ) -> None:
        self._pki = pki
        self._store = store
        self._sessions = sessions
        self._address = address
        self._ppk = ppk
        self._trace = trace
        self._ci_pk_id = subject_key_identifier(pki.ci.certificate)

    # ES9+.InitiateAuthentication, clause 5.6.1

    def initiate_authentication(
        self, euicc_challenge: bytes, euicc_info1: bytes, smdp_address: str
    ) -> InitiateAuthenticationOk:
        """Begin a session: sign the eUICC's challenge and pose our own."""
        if len(euicc_challenge) != CHALLENGE_BYTES:
            raise MalformedRequest(f"euiccChallenge has {len(euicc_challenge)} bytes, not {CHALLENGE_BYTES}")
        info = EuiccInfo1.parse(euicc_info1)
        if smdp_address.lower() != self._address.lower():
            raise Refused("8.8.1", "3.8", f"this is {self._address}, not {smdp_address[:128]!a}")
        if self._ci_pk_id not in info.ci_for_verification:
            raise Refused("8.8.4", "3.7", f"the eUICC does not trust our CI {self._ci_pk_id.hex()}")
        if self._ci_pk_id not in info.ci_for_signing:
            raise Refused("8.8.2", "3.1", f"the eUICC has no certificate under our CI {self._ci_pk_id.hex()}")
        if info.svn[0] != SVN_MAJOR:
            version = ".".join(map(str, info.svn))
            raise Refused("8.8.3", "3.1", f"SGP.22 version {version} is not supported, {SVN_MAJOR}.x is")
        session = self._sessions.begin()
        signed = tlv(
            0x30,
            tlv(0x80, session.transaction_id),
            tlv(0x81, euicc_challenge),
            tlv(0x83, self._address.encode()),
            tlv(0x84, session.server_challenge),
        )
        return InitiateAuthenticationOk(
            session.transaction_id,
            signed,
            signature_tlv(self._pki.smdpp_auth.sign(signed)),
            tlv(0x04, self._ci_pk_id),
            self._pki.smdpp_auth.der,
        )

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
        eid, public_key = self._verify_chain(proof.euicc_certificate, proof.eum_certificate)
        _verify(public_key, proof.euicc_signature1, proof.euicc_signed1)
        _check_transaction(session, proof.transaction_id)
        if not hmac.compare_digest(proof.server_challenge, session.server_challenge):
            raise Refused("8.1", "6.1", "the eUICC signed another serverChallenge")
        if proof.server_address.lower() != self._address.lower():
            raise Refused("8.1", "6.1", f"the eUICC signed for server {proof.server_address[:128]!a}")
        with self._store.transaction() as database:
            order = _startable(self._store.find(database, proof.matching_id, eid), proof.matching_id, eid)
            check_eligible(proof.euicc_info2, order.package, order.profile_metadata)
            order.attempts += 1
            if order.state is OrderState.DOWNLOADED:
                order.move(OrderState.RELEASED)  # the attempt before this one was interrupted
            matching_id, metadata = order.matching_id, order.profile_metadata
            with_code = order.confirmation_hash is not None
        self._sessions.end_others(matching_id, keep=session)
        signed = tlv(0x30, tlv(0x80, session.transaction_id), tlv(0x01, b"\xff" if with_code else b"\x00"))
        signature = self._pki.smdpp_pb.sign(signed + signature_tlv(proof.euicc_signature1))
        session.authenticated = Authenticated(
            eid, public_key, proof.euicc_certificate, matching_id, signature
        )
        self._record(matching_id, f"eUICC {eid} is offered the profile")
        return AuthenticateClientOk(
            session.transaction_id, metadata, signed, signature_tlv(signature), self._pki.smdpp_pb.der
        )

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
        _verify(peer.public_key, ready.euicc_signature2, signed)
        _check_transaction(session, ready.transaction_id)
        with self._store.transaction() as database:
            order = database.get_one(Order, peer.matching_id)
            if order.state is not OrderState.RELEASED:
                raise Refused("8.2", "1.2", f"order {order.matching_id} is {order.state}")
            _check_confirmation_code(order, session.transaction_id, ready.hash_cc)
            try:
                package = bpp.bind(
                    order.package,
                    order.profile_metadata,
                    transaction_id=session.transaction_id,
                    eid=peer.eid,
                    euicc_otpk=ready.euicc_otpk,
                    signer=self._pki.smdpp_pb,
                    ppk=self._ppk,
                )
            except ec.PointInvalid as error:
                raise Refused("8.1", "6.1", f"otPK.EUICC: {error}") from error
            order.move(OrderState.DOWNLOADED)
            order.bound_to, order.transaction_id = peer.eid, session.name
            database.add(
                Download(
                    transaction_id=session.name,
                    matching_id=order.matching_id,
                    eid=peer.eid,
                    euicc_certificate=peer.euicc_certificate,
                )
            )
        self._record(peer.matching_id, f"bound for eUICC {peer.eid}, {len(package)} bytes")
        return GetBoundProfilePackageOk(session.transaction_id, package)

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
        with self._store.transaction() as database:
            download = database.get(Download, transaction_id)
            if download is None:
                # Refused, the card would keep a result that nobody will ever want.
                self._record(None, f"result of unknown transaction {transaction_id}: {result.words}")
                return
            _verify(_public_key(download.euicc_certificate), result.signature, result.data)
            self._check_oid(result.smdp_oid)
            if download.result is not None:
                return
            _conclude(download, result)
            matching_id, state = download.matching_id, download.order.state
        self._sessions.end(result.transaction_id)
        self._record(matching_id, f"{result.words}, the order is {state}")

    def _other_notification(self, other: results.OtherNotification) -> None:
        eid, public_key = self._verify_chain(other.euicc_certificate, other.eum_certificate)
        _verify(public_key, other.signature, other.data)
        told = other.notification
        same = select(Notification.id).where(
            Notification.eid == eid,
            Notification.seq_number == told.seq_number,
            Notification.event == told.event,
        )
        with self._store.transaction() as database:
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
        _verify(peer.public_key, cancelled.signature, cancelled.signed)
        _check_transaction(session, cancelled.transaction_id)
        self._check_oid(cancelled.smdp_oid)
        with self._store.transaction() as database:
            order = database.get_one(Order, peer.matching_id)
            _give_up(order, cancelled)
            state = order.state
        session.authenticated = None  # nothing more can be asked, but a lost answer can be had again
        self._record(peer.matching_id, f"cancelled by the eUICC, {cancelled.words}: the order is {state}")

    # checks that several functions share

    def _verify_chain(self, euicc: bytes, eum: bytes) -> tuple[str, curves.EllipticCurvePublicKey]:
        try:
            return verify_euicc_chain(euicc, eum, self._pki.ci.certificate)
        except CertificateInvalid as error:
            subject = {"eum": "8.1.2", "euicc": "8.1.3"}.get(error.subject, "8.11.1")
            raise Refused(subject, "6.3" if error.check == "expired" else "6.1", str(error)) from error

    def _check_oid(self, oid: str) -> None:
        if oid != self._pki.smdpp_oid:
            raise Refused("8.8", "3.10", f"the eUICC names SM-DP+ {oid}, this is {self._pki.smdpp_oid}")

    def _record(self, matching_id: str | None, text: str) -> None:
        if self._trace:
            self._trace.record("smdpp", "order", matching_id=matching_id, text=text)


def _verify(public_key: curves.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    try:
        ec.verify(public_key, signature, data)
    except ec.SignatureInvalid as error:
        raise Refused("8.1", "6.1", str(error)) from error


def _public_key(certificate: bytes) -> curves.EllipticCurvePublicKey:
    """Of a certificate that was verified when its session began."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    assert isinstance(key, curves.EllipticCurvePublicKey)
    return key


def _check_transaction(session: RspSession, signed_id: bytes) -> None:
    if signed_id != session.transaction_id:
        raise Refused("8.10.1", "3.9", f"the eUICC signed transaction {signed_id.hex()}, not {session.name}")


def _authenticated(session: RspSession) -> Authenticated:
    if session.authenticated is None:
        raise Refused("8.10.1", "3.9", f"transaction {session.name} has no authenticated eUICC")
    return session.authenticated


def _startable(order: Order | None, matching_id: str | None, eid: str) -> Order:
    """The order, if this eUICC may begin to download it now. Raises Refused."""
    if order is None:
        asked = f"matchingId {matching_id[:128]!a}" if matching_id else f"EID {eid}"
        raise Refused("8.2.6", "3.8", f"there is no order for {asked}")
    owner = order.eid or order.bound_to
    if owner not in (None, eid):
        raise Refused("8.1.1", "3.8", f"order {order.matching_id} is for another eUICC than {eid}")
    if order.expires and order.expires < utc_now():
        raise Refused("8.8.5", "4.10", f"order {order.matching_id} expired {order.expires:%Y-%m-%d %H:%M}")
    if order.state not in (OrderState.RELEASED, OrderState.DOWNLOADED):
        raise Refused("8.2", "1.2", f"order {order.matching_id} is {order.state}, not released")
    if order.attempts >= MAX_ATTEMPTS:
        order.result = f"given up after {order.attempts} attempts"
        order.move(OrderState.ERROR)
        raise Refused("8.8.5", "6.4", order.result)
    return order


def _check_confirmation_code(order: Order, transaction_id: bytes, hash_cc: bytes | None) -> None:
    """hashCc = SHA256(SHA256(code) || transactionId). Raises Refused."""
    if order.confirmation_hash is None:
        return
    if hash_cc is None:
        raise Refused("8.2.7", "2.2", f"order {order.matching_id} wants a confirmation code")
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
    if cancelled.reason not in RETRY_AFTER:
        order.move(OrderState.ERROR)
    elif order.state is OrderState.DOWNLOADED:
        order.move(OrderState.RELEASED)


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
