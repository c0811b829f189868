"""The software eUICC: a file that is a card, and its contacts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from microipa.asn1.tlv import parse
from microipa.common.errors import MicroipaError
from microipa.crypto.pki import Credential, verify_euicc_chain
from microipa.euicc.chip import Chip
from microipa.euicc.install import isdp_aid
from microipa.euicc.nvm import Nvm, PowerCut, Profile, State, in_reader
from microipa.euicc.personalisation import check
from microipa.euicc.uicc import Uicc
from microipa.saip import ProfilePackage, iccid_from_bytes, metadata
from microipa.trace import Trace
from microipa.trace.redaction import AUTHENTICATE, GET_RESPONSE, PINS

GSMA_ROOT_DS = "lpa.ds.gsma.com"
# T=0, clock stop, 3 V and 1.8 V; card capabilities: selection, 19 logical channels assigned by both sides
_HISTORICAL = bytes.fromhex("8031E073FE211F57") + b"mcroIPA"
_INTERFACE = bytes.fromhex("9F96801FC7")


class CardOff(MicroipaError):
    """A command came while the card had no power."""


class EidMismatch(MicroipaError):
    """The certificate given to a new card is another card's."""


@dataclass(frozen=True)
class ProfileState:
    """One profile as a summary shows it. ``iccid`` is digits, ``aid`` the ISD-P's."""

    iccid: str
    state: str  # enabled or disabled
    name: str
    service_provider: str
    aid: bytes
    profile_class: str  # test, provisioning or operational
    fallback: bool


class Euicc:
    """A card. Its private key stays in the NVM file and in this package; no method gives it away."""

    def __init__(self, path: Path, trace: Trace | None) -> None:
        self._path = path
        self._trace = trace
        self._keys_wait = False  # GET RESPONSE would give the keys of an AUTHENTICATE
        self._writes_left: int | None = None
        self._nvm: Nvm | None = None  # with power only
        self._chip: Chip | None = None
        self._uicc: Uicc | None = None
        self.eid = Nvm.open(path).state.eid

    @classmethod
    def create(
        cls,
        nvm: Path,
        *,
        eid: str,
        credential: Credential,
        eum_der: bytes,
        ci: x509.Certificate,
        bootstrap: bytes,
        preloaded: Sequence[tuple[bytes, bytes]] = (),
        kind: Literal["iot", "consumer", "m2m"] = "iot",
        ipae: bool = False,
        root_ds: str = GSMA_ROOT_DS,
        iot_minimal: bool | None = None,
        profile_version: tuple[int, int, int] = (3, 3, 1),
        info_extensions: bytes = b"",
        trace: Trace | None = None,
    ) -> Euicc:
        """Make a card with one enabled profile, as it leaves the factory.

        ``bootstrap`` is a profile package, ``preloaded`` are further ones, disabled, each with its metadata
        (BF25). ``kind`` is the world the card is made for: SGP.32, SGP.22 or SGP.02. An IoT card with ``ipae``
        has an IPA of its own, in charge until the device announces one. ``root_ds`` is the SM-DS it names to
        those who look for its profiles.

        ``profile_version`` of profile packages is the newest that the card reads; ``iot_minimal``: it takes the
        IoT Minimal Profile (by default an IoT card from 3.3 on does). EUICCInfo2 tells both, and ends with
        ``info_extensions``: TLVs as cards of later versions may have them.

        Raises NvmError when the file is there, SaipError, CertificateInvalid, EidMismatch.
        """
        certified, _ = verify_euicc_chain(credential.der, eum_der, ci)
        if certified != eid:
            raise EidMismatch(f"the card shall have EID {eid}, but its certificate is for {certified}")
        if iot_minimal is None:
            iot_minimal = kind == "iot" and profile_version >= (3, 3)
        profiles = []
        loaded = [(bootstrap, metadata(ProfilePackage.parse(bootstrap))), *preloaded]
        for number, (package, described) in enumerate(loaded):
            seq, about = check(ProfilePackage.parse(package)), parse(described)
            profiles.append(
                Profile(about[0x5A].value, isdp_aid(number), about.value, package, enabled=not number, seq=seq)
            )
        Nvm.create(
            nvm,
            State(
                eid=eid,
                kind=kind,
                ipae=ipae,
                iot_minimal=iot_minimal,
                profile_version=bytes(profile_version),
                info_extensions=info_extensions,
                private_key=credential.private_key.private_bytes(
                    Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
                ),
                certificate=credential.der,
                eum_certificate=eum_der,
                ci_certificate=ci.public_bytes(Encoding.DER),
                root_ds=root_ds,
                profiles=profiles,
                last_isdp=len(profiles),
            ),
        )
        return cls(nvm, trace)

    @classmethod
    def open(cls, nvm: Path, trace: Trace | None = None) -> Euicc:
        """Take up a card made before. Raises NvmError."""
        return cls(nvm, trace)

    def trust(self, cis: Sequence[x509.Certificate]) -> None:
        """Let servers under these CIs in besides those under the card's own, and under no others. Without power."""
        nvm = Nvm.open(self._path)
        der = [ci.public_bytes(Encoding.DER) for ci in cis]
        if nvm.state.other_cis != der:
            nvm.state.other_cis = der
            nvm.commit()

    def in_reader(self, *, reads: bool = False) -> AbstractContextManager[None]:
        """Hold the card while it is in a reader, see ``nvm.in_reader``. Raises InUse."""
        return in_reader(self._path, reads=reads)

    @property
    def certificate(self) -> bytes:
        """CERT.EUICC, DER, as GetCerts gives it too."""
        return Nvm.open(self._path).state.certificate

    @property
    def atr(self) -> bytes:
        """What the card answers to a reset."""
        atr = _INTERFACE + _HISTORICAL
        check = 0
        for byte in atr:
            check ^= byte
        return b"\x3b" + atr + bytes([check])

    def power_on(self) -> bytes:
        """Returns the ATR. Everything volatile is gone, what was committed is there."""
        self._nvm = Nvm.open(self._path)
        self._nvm.writes_left = self._writes_left
        self._chip = Chip(self._nvm)
        self._uicc = Uicc(self._chip)
        return self.atr

    def power_off(self) -> None:
        if self._nvm is not None:
            self._writes_left = self._nvm.writes_left
        self._uicc = self._chip = self._nvm = None

    def reset(self) -> bytes:
        """Warm reset. Returns the ATR."""
        self.power_off()
        return self.power_on()

    def transmit(self, apdu: bytes) -> bytes:
        """One command APDU (ISO 7816-4, short); returns data and status word.

        The contacts for any terminal in Python, no socket and no modem between: ``power_on()`` first. As with T=0,
        data that waits is announced by 61xx and fetched by GET RESPONSE. Raises CardOff, and PowerCut when a test
        asked for one.
        """
        if self._uicc is None:
            raise CardOff("the card has no power: power_on() first")
        try:
            response = self._uicc.transmit(apdu)
        except PowerCut:
            self.cut_power_after(None)
            self.power_off()
            raise
        self._note(apdu, response)
        return response

    def _note(self, apdu: bytes, response: bytes) -> None:
        """Record the exchange without keys: of AUTHENTICATE (CK, IK) only the status word, of PINs only the header."""
        if self._trace is None:
            return
        instruction = apdu[1] if len(apdu) > 1 else 0
        self._keys_wait = instruction == AUTHENTICATE or (instruction == GET_RESPONSE and self._keys_wait)
        self._trace.record(
            "card",
            "apdu",
            command=apdu[:5] if instruction in PINS else apdu,
            response=response[-2:] if self._keys_wait else response,
        )

    def proactive(self, command: bytes) -> None:
        """Let an applet of the enabled profile ask the terminal something: a whole TLV D0 (TS 102 223).

        It is announced by 91xx; until the terminal has answered, the card cannot switch profiles (catBusy).
        Raises CardOff.
        """
        if self._chip is None:
            raise CardOff("the card has no power: power_on() first")
        self._chip.proactive, self._chip.cat_busy = command, True

    def profiles(self) -> list[ProfileState]:
        """What is on the card, read from its memory, with power or without."""
        return [_summary(profile) for profile in Nvm.open(self._path).state.profiles]

    @property
    def writes_left(self) -> int | None:
        """Writes until the power goes; None where it stays."""
        return self._writes_left if self._nvm is None else self._nvm.writes_left

    def cut_power_after(self, writes: int | None) -> None:
        """Lose power at the write that follows ``writes`` more, resets or not; None switches that off."""
        self._writes_left = writes
        if self._nvm is not None:
            self._nvm.writes_left = writes


def _summary(profile: Profile) -> ProfileState:
    return ProfileState(
        iccid=iccid_from_bytes(profile.iccid),
        state="enabled" if profile.enabled else "disabled",
        name=(profile.info(0x92) or b"").decode(errors="replace"),
        service_provider=(profile.info(0x91) or b"").decode(errors="replace"),
        aid=profile.aid,
        profile_class=("test", "provisioning", "operational")[profile.profile_class],
        fallback=profile.fallback,
    )
