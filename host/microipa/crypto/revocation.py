"""Certificate revocation lists of a CI, and of an EUM below it (RFC 5280 clause 5, SGP.22 clause 4.5.2)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from microipa.common.errors import MicroipaError

log = logging.getLogger(__name__)

PEM = b"-----BEGIN "
UNDERSTOOD = {ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER}


class CrlInvalid(MicroipaError):
    """A CRL that says nothing about the certificates it is given for.

    ``check`` tells why: format, issuer (another's), signature, delta, kind (partial in another way), dates.
    """

    def __init__(self, check: str, reason: str) -> None:
        super().__init__(f"the CRL {reason}")
        self.check = check


@dataclass(frozen=True)
class Issuer:
    """A certificate that others stand under, and what its holder has revoked, where that is known."""

    certificate: x509.Certificate
    crl: x509.CertificateRevocationList | None = None

    @classmethod
    def of(cls, one: x509.Certificate | Issuer) -> Issuer:
        return one if isinstance(one, Issuer) else cls(one)

    def has_revoked(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate that this issuer made is in its CRL."""
        if self.crl is None:  # an empty one counts as false
            return False
        return self.crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None


def read_crl(data: bytes, issuer: x509.Certificate, now: datetime | None = None) -> x509.CertificateRevocationList:
    """A whole CRL (PEM or DER), signed by ``issuer``. One whose nextUpdate has passed is taken with a warning: what is
    in it stays revoked.

    Raises CrlInvalid.
    """
    moment = now or datetime.now(UTC)
    try:
        crl = x509.load_pem_x509_crl(data) if PEM in data else x509.load_der_x509_crl(data)
        unknown = {extension.oid for extension in crl.extensions if extension.critical} - UNDERSTOOD
        signed = crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        end = crl.next_update_utc
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CrlInvalid("format", f"cannot be read: {error}") from error
    if crl.issuer != issuer.subject:
        raise CrlInvalid("issuer", f"is of {crl.issuer.rfc4514_string()!r}, not {issuer.subject.rfc4514_string()!r}")
    if not signed:
        raise CrlInvalid("signature", "bears a signature its issuer did not make")
    if unknown:
        oids = ", ".join(sorted(oid.dotted_string for oid in unknown))
        check = "delta" if ExtensionOID.DELTA_CRL_INDICATOR in unknown else "kind"
        raise CrlInvalid(check, f"is not a whole one, it has critical extensions nobody here knows: {oids}")
    if moment < crl.last_update_utc:
        raise CrlInvalid("dates", f"is of {crl.last_update_utc:%Y-%m-%d %H:%M} UTC, which is still to come")
    if end and end < moment:
        log.warning("the CRL of %s should have been replaced by %s", crl.issuer.rfc4514_string(), f"{end:%Y-%m-%d}")
    return crl


def crl_beside(folder: Path, issuer: x509.Certificate) -> x509.CertificateRevocationList | None:
    """The file crl.pem, crl.der or crl.crl in the folder of the certificate ``issuer``, if there is one.

    Raises CrlInvalid.
    """
    for path in (folder / f"crl.{suffix}" for suffix in ("pem", "der", "crl")):
        if path.is_file():
            try:
                return read_crl(path.read_bytes(), issuer)
            except CrlInvalid as error:
                raise CrlInvalid(error.check, f"in {path} {str(error).removeprefix('the CRL ')}") from error
    return None


def crl_number(crl: x509.CertificateRevocationList) -> int | None:
    """cRLNumber: of two CRLs the one with the larger is fresher."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None
