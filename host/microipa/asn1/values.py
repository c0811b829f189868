"""Checks before encoding: asn1tools lets a misspelt field fall away and encodes what DER forbids."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from microipa.asn1.kinds import Kind
from microipa.asn1.reader import SchemaError, limits_error, size_error
from microipa.asn1.tlv import TlvError, parse

_OID = re.compile(r"(?:[01]\.[1-3]?\d|2\.\d+)(?:\.\d+)*", re.ASCII)


def ready(kind: Kind, value: Any, path: str) -> Any:
    """``value`` as asn1tools encodes it to DER: named BIT STRINGs without trailing zeros (X.690 11.2.2).

    Raises SchemaError, which names the component by its ``path``.
    """
    return _CHECKS[kind.base](kind, value, path)


def _want(value: Any, form: type, what: str, path: str) -> None:
    if not isinstance(value, form) or (form is int and isinstance(value, bool)):
        raise SchemaError(f"{path}: {value!r} is not {what}")


def _sequence(kind: Kind, value: Any, path: str) -> dict[str, Any]:
    _want(value, dict, "a dict of components", path)
    members = {member.name: member for member in kind.members}
    for name in value:
        if name not in members:
            raise SchemaError(f"{path}: no component {name!r}; there are {', '.join(members) or 'none'}")
    for name, member in members.items():
        if member.required and name not in value:
            raise SchemaError(f"{path}: {name} is missing")
    return {name: ready(members[name].kind, value[name], f"{path}.{name}") for name in value}


def _list(kind: Kind, value: Any, path: str) -> list[Any]:
    _want(value, list, "a list", path)
    _check(size_error(kind, len(value), "elements"), path)
    assert kind.element is not None
    return [ready(kind.element, item, f"{path}[{index}]") for index, item in enumerate(value)]


def _choice(kind: Kind, value: Any, path: str) -> tuple[str, Any]:
    if not (isinstance(value, tuple) and len(value) == 2):
        raise SchemaError(f"{path}: {value!r} is not a pair (alternative, value)")
    for member in kind.members:
        if member.name == value[0]:
            return member.name, ready(member.kind, value[1], f"{path}.{member.name}")
    alternatives = ", ".join(member.name for member in kind.members)
    raise SchemaError(f"{path}: no alternative {value[0]!r}; there are {alternatives}")


def _integer(kind: Kind, value: Any, path: str) -> int:
    _want(value, int, "an int", path)
    _check(limits_error(kind, value), path)
    return int(value)


def _boolean(kind: Kind, value: Any, path: str) -> bool:
    _want(value, bool, "a bool", path)
    return bool(value)


def _null(kind: Kind, value: Any, path: str) -> None:
    if value is not None:
        raise SchemaError(f"{path}: NULL takes None, not {value!r}")


def _octets(kind: Kind, value: Any, path: str) -> bytes:
    _want(value, bytes, "bytes", path)
    _check(size_error(kind, len(value), "octets"), path)
    return bytes(value)


def _bits(kind: Kind, value: Any, path: str) -> tuple[bytes, int]:
    if not (isinstance(value, tuple) and [type(part) for part in value] == [bytes, int]):
        raise SchemaError(f"{path}: {value!r} is not a pair (bytes, number of bits)")
    octets, count = value
    if not 0 <= count <= 8 * len(octets):
        raise SchemaError(f"{path}: {count} bits do not fit {len(octets)} octets")
    if kind.names:
        number = int.from_bytes(octets, "big") >> (8 * len(octets) - count)
        while count and not number & 1:
            number >>= 1
            count -= 1
        octets = (number << -count % 8).to_bytes((count + 7) // 8, "big")
    return octets, count


def _text(kind: Kind, value: Any, path: str) -> str:
    _want(value, str, "a str", path)
    _check(size_error(kind, len(value), "characters"), path)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise SchemaError(f"{path}: {value!r} has no UTF-8 form") from error
    return str(value)


def _oid(kind: Kind, value: Any, path: str) -> str:
    _want(value, str, "an object identifier as dotted text", path)
    if not _OID.fullmatch(value):
        raise SchemaError(f"{path}: {value!r} is not an object identifier as dotted text")
    return str(value)


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


_CHECKS: dict[str, Callable[[Kind, Any, str], Any]] = {
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
