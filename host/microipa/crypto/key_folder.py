"""Keys and certificates from files, so that peers of other makers can be played or joined (a GSMA SGP.26 test set)."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from microipa.common.errors import MicroipaError
from microipa.crypto.certificates import CURVES, UNREADABLE
from microipa.crypto.pki import TLS_CURVE, Credential
from microipa.crypto.revocation import CrlInvalid, Issuer, crl_beside

CERTIFICATE_SUFFIXES = (".pem", ".der", ".crt")
KEY_SUFFIXES = (".key", ".key.pem", ".key.der")
PEM = b"-----BEGIN "  # text of any kind may come before it


class KeysInvalid(MicroipaError):
    """Files that do not make somebody's identity: missing, unreadable, or not belonging together."""


class KeyFolder:
    """A folder with <name>.pem, .der or .crt for a certificate and <name>.key for its private key, each PEM or DER.

    Keys are on P-256 or brainpoolP256r1. Every method raises KeysInvalid.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise KeysInvalid(f"{path} is not a folder of keys and certificates")
        self.path = path

    def certificate(self, name: str) -> x509.Certificate:
        return read_certificate(self._find(name, CERTIFICATE_SUFFIXES))

    def issuer(self) -> Issuer:
        """``ci`` and the CRL beside it, in crl.pem, crl.der or crl.crl, if there is one."""
        certificate = self.certificate("ci")
        return Issuer(certificate, _crl(self.path, certificate))

    def credential(self, name: str) -> Credential:
        """The certificate with its private key."""
        certificate = self.certificate(name)
        path = self._find(name, KEY_SUFFIXES)
        data = path.read_bytes()
        load = load_pem_private_key if PEM in data else load_der_private_key
        try:
            key = load(data, None)
        except (ValueError, TypeError) as error:
            raise KeysInvalid(f"{path} is no private key in PEM or DER without a password") from error
        if key.public_key() != certificate.public_key():
            raise KeysInvalid(f"{path} is not the key of the certificate {name} beside it")
        assert isinstance(key, EllipticCurvePrivateKey)  # like the certificate's
        return Credential(key, certificate)

    def tls_credential(self) -> Credential:
        """``tls``, on P-256: devices and other servers offer no other of our curves for TLS."""
        credential = self.credential("tls")
        curve = credential.private_key.curve.name
        if curve != TLS_CURVE:
            raise KeysInvalid(f"tls in {self.path} has a key on {curve}, a TLS server here needs one on {TLS_CURVE}")
        return credential

    def _find(self, name: str, suffixes: tuple[str, ...]) -> Path:
        for suffix in suffixes:
            path = self.path / (name + suffix)
            if path.is_file():
                return path
        raise KeysInvalid(f"{self.path} has no {' or '.join(name + suffix for suffix in suffixes)}")


def read_certificate(path: Path) -> x509.Certificate:
    """A certificate in PEM or DER, with a key on one of our curves. Raises KeysInvalid."""
    try:
        data = path.read_bytes()
        load = x509.load_pem_x509_certificate if PEM in data else x509.load_der_x509_certificate
        certificate = load(data)
        _curve(path, certificate.public_key())
    except OSError as error:
        raise KeysInvalid(f"cannot read {path}: {error.strerror}") from error
    except UNREADABLE as error:
        raise KeysInvalid(f"{path} is no certificate in PEM or DER: {error}") from error
    return certificate


def read_issuer(path: Path) -> Issuer:
    """A CI's certificate in PEM or DER, with the CRL beside it if there is one. Raises KeysInvalid."""
    certificate = read_certificate(path)
    return Issuer(certificate, _crl(path.parent, certificate))


def _crl(folder: Path, ci: x509.Certificate) -> x509.CertificateRevocationList | None:
    try:
        return crl_beside(folder, ci)
    except CrlInvalid as error:
        raise KeysInvalid(str(error)) from error


def _curve(path: Path, key: object) -> None:
    curve = getattr(getattr(key, "curve", None), "name", "no elliptic curve")
    if curve not in CURVES:
        raise KeysInvalid(f"{path} has a key on {curve}, not on {' or '.join(CURVES)}")


def host_name(path: Path, tls: Credential) -> str:
    """The first DNS name of a TLS certificate, that the folder ``path`` holds. Raises KeysInvalid."""
    try:
        names = tls.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)[0]
    except (*UNREADABLE, x509.ExtensionNotFound, IndexError) as error:
        raise KeysInvalid(f"tls in {path} names no host: a server has a DNS name") from error
