"""eIM packages: building and signing what goes to the card, reading and verifying what comes back.

SGP.32 2.11.1 (requests) and 2.11.2 (results); signature inputs in 2.11.1.1 and 2.11.2.1: the raw ``30…`` TLV
followed by the associationToken TLV, ``84 01 00`` for a card that has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from microipa.asn1 import sgp32
from microipa.asn1.tlv import Tlv, TlvError, integer, number, parse, parse_all, tlv
from microipa.common.errors import MicroipaError
from microipa.crypto import ec
from microipa.crypto.certificates import CertificateInvalid, check_eim_certificate
from microipa.crypto.pki import Credential
from microipa.crypto.revocation import Issuer
from microipa.eim import words
from microipa.saip import iccid_from_bytes, iccid_to_bytes

PSMOS = frozenset(
    [
        "enable",
        "disable",
        "delete",
        "listProfileInfo",
        "getRAT",
        "configureImmediateEnable",
        "setFallbackAttribute",
        "unsetFallbackAttribute",
        "setDefaultDpAddress",
    ]
)
ECO_LIST, EIM_PUBLIC_KEY, CERTIFICATE = 0xA1, 0xA5, 0xA1
ECOS = frozenset(("addEim", "deleteEim", "updateEim", "listEim"))
EVENTS = ("install", "enable", "disable", "delete")  # the bits of NotificationEvent
SIGNATURE = 0x5F37
REPLAY_ERROR = 4
ROLLED_BACK = "rolled back, the new profile did not connect and the old one is enabled again"

Operation = tuple[str, Mapping[str, Any]]


class PackageInvalid(MicroipaError):
    """Operations that cannot be put into one eUICC package."""


def encode_operations(operations: Sequence[Operation]) -> bytes:
    """EuiccPackage DER from operations in asn1tools notation; an iccid may also be its digits.

    Raises PackageInvalid, SchemaError, SaipError.
    """
    names = {name for name, _ in operations}
    kind = "psmoList" if names <= PSMOS else "ecoList"
    if not names or not (names <= PSMOS or names <= ECOS):
        raise PackageInvalid(
            f"{', '.join(sorted(names)) or 'no operation'}: a package holds PSMOs or eCOs, never both; "
            f"PSMOs are {', '.join(sorted(PSMOS))}; eCOs are {', '.join(sorted(ECOS))}"
        )
    return sgp32.encode("EuiccPackage", (kind, [(name, _normal(value)) for name, value in operations]))


def check_eim_certificates(content: bytes, issuer: Issuer) -> None:
    """Certificates of other eIMs' keys in addEim and updateEim, as far as they are under ``issuer``. Raises
    PackageInvalid: the card would refuse it too, a poll later."""
    package = parse(content)
    if package.tag != ECO_LIST:
        return
    for operation in package:
        key = operation.get(EIM_PUBLIC_KEY)
        if key and (certified := key.get(CERTIFICATE)):
            try:
                check_eim_certificate(certificate(certified), issuer)
            except CertificateInvalid as error:
                raise PackageInvalid(f"eimPublicKeyData: {error}") from error


def operations(content: bytes) -> list[Operation]:
    """What ``encode_operations`` encoded. Raises SchemaError."""
    _, listed = sgp32.decode("EuiccPackage", content)
    return [(name, value) for name, value in listed]


def _normal(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: iccid_to_bytes(value) if name == "iccid" and isinstance(value, str) else value
        for name, value in fields.items()
    }


def describe(operations: Sequence[Operation]) -> str:
    """What a package does, in words."""
    return ", ".join(_describe(name, value) for name, value in operations)


def _describe(name: str, value: Mapping[str, Any]) -> str:
    which = value.get("iccid", value.get("eimId", value.get("defaultDpAddress", "")))
    if isinstance(which, bytes):
        which = iccid_from_bytes(which)
    rollback = " with rollback" if "rollbackFlag" in value else ""
    return f"{name} {which}".rstrip() + rollback


def euicc_package(
    signer: Credential,
    *,
    eim_id: str,
    eid: str,
    counter: int,
    transaction_id: bytes,
    token: int,
    content: bytes,
) -> bytes:
    """EuiccPackageRequest BF51, signed. ``content`` is the DER of EuiccPackage."""
    signed = tlv(
        0x30,
        tlv(0x80, eim_id.encode()),
        tlv(0x5A, bytes.fromhex(eid)),
        integer(0x81, counter),
        tlv(0x82, transaction_id),
        content,
    )
    return tlv(0xBF51, signed, tlv(SIGNATURE, signer.sign(signed + integer(0x84, token))))


def download_trigger(data: bytes | None, transaction_id: bytes) -> bytes:
    """ProfileDownloadTriggerRequest BF54; without ``data`` the eIM itself knows what is to be downloaded."""
    return tlv(0xBF54, tlv(0xA0, data) if data else b"", tlv(0x82, transaction_id))


def data_request(fields: bytes, transaction_id: bytes) -> bytes:
    """IpaEuiccDataRequest BF52; ``fields`` are its tagList and what follows, up to eimTransactionId."""
    return tlv(0xBF52, fields, tlv(0x83, transaction_id))


def transaction_id(package: Tlv) -> bytes | None:
    """The eimTransactionId of an eIM package. Raises TlvError."""
    fields = package[0x30] if package.tag == 0xBF51 else package
    field = fields.get(0x83 if package.tag == 0xBF52 else 0x82)
    return field.value if field else None


def question(
    names: Sequence[str],
    *,
    ci_key_id: bytes | None = None,
    notification: int | str | None = None,
    result: int | None = None,
) -> bytes:
    """The fields of an IpaEuiccDataRequest for these parts of IpaEuiccData, by name; none means all.

    ``ci_key_id`` chooses the certificates, ``notification`` (a seqNumber, or install, enable, disable, delete)
    the notifications, ``result`` (a seqNumber) the stored result. Raises PackageInvalid.
    """
    known = {name.lower(): tag for name, tag in data_fields().items()}
    wrong = next((name for name in names if name.lower() not in known), None)
    if wrong is not None:
        raise PackageInvalid(f"{wrong[:64]!r} is not a field of IpaEuiccData: choose among {', '.join(data_fields())}")
    tags = b"".join(tag for name, tag in known.items() if not names or name in [one.lower() for one in names])
    fields = [tlv(0x5C, tags)]
    if ci_key_id is not None:
        if not ci_key_id:
            raise PackageInvalid("the key identifier of the CI is empty")
        fields.append(tlv(0x04, ci_key_id))
    if notification is not None:
        fields.append(tlv(0xA1, _notification_search(notification)))
    if result is not None:
        fields.append(tlv(0xA2, integer(0x80, result)))
    return b"".join(fields)


def _notification_search(wanted: int | str) -> bytes:
    if isinstance(wanted, int):
        return integer(0x80, wanted)
    if wanted not in EVENTS:
        raise PackageInvalid(f"{wanted[:64]!r} is neither a seqNumber nor an event: {', '.join(EVENTS)}")
    bit = EVENTS.index(wanted)
    return tlv(0x81, bytes((7 - bit, 0x80 >> bit)))


@cache
def data_fields() -> dict[str, bytes]:
    """What can be asked of an IPA: the tags of IpaEuiccData by name (SGP.32 2.11.2.2)."""
    members = sgp32.kind("IpaEuiccData").members
    tags = {member.name: member.kind.tags[0] for member in members if member.name != "eimTransactionId"}
    return {name: tag.to_bytes(2 if tag > 0xFF else 1, "big") for name, tag in tags.items()}


@dataclass(frozen=True)
class PackageResult:
    """An EuiccPackageResult as the card sent it; nothing in it counts before ``verify``.

    ``sequence`` only in results, ``error`` (a code of EuiccPackageErrorCode) only in errors. ``data`` is the signed
    TLV, None in the unsigned error, which proves nothing; cards of v1.3 give that a code as well (8F).
    """

    eim_id: str
    transaction_id: bytes | None
    counter: int | None
    sequence: int | None
    error: int | None
    outcomes: list[words.Outcome]
    data: Tlv | None
    signature: bytes

    @classmethod
    def read(cls, message: Tlv) -> PackageResult:
        """Read BF51. Raises TlvError.

        Cards leave out the A0 of the choice at times (interop): then the data and its signature stand in BF51
        itself, or in a SEQUENCE of their own.
        """
        form = message.children()[0] if message.value else message
        body = message if form.tag == 0x30 and SIGNATURE in message else form
        if body.tag not in (0xBF51, 0x30, 0xA0, 0xA1, 0xA2):
            raise TlvError(f"{body.tag:02X} is not an EuiccPackageResult", body.offset)
        data = None if body.tag == 0xA2 else body[0x30]
        fields = data or body
        transaction_id, counter = fields.get(0x82), fields.get(0x81)
        is_result = data is not None and 0x83 in data
        error = None if is_result else fields.get(0x8F) if data is None else fields[0x02]
        return cls(
            eim_id=fields[0x80].value.decode(errors="replace"),
            transaction_id=transaction_id.value if transaction_id else None,
            counter=number(counter) if counter else None,
            sequence=number(fields[0x83]) if is_result else None,
            error=number(error) if error else None,
            outcomes=words.outcomes(fields[0x30]) if is_result else [],
            data=data,
            signature=body[SIGNATURE].value if data is not None else b"",
        )

    def verify(self, public_key: EllipticCurvePublicKey, token: int) -> None:
        """Check euiccSignEPR or euiccSignEPE. Raises SignatureInvalid."""
        if self.data is None:
            raise ec.SignatureInvalid("an unsigned error proves nothing")
        ec.verify(public_key, self.signature, self.data.raw + integer(0x84, token))

    @property
    def _rollback(self) -> words.Outcome | None:
        """What became of the rollback, when there was one (SGP.32 3.3.2)."""
        return next((outcome for outcome in self.outcomes if outcome.operation == "rollback"), None)

    @property
    def ok(self) -> bool:
        """Every operation succeeded and none was rolled back."""
        return self.sequence is not None and not self._rollback and all(outcome.ok for outcome in self.outcomes)

    def text(self) -> str:
        """One sentence for an operator. What was rolled back begins with that: the rest is not so any more."""
        if self.error is not None:
            return f"the card refused the package: {words.name('EuiccPackageErrorCode', self.error)}"
        rollback = self._rollback
        if rollback and rollback.ok:
            before = _listed(one for one in self.outcomes if one is not rollback)
            return f"{ROLLED_BACK}; before: {before}" if before else ROLLED_BACK
        return _listed(self.outcomes)

    def details(self) -> dict[str, Any]:
        if self.error is not None:
            return {"euiccPackageErrorCode": self.error}
        listed = [{"operation": o.operation, "ok": o.ok, "value": o.value} for o in self.outcomes]
        return {"seqNumber": self.sequence, "results": listed}


def _listed(outcomes: Iterable[words.Outcome]) -> str:
    return ", ".join(f"{outcome.operation}: {outcome.words}" for outcome in outcomes)


def certificate(field: Tlv) -> bytes:
    """Certificate DER under a context tag: IMPLICIT by the standard, some wrap it whole (interop)."""
    inside = parse_all(field.value, field.offset + field.header)
    if len(inside) == 1 and inside[0].tag == 0x30:
        return inside[0].raw
    return tlv(0x30, field.value)


def public_key_of(certificate_der: bytes) -> EllipticCurvePublicKey:
    """The key of a certificate that was verified before it was stored."""
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    return key


def euicc_info1(euicc_info2: bytes) -> bytes:
    """EUICCInfo1 for ES9+', cut from an EUICCInfo2: svn and both lists of CI keys have the same tags."""
    info2 = parse(euicc_info2)
    return tlv(0xBF20, info2[0x82].raw, info2[0xA9].raw, info2[0xAA].raw)
