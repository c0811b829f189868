"""What a profile asks of a card by name, and the bit of UICCCapability that says the card has it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from microipa.asn1 import saip

IOT_MINIMAL = "iotminimal"
# Services are called in ServicesList otherwise than in UICCCapability.
_CAPABILITY = {
    "contactless": "contactlessSupport", "usim": "usimSupport", "isim": "isimSupport", "csim": "csimSupport",
    "milenage": "akaMilenage", "tuak128": "akaTuak128", "tuak256": "akaTuak256", "cave": "akaCave",
    "usim-test-algorithm": "usimTestAlgorithm", "gba-usim": "gbaAuthenUsim", "gba-isim": "gbaAuthenISim",
    "mbms": "mbmsAuthenUsim", "eap": "eapClient", "multiple-usim": "multipleUsimSupport",
    "multiple-isim": "multipleIsimSupport", "multiple-csim": "multipleCsimSupport", "ber-tlv": "berTlvFileSupport",
    "dfLink": "dfLinkSupport", "cat-tp": "catTp", "get-identity": "getIdentity",
}  # fmt: skip


@cache
def bit(service: str) -> int:
    """The number of the bit, from the left. Raises KeyError for what is no service."""
    bits = {name: number for number, name in saip.kind("UICCCapability").names.items()}
    return bits[_CAPABILITY.get(service, service)]


def capability(services: Iterable[str]) -> bytes:
    """The content octets of UICCCapability, the unused bits first, without trailing zeros."""
    numbers = sorted(map(bit, services))
    if not numbers:
        return b"\x00"
    octets = bytearray(numbers[-1] // 8 + 1)
    for number in numbers:
        octets[number // 8] |= 0x80 >> number % 8
    return bytes([7 - numbers[-1] % 8]) + bytes(octets)


def has(content: bytes, service: str) -> bool:
    """Whether UICCCapability with these content octets has the bit of a service."""
    octet = 1 + bit(service) // 8
    return octet < len(content) and bool(content[octet] & 0x80 >> bit(service) % 8)
