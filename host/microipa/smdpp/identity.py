"""Who a server is under one CI: its certificates and keys, from our own PKI or from files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from microipa.crypto.certificates import (
    UNREADABLE,
    CertificateInvalid,
    subject_key_identifier,
    verify_smdpp_certificate,
)
from microipa.crypto.key_folder import KeyFolder, KeysInvalid, host_name
from microipa.crypto.pki import Credential, Pki
from microipa.crypto.revocation import Issuer
from microipa.quirks import QUIRKS
from microipa.smdpp.behaviour import Behaviour


@dataclass(frozen=True)
class ServerIdentity:
    """CI certificate and its CRL if one is known, certificate for authentication (CERT.DPauth, CERT.DSauth) and for TLS
    with their keys, OID and the host name in the TLS certificate."""

    ci: x509.Certificate
    auth: Credential
    tls: Credential
    oid: str
    address: str
    crl: x509.CertificateRevocationList | None = field(default=None, kw_only=True)

    @property
    def issuer(self) -> Issuer:
        """The CI with what it has revoked, as far as known."""
        return Issuer(self.ci, self.crl)

    @property
    def ci_pk_id(self) -> bytes:
        """The CI's subject key identifier, by which cards name it."""
        return subject_key_identifier(self.ci)


@dataclass(frozen=True)
class Identity(ServerIdentity):
    """An SM-DP+'s, which has CERT.DPpb besides."""

    pb: Credential

    @classmethod
    def of(cls, pki: Pki, quirks: Iterable[str] = ()) -> Identity:
        """The SM-DP+ of our own PKI."""
        critical_policy = QUIRKS.behaviour("smdpp", Behaviour(), quirks).critical_policy
        tls = pki.critical_smdpp_tls() if critical_policy else pki.smdpp_tls
        return cls(
            pki.ci.certificate, pki.smdpp_auth, tls, pki.smdpp_oid, pki.smdpp_address, pki.smdpp_pb, crl=pki.issuer.crl
        )

    @classmethod
    def read(cls, path: Path) -> Identity:
        """From a folder with ci, auth, pb and tls, and perhaps crl; so the files of a GSMA SGP.26 test set need new
        names and nothing else. The TLS key is P-256; nothing says that its certificate is under the same CI.

        Raises KeysInvalid.
        """
        folder = KeyFolder(path)
        issuer = folder.issuer()
        ci = issuer.certificate
        auth, pb = folder.credential("auth"), folder.credential("pb")
        oids = [oid_of(path, role, credential, ci) for role, credential in (("auth", auth), ("pb", pb))]
        if len(set(oids)) != 1:
            raise KeysInvalid(f"auth and pb in {path} name different SM-DP+: {' and '.join(oids)}")
        tls = folder.tls_credential()
        return cls(ci, auth, tls, oids[0], host_name(path, tls), pb, crl=issuer.crl)


def oid_of(path: Path, role: str, credential: Credential, ci: x509.Certificate) -> str:
    """The OID in a certificate of this role that the folder ``path`` holds. Raises KeysInvalid."""
    try:
        return verify_smdpp_certificate(credential.der, role, ci.public_key())[1]  # type: ignore[arg-type]
    except CertificateInvalid as error:
        raise KeysInvalid(f"{role} in {path}: {error}") from error


def authority_key_identifier(certificate: bytes) -> bytes | None:
    """Which key a certificate (DER) names as its issuer's; None when it names none or is none."""
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (*UNREADABLE, x509.ExtensionNotFound):
        return None
    return authority.key_identifier
