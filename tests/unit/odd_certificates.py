"""Certificates that no lab would make, with their CRLs, and who shows them in TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from microipa.crypto import ec
from microipa.crypto.certificates import POLICY
from microipa.crypto.pki import IIN, Credential

HOST = "rsp.example"
OID = "2.999.77"
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Shown:
    """A credential for TLS, and the certificates that its holder sends along."""

    credential: Credential
    above: tuple[bytes, ...] = ()

    def context(self, folder: Path, kind: int, trust: x509.Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(kind)
        context.load_verify_locations(cadata=pem(trust))
        key = self.credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = folder / f"{self.credential.certificate.serial_number}.pem"
        chain.write_bytes(key + pem(self.credential.certificate).encode() + b"".join(self.above))
        context.load_cert_chain(chain)
        return context


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def issued(
    issuer: Credential,
    role: str | None,
    *,
    oid: str | None = OID,
    host: str | None = HOST,
    common: str = "somebody",
    ca: bool = False,
    age: int = 0,
) -> Credential:
    """A certificate for TLS from ``issuer``; ``role`` is one of POLICY. It was made ``age`` days ago, for one."""
    key = ec.generate_key()
    who = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "microipa"),
        x509.NameAttribute(NameOID.SERIAL_NUMBER, IIN),  # so that RFC 5280 finds it below what the EUM may name
        x509.NameAttribute(NameOID.COMMON_NAME, common),
    ])  # fmt: skip
    names: list[x509.GeneralName] = [x509.DNSName(host)] if host else []
    names += [x509.RegisteredID(x509.ObjectIdentifier(oid))] if oid else []
    builder = (
        x509.CertificateBuilder().subject_name(who).issuer_name(issuer.certificate.subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=age + 1))
        .not_valid_after(NOW + timedelta(days=1 - age))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private_key.public_key()), False)
        .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
    )  # fmt: skip
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, 0), True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    if role:
        policy = x509.PolicyInformation(POLICY[role], None)
        builder = builder.add_extension(x509.CertificatePolicies([policy]), False)
    return Credential(key, builder.sign(issuer.private_key, SHA256()))


def crl(issuer: Credential, *revoked: x509.Certificate, number: int = 1, end: timedelta = timedelta(days=30)) -> bytes:
    """The issuer's CRL, DER."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(NOW - timedelta(days=60)).next_update(NOW + end)
    builder = builder.add_extension(x509.CRLNumber(number), False)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(NOW).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.private_key, SHA256()).public_bytes(Encoding.DER)


def forged(genuine: Credential, signer: Credential) -> Credential:
    """The same certificate, signed by somebody else."""
    old = genuine.certificate
    builder = x509.CertificateBuilder(
        old.issuer, old.subject, old.public_key(), old.serial_number, old.not_valid_before_utc,
        old.not_valid_after_utc, list(old.extensions),
    )  # fmt: skip
    return Credential(genuine.private_key, builder.sign(signer.private_key, SHA256()))
