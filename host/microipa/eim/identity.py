"""Who an eIM is: its keys and certificates, from our own PKI or from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from microipa.crypto.certificates import CertificateInvalid, check_eim_certificate
from microipa.crypto.key_folder import KeyFolder, KeysInvalid, host_name
from microipa.crypto.pki import Credential, Pki
from microipa.crypto.revocation import Issuer


@dataclass(frozen=True)
class EimIdentity:
    """``signing`` signs eUICC packages, ``tls`` is the server's under ``tls_issuer``, ``ci`` that of its cards."""

    fqdn: str
    signing: Credential
    tls: Credential
    tls_issuer: x509.Certificate
    ci: x509.Certificate
    crl: x509.CertificateRevocationList | None = None

    @property
    def issuer(self) -> Issuer:
        """The CI of the cards with what it has revoked, as far as known."""
        return Issuer(self.ci, self.crl)

    @classmethod
    def of(cls, pki: Pki) -> EimIdentity:
        """The eIM of our own PKI."""
        ci = pki.ci.certificate
        return cls(pki.eim_fqdn, pki.eim_signing, pki.eim_tls, ci, ci, pki.issuer.crl)

    @classmethod
    def read(cls, path: Path, ci: x509.Certificate | Issuer) -> EimIdentity:
        """From a folder with signing, tls, and in ci the issuer of tls. ``ci`` is that of the cards.

        Raises KeysInvalid.
        """
        folder = KeyFolder(path)
        signing, tls, issuer = folder.credential("signing"), folder.tls_credential(), folder.certificate("ci")
        try:
            tls.certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise KeysInvalid(f"tls in {path} was not issued by the ci beside it") from error
        cards = Issuer.of(ci)
        try:
            for above in (cards, Issuer(issuer)):
                check_eim_certificate(signing.der, above)
        except CertificateInvalid as error:
            raise KeysInvalid(f"signing in {path}: {error}") from error
        return cls(host_name(path, tls), signing, tls, issuer, cards.certificate, cards.crl)
