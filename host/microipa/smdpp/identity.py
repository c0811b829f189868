"""Who an SM-DP+ is under one CI: its certificates and keys, from our own PKI or from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from microipa.crypto.certificates import (
    UNREADABLE,
    CertificateInvalid,
    subject_key_identifier,
    verify_smdpp_certificate,
)
from microipa.crypto.pki import Credential, Pki
from microipa.errors import MicroipaError

ROLES = ("auth", "pb", "tls")
_CERTIFICATE_SUFFIXES = (".pem", ".der", ".crt")
_KEY_SUFFIXES = (".key", ".key.pem", ".key.der")


class IdentityInvalid(MicroipaError):
    """Files that do not make an SM-DP+: missing, unreadable, or not belonging together."""


@dataclass(frozen=True)
class Identity:
    """CI certificate, CERT.DPauth, CERT.DPpb and CERT.DPtls with their keys. ``oid`` is the SM-DP+'s."""

    ci: x509.Certificate
    auth: Credential
    pb: Credential
    tls: Credential
    oid: str

    @property
    def ci_pk_id(self) -> bytes:
        """The CI's subject key identifier, by which cards name it."""
        return subject_key_identifier(self.ci)

    @classmethod
    def of(cls, pki: Pki) -> Identity:
        """The SM-DP+ of our own PKI."""
        return cls(pki.ci.certificate, pki.smdpp_auth, pki.smdpp_pb, pki.smdpp_tls, pki.smdpp_oid)

    @classmethod
    def read(cls, folder: Path) -> Identity:
        """From a folder with ci, auth, pb and tls: certificates as .pem, .der or .crt, keys as .key, PEM or
        DER each; so the files of a GSMA SGP.26 test set need new names and nothing else.

        P-256 and brainpoolP256r1. Raises IdentityInvalid.
        """
        ci = _certificate(_find(folder, "ci", _CERTIFICATE_SUFFIXES))
        credentials = {role: _credential(folder, role) for role in ROLES}
        ci_key = ci.public_key()
        oids = set()
        for role in ("auth", "pb"):
            try:
                _, oid = verify_smdpp_certificate(credentials[role].der, role, ci_key)  # type: ignore[arg-type]
            except CertificateInvalid as error:
                raise IdentityInvalid(f"{role} in {folder}: {error}") from error
            oids.add(oid)
        if len(oids) != 1:
            raise IdentityInvalid(f"auth and pb in {folder} name different SM-DP+: {' and '.join(sorted(oids))}")
        return cls(ci, credentials["auth"], credentials["pb"], credentials["tls"], oids.pop())


def _credential(folder: Path, role: str) -> Credential:
    certificate = _certificate(_find(folder, role, _CERTIFICATE_SUFFIXES))
    path = _find(folder, role, _KEY_SUFFIXES)
    data = path.read_bytes()
    try:
        key = load_pem_private_key(data, None) if data.startswith(b"-----") else load_der_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise IdentityInvalid(f"{path} is no private key in PEM or DER without a password") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise IdentityInvalid(f"{path} is no key on an elliptic curve")
    if key.public_key() != certificate.public_key():
        raise IdentityInvalid(f"{path} is not the key of the {role} certificate beside it")
    return Credential(key, certificate)


def _certificate(path: Path) -> x509.Certificate:
    data = path.read_bytes()
    try:
        if data.lstrip().startswith(b"-----"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise IdentityInvalid(f"{path} is no certificate in PEM or DER: {error}") from error


def _find(folder: Path, role: str, suffixes: tuple[str, ...]) -> Path:
    for suffix in suffixes:
        path = folder / (role + suffix)
        if path.is_file():
            return path
    raise IdentityInvalid(f"{folder} has no {' or '.join(role + suffix for suffix in suffixes)}")


def authority_key_identifier(certificate: bytes) -> bytes | None:
    """Which key a certificate (DER) names as its issuer's; None when it names none or is none."""
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (*UNREADABLE, x509.ExtensionNotFound):
        return None
    return authority.key_identifier
