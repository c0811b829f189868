"""A test set in the shape of GSMA SGP.26, made here: the GSMA's own files are not in this repository.

What is odd about the real ones is odd here too: a CI with a critical policy and no short name, ends beyond the year
7000, serial numbers of nine octets, an EUM whose name constraint RFC 5280 reads otherwise than SGP.22, PEM beside DER.
The policy of a TLS certificate is the only one that is not critical.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NIST, BRAINPOOL = ec.SECP256R1(), ec.BrainpoolP256R1()
START, END = datetime(2020, 4, 1, 8, 27, 51, tzinfo=UTC), datetime(7496, 1, 24, 17, 25, 17, tzinfo=UTC)
EID = "89049032123451234512345678901235"
SMDPP_ADDRESS, EIM_FQDN = "testsmdpplus1.example.com", "testeim.example.com"
SMDS_ADDRESS = "testrootsmds.example.com"
SMDPP_OID, SMDS_OID = "2.999.110", "2.999.115"
POLICY = "2.23.146.1.2.1."
ACME = {"ORGANIZATION_NAME": "ACME"}
BOTH_ENDS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), True
PARAMETERS = {  # what OpenSSL writes before a key in PEM
    curve: b"-----BEGIN EC PARAMETERS-----\n" + oid + b"\n-----END EC PARAMETERS-----\n"
    for curve, oid in (("secp256r1", b"BggqhkjOPQMBBw=="), ("brainpoolP256r1", b"BgkrJAMDAggBAQc="))
}


@dataclass(frozen=True)
class Member:
    """One certificate with its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def name(**parts: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(getattr(NameOID, oid), value) for oid, value in parts.items()])


def issue(
    issuer: Member | None,
    curve: ec.EllipticCurve,
    subject: x509.Name,
    policy: str | None,
    *extensions: tuple[x509.ExtensionType, bool],
    ca: bool = False,
    critical_policy: bool = True,
    end: datetime = END,
) -> Member:
    key = ec.generate_private_key(curve)
    usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    signer, above = (issuer.key, issuer.certificate.subject) if issuer else (key, subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(0xB874F3ABFA6C44D3 + (key.private_numbers().private_value & 0xFFFF))  # 9 octets in DER
        .not_valid_before(START)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(usage, True)
    )
    if issuer:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None if issuer is None else 0), True)
    if policy:
        policies = [x509.PolicyInformation(x509.ObjectIdentifier(POLICY + policy), None)]
        builder = builder.add_extension(x509.CertificatePolicies(policies), critical_policy)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    crl = x509.UniformResourceIdentifier("http://ci.example.com/CRL-A.crl")
    point = x509.DistributionPoint([crl], None, None, None)
    builder = builder.add_extension(x509.CRLDistributionPoints([point]), False)
    return Member(key, builder.sign(signer, SHA256()))


def alternative(oid: str, host: str | None = None) -> tuple[x509.ExtensionType, bool]:
    names: list[x509.GeneralName] = [x509.DNSName(host)] if host else []
    return x509.SubjectAlternativeName([*names, x509.RegisteredID(x509.ObjectIdentifier(oid))]), False


def certificate_issuer(curve: ec.EllipticCurve) -> Member:
    subject = name(
        COMMON_NAME="Test CI", ORGANIZATIONAL_UNIT_NAME="TESTCERT", ORGANIZATION_NAME="RSPTEST", COUNTRY_NAME="IT"
    )
    end = datetime(2055, 4, 1, 8, 27, 51, tzinfo=UTC)
    return issue(None, curve, subject, "0", alternative("2.999.1"), ca=True, end=end)


def tls_server(issuer: Member, curve: ec.EllipticCurve = NIST, *, critical_policy: bool = False) -> Member:
    """CERT.DP.TLS of the SM-DP+."""
    subject, names = name(**ACME, COMMON_NAME=SMDPP_ADDRESS), alternative(SMDPP_OID, SMDPP_ADDRESS)
    return issue(issuer, curve, subject, "3", BOTH_ENDS, names, critical_policy=critical_policy)


def ds_tls_server(issuer: Member) -> Member:
    """CERT.DS.TLS of the SM-DS."""
    subject, names = name(**ACME, COMMON_NAME=SMDS_ADDRESS), alternative(SMDS_OID, SMDS_ADDRESS)
    return issue(issuer, NIST, subject, "6", BOTH_ENDS, names, critical_policy=False)


@dataclass(frozen=True)
class TestSet:
    """Everybody under one CI; TLS certificates are under the CI ``web``, which is the P-256 one."""

    __test__ = False

    ci: Member
    eum: Member
    euicc: Member
    auth: Member
    pb: Member
    tls: Member
    ds_auth: Member
    ds_tls: Member
    eim_signing: Member
    eim_tls: Member
    web: Member

    @classmethod
    def make(cls, curve: ec.EllipticCurve, web: Member | None = None) -> TestSet:
        ci = certificate_issuer(curve)
        web = web or ci
        # Of the names it permits, a card's has the organisation and begins with the serial number: no subtree of X.509.
        permitted = x509.DirectoryName(name(ORGANIZATION_NAME="RSP Test EUM", SERIAL_NUMBER="89049032"))
        eum = issue(
            ci,
            curve,
            name(COUNTRY_NAME="ES", ORGANIZATION_NAME="RSP Test EUM", COMMON_NAME="EUM Test"),
            "2",
            alternative("2.999.5"),
            (x509.NameConstraints([permitted], None), True),
            ca=True,
        )
        euicc = issue(
            eum,
            curve,
            name(COUNTRY_NAME="ES", ORGANIZATION_NAME="RSP Test EUM", SERIAL_NUMBER=EID, COMMON_NAME="Test eUICC"),
            "1",
        )
        return cls(
            ci,
            eum,
            euicc,
            issue(ci, curve, name(**ACME, COMMON_NAME="TEST SM-DP+"), "4", alternative(SMDPP_OID)),
            issue(ci, curve, name(**ACME, COMMON_NAME="TEST SM-DP+"), "5", alternative(SMDPP_OID)),
            tls_server(web),
            issue(ci, curve, name(**ACME, COMMON_NAME="TEST SM-DS"), "7", alternative(SMDS_OID)),
            ds_tls_server(web),
            issue(ci, curve, name(**ACME, COMMON_NAME="TEST eIM"), None),
            issue(web, NIST, name(**ACME, COMMON_NAME=EIM_FQDN), None, BOTH_ENDS, alternative("2.999.120", EIM_FQDN)),
            web,
        )

    def write(self, folder: Path) -> Path:
        """Folders smdpp, smds, eim and card, as ``lab up`` takes them."""
        smdpp = {"ci": self.ci, "auth": self.auth, "pb": self.pb, "tls": self.tls}
        smds = {"ci": self.ci, "auth": self.ds_auth, "tls": self.ds_tls}
        eim = {"ci": self.web, "signing": self.eim_signing, "tls": self.eim_tls}
        card = {"ci": self.ci, "eum": self.eum, "euicc": self.euicc}
        for whose, members in {"smdpp": smdpp, "smds": smds, "eim": eim, "card": card}.items():
            (folder / whose).mkdir(parents=True)
            for number, (role, member) in enumerate(members.items()):
                self._write(folder / whose, role, member, pem=number % 2 == 0)
        return folder

    @staticmethod
    def _write(folder: Path, role: str, member: Member, pem: bool) -> None:
        encoding, suffix = (Encoding.PEM, ".pem") if pem else (Encoding.DER, ".der")
        (folder / (role + suffix)).write_bytes(member.certificate.public_bytes(encoding))
        if role not in ("ci", "eum"):
            style = PrivateFormat.TraditionalOpenSSL if pem else PrivateFormat.PKCS8
            key = member.key.private_bytes(encoding, style, NoEncryption())
            (folder / f"{role}.key").write_bytes(PARAMETERS[member.key.curve.name] + key if pem else key)
