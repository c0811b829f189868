"""PendingNotifications: profile installation results and other notifications a card signed (SGP.32 5.14.7).

Nothing read here counts before ``verify``. The bytes passed on to the SM-DP+ are the card's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from microipa.asn1.tlv import Tlv, TlvError, number, tlv
from microipa.crypto import ec
from microipa.eim import words
from microipa.eim.esipa import EID, NOTIFICATION_METADATA, PROFILE_INSTALLATION_RESULT
from microipa.eim.packages import SIGNATURE
from microipa.saip import iccid_from_bytes, report

INSTALLATION_DATA = 0xBF27
OTHER, COMPACT_INSTALLATION, COMPACT_OTHER = 0x30, 0xA0, 0xA1


@dataclass(frozen=True)
class Installation:
    """What a ProfileInstallationResult says: of which session, and how it ended."""

    transaction_id: bytes
    ok: bool
    text: str
    details: dict[str, Any]

    @classmethod
    def read(cls, data: Tlv, iccid: str | None) -> Installation:
        """``data`` is BF27. Raises TlvError."""
        transaction_id = data[0x80].value
        final = data[0xA2]
        success = final.get(0xA0)
        details: dict[str, Any] = {"seqNumber": number(data[NOTIFICATION_METADATA][0x80])}
        if iccid:
            details["iccid"] = iccid
        if success:
            details["aid"] = success[0x4F].value.hex()
            return cls(transaction_id, True, f"profile {iccid or details['aid']} installed", details)
        failure = final[0xA1]
        command, reason = number(failure[0x80]), number(failure[0x81])
        details |= {"bppCommandId": command, "errorReason": reason}
        text = f"{words.name('BppCommandId', command)}: {words.name('ErrorReason', reason)}"
        sima = failure.get(0x82)
        if sima:
            details["simaResponse"] = sima.value.hex()
            text += f": {said}" if (said := report.words(sima.value)) else ""
        return cls(transaction_id, False, text, details)


@dataclass(frozen=True)
class Notification:
    """A signed notification. ``certificates`` are the eUICC's and the EUM's when it brings them."""

    raw: bytes
    sequence: int
    events: str
    address: str
    iccid: str | None
    eid: str | None
    is_compact: bool
    certificates: tuple[bytes, bytes] | None
    installation: Installation | None
    signed: bytes
    signature: bytes
    metadata: Tlv

    @classmethod
    def read(cls, pending: Tlv) -> Notification:
        """Raises TlvError, also for the compact installation result, which must be rebuilt before."""
        eid, certificates, installed = None, None, None
        if pending.tag == PROFILE_INSTALLATION_RESULT:
            signed = installed = pending[INSTALLATION_DATA]
            metadata = signed[NOTIFICATION_METADATA]
        elif pending.tag == OTHER:
            signed = metadata = pending[NOTIFICATION_METADATA]
            chain = [child.raw for child in pending if child.tag == 0x30]
            if len(chain) != 2:
                raise TlvError(f"notification with {len(chain)} certificates instead of 2", pending.offset)
            certificates = (chain[0], chain[1])
        elif pending.tag == COMPACT_OTHER:
            signed = metadata = pending[NOTIFICATION_METADATA]
            field = pending.get(EID)
            eid = field.value.hex() if field else None
        elif pending.tag == COMPACT_INSTALLATION:
            raise TlvError("a compact installation result that was not reconstructed", pending.offset)
        else:
            raise TlvError(f"{pending.tag:02X} is not a PendingNotification", pending.offset)
        card = metadata.get(0x5A)
        iccid = iccid_from_bytes(card.value) if card else None
        return cls(
            raw=pending.raw,
            sequence=number(metadata[0x80]),
            events=", ".join(words.bits("NotificationEvent", metadata[0x81].value)),
            address=metadata[0x0C].value.decode(errors="replace"),
            iccid=iccid,
            eid=eid,
            is_compact=pending.tag == COMPACT_OTHER,
            certificates=certificates,
            installation=Installation.read(installed, iccid) if installed else None,
            signed=signed.raw,
            signature=pending[SIGNATURE].value,
            metadata=metadata,
        )

    def verify(self, public_key: EllipticCurvePublicKey) -> None:
        """Check euiccSignPIR or euiccNotificationSignature. Raises SignatureInvalid."""
        ec.verify(public_key, self.signature, self.signed)

    def full(self, euicc_certificate: bytes, eum_certificate: bytes) -> bytes:
        """The form an SM-DP+ takes: a compact notification with the certificates it left out."""
        if not self.is_compact:
            return self.raw
        signature = tlv(SIGNATURE, self.signature)
        return tlv(OTHER, self.metadata.raw, signature, euicc_certificate, eum_certificate)

    def text(self) -> str:
        what = self.installation.text if self.installation else f"{self.events} {self.iccid or ''}".strip()
        return f"notification {self.sequence}: {what}"
