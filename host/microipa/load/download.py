"""Downloads through the eIM: an eUICC as far as its signatures go, and an SM-DP+ with as many profiles as wanted."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto import ec
from microipa.crypto.pki import Pki, subject_key_identifier
from microipa.euicc.chip import oid_value
from microipa.load.device import Ask, Failed
from microipa.saip import ProfileSpec, build, luhn_digit
from microipa.smdpp import Smdpp

TRIGGER, INITIATE, AUTHENTICATE, GET_PACKAGE, NOTIFY = 0xBF54, 0xBF39, 0xBF3B, 0xBF3A, 0xBF3D
SIGNATURE = 0x5F37
FIRST_SEQUENCE = 1 << 20  # beyond those of package results: a card numbers both in one row
PROFILE_VERSION, SVN = tlv(0x81, b"\x03\x01\x00"), tlv(0x82, b"\x02\x05\x00")
RESOURCE = tlv(0x84, bytes.fromhex("81010082040007a12083024000"))  # 500 kB free
DEVICE_INFO = tlv(0xA1, tlv(0x80, b"\x35\x29\x06\x11"), tlv(0xA1))
AID = bytes.fromhex("A0000005591010FFFFFFFF8900001100")
PE_STATUS_OK = bytes.fromhex("3007A0053003800100")


@dataclass(frozen=True)
class Shop:
    """A running SM-DP+."""

    smdpp: Smdpp
    port: int

    def codes(self, number: int) -> list[str]:
        """Activation codes of so many new profiles."""
        known = len(self.smdpp.orders())
        packages = (build(_profile(known + n)) for n in range(number))
        return [self.smdpp.activation_code(self.smdpp.add_profile(package)) for package in packages]


@contextlib.asynccontextmanager
async def shop(folder: Path, pki: Pki) -> AsyncIterator[Shop]:
    """An SM-DP+ in this process: its CPU time is not the eIM's."""
    smdpp = Smdpp(pki, folder)
    async with smdpp.serve() as port:
        yield Shop(smdpp, port)


def _profile(number: int) -> ProfileSpec:
    digits = f"8988211{number:011}"
    return ProfileSpec(
        iccid=digits + luhn_digit(digits), imsi=f"90170{number:010}", k=bytes(16), opc=bytes(16),
        name=f"Profile {number}", notification_address=Pki.smdpp_address,
    )  # fmt: skip


class Euicc:
    """The card's side of a download. It checks nothing of what servers sign: that costs the eIM nothing."""

    def __init__(self, pki: Pki, eid: str) -> None:
        self._pki, self._credential = pki, pki.euicc(eid)
        self._sequence = itertools.count(FIRST_SEQUENCE)
        self._eid = tlv(0x5A, bytes.fromhex(eid))
        self._otpk = tlv(0x5F49, ec.point(ec.generate_key().public_key()))
        key_id = tlv(0x04, subject_key_identifier(pki.ci.certificate))
        keys = tlv(0xA9, key_id) + tlv(0xAA, key_id)
        self._info1 = tlv(0xBF20, SVN, keys)
        self._info2 = tlv(0xBF22, PROFILE_VERSION, SVN, RESOURCE, keys)

    async def download(self, ask: Ask) -> None:
        """Fetch a trigger, the profile it names, and tell that it is installed (SGP.32 3.2.3.2). Raises Failed."""
        trigger = parse(await ask(tlv(0xBF4F, self._eid))).children()[0]
        if trigger.tag != TRIGGER:
            raise Failed(f"a poll is answered by {trigger.raw.hex()[:40]}")
        _, address, matching_id, *_ = trigger[0xA0][0x80].value.split(b"$")
        challenge = tlv(0x81, secrets.token_bytes(16))
        transaction = tlv(0x82, trigger[0x82].value)
        begun = await _call(ask, INITIATE, challenge, transaction, tlv(0x83, address), self._info1)
        authenticated = await _call(ask, AUTHENTICATE, begun[0x80].raw, self._authenticate(begun, matching_id))
        package = await _call(ask, GET_PACKAGE, begun[0x80].raw, self._prepare(begun, authenticated))
        if package[0xBF36][0xBF23][0x80].value != begun[0x80].value:
            raise Failed("a bound profile package of another session")
        if await ask(tlv(NOTIFY, tlv(0xA0, self._installed(begun, authenticated)))):
            raise Failed("a notification is answered by more than an acknowledgement")

    def _authenticate(self, begun: Tlv, matching_id: bytes) -> bytes:
        """AuthenticateServerResponse."""
        server = begun[0x30]
        context = tlv(0xA0, tlv(0x80, matching_id), DEVICE_INFO)
        signed = tlv(0x30, server[0x80].raw, server[0x83].raw, server[0x84].raw, self._info2, context)
        certificates = self._credential.der + self._pki.eum.der
        return tlv(0xBF38, tlv(0xA0, signed, self._signature(signed), certificates))

    def _prepare(self, begun: Tlv, authenticated: Tlv) -> bytes:
        """PrepareDownloadResponse."""
        signed = tlv(0x30, begun[0x80].raw, self._otpk)
        return tlv(0xBF21, tlv(0xA0, signed, self._signature(signed + authenticated[SIGNATURE].raw)))

    def _installed(self, begun: Tlv, authenticated: Tlv) -> bytes:
        """ProfileInstallationResult."""
        address, iccid = tlv(0x0C, Pki.smdpp_address.encode()), authenticated[0xBF25][0x5A].raw
        metadata = tlv(0xBF2F, integer(0x80, next(self._sequence)), tlv(0x81, b"\x07\x80"), address, iccid)
        final = tlv(0xA2, tlv(0xA0, tlv(0x4F, AID), tlv(0x04, PE_STATUS_OK)))
        data = tlv(0xBF27, begun[0x80].raw, metadata, tlv(0x06, oid_value(self._pki.smdpp_oid)), final)
        return tlv(0xBF37, data, self._signature(data))

    def _signature(self, data: bytes) -> bytes:
        return tlv(SIGNATURE, self._credential.sign(data))


async def _call(ask: Ask, tag: int, *parts: bytes) -> Tlv:
    """A relayed function; its A0. Raises Failed."""
    answer = parse(await ask(tlv(tag, *parts))).children()[0]
    if answer.tag != 0xA0:
        raise Failed(f"{tag:04X} is answered by {answer.raw.hex()[:40]}")
    return answer
