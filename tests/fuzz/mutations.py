"""How a message is damaged. What is random comes from ``rng``, so that a seed repeats it."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from random import Random
from typing import Any

from microipa.asn1.tlv import TlvError, parse_all, tlv

Mutation = Callable[[Random, bytes], bytes]

ODD_LENGTHS = [b"\x00", b"\x7f", b"\x80", b"\x81\xff", b"\x84\xff\xff\xff\xff", b"\x84\x7f\xff\xff\xff", b"\x85"]
ODD_VALUES = [b"", b"\x00", b"\xff", b"\xff" * 9, b"\x7f" * 300, "żó".encode(), b"\xc3", bytes(16), b"\x1b[2J"]
ODD_TAGS = [0x02, 0x04, 0x05, 0x0C, 0x30, 0x5A, 0x5F37, 0x80, 0x81, 0xA0, 0xA1, 0xA2, 0xBF2B, 0xBF51, 0xFFFFFF]
ODD_JSON: list[Any] = [
    None, True, False, 0, -1, 2**70, -(2**31), 1e308, "", " ", "ż", "\ud800", "%%%", "A" * 5000, "ff", [], {}, [[]],
    {"a": {}}, ["x"], float("inf"), "\0", "[/x]", "=" * 4, "AA==",
]  # fmt: skip


def octets(rng: Random, message: bytes) -> bytes:
    """One to four changes of bytes."""
    data = bytearray(message)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(data))
        match rng.randrange(6):
            case 0 if data:
                data[place - 1] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place - 1] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                data[place:place] = rng.choice((*ODD_VALUES, *ODD_LENGTHS))
            case 3:
                del data[place : place + rng.randint(1, 8)]
            case 4:
                del data[place:]
            case 5:
                data[place:place] = data[max(0, place - rng.randint(1, 16)) : place]
    return bytes(data)


def tlvs(rng: Random, message: bytes) -> bytes:
    """One or two changes of elements, with the lengths around them put right; sometimes of bytes."""
    if not rng.randrange(5):
        return octets(rng, message)
    for _ in range(rng.randint(1, 2)):
        try:
            message = _elements(rng, message)
        except TlvError:
            return octets(rng, message)
    return message


def _elements(rng: Random, level: bytes) -> bytes:
    found = parse_all(level)
    if not found:
        return tlv(rng.choice(ODD_TAGS), rng.choice(ODD_VALUES))
    place = rng.randrange(len(found))
    chosen = found[place]
    parts = [one.raw for one in found]
    if chosen.raw[0] & 0x20 and chosen.value and rng.randrange(5):
        parts[place] = tlv(chosen.tag, _elements(rng, chosen.value))
        return b"".join(parts)
    match rng.randrange(8):
        case 0:
            parts[place] = b""
        case 1:
            parts.insert(place, chosen.raw)
        case 2:
            parts[place] = tlv(chosen.tag, rng.choice(ODD_VALUES))
        case 3:
            parts[place] = tlv(chosen.tag, octets(rng, chosen.value))
        case 4:
            parts[place] = tlv(rng.choice(ODD_TAGS), chosen.value)
        case 5:
            parts[place] = chosen.raw[: chosen.header - 1] + rng.choice(ODD_LENGTHS) + chosen.value
        case 6:
            parts.insert(place, tlv(rng.choice(ODD_TAGS), rng.choice(ODD_VALUES)))
        case 7:
            rng.shuffle(parts)
    return b"".join(parts)


def members(rng: Random, message: bytes) -> bytes:
    """A member of a JSON object gone, odd, or with a damaged text; sometimes the bytes of it all."""
    if not rng.randrange(5):
        return octets(rng, message)
    try:
        return json.dumps(_member(rng, json.loads(message))).encode()
    except (ValueError, RecursionError):
        return octets(rng, message)


def _member(rng: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.randrange(8):
        name = rng.choice(sorted(value))
        kept = {key: one for key, one in value.items() if key != name}
        return kept if not rng.randrange(6) else kept | {name: _member(rng, value[name])}
    if isinstance(value, list) and value and rng.randrange(8):
        place = rng.randrange(len(value))
        return [*value[:place], _member(rng, value[place]), *value[place + 1 :]]
    if isinstance(value, str) and rng.randrange(3):
        return _text(rng, value)
    return rng.choice(ODD_JSON)


def _text(rng: Random, value: str) -> str:
    """A text whose DER, where base64 of it is meant, is damaged as a TLV; else with damaged letters."""
    try:
        return b64encode(tlvs(rng, b64decode(value, validate=True))).decode()
    except ValueError:
        return octets(rng, value.encode("utf-8", "replace")).decode("latin-1")


def lines(rng: Random, message: bytes) -> bytes:
    """Lines with damaged bytes, gone, doubled or out of order."""
    parts = message.splitlines(keepends=True)
    if not parts or rng.randrange(2):
        return octets(rng, message)
    place = rng.randrange(len(parts))
    match rng.randrange(4):
        case 0:
            del parts[place]
        case 1:
            parts.insert(place, parts[place])
        case 2:
            parts[place] = members(rng, parts[place]) + b"\n"
        case 3:
            rng.shuffle(parts)
    return b"".join(parts)
