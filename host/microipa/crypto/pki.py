"""The lab's own public key infrastructure: one CI and everyone who needs a certificate from it.

Shapes follow SGP.14 and SGP.22 clause 4.5; policies are 2.23.146.1.2.1.n, see ``certificates.POLICY``.
Checking a peer's certificate is in ``certificates`` and can be imported from here as well.
"""

from __future__ import annotations

import os
import secrets
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from microipa.common.errors import MicroipaError
from microipa.crypto import ec
from microipa.crypto.certificates import (
    POLICY,
    CertificateInvalid,
    subject_key_identifier,
    verify_euicc_chain,
    verify_smdpp_certificate,
)
from microipa.crypto.revocation import Issuer, crl_beside

__all__ = [
    "CertificateInvalid",
    "Credential",
    "Pki",
    "PkiError",
    "TLS_CURVE",
    "subject_key_identifier",
    "verify_euicc_chain",
    "verify_smdpp_certificate",
]

IIN = "89049032"  # GSMA's test issuer, SGP.26: EIDs of this lab begin with it
ORGANISATION = "microipa"
TLS_CURVE = "secp256r1"  # what devices and other servers offer for TLS
VALID = timedelta(days=20 * 365)
BACKDATED = timedelta(days=1)  # a peer whose clock is a little slow should not refuse a fresh certificate


class PkiError(MicroipaError):
    """The PKI folder holds something that cannot be used, or an EID no card of this lab can have."""


@dataclass(frozen=True)
class Credential:
    """A private key and the certificate that vouches for it."""

    private_key: curves.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate as it travels."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo DER, what a pinning peer compares."""
        return self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data: bytes) -> bytes:
        """r||s over ``data``, 64 bytes."""
        return ec.sign(self.private_key, data)


class Pki:
    """Everyone's credentials, kept in a folder: <name>.key and <name>.pem, euicc/<EID>.key and .pem."""

    smdpp_address = "smdpp.microipa.example"
    smds_address = "smds.microipa.example"
    operator_address = "operator.microipa.example"
    eim_fqdn = "eim.microipa.example"
    ci_oid = "2.999.1"
    eum_oid = "2.999.5"
    smdpp_oid = "2.999.10"
    smds_oid = "2.999.11"
    operator_oid = "2.999.12"
    eim_oid = "2.999.20"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ci = self._credential("ci", _ci_profile())
        self.issuer = Issuer(self.ci.certificate, crl_beside(folder, self.ci.certificate))
        self.operators = self._credential("operators", _operators_profile())
        self.eum = self._credential("eum", _eum_profile())
        smdpp = "SM-DP+", Pki.smdpp_oid, Pki.smdpp_address
        self.smdpp_auth = self._credential("smdpp_auth", _rsp_profile(*smdpp, "auth"))
        self.smdpp_pb = self._credential("smdpp_pb", _rsp_profile(*smdpp, "pb"))
        self.smdpp_tls = self._credential("smdpp_tls", _rsp_profile(*smdpp, "tls"))
        smds = "SM-DS", Pki.smds_oid, Pki.smds_address
        self.smds_auth = self._credential("smds_auth", _rsp_profile(*smds, "ds_auth"))
        self.smds_tls = self._credential("smds_tls", _rsp_profile(*smds, "ds_tls"))
        self.operator_tls = self._credential("operator_tls", _operator_profile())
        self.eim_signing = self._credential("eim_signing", _eim_signing_profile())
        self.eim_tls = self._credential("eim_tls", _eim_tls_profile(Pki.eim_fqdn, Pki.eim_oid))

    @classmethod
    def open(cls, folder: Path) -> Pki:
        """Create what is missing in ``folder``, reuse the rest. Raises PkiError for files it cannot read."""
        (folder / "euicc").mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def euicc(self, eid: str) -> Credential:
        """The card's credential, made on first use. ``eid``: 32 digits. Raises PkiError."""
        check_eid(eid)
        return self._credential(f"euicc/{eid}", _euicc_profile(eid))

    def devices(self) -> Credential:
        """The maker of devices, who issues their client certificates: no CI."""
        return self._credential("devices", _devices_profile())

    def device(self, eid: str) -> Credential:
        """The client certificate of the device with this eUICC, for an eIM that asks for one. Raises PkiError."""
        check_eid(eid)
        return self._credential(f"device_{eid}", _device_profile(eid), self.devices())

    def second_eim(self) -> Pki:
        """The same PKI as a second eIM sees it: ``eim_…`` are its own name, keys and certificates."""
        other = copy(self)
        other.eim_fqdn, other.eim_oid = "eim2.microipa.example", "2.999.21"
        other.eim_signing = self._credential("eim2_signing", _eim_signing_profile())
        other.eim_tls = self._credential("eim2_tls", _eim_tls_profile(other.eim_fqdn, other.eim_oid))
        return other

    def critical_smdpp_tls(self) -> Credential:
        """The SM-DP+'s TLS credential with its policy marked critical, as GSMA has it and Mbed TLS does not."""
        return self._credential("smdpp_tls_critical", _rsp_profile("SM-DP+", Pki.smdpp_oid, Pki.smdpp_address, "tls",
                                                                   critical=True))

    def eim_called(self, fqdn: str) -> Pki:
        """The same PKI with the eIM under another name, by which devices reach it from outside."""
        other = copy(self)
        other.eim_fqdn = fqdn
        other.eim_tls = self._credential(f"eim_tls_{fqdn}", _eim_tls_profile(fqdn, Pki.eim_oid))
        return other

    def _credential(self, name: str, profile: _Profile, issuer: Credential | None = None) -> Credential:
        """Read key and certificate; make whichever is missing or no longer fits its issuer."""
        path = self._folder / f"{name}.key"
        key = self._key(path)
        if "_tls" in name and key.curve.name != TLS_CURVE:
            reason = f"{path} is on {key.curve.name}, a TLS server here needs one on {TLS_CURVE}"
            raise PkiError(f"{reason}: remove it and it is made again")
        path = self._folder / f"{name}.pem"
        issuer = issuer if profile.issuer is None else getattr(self, profile.issuer)
        if path.exists():
            try:
                certificate = x509.load_pem_x509_certificate(path.read_bytes())
            except ValueError as error:
                raise PkiError(f"{path} is no PEM certificate: remove it and it is issued again") from error
            if _fits(certificate, key, issuer):
                return Credential(key, certificate)
        certificate = profile.issue(key, issuer)
        _write(path, certificate.public_bytes(Encoding.PEM), 0o644)
        return Credential(key, certificate)

    @staticmethod
    def _key(path: Path) -> curves.EllipticCurvePrivateKey:
        if not path.exists():
            key = ec.generate_key()
            _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
            return key
        try:
            loaded = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise PkiError(f"{path} is not a PEM private key: remove it and it is made again") from error
        if not isinstance(loaded, curves.EllipticCurvePrivateKey):
            raise PkiError(f"{path} is not an elliptic curve key: remove it and it is made again")
        return loaded


def check_eid(eid: str) -> None:
    """Refuse what is no EID of this lab (SGP.02 clause 4.1.2): 32 digits, the EUM's IIN, check digits.

    Raises PkiError.
    """
    if len(eid) != 32 or not (eid.isascii() and eid.isdigit()):
        raise PkiError(f"an EID has 32 digits, unlike {eid!r}")
    if not eid.startswith(IIN):
        raise PkiError(f"EID {eid} is not of this lab's EUM: it should begin with {IIN}")
    if int(eid) % 97 != 1:
        right = f"{98 - int(eid[:30] + '00') % 97:02}"
        raise PkiError(f"EID {eid} has wrong check digits: the last two should be {right}")


def _fits(
    certificate: x509.Certificate, key: curves.EllipticCurvePrivateKey, issuer: Credential | None
) -> bool:
    """Whether a stored certificate is for this key and from this issuer, even after one was renewed."""
    if certificate.public_key() != key.public_key():
        return False
    try:
        certificate.verify_directly_issued_by(issuer.certificate if issuer else certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _write(path: Path, data: bytes, mode: int) -> None:
    """All or nothing, and never readable by others in between."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    temporary.replace(path)


@dataclass(frozen=True)
class _Profile:
    """What a certificate of one role contains. ``issuer`` names the Pki attribute that signs, None itself."""

    subject: x509.Name
    extensions: tuple[tuple[x509.ExtensionType, bool], ...]  # with criticality
    issuer: str | None = "ci"

    def issue(self, key: curves.EllipticCurvePrivateKey, issuer: Credential | None) -> x509.Certificate:
        now = datetime.now(UTC).replace(microsecond=0)
        public_key = key.public_key()
        signer, name = (issuer.private_key, issuer.certificate.subject) if issuer else (key, self.subject)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(name)
            .public_key(public_key)
            .serial_number(secrets.randbits(63) | 1 << 62)  # 8 octets: short, positive, never the same twice
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + VALID)
        )
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(authority, critical=False)
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical)
        if any(isinstance(extension, x509.BasicConstraints) for extension, _ in self.extensions):
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
        return builder.sign(signer, SHA256())


def _name(common: str, *, organisation: str | None = ORGANISATION, serial: str | None = None) -> x509.Name:
    pairs = [
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.SERIAL_NUMBER, serial),
        (NameOID.COMMON_NAME, common),
    ]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs if value is not None])


def _policy(role: str) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(POLICY[role], None)])


def _oid(oid: str) -> x509.RegisteredID:
    return x509.RegisteredID(x509.ObjectIdentifier(oid))


def _usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


TLS_BOTH_WAYS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def _ci_profile() -> _Profile:
    return _Profile(
        _name("microipa test CI", organisation=None),  # short: it is the issuer in the eIM's TLS certificate
        (
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (_usage(signs_certificates=True), True),
            # GSMA marks it critical. The board's mbedTLS refuses to load an anchor with a critical policy it
            # does not know, and this certificate is what the card hands the board to trust the eIM by.
            (_policy("ci"), False),
            (x509.SubjectAlternativeName([_oid(Pki.ci_oid)]), False),
        ),
        issuer=None,
    )


def _operators_profile() -> _Profile:
    """Whoever certifies operators for ES2+: no CI."""
    basic = x509.BasicConstraints(ca=True, path_length=0)
    return _Profile(
        _name("microipa test operators"), ((basic, True), (_usage(signs_certificates=True), True)), issuer=None
    )


def _eum_profile() -> _Profile:
    limits = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, IIN),
        ]
    )
    return _Profile(
        _name("microipa test EUM"),
        (
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_usage(signs_certificates=True), True),
            (_policy("eum"), True),
            (x509.SubjectAlternativeName([_oid(Pki.eum_oid)]), False),
            (x509.NameConstraints([x509.DirectoryName(limits)], None), True),
        ),
    )


def _euicc_profile(eid: str) -> _Profile:
    return _Profile(
        _name("microipa test eUICC", serial=eid), ((_usage(), True), (_policy("euicc"), True)), issuer="eum"
    )


def _rsp_profile(server: str, oid: str, address: str, role: str, *, critical: bool = False) -> _Profile:
    """``role``: of certificates.POLICY, one of a server's. ``critical``: so is the policy of a TLS certificate."""
    names: list[x509.GeneralName] = [_oid(oid)]
    extensions: list[tuple[x509.ExtensionType, bool]] = [(_usage(), True)]
    kind = role.removeprefix("ds_")
    if kind == "tls":
        names.insert(0, x509.DNSName(address))
        # Not critical: general HTTPS clients meet this certificate too.
        extensions += [(_policy(role), critical), (TLS_BOTH_WAYS, False)]
    else:
        extensions.append((_policy(role), True))
    extensions.append((x509.SubjectAlternativeName(names), False))
    return _Profile(_name(f"microipa test {server} {kind}"), tuple(extensions))


def _devices_profile() -> _Profile:
    basic = x509.BasicConstraints(ca=True, path_length=0)
    return _Profile(
        _name("microipa test devices"), ((basic, True), (_usage(signs_certificates=True), True)), issuer=None
    )


def _device_profile(eid: str) -> _Profile:
    """Its bytes travel over NB-IoT at each handshake. ``issuer``: Pki.devices."""
    return _Profile(_name("device", organisation=None, serial=eid), ((_usage(), True),), issuer=None)


def _operator_profile() -> _Profile:
    """The operator who orders by ES2+. SGP.22 gives it no role under a CI, so that it stands under another issuer."""
    names = x509.SubjectAlternativeName([x509.DNSName(Pki.operator_address), _oid(Pki.operator_oid)])
    extensions = ((_usage(), True), (TLS_BOTH_WAYS, False), (names, False))
    return _Profile(_name("microipa test operator"), extensions, issuer="operators")


def _eim_signing_profile() -> _Profile:
    return _Profile(_name("microipa test eIM"), ((_usage(), True),))


def _eim_tls_profile(fqdn: str, oid: str) -> _Profile:
    """Every byte travels over NB-IoT at each handshake, so the subject is one short name."""
    names = x509.SubjectAlternativeName([x509.DNSName(fqdn), _oid(oid)])
    return _Profile(
        _name("eIM", organisation=None), ((_usage(), True), (TLS_BOTH_WAYS, False), (names, False))
    )
