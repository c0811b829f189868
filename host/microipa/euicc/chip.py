"""What all functions of the card share: persistent state, private key, and the session that power ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from microipa.asn1.tlv import Tlv, tlv
from microipa.crypto import ec
from microipa.crypto.certificates import issuer_among, subject_key_identifier
from microipa.crypto.revocation import Issuer
from microipa.euicc.nvm import Nvm, State

Handler = Callable[["Chip", Tlv], bytes]

SIGNATURE = 0x5F37


@dataclass
class Session:
    """One RSP session (SGP.22 clause 3.1.3). Fields are filled as the functions of ES10b are called."""

    challenge: bytes
    transaction_id: bytes | None = None
    smdp_address: str = ""
    smdp_oid: str = ""
    euicc_signature_1: bytes = b""  # the whole 5F37 TLV
    smdp_key: EllipticCurvePublicKey | None = None  # of CERT.DPpb
    one_time_key: EllipticCurvePrivateKey | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Installed:
    """What the last bound profile package of this power cycle brought: ImmediateEnable may follow."""

    iccid: bytes
    smdp_oid: str
    smdp_address: str


class Chip:
    """State and keys behind the commands. Commands change ``state``; the card commits or rolls back."""

    def __init__(self, nvm: Nvm) -> None:
        self.nvm = nvm
        key = load_der_private_key(nvm.state.private_key, None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self._key = key
        self._ci = ci = x509.load_der_x509_certificate(nvm.state.ci_certificate)
        ci_key = ci.public_key()
        assert isinstance(ci_key, EllipticCurvePublicKey)
        self.ci_key = ci_key
        self.ci_key_id = subject_key_identifier(ci)
        self.terminal_profile = b""
        self.ipae_active = nvm.state.ipae  # until TERMINAL CAPABILITY announces an IPAd (SGP.32 clause 3.8)
        self.proactive = b""  # an applet's command that waits for FETCH
        self.cat_busy = False  # until the terminal has answered it
        self.end_session()

    def end_session(self) -> None:
        """Forget what a reset or another profile ends (SGP.32 clause 3.8)."""
        self.session: Session | None = None
        self.installed: Installed | None = None
        self.changing = False  # the enabled profile changed, the terminal has not yet seen it
        self.refresh = False  # and is to be told by a REFRESH

    def stay(self) -> None:
        """Forget a change of profile that the memory did not take."""
        self.installed = None
        self.changing = self.refresh = False

    @property
    def state(self) -> State:
        return self.nvm.state

    @property
    def issuer(self) -> Issuer:
        """The CI, with the CRL that was loaded."""
        return Issuer(self._ci, x509.load_der_x509_crl(self.state.crl) if self.state.crl else None)

    @property
    def verification_key_ids(self) -> list[bytes]:
        """euiccCiPKIdListForVerification: the keys of the CIs whose servers are trusted, the card's own first."""
        return [subject_key_identifier(ci) for ci in (self._ci, *self._others)]

    def issuer_of(self, certificate: bytes) -> Issuer:
        """The trusted CI that a server's certificate names, or the card's own. Raises CertificateInvalid."""
        return issuer_among([self.issuer, *map(Issuer, self._others)], "smdpp", certificate)

    @property
    def _others(self) -> list[x509.Certificate]:
        return [x509.load_der_x509_certificate(der) for der in self.state.other_cis]

    @property
    def eid(self) -> bytes:
        return bytes.fromhex(self.state.eid)

    def sign(self, data: bytes) -> bytes:
        """The 5F37 TLV over ``data`` with SK.EUICC."""
        return tlv(SIGNATURE, ec.sign(self._key, data))

    def change_profile(self, refresh: bool) -> None:
        """Another profile or none is enabled now: nothing else goes until the terminal has taken note."""
        self.changing = True
        self.refresh = refresh


def flag(command: Tlv, tag: int) -> bool:
    """A BOOLEAN inside ``command``; absent is FALSE, any non-zero byte TRUE."""
    found = command.get(tag)
    return found is not None and any(found.value)


def number(found: Tlv) -> int:
    """The INTEGER that ``found`` holds."""
    return int.from_bytes(found.value, "big", signed=True)


def text(found: Tlv) -> str:
    """The UTF8String that ``found`` holds. Raises UnicodeDecodeError, which is a ValueError."""
    return found.value.decode("utf-8")


def is_oid(value: bytes) -> bool:
    """Whether these are the content octets of an OBJECT IDENTIFIER: its last arc is whole."""
    return bool(value) and not value[-1] & 0x80


def oid_value(dotted: str) -> bytes:
    """The content octets of an OBJECT IDENTIFIER (X.690 clause 8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    octets = b""
    for arc in [40 * first + second, *rest]:
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.append(arc & 0x7F | 0x80)
        octets += bytes(reversed(group))
    return octets
