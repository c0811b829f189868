"""ES10b.LoadCRL: what the CI has revoked, kept on the card (SGP.22 clause 5.7.12)."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from microipa.asn1.tlv import Tlv, integer, tlv
from microipa.crypto.revocation import CrlInvalid, crl_number, read_crl
from microipa.euicc.chip import Chip, Handler

INVALID_SIGNATURE, INVALID_FORMAT, NO_MEMORY, KEY_NOT_FOUND, FRESHER_LOADED, BASE_MISSING, UNDEFINED = (
    1, 2, 3, 4, 5, 6, 127,
)  # fmt: skip
CODES = {
    "signature": INVALID_SIGNATURE,
    "format": INVALID_FORMAT,
    "issuer": KEY_NOT_FOUND,
    "kind": INVALID_FORMAT,
    "delta": BASE_MISSING,
    "dates": UNDEFINED,
}
MAX_CRL = 32_768  # bytes


def load(chip: Chip, command: Tlv) -> bytes:
    """BF35{CertificateList}. A whole CRL of the card's CI takes the place of an older one."""
    children = command.children()
    if len(children) != 1:
        raise ValueError("LoadCRL has one CRL")
    code = _refusal(chip, children[0].raw)
    if code is not None:
        return tlv(0xBF35, integer(0x81, code))
    chip.state.crl = children[0].raw
    return tlv(0xBF35, tlv(0xA0))


def _refusal(chip: Chip, der: bytes) -> int | None:
    """The error that the standard has for this CRL, None when it is to be kept."""
    if len(der) > min(MAX_CRL, chip.state.free()):
        return NO_MEMORY
    try:
        crl = read_crl(der, chip.issuer.certificate)
    except CrlInvalid as error:
        return CODES[error.check]
    if not _is_by_our_key(chip, crl):
        return KEY_NOT_FOUND
    kept = chip.issuer.crl
    if kept is not None and _age(crl) < _age(kept):
        return FRESHER_LOADED
    return None


def _is_by_our_key(chip: Chip, crl: x509.CertificateRevocationList) -> bool:
    try:
        named = crl.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_KEY_IDENTIFIER).value
    except x509.ExtensionNotFound:
        return True
    assert isinstance(named, x509.AuthorityKeyIdentifier)
    return named.key_identifier in (None, chip.ci_key_id)


def _age(crl: x509.CertificateRevocationList) -> tuple[int, float]:
    return crl_number(crl) or 0, crl.last_update_utc.timestamp()


COMMANDS: dict[int, Handler] = {0xBF35: load}
