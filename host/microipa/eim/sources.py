"""Where a profile waits, in the three forms of ProfileDownloadData (SGP.32 2.11.1.3), kept in orders as text."""

from __future__ import annotations

from dataclasses import dataclass

from microipa.asn1.tlv import tlv
from microipa.common.activation_codes import short
from microipa.common.errors import MicroipaError
from microipa.net.rsp_client import ADDRESS

LONGEST = 255


class ActivationCodeInvalid(MicroipaError):
    """Text that is no activation code."""


class SmdsAddressInvalid(MicroipaError):
    """Text that is no server's address."""


@dataclass(frozen=True)
class ActivationCode:
    """``LPA:1$address$matching-id[$SM-DP+ OID[$1]]`` (SGP.22 4.1)."""

    text: str
    smdp_address: str
    matching_id: str
    smdp_oid: str | None

    @classmethod
    def parse(cls, text: str) -> ActivationCode:
        """What people add when they copy one, blanks and small letters, is left out; fields of later versions stay.

        Raises ActivationCodeInvalid.
        """
        given, text = text, "".join(text.split())
        if text[:4].upper() == "LPA:":
            text = f"LPA:{text[4:]}"
        version, *fields = text.removeprefix("LPA:").split("$")
        if version != "1" or len(fields) < 2 or not fields[0] or len(given) > LONGEST:
            form = "LPA:1$<SM-DP+ address>$<matching id>"
            raise ActivationCodeInvalid(f"{given[:64]!r} is not an activation code: {form}")
        oid = fields[2] if len(fields) > 2 else ""
        return cls(text, fields[0], fields[1], oid or None)

    @property
    def data(self) -> bytes:
        """The choice of ProfileDownloadData."""
        return tlv(0x80, self.text.encode())

    def at(self, default_smdp: str | None) -> ActivationCode | None:
        """What the eIM itself knows of the SM-DP+ when this is the card's default; None: only the device can tell."""
        return self

    def __str__(self) -> str:
        return f"download {short(self.matching_id)} from {self.smdp_address}"


@dataclass(frozen=True)
class DefaultSmdp:
    """contactDefaultSmdp: what the SM-DP+ that the card knows has for its EID."""

    text = "default SM-DP+"
    data = tlv(0x81)

    def at(self, default_smdp: str | None) -> ActivationCode | None:
        return ActivationCode("", default_smdp, "", None) if default_smdp else None

    def __str__(self) -> str:
        return "download from the card's default SM-DP+"


@dataclass(frozen=True)
class Smds:
    """contactSmds: what an SM-DS, the card's own without ``address``, knows to wait for its EID.

    Raises SmdsAddressInvalid.
    """

    address: str = ""

    PREFIX = "SM-DS "

    def __post_init__(self) -> None:
        if self.address and (not ADDRESS.fullmatch(self.address) or len(self.address) > LONGEST):
            raise SmdsAddressInvalid(f"{self.address[:64]!r} is not an address of an SM-DS: host name[:port]")

    @property
    def text(self) -> str:
        return self.PREFIX + self.address

    @property
    def data(self) -> bytes:
        return tlv(0xA2, tlv(0x80, self.address.encode()) if self.address else b"")

    def at(self, default_smdp: str | None) -> ActivationCode | None:
        return None

    def __str__(self) -> str:
        return f"download what the SM-DS {self.address or 'of the card'} has"


Source = ActivationCode | DefaultSmdp | Smds


def read(text: str) -> Source:
    """What an order keeps; an activation code in any of its spellings. Raises ActivationCodeInvalid."""
    if text == DefaultSmdp.text:
        return DefaultSmdp()
    if text.startswith(Smds.PREFIX):
        return Smds(text.removeprefix(Smds.PREFIX))
    return ActivationCode.parse(text)
