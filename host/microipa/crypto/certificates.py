"""Checking the certificates a peer sends, by the rules of SGP.22 clause 4.5.2 and SGP.14.

A general-purpose path check would not do: GSMA's EUM certificates limit names in a way that RFC 5280 reads
differently, see ``_check_eid``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from microipa.asn1.tlv import tlv
from microipa.common.errors import MicroipaError
from microipa.crypto.revocation import Issuer

POLICY = {
    role: x509.ObjectIdentifier(f"2.23.146.1.2.1.{number}")
    for number, role in enumerate(("ci", "euicc", "eum", "tls", "auth", "pb", "ds_tls", "ds_auth"))
}
CURVES = ("secp256r1", "brainpoolP256r1")
EUM_LIMITS = (NameOID.ORGANIZATION_NAME, NameOID.SERIAL_NUMBER)  # what a permitted subtree of an EUM has
UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}

# What `cryptography` raises for bytes that are not the certificate they claim to be.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

T = TypeVar("T", bound=x509.ExtensionType)


class CertificateInvalid(MicroipaError):
    """A certificate that does not prove what it should.

    ``subject`` says whose it is (eum, euicc, smdpp, ci), ``check`` which rule it breaks: signature, expired
    (not yet valid too), policy, eid, oid, usage, revoked, chain (malformed, or not the next link).
    """

    def __init__(self, subject: str, check: str, reason: str) -> None:
        super().__init__(f"the {subject} certificate {reason}")
        self.subject = subject
        self.check = check


def verify_euicc_chain(
    euicc_der: bytes, eum_der: bytes, ci: x509.Certificate | Issuer, now: datetime | None = None
) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Check eUICC ← EUM ← CI and return the EID (32 digits) with the eUICC's public key.

    A CI that comes with its CRL has not revoked the EUM. Raises CertificateInvalid.
    """
    euicc, eum = _load("euicc", euicc_der), _load("eum", eum_der)
    moment, issuer = now or datetime.now(UTC), Issuer.of(ci)
    _check_dates("ci", issuer.certificate, moment)
    _check_link("eum", eum, issuer.certificate)
    _check_common("eum", eum, ("eum",), moment)
    _check_eum(eum, issuer.certificate)
    check_not_revoked("eum", eum, issuer)
    _check_link("euicc", euicc, eum)
    _check_common("euicc", euicc, ("euicc",), moment)
    _check_signing("euicc", euicc)
    return _check_eid(euicc, eum), _public_key("euicc", euicc)


def verify_smdpp_certificate(
    der: bytes, role: str, ci: ec.EllipticCurvePublicKey | Issuer, now: datetime | None = None
) -> tuple[ec.EllipticCurvePublicKey, str]:
    """Check a CERT.DPauth, CERT.DPpb or CERT.DPtls (``role`` auth, pb, tls) issued by the CI itself, which is given
    by its public key, or with its CRL.

    An SM-DS has CERT.DSauth and CERT.DStls (ds_auth, ds_tls); "server" is whichever of the two may authenticate
    itself to a card. Returns its public key and the OID of its subject alternative name. Raises
    CertificateInvalid.
    """
    certificate = _load("smdpp", der)
    _check_signature("smdpp", certificate, _public_key("ci", ci.certificate) if isinstance(ci, Issuer) else ci)
    if isinstance(ci, Issuer):
        check_not_revoked("smdpp", certificate, ci)
    roles = ("auth", "ds_auth") if role == "server" else (role,)
    _check_common("smdpp", certificate, roles, now or datetime.now(UTC))
    _check_signing("smdpp", certificate)
    names = _extension(certificate, x509.SubjectAlternativeName)
    oids = names.get_values_for_type(x509.RegisteredID) if names else []
    if len(oids) != 1:
        raise CertificateInvalid("smdpp", "oid", f"names {len(oids)} registeredID, an SM-DP+ has one OID")
    return _public_key("smdpp", certificate), oids[0].dotted_string


def check_eim_certificate(der: bytes, issuer: Issuer, now: datetime | None = None) -> None:
    """A certificate of an eIM's signing key: when it names ``issuer``, that really made it, for signing, and has not
    revoked it. Of any other issuer nothing is known here. Raises CertificateInvalid.
    """
    certificate = _load("eIM", der)
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    named = authority.key_identifier if authority else None
    if named == subject_key_identifier(issuer.certificate) or (
        named is None and certificate.issuer == issuer.certificate.subject
    ):
        _check_link("eIM", certificate, issuer.certificate)
        _check_dates("eIM", certificate, now or datetime.now(UTC))
        _check_signing("eIM", certificate)
        check_not_revoked("eIM", certificate, issuer)


def check_tls_role(
    chain: Sequence[bytes], issuers: Sequence[Issuer], roles: tuple[str, ...], *, roleless: bool = True
) -> None:
    """What general TLS does not look at: the role of a peer's certificate (SGP.22 clause 4.5.2), and revocation.

    ``chain`` is the one TLS verified, DER, the peer's certificate first and the anchor, of one of ``issuers``, last.
    Under a CI a peer has a certificate of one of ``roles`` (tls, ds_tls) from the CI itself. Other issuers need not
    give roles, unless ``roleless`` is false: whom they certify is between them and whoever trusts them. Raises
    CertificateInvalid.
    """
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    issuer = next((one for one in issuers if one.certificate == certificates[-1]), None)
    if len(chain) > 1 and issuer is not None:
        check_not_revoked("TLS", certificates[-2], issuer)
    under_ci = len(chain) > 1 and _has_role(certificates[-1], ("ci",))
    if under_ci and len(chain) != 2:
        above = certificates[1].subject.rfc4514_string()
        raise CertificateInvalid("TLS", "chain", f"was issued by {above!r}, and not by the CI itself")
    if under_ci or not roleless or _has_role(certificates[0], tuple(POLICY)):
        certificate = _load("TLS", chain[0])
        _check_role("TLS", certificate, roles)
        _check_signing("TLS", certificate)


def registered_id(der: bytes) -> str:
    """The OID that a certificate names its holder by (a registeredID of its subject alternative name), "" without."""
    try:
        names = _extension(x509.load_der_x509_certificate(der), x509.SubjectAlternativeName)
    except UNREADABLE:
        return ""
    return next((oid.dotted_string for oid in names.get_values_for_type(x509.RegisteredID)), "") if names else ""


def subject_key_identifier(certificate: x509.Certificate) -> bytes:
    """The 20 bytes by which a card and a server name a CI key (euiccCiPKId)."""
    extension = _extension(certificate, x509.SubjectKeyIdentifier)
    if extension is not None:
        return extension.digest
    return x509.SubjectKeyIdentifier.from_public_key(_public_key("ci", certificate)).digest


def issuer_among(issuers: Sequence[Issuer], subject: str, der: bytes) -> Issuer:
    """The one whose key a certificate names as that of its issuer; the first where it names none of them.

    Raises CertificateInvalid for a certificate that is unreadable.
    """
    extension = _extension(_load(subject, der), x509.AuthorityKeyIdentifier)
    named = extension.key_identifier if extension else None
    return next((one for one in issuers if named == subject_key_identifier(one.certificate)), issuers[0])


def _load(subject: str, der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # These are parsed on first use only: provoke now what could go wrong later.
        _ = certificate.subject, certificate.issuer, certificate.signature_hash_algorithm
        unknown = {e.oid for e in certificate.extensions if e.critical} - UNDERSTOOD
    except UNREADABLE as error:
        raise CertificateInvalid(subject, "chain", f"is not a readable X.509 certificate: {error}") from error
    # The signature's own wrapping is not signed: unused bits there would give one certificate two encodings.
    if not der.endswith(tlv(0x03, b"\x00", certificate.signature)):
        raise CertificateInvalid(subject, "chain", "is not DER: its signature does not end on a whole byte")
    if unknown:
        oids = ", ".join(sorted(oid.dotted_string for oid in unknown))
        raise CertificateInvalid(subject, "chain", f"has critical extensions nobody here knows: {oids}")
    return certificate


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _public_key(subject: str, certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    try:
        key = certificate.public_key()
    except UNREADABLE as error:
        raise CertificateInvalid(subject, "chain", f"holds no usable public key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise CertificateInvalid(subject, "chain", f"holds a key that is on none of {', '.join(CURVES)}")
    return key


def _check_link(subject: str, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    if certificate.issuer != issuer.subject:
        raise CertificateInvalid(
            subject,
            "chain",
            f"was issued by {certificate.issuer.rfc4514_string()!r}, not {issuer.subject.rfc4514_string()!r}",
        )
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    named = authority.key_identifier if authority else None
    expected = subject_key_identifier(issuer)
    if named not in (None, expected):
        raise CertificateInvalid(
            subject, "chain", f"names the issuer key {(named or b'').hex()}, not {expected.hex()}"
        )
    _check_signature(subject, certificate, _public_key("ci", issuer))


def _check_signature(subject: str, certificate: x509.Certificate, key: ec.EllipticCurvePublicKey) -> None:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or algorithm.name != "sha256":
        raise CertificateInvalid(subject, "signature", "is not signed with ECDSA over SHA-256")
    try:
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    except InvalidSignature:
        raise CertificateInvalid(subject, "signature", "bears a signature its issuer did not make") from None


def _check_common(
    subject: str, certificate: x509.Certificate, roles: tuple[str, ...], moment: datetime
) -> None:
    _check_dates(subject, certificate, moment)
    _check_role(subject, certificate, roles)


def _check_role(subject: str, certificate: x509.Certificate, roles: tuple[str, ...]) -> None:
    if not _has_role(certificate, roles):
        wanted = " or ".join(f"{POLICY[role].dotted_string} of the role {role}" for role in roles)
        raise CertificateInvalid(subject, "policy", f"lacks the policy {wanted}")


def _has_role(certificate: x509.Certificate, roles: tuple[str, ...]) -> bool:
    policies = _extension(certificate, x509.CertificatePolicies) or ()
    return bool({POLICY[role] for role in roles} & {policy.policy_identifier for policy in policies})


def _check_dates(subject: str, certificate: x509.Certificate, moment: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= moment <= end:
        raise CertificateInvalid(
            subject, "expired", f"is valid from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, "
            f"it is {moment:%Y-%m-%d %H:%M}: mend the clock or have it issued again",
        )


def _check_eum(eum: x509.Certificate, ci: x509.Certificate) -> None:
    """SGP.22 clause 4.5.2.1.0.2: the EUM signs certificates of cards, and of nobody who signs in turn."""
    basic, above = _extension(eum, x509.BasicConstraints), _extension(ci, x509.BasicConstraints)
    usage = _extension(eum, x509.KeyUsage)
    if basic is None or not basic.ca or usage is None or not usage.key_cert_sign:
        raise CertificateInvalid("eum", "usage", "does not allow its key to sign certificates")
    if basic.path_length != 0:
        limit = "no path length" if basic.path_length is None else f"path length {basic.path_length}"
        raise CertificateInvalid("eum", "usage", f"has {limit}, an EUM's is 0")
    if above is not None and above.path_length == 0:
        raise CertificateInvalid("ci", "usage", "has path length 0: no EUM stands between it and a card")


def check_not_revoked(subject: str, certificate: x509.Certificate, issuer: Issuer) -> None:
    """Raises CertificateInvalid."""
    if issuer.has_revoked(certificate):
        number = certificate.serial_number
        raise CertificateInvalid(subject, "revoked", f"with serial number {number:X} is in the CRL of its issuer")


def _check_signing(subject: str, certificate: x509.Certificate) -> None:
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if (basic is not None and basic.ca) or usage is None or not usage.digital_signature:
        raise CertificateInvalid(subject, "usage", "does not allow its key to sign messages")


def _check_eid(euicc: x509.Certificate, eum: x509.Certificate) -> str:
    """SGP.22 clause 4.5.2.1.0.2: same organisation, EID begins with the IIN the EUM may issue.

    RFC 5280 would compare whole relative names in order and refuse genuine cards, whose serialNumber is the
    whole EID and not just its first eight digits.
    """
    eid = _only(euicc.subject, NameOID.SERIAL_NUMBER)
    if eid is None or len(eid) != 32 or not (eid.isascii() and eid.isdigit()):
        raise CertificateInvalid("euicc", "eid", f"has no 32-digit EID as serialNumber but {eid!r}")
    constraints = _extension(eum, x509.NameConstraints)
    permitted, excluded = (
        [name.value for name in names or () if isinstance(name, x509.DirectoryName)]
        for names in (
            (constraints.permitted_subtrees, constraints.excluded_subtrees) if constraints else (None, None)
        )
    )
    if any(_is_under(name, euicc.subject, eid) for name in excluded):
        raise CertificateInvalid("euicc", "eid", f"is for EID {eid}, whose name the EUM must not give")
    complete = [name for name in permitted if all(_only(name, oid) for oid in EUM_LIMITS)]
    if any(_is_under(name, euicc.subject, eid) for name in complete):
        return eid
    allowed = " or ".join(repr(name.rfc4514_string()) for name in permitted) or "nothing"
    organisation = _only(euicc.subject, NameOID.ORGANIZATION_NAME)
    raise CertificateInvalid(
        "euicc", "eid", f"is for EID {eid} of {organisation!r}, the EUM may issue {allowed}"
    )


def _is_under(subtree: x509.Name, subject: x509.Name, eid: str) -> bool:
    """Every attribute of ``subtree`` is one of ``subject``, in any order; its serialNumber is how the EID begins.

    Upper and lower case are the same (RFC 5280 7.1), so that no EUM gets out of a subtree by them.
    """
    there = {(one.oid, _folded(one)) for one in subject}
    return all(
        eid.startswith(str(one.value)) if one.oid == NameOID.SERIAL_NUMBER else (one.oid, _folded(one)) in there
        for one in subtree
    )


def _folded(attribute: x509.NameAttribute[Any]) -> str:
    return " ".join(str(attribute.value).casefold().split())


def _only(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    """The value of an attribute that occurs exactly once."""
    values = name.get_attributes_for_oid(oid)
    return str(values[0].value) if len(values) == 1 else None
