"""Who a card is: its certificate with the key, its EUM's and its CI's, from our own PKI or from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from microipa.crypto.certificates import CertificateInvalid, verify_euicc_chain
from microipa.crypto.key_folder import KeyFolder, KeysInvalid
from microipa.crypto.pki import Credential, Pki


@dataclass(frozen=True)
class CardKeys:
    """``eid``: 32 digits, as the certificate has them."""

    eid: str
    euicc: Credential
    eum_der: bytes
    ci: x509.Certificate

    @classmethod
    def of(cls, pki: Pki, eid: str) -> CardKeys:
        """A card of our own PKI. Raises PkiError for an EID that none can have."""
        return cls(eid, pki.euicc(eid), pki.eum.der, pki.ci.certificate)

    @classmethod
    def read(cls, path: Path) -> CardKeys:
        """From a folder with euicc and its key, eum and ci. Raises KeysInvalid."""
        folder = KeyFolder(path)
        euicc, ci = folder.credential("euicc"), folder.certificate("ci")
        eum_der = folder.certificate("eum").public_bytes(Encoding.DER)
        try:
            eid, _ = verify_euicc_chain(euicc.der, eum_der, ci)
        except CertificateInvalid as error:
            raise KeysInvalid(f"the card's keys in {path}: {error}") from error
        return cls(eid, euicc, eum_der, ci)
