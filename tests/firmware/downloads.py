"""A whole download through the eIM in a scene: what a card and an eIM answer to each of its steps (SGP.32 3.2.3.2)."""

from __future__ import annotations

from microipa.asn1.tlv import tlv
from scenes import SIGNATURE, TID, TX

EMPTY = bytes.fromhex("bf50023000")
TRIGGER = tlv(0xBF54, tlv(0x82, TX), tlv(0xA0, tlv(0x80, b"1$smdp.example$A")))
CALL = f"package('{TRIGGER.hex()}')"
NAMES = tlv(0x91, b"Provider"), tlv(0x92, b"Profile")
METADATA = tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES)
CERTIFICATE = tlv(0x30, b"\5\0")
CANCELLED = tlv(0xBF41, tlv(0xA0, CERTIFICATE))
SIGNED_1 = tlv(0x30, tlv(0x80, TID), tlv(0x81, bytes(16)), tlv(0x83, b"smdp.example"))
SIGNED_2 = tlv(0x30, tlv(0x80, TID), b"\1\1\0")
RESULT = tlv(0xBF37, tlv(0xBF27, tlv(0x80, TID), tlv(0xBF2F, tlv(0x80, b"\5"), b"\x81\2\7\x80"), tlv(0xA2, tlv(0xA0))),
             tlv(0x5F37, SIGNATURE))
INITIATED = tlv(0xBF39, tlv(0xA0, tlv(0x80, TID), SIGNED_1, tlv(0x5F37, SIGNATURE), tlv(0x04, bytes(20)), CERTIFICATE))
BEGUN: list[tuple[bytes, bytes | int]] = [
    (tlv(0xBF2E), tlv(0xBF2E, tlv(0x80, bytes(16)))),
    (tlv(0xBF20), tlv(0xBF20)),
]
CARD: list[tuple[bytes, bytes | int]] = [
    *BEGUN,
    (bytes.fromhex("bf38"), tlv(0xBF38, tlv(0xA0, CERTIFICATE))),
    (bytes.fromhex("bf21"), tlv(0xBF21, tlv(0xA0, CERTIFICATE))),
]


def offered(metadata: bytes = METADATA) -> bytes:
    """The eIM's answer to AuthenticateClient."""
    return tlv(0xBF3B, tlv(0xA0, tlv(0x80, TID), metadata, SIGNED_2, tlv(0x5F37, SIGNATURE), CERTIFICATE))


def package(metadata: bytes = METADATA, segment: int = 1007) -> bytes:
    """Its answer to GetBoundProfilePackage: metadata in segments of so many bytes, each with a MAC behind it."""
    pieces = [metadata[at : at + segment] for at in range(0, len(metadata), segment)]
    bound = tlv(0xBF36, tlv(0xBF23), tlv(0xA0, tlv(0x87, bytes(16))),
                tlv(0xA1, *(tlv(0x88, piece, bytes(8)) for piece in pieces)), tlv(0xA3, tlv(0x86, bytes(40))))
    return tlv(0xBF3A, tlv(0xA0, bound))


def loaded(metadata: bytes = METADATA, segment: int = 1007) -> list[tuple[bytes, bytes | int]]:
    """What the card answers to the parts of it."""
    pieces = -(-len(metadata) // segment)
    return [(b"\xbf\x36", b""), (b"\xa0", b""), (b"\xa1", b"")] + [(b"\x88", b"")] * pieces + [
        (b"\xa3", b""), (b"\x86", RESULT)]
