"""Strict writing of DER along a type: what the type does not have or allow is refused, by the component's path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from microipa.asn1.kinds import Kind
from microipa.asn1.reader import SchemaError, limits_error, size_error
from microipa.asn1.tlv import TlvError, parse, tlv

_OID = re.compile(r"(?:[01]\.[1-3]?\d|2\.\d+)(?:\.\d+)*", re.ASCII)


def write(kind: Kind, value: Any, path: str) -> bytes:
    """The DER of ``value``. Raises SchemaError, which names the component by its ``path``."""
    encoded = _CONTENTS[kind.base](kind, value, path)
    for tag in reversed(kind.tags):
        encoded = tlv(tag, encoded)
    return encoded


def _want(value: Any, form: type, what: str, path: str) -> None:
    if not isinstance(value, form) or (form is int and isinstance(value, bool)):
        raise SchemaError(f"{path}: {value!r} is not {what}")


def _sequence(kind: Kind, value: Any, path: str) -> bytes:
    """The components that there are; one that has its default value is left out (X.690 11.5)."""
    _want(value, dict, "a dict of components", path)
    if strangers := value.keys() - {member.name for member in kind.members}:
        names = ", ".join(member.name for member in kind.members)
        raise SchemaError(f"{path}: no component {min(strangers, key=str)!r}; there are {names or 'none'}")
    parts = []
    for member in kind.members:
        if member.name in value:
            part = write(member.kind, value[member.name], f"{path}.{member.name}")
            if member.default is None or value[member.name] != member.default:
                parts.append(part)
        elif member.required:
            raise SchemaError(f"{path}: {member.name} is missing")
    return b"".join(parts)


def _list(kind: Kind, value: Any, path: str) -> bytes:
    _want(value, list, "a list", path)
    _check(size_error(kind, len(value), "elements"), path)
    assert kind.element is not None
    return b"".join(write(kind.element, item, f"{path}[{index}]") for index, item in enumerate(value))


def _choice(kind: Kind, value: Any, path: str) -> bytes:
    if not (isinstance(value, tuple) and len(value) == 2):
        raise SchemaError(f"{path}: {value!r} is not a pair (alternative, value)")
    for member in kind.members:
        if member.name == value[0]:
            return write(member.kind, value[1], f"{path}.{member.name}")
    alternatives = ", ".join(member.name for member in kind.members)
    raise SchemaError(f"{path}: no alternative {value[0]!r}; there are {alternatives}")


def _integer(kind: Kind, value: Any, path: str) -> bytes:
    """The fewest octets that hold it (X.690 8.3)."""
    _want(value, int, "an int", path)
    _check(limits_error(kind, value), path)
    magnitude = value if value >= 0 else ~value
    return int(value).to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def _boolean(kind: Kind, value: Any, path: str) -> bytes:
    _want(value, bool, "a bool", path)
    return b"\xff" if value else b"\0"


def _null(kind: Kind, value: Any, path: str) -> bytes:
    if value is not None:
        raise SchemaError(f"{path}: NULL takes None, not {value!r}")
    return b""


def _octets(kind: Kind, value: Any, path: str) -> bytes:
    _want(value, bytes, "bytes", path)
    _check(size_error(kind, len(value), "octets"), path)
    return bytes(value)


def _bits(kind: Kind, value: Any, path: str) -> bytes:
    """Unused bits are 0 (X.690 11.2.1); where bits have names, those at the end that are 0 are left out (11.2.2)."""
    if not (isinstance(value, tuple) and [type(part) for part in value] == [bytes, int]):
        raise SchemaError(f"{path}: {value!r} is not a pair (bytes, number of bits)")
    octets, count = value
    if not 0 <= count <= 8 * len(octets):
        raise SchemaError(f"{path}: {count} bits do not fit {len(octets)} octets")
    number = int.from_bytes(octets, "big") >> (8 * len(octets) - count)
    while kind.names and count and not number & 1:
        number >>= 1
        count -= 1
    unused = -count % 8
    return bytes([unused]) + (number << unused).to_bytes((count + 7) // 8, "big")


def _text(kind: Kind, value: Any, path: str) -> bytes:
    _want(value, str, "a str", path)
    _check(size_error(kind, len(value), "characters"), path)
    try:
        return bytes(value.encode())
    except UnicodeEncodeError as error:
        raise SchemaError(f"{path}: {value!r} has no UTF-8 form") from error


def _oid(kind: Kind, value: Any, path: str) -> bytes:
    """The first two arcs are one number (X.690 8.19)."""
    _want(value, str, "an object identifier as dotted text", path)
    if not _OID.fullmatch(value):
        raise SchemaError(f"{path}: {value!r} is not an object identifier as dotted text")
    first, second, *others = map(int, value.split("."))
    return b"".join(map(_base_128, [40 * first + second, *others]))


def _base_128(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.insert(0, 0x80 | number & 0x7F)
    return bytes(octets)


def _any(kind: Kind, value: Any, path: str) -> bytes:
    _want(value, bytes, "the bytes of one TLV", path)
    try:
        tag = parse(value).tag
    except TlvError as error:
        raise SchemaError(f"{path}: not one TLV: {error}") from error
    if kind.accepts is not None and not kind.tags and tag not in kind.accepts:
        raise SchemaError(f"{path}: a {kind.type_name} begins with {min(kind.accepts):02X}, not {tag:02X}")
    return bytes(value)


def _check(reason: str | None, path: str) -> None:
    if reason:
        raise SchemaError(f"{path}: {reason}")


_CONTENTS: dict[str, Callable[[Kind, Any, str], bytes]] = {
    "SEQUENCE": _sequence,
    "SEQUENCE OF": _list,
    "CHOICE": _choice,
    "INTEGER": _integer,
    "BOOLEAN": _boolean,
    "NULL": _null,
    "OCTET STRING": _octets,
    "BIT STRING": _bits,
    "UTF8String": _text,
    "OBJECT IDENTIFIER": _oid,
    "ANY": _any,
}
