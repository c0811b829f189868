"""The card's part in mutual authentication with an SM-DP+ (SGP.22 clauses 5.7.5, 5.7.7, 5.7.13, 5.7.14)."""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from microipa.asn1.tlv import Tlv, TlvError, integer, tlv
from microipa.common.errors import MicroipaError
from microipa.crypto import ec
from microipa.crypto.pki import CertificateInvalid, verify_smdpp_certificate
from microipa.euicc.chip import SIGNATURE, Chip, Handler, Session, number, oid_value, text
from microipa.euicc.identity import info_2
from microipa.euicc.nvm import OneTimeKey

INVALID_CERTIFICATE, INVALID_SIGNATURE, UNSUPPORTED_CURVE, NO_SESSION_CONTEXT = 1, 2, 3, 4
INVALID_OID, CHALLENGE_MISMATCH, CI_KEY_UNKNOWN = 5, 6, 7  # AuthenticateServer
INVALID_TRANSACTION_ID = 5  # PrepareDownload, CancelSession
ECALL_ACTIVE, UNDEFINED = 104, 127
REASONS = (0, 1, 2, 3, 4, 5, 127)
TRANSACTION_ID, ONE_TIME_KEY = 0x80, 0x5F49
MAX_TRANSACTION_ID = 16


class Refused(MicroipaError):
    """A step of the download failed its checks; ``code`` is the error the standard has for it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with error {code}")
        self.code = code


def get_challenge(chip: Chip, command: Tlv) -> bytes:
    """ES10b.GetEuiccChallenge: begins a session and ends the one before."""
    chip.session = Session(secrets.token_bytes(16))
    return tlv(0xBF2E, tlv(0x80, chip.session.challenge))


def authenticate_server(chip: Chip, command: Tlv) -> bytes:
    """ES10b.AuthenticateServer."""
    signed, signature, ci_key_id, certificate, context = _fields(command, (0x30, SIGNATURE, 0x04, 0x30, 0xA0))
    transaction_id = signed[TRANSACTION_ID]
    if not 1 <= len(transaction_id.value) <= MAX_TRANSACTION_ID:
        raise ValueError("transactionId has 1 to 16 bytes")
    try:
        session = _authenticate(chip, signed, signature, ci_key_id, certificate)
    except Refused as refused:
        chip.session = None
        return tlv(0xBF38, tlv(0xA1, transaction_id.raw, integer(0x02, refused.code)))
    answer = tlv(
        0x30, transaction_id.raw, signed[0x83].raw, signed[0x84].raw, info_2(chip), context.raw
    )
    session.euicc_signature_1 = chip.sign(answer)
    certificates = chip.state.certificate + chip.state.eum_certificate
    return tlv(0xBF38, tlv(0xA0, answer, session.euicc_signature_1, certificates))


def _authenticate(chip: Chip, signed: Tlv, signature: Tlv, ci_key_id: Tlv, certificate: Tlv) -> Session:
    """All checks of clause 5.7.13. Raises Refused."""
    session = chip.session
    if chip.state.emergency:
        raise Refused(ECALL_ACTIVE)
    if session is None or session.transaction_id is not None:
        raise Refused(NO_SESSION_CONTEXT)
    if ci_key_id.value != chip.ci_key_id:
        raise Refused(CI_KEY_UNKNOWN)
    key, oid = _certificate(chip, certificate, "server")
    _verify(key, signature, signed.raw)
    if not secrets.compare_digest(signed[0x81].value, session.challenge):
        raise Refused(CHALLENGE_MISMATCH)
    session.transaction_id = signed[TRANSACTION_ID].value
    session.smdp_address = text(signed[0x83])
    session.smdp_oid = oid
    return session


def prepare_download(chip: Chip, command: Tlv) -> bytes:
    """ES10b.PrepareDownload."""
    head, tail = command.children()[:2], command.children()[2:]
    hash_cc = tail[0] if tail and tail[0].tag == 0x04 else None
    signed, signature, certificate = [*head, *tail[1 if hash_cc else 0 :]][:3]
    transaction_id = signed[TRANSACTION_ID]
    try:
        session = _prepare(chip, signed, signature, certificate)
        if any(signed[0x01].value) and hash_cc is None:
            raise Refused(UNDEFINED)
    except Refused as refused:
        return tlv(0xBF21, tlv(0xA1, transaction_id.raw, integer(0x02, refused.code)))
    session.one_time_key = _one_time_key(chip, session.smdp_oid, signed.get(ONE_TIME_KEY))
    answer = tlv(
        0x30,
        transaction_id.raw,
        tlv(ONE_TIME_KEY, ec.point(session.one_time_key.public_key())),
        hash_cc.raw if hash_cc else b"",
    )
    return tlv(0xBF21, tlv(0xA0, answer, chip.sign(answer + signature.raw)))


def _prepare(chip: Chip, signed: Tlv, signature: Tlv, certificate: Tlv) -> Session:
    """All checks of clause 5.7.5. Raises Refused."""
    session = chip.session
    if session is None or session.transaction_id is None:
        raise Refused(NO_SESSION_CONTEXT)
    key, oid = _certificate(chip, certificate, "pb")
    if oid != session.smdp_oid:
        raise Refused(INVALID_CERTIFICATE)  # the server that authenticated and the one that binds are one
    _verify(key, signature, signed.raw + session.euicc_signature_1)
    if signed[TRANSACTION_ID].value != session.transaction_id:
        raise Refused(INVALID_TRANSACTION_ID)
    session.smdp_key = key
    return session


def cancel(chip: Chip, command: Tlv) -> bytes:
    """ES10b.CancelSession."""
    transaction_id, reason = command[TRANSACTION_ID], number(command[0x81])
    session = chip.session
    if session is None or session.transaction_id is None or transaction_id.value != session.transaction_id:
        return tlv(0xBF41, integer(0x81, INVALID_TRANSACTION_ID))
    if reason not in REASONS:
        return tlv(0xBF41, integer(0x81, UNDEFINED))
    signed = tlv(0x30, transaction_id.raw, tlv(0x81, oid_value(session.smdp_oid)), integer(0x82, reason))
    chip.session = None
    return tlv(0xBF41, tlv(0xA0, signed, chip.sign(signed)))


def _fields(command: Tlv, tags: tuple[int, ...]) -> list[Tlv]:
    """The children of ``command``, which have these tags in this order; more may follow."""
    children = command.children()
    if tuple(child.tag for child in children[: len(tags)]) != tags:
        raise TlvError(f"fields of {command.tag:02X} missing or out of order", command.offset)
    return children[: len(tags)]


def _certificate(chip: Chip, certificate: Tlv, role: str) -> tuple[EllipticCurvePublicKey, str]:
    try:
        key, oid = verify_smdpp_certificate(certificate.raw, role, chip.issuer_of(certificate.raw))
    except CertificateInvalid as error:
        nameless = role == "server" and error.check == "oid"
        raise Refused(INVALID_OID if nameless else INVALID_CERTIFICATE) from None
    if key.curve.name != chip.ci_key.curve.name:
        raise Refused(UNSUPPORTED_CURVE)
    return key, oid


def _verify(key: EllipticCurvePublicKey, signature: Tlv, data: bytes) -> None:
    try:
        ec.verify(key, signature.value, data)
    except ec.SignatureInvalid:
        raise Refused(INVALID_SIGNATURE) from None


def _one_time_key(chip: Chip, smdp_oid: str, bound_to: Tlv | None) -> EllipticCurvePrivateKey:
    """otSK.EUICC.ECKA: the one a package is bound to already, if this card still has it, or a new one."""
    kept = chip.state.one_time_key
    if kept is not None and kept.smdp_oid == smdp_oid and bound_to is not None:
        key = load_der_private_key(kept.private_key, None)
        assert isinstance(key, EllipticCurvePrivateKey)
        if ec.point(key.public_key()) == bound_to.value:
            return key
    key = ec.generate_key(chip.ci_key.curve)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    chip.state.one_time_key = OneTimeKey(smdp_oid, der)
    return key


COMMANDS: dict[int, Handler] = {
    0xBF2E: get_challenge,
    0xBF38: authenticate_server,
    0xBF21: prepare_download,
    0xBF41: cancel,
}
