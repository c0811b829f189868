"""What an eUICC answered, taken apart without touching the bytes it signed.

Every function raises TlvError or MalformedRequest for bytes that are not the message they should be, and
Refused 8.1/4.2 with the eUICC's own reason in words when the eUICC reports an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from microipa.asn1.tlv import Tlv, TlvError, number, parse, parse_all, tlv
from microipa.smdpp.refusal import MalformedRequest, Refused

SIGNATURE_BYTES = 64
AUTHENTICATE_ERRORS = {
    1: "invalidCertificate",
    2: "invalidSignature",
    3: "unsupportedCurve",
    4: "noSessionContext",
    5: "invalidOid",
    6: "euiccChallengeMismatch",
    7: "ciPKUnknown",
    127: "undefinedError",
}
PREPARE_DOWNLOAD_ERRORS = {
    1: "invalidCertificate",
    2: "invalidSignature",
    3: "unsupportedCurve",
    4: "noSessionContext",
    5: "invalidTransactionId",
    127: "undefinedError",
}
CANCEL_SESSION_ERRORS = {5: "invalidTransactionId", 127: "undefinedError"}
CANCEL_REASONS = {
    0: "endUserRejection",
    1: "postponed",
    2: "timeout",
    3: "pprNotAllowed",
    4: "metadataMismatch",
    5: "loadBppExecutionError",
    127: "undefinedReason",
}


@dataclass(frozen=True)
class EuiccInfo1:
    """BF20: specification version (three bytes) and the key identifiers of the CIs the eUICC knows."""

    svn: bytes
    ci_for_verification: list[bytes]
    ci_for_signing: list[bytes]

    @classmethod
    def parse(cls, der: bytes) -> EuiccInfo1:
        info = _outer(der, 0xBF20)
        svn = info[0x82].value
        if len(svn) != 3:
            raise MalformedRequest(f"svn has {len(svn)} bytes, VersionType has 3")
        return cls(svn, _key_ids(info.get(0xA9)), _key_ids(info.get(0xAA)))


@dataclass(frozen=True)
class AuthenticateServerOk:
    """BF38 A0: the eUICC's proof of who it is, and what it wants."""

    euicc_signed1: bytes  # raw
    euicc_signature1: bytes  # value of 5F37
    euicc_certificate: bytes
    eum_certificate: bytes
    transaction_id: bytes
    server_address: str
    server_challenge: bytes
    euicc_info2: Tlv
    matching_id: str | None

    @classmethod
    def parse(cls, der: bytes) -> AuthenticateServerOk:
        ok = _ok(_outer(der, 0xBF38), "AuthenticateServer", AUTHENTICATE_ERRORS)
        signed, signature, euicc, eum = _sequence(ok, 0x30, 0x5F37, 0x30, 0x30)
        ctx_params = signed[0xA0]
        matching_id = ctx_params.get(0x80)
        return cls(
            signed.raw,
            signature_value(signature),
            euicc.raw,
            eum.raw,
            signed[0x80].value,
            _text(signed[0x83]),
            signed[0x84].value,
            signed[0xBF22],
            _text(matching_id) if matching_id else None,
        )


@dataclass(frozen=True)
class PrepareDownloadOk:
    """BF21 A0: the eUICC is ready, and this is its one-time key."""

    euicc_signed2: bytes  # raw
    euicc_signature2: bytes
    transaction_id: bytes
    euicc_otpk: bytes
    hash_cc: bytes | None

    @classmethod
    def parse(cls, der: bytes) -> PrepareDownloadOk:
        ok = _ok(_outer(der, 0xBF21), "PrepareDownload", PREPARE_DOWNLOAD_ERRORS)
        signed, signature = _sequence(ok, 0x30, 0x5F37)
        hash_cc = signed.get(0x04)
        return cls(
            signed.raw,
            signature_value(signature),
            signed[0x80].value,
            signed[0x5F49].value,
            hash_cc.value if hash_cc else None,
        )


@dataclass(frozen=True)
class CancelSessionOk:
    """BF41 A0: the eUICC gave the download up."""

    signed: bytes  # raw euiccCancelSessionSigned
    signature: bytes
    transaction_id: bytes
    smdp_oid: str
    reason: int

    @property
    def words(self) -> str:
        return CANCEL_REASONS.get(self.reason, f"reason {self.reason}")

    @classmethod
    def parse(cls, der: bytes) -> CancelSessionOk:
        ok = _ok(_outer(der, 0xBF41), "CancelSession", CANCEL_SESSION_ERRORS)
        signed, signature = _sequence(ok, 0x30, 0x5F37)
        return cls(
            signed.raw,
            signature_value(signature),
            signed[0x80].value,
            oid_text(signed[0x81]),
            number(signed[0x82]),
        )


def signature_value(field: Tlv) -> bytes:
    """The signature in 5F37. Some peers wrap it twice, 5F37 43 5F37 40 …: that is taken off."""
    wrapped = b"\x5f\x37" + bytes([SIGNATURE_BYTES])
    if len(field.value) == len(wrapped) + SIGNATURE_BYTES and field.value.startswith(wrapped):
        return field.value[len(wrapped) :]
    return field.value


def signature_tlv(signature: bytes) -> bytes:
    """5F37 once, as it enters the input of the next signature."""
    return tlv(0x5F37, signature)


def oid_text(field: Tlv) -> str:
    """Dotted form of an OBJECT IDENTIFIER (X.690 clause 8.19)."""
    arcs: list[int] = []
    arc = 0
    for octet in field.value:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    if not arcs or len(field.value) > 32 or field.value[-1] & 0x80:
        raise TlvError("an OBJECT IDENTIFIER that has no end", field.offset)
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _outer(der: bytes, tag: int) -> Tlv:
    message = parse(der)
    if message.tag != tag:
        raise TlvError(f"{message.tag:02X} where {tag:02X} should be", 0)
    return message


def _ok(message: Tlv, function: str, errors: dict[int, str]) -> Tlv:
    """The A0 alternative. An error is A1{80 transactionId, 02 code} or, from CancelSession, 81 code."""
    choices = message.children()
    if len(choices) != 1:
        raise MalformedRequest(f"{function} answered with {len(choices)} alternatives of a CHOICE")
    choice = choices[0]
    if choice.tag == 0xA0:
        return choice
    if choice.tag == 0xA1:
        code = number(choice[0x02])
    elif choice.tag == 0x81:
        code = number(choice)
    else:
        raise TlvError(f"{choice.tag:02X} is not an answer to {function}", choice.offset)
    words = errors.get(code, "an unknown error")
    raise Refused("8.1", "4.2", f"the eUICC ended {function} with {words} ({code})")


def _sequence(parent: Tlv, *tags: int) -> list[Tlv]:
    """The first children, which must have these tags; extensions may follow."""
    children = parent.children()
    found = tuple(child.tag for child in children[: len(tags)])
    if found != tags:
        raise TlvError(
            f"{' '.join(f'{tag:02X}' for tag in found) or 'nothing'} inside {parent.tag:02X}, "
            f"not {' '.join(f'{tag:02X}' for tag in tags)}",
            parent.offset,
        )
    return children[: len(tags)]


def _key_ids(field: Tlv | None) -> list[bytes]:
    """SubjectKeyIdentifiers, in order of preference. 04 16 04 14 … as some peers send it is unwrapped."""
    ids = [key_id.value for key_id in field.children()] if field else []
    return [value[2:] if len(value) == 22 and value.startswith(b"\x04\x14") else value for value in ids]


def _text(field: Tlv) -> str:
    try:
        return field.value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TlvError(f"{field.tag:02X} is not UTF-8", field.offset + field.header + error.start) from None


def children_of(value: bytes) -> list[Tlv]:
    """TLVs inside an OCTET STRING; none when it holds something else, which is the card's own business."""
    try:
        return parse_all(value)
    except TlvError:
        return []
