"""Whether the ordered eUICC signed what a device sends in a download (SGP.32 5.14).

SGP.32 authenticates no IPA. An SM-DP+ refuses what somebody made up in the name of an EID, and that ends no order.
"""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, TlvError, number
from microipa.crypto import ec
from microipa.crypto.certificates import CertificateInvalid, verify_euicc_chain
from microipa.crypto.revocation import Issuer
from microipa.eim import packages
from microipa.eim.packages import SIGNATURE, euicc_info1
from microipa.eim.relayed import RelayFailed
from microipa.eim.store import Device, DownloadSession
from microipa.storage.unit_of_work import Work

EID_MISMATCH = 7


def info1(device: Device, given: bytes) -> bool:
    """EUICCInfo1 that agrees with the EUICCInfo2 of an earlier download."""
    return bool(device.info2_signed and device.euicc_info2) and euicc_info1(device.euicc_info2 or b"") == given


def learn(db: Work, session: DownloadSession, response: Tlv, ci: Issuer) -> bool:
    """Whether AuthenticateServerResponse BF38 is of this session; its certificates and EUICCInfo2 are kept then.

    Raises RelayFailed for the answer of another eUICC, TlvError.
    """
    done = response.get(0xA0)
    parts = [child for child in done if child.tag == 0x30] if done else []
    if done is None or len(parts) != 3:
        return False
    told, euicc, eum = parts
    try:
        eid, key = verify_euicc_chain(euicc.raw, eum.raw, ci)
        if eid != session.order.eid:
            raise RelayFailed(EID_MISMATCH, f"{eid} answers for {session.order.eid}")
        ec.verify(key, done[SIGNATURE].value, told.raw)
    except (CertificateInvalid, ec.SignatureInvalid):
        return False  # the SM-DP+ refuses it too, and with the right code
    if told[0x80].value.hex() != session.transaction_id:
        return False
    device = db.get_one(Device, eid)
    device.euicc_info2, device.info2_signed = told[0xBF22].raw, True
    device.euicc_certificate, device.eum_certificate = euicc.raw, eum.raw
    device.compact_failed = False
    return True


def prepared(session: DownloadSession, response: Tlv) -> bool:
    """PrepareDownloadResponse BF21: euiccSignature2 is over euiccSigned2 and smdpSignature2."""
    return _signed(session, response, session.smdp_signature_2 or b"")


def cancelled(session: DownloadSession, response: Tlv) -> bool:
    """CancelSessionResponse BF41 of this session."""
    return _signed(session, response, b"")


def cancel_reason(response: Tlv) -> int | None:
    """The reason in CancelSessionResponse BF41, as far as it can be read."""
    try:
        return number(response[0xA0][0x30].children()[-1])
    except (TlvError, IndexError):
        return None


def _signed(session: DownloadSession, response: Tlv, more: bytes) -> bool:
    """The transactionId first in ``30…``, and ``5F37`` over that and ``more``."""
    certificate, done = session.order.device.euicc_certificate, response.get(0xA0)
    if certificate is None or done is None:
        return False
    try:
        signed = done[0x30]
        ec.verify(packages.public_key_of(certificate), done[SIGNATURE].value, signed.raw + more)
        return signed[0x80].value.hex() == session.transaction_id
    except (ec.SignatureInvalid, TlvError):
        return False
