"""Notifications that arrive: verified, booked on the download they end, queued for their SM-DP+."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from microipa.asn1.tlv import Tlv, TlvError, parse
from microipa.crypto.certificates import CertificateInvalid, verify_euicc_chain
from microipa.crypto.ec import SignatureInvalid
from microipa.crypto.revocation import Issuer
from microipa.eim import clients, compact, devices, packages, questions, store
from microipa.eim.esipa import ResultRefused
from microipa.eim.notifications import COMPACT_INSTALLATION, Notification
from microipa.eim.orders import Orders
from microipa.eim.store import Device, DownloadSession, Forward, Order
from microipa.storage.unit_of_work import Work

MOST_FORWARDS = 64  # of one device, on their way to SM-DP+ servers


class Notices:
    """The way in for what cards want SM-DP+ servers to know (SGP.32 5.14.7)."""

    def __init__(self, orders: Orders, ci: Issuer) -> None:
        self._orders = orders
        self._ci = ci

    def accept(self, db: Work, pending: Tlv, device: Device | None = None, order: Order | None = None) -> int | None:
        """Verify a notification, settle the download it ends, queue it for the SM-DP+ it names.

        ``device`` is the sender, ``order`` the order whose result it is, if known. Returns its
        seqNumber, or None if the eIM does not keep it: the result of a direct download, which the IPA itself
        owes to the SM-DP+ (SGP.32 5.7.4). Later it may come as a notification, from an IPA that could not
        deliver it: then it is passed on. Raises ResultRefused, TlvError.
        """
        provided = order
        if pending.tag == COMPACT_INSTALLATION:
            pending = self._rebuilt(db, pending)
        notification = Notification.read(pending)
        installed = notification.installation
        session = db.get(DownloadSession, installed.transaction_id.hex()) if installed else None
        if session and device and session.order.eid != device.eid:
            raise ResultRefused(device.eid, f"{notification.text()} of another device was sent as if by {device.eid}")
        if session:
            order, device = session.order, session.order.device
        elif device is None and notification.eid:
            device = db.get(Device, notification.eid)
        device = self._verify(db, notification, device)
        clients.check(device.eid)
        if installed and order:
            self._book(db, order, notification)
            if session is None:
                session = _remember_direct(db, order, notification)
            if provided and session and session.is_direct:
                return None
        elif installed:
            return None
        self._queue(db, notification, device)
        return notification.sequence

    def _rebuilt(self, db: Work, pending: Tlv) -> Tlv:
        """The ProfileInstallationResult that a card signed, of which the IPA sent what is new."""
        session = db.get(DownloadSession, pending[0xA0][0x80].value.hex())
        if session is None:
            raise ResultRefused(None, "a compact installation result without a session of this eIM")
        try:
            return parse(compact.installation_result(pending, session))
        except compact.NotRebuilt as error:
            raise ResultRefused(session.order.eid, str(error)) from error

    def accept_list(self, db: Work, listed: Tlv | None, device: Device) -> list[int]:
        """Notifications that came along with something else; the seqNumbers to acknowledge.

        One that proves nothing stays on the card and spoils no other.
        """
        acknowledged = []
        for pending in listed or ():
            try:
                sequence = self.accept(db, pending, device)
            except (ResultRefused, TlvError) as refusal:
                self._orders.alarm(db, device.eid, str(refusal), pending.raw)
                continue
            if sequence is not None:
                acknowledged.append(sequence)
        return acknowledged

    def _verify(self, db: Work, notification: Notification, device: Device | None) -> Device:
        """The managed device whose eUICC signed it. Raises ResultRefused."""
        eid = device.eid if device else None
        try:
            signer, key = self._signer(db, notification, device)
            eid = signer.eid
            notification.verify(key)
        except (CertificateInvalid, SignatureInvalid) as invalid:
            raise ResultRefused(eid, f"{notification.text()}: {invalid}") from invalid
        return signer

    def _signer(
        self, db: Work, notification: Notification, device: Device | None
    ) -> tuple[Device, EllipticCurvePublicKey]:
        """Who must have signed it: the device it comes from, or that of the certificates it brings."""
        if notification.certificates:
            owner, key = verify_euicc_chain(*notification.certificates, self._ci)
            if device and device.eid != owner:
                text = f"{notification.text()} of {owner} was sent as if by {device.eid}"
                raise ResultRefused(device.eid, text)
            signer = db.get(Device, owner)
            if signer is None:
                raise ResultRefused(None, f"{notification.text()}: of {owner}, which this eIM does not manage")
            return signer, key
        if device is None or device.euicc_certificate is None:
            text = f"{notification.text()}: neither its session nor its eUICC is known to this eIM"
            raise ResultRefused(device.eid if device else None, text)
        return device, packages.public_key_of(device.euicc_certificate)

    def _book(self, db: Work, order: Order, notification: Notification) -> None:
        """Settle a download by its profile installation result; a repeat changes nothing."""
        installed = notification.installation
        if installed is None or questions.is_booked(db, order.eid, notification.sequence):
            return
        order.sequence = notification.sequence
        if installed.ok and notification.iccid:
            devices.add_profile(order.device, notification.iccid)
        state = store.DONE if installed.ok else store.FAILED
        self._orders.settle(db, order, state, installed.text, installed.details)

    def _queue(self, db: Work, notification: Notification, device: Device) -> None:
        """For its SM-DP+, which takes the full form; once, however often it is delivered.

        Raises ResultRefused when too many wait: the card keeps this one.
        """
        message = notification.raw
        if device.euicc_certificate and device.eum_certificate:
            message = notification.full(device.euicc_certificate, device.eum_certificate)
        digest = hashlib.sha256(message).hexdigest()
        if db.get(Forward, digest) is not None:
            return
        text = notification.text()
        if questions.waiting_forwards(db, device.eid) >= MOST_FORWARDS:
            raise ResultRefused(device.eid, f"{text}: already {MOST_FORWARDS} notifications of this device are waiting")
        db.add(Forward(digest=digest, eid=device.eid, address=notification.address, message=message, summary=text))


def _remember_direct(db: Work, order: Order, notification: Notification) -> DownloadSession | None:
    """A download past this eIM, by its first result: whose it is when it comes again."""
    assert notification.installation
    name = notification.installation.transaction_id.hex()
    session = DownloadSession(
        transaction_id=name, server_transaction_id=name, smdp_address=notification.address, order_id=order.id
    )
    return session if questions.open_session(db, session) else None
