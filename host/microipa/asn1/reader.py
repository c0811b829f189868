"""Strict reading of DER along a type.

The decoder of asn1tools takes components in any order, reads past the end of a parent and says little about
where it stopped. Here each element must be where its type wants it; only elements the
type does not know are passed over, as EXTENSIBILITY IMPLIED demands (X.680 13.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from microipa.asn1.kinds import Kind, Member
from microipa.asn1.tlv import Tlv, TlvError, parse
from microipa.common.errors import MicroipaError

_DEEPEST = 32  # TLVs inside each other; the deepest message of the standards has about 15


class SchemaError(MicroipaError):
    """A value or an encoding that the schema does not allow.

    ``offset`` counts bytes from the start of the encoding; it is None where there is no encoding.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason if offset is None else f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Node:
    """One element as understood: ``name`` of the field or alternative, "" at the top and in lists."""

    name: str
    kind: Kind
    value: Any
    offset: int
    children: tuple[Node, ...] = ()


def read(kind: Kind, der: bytes, name: str) -> Node:
    """What ``der``, all of it, says as a ``kind``; ``name`` is for error messages. Raises SchemaError."""
    return _read(kind, _whole(der), "", name)


@lru_cache(maxsize=2)
def _whole(der: bytes) -> Tlv:
    """The TLV that ``der`` is, down to its leaves; a message is read as one type after another. Raises SchemaError."""
    try:
        tlv = parse(der)
        _walk(tlv, 0)
    except TlvError as error:
        raise SchemaError(error.reason, error.offset) from None
    return tlv


def _walk(tlv: Tlv, depth: int) -> None:
    """Follow all constructed TLVs, so that whatever reads them later finds them whole."""
    if depth > _DEEPEST:
        raise TlvError(f"more than {_DEEPEST} TLVs inside each other", tlv.offset)
    if _constructed(tlv.tag):
        for child in tlv.children():
            _walk(child, depth + 1)


def _constructed(tag: int) -> bool:
    while tag > 0xFF:
        tag >>= 8
    return bool(tag & 0x20)


def _read(kind: Kind, tlv: Tlv, name: str, path: str) -> Node:
    if kind.accepts is not None and tlv.tag not in kind.accepts:
        raise SchemaError(f"{path}: expected {_expected(kind)}, found {tlv.tag:02X}", tlv.offset)
    offset = tlv.offset
    for tag in kind.tags if kind.base in ("CHOICE", "ANY") else kind.tags[:-1]:
        tlv = _inside(tag, tlv, path)
    if kind.base == "CHOICE":
        return _read_choice(kind, tlv, name, path, offset)
    if kind.base == "ANY":
        return Node(name, kind, tlv.raw, offset)
    if tlv.tag != kind.tags[-1]:
        raise SchemaError(f"{path}: expected {kind.tags[-1]:02X}, found {tlv.tag:02X}", tlv.offset)
    if kind.base == "SEQUENCE":
        return _read_sequence(kind, tlv, name, path, offset)
    if kind.base == "SEQUENCE OF":
        return _read_list(kind, tlv, name, path, offset)
    return Node(name, kind, _PRIMITIVES[kind.base](kind, tlv, path), offset)


def _inside(tag: int, tlv: Tlv, path: str) -> Tlv:
    """The one element an explicit tag wraps."""
    if tlv.tag != tag:
        raise SchemaError(f"{path}: expected {tag:02X}, found {tlv.tag:02X}", tlv.offset)
    children = tlv.children()
    if len(children) != 1:
        where = children[1].offset if children else tlv.contents
        raise SchemaError(f"{path}: {tag:02X} must hold one element, not {len(children)}", where)
    return children[0]


def _expected(kind: Kind) -> str:
    if kind.base == "CHOICE" and not kind.tags:
        return "one of " + ", ".join(f"{_expected(member.kind)} {member.name}" for member in kind.members)
    return " or ".join(f"{tag:02X}" for tag in sorted(kind.accepts or ()))


def _read_choice(kind: Kind, tlv: Tlv, name: str, path: str, offset: int) -> Node:
    for member in kind.members:
        if member.kind.accepts is None or tlv.tag in member.kind.accepts:
            chosen = _read(member.kind, tlv, member.name, f"{path}.{member.name}")
            return Node(name, kind, (member.name, chosen.value), offset, (chosen,))
    alternatives = ", ".join(f"{_expected(member.kind)} {member.name}" for member in kind.members)
    raise SchemaError(f"{path}: expected one of {alternatives}; found {tlv.tag:02X}", tlv.offset)


def _read_list(kind: Kind, tlv: Tlv, name: str, path: str, offset: int) -> Node:
    assert kind.element is not None
    nodes = tuple(_read(kind.element, child, "", f"{path}[{index}]") for index, child in enumerate(tlv.children()))
    _check_size(kind, len(nodes), "elements", tlv, path)
    return Node(name, kind, [node.value for node in nodes], offset, nodes)


def _read_sequence(kind: Kind, tlv: Tlv, name: str, path: str, offset: int) -> Node:
    nodes: list[Node] = []
    next_member = 0
    stranger: Tlv | None = None
    for child in tlv.children():
        index = _match(kind.members, next_member, child, path, stranger)
        if index is None:
            stranger = stranger or child
            continue
        member = kind.members[index]
        nodes.append(_read(member.kind, child, member.name, f"{path}.{member.name}"))
        next_member = index + 1
    end = tlv.offset + len(tlv.raw)
    for member in kind.members[next_member:]:
        if member.required:
            raise _missing(member, path, stranger, end)
    present = {node.name: node for node in nodes}
    for member in kind.members:
        if member.name not in present and member.default is not None:
            present[member.name] = Node(member.name, member.kind, member.default, end)
    ordered = tuple(present[member.name] for member in kind.members if member.name in present)
    return Node(name, kind, {node.name: node.value for node in ordered}, offset, ordered)


def _match(members: tuple[Member, ...], start: int, child: Tlv, path: str, stranger: Tlv | None) -> int | None:
    """Index of the member that ``child`` is, None for one the type does not know."""
    for index in range(start, len(members)):
        accepts = members[index].kind.accepts
        if accepts is None or child.tag in accepts:
            return index
        if members[index].required:
            if any(child.tag in (member.kind.accepts or ()) for member in members[index + 1 :]):
                raise _missing(members[index], path, stranger or child, child.offset)
            break
    if any(child.tag in (member.kind.accepts or ()) for member in members[:start]):
        raise SchemaError(f"{path}: {child.tag:02X} comes twice or too late", child.offset)
    return None


def _missing(member: Member, path: str, stranger: Tlv | None, end: int) -> SchemaError:
    wanted = f"{path}: {member.name} ({_expected(member.kind) or 'any element'}) is missing"
    if stranger is None:
        return SchemaError(wanted, end)
    return SchemaError(f"{wanted}, {stranger.tag:02X} stands in its place", stranger.offset)


def _check_size(kind: Kind, size: int, unit: str, tlv: Tlv, path: str) -> None:
    if reason := size_error(kind, size, unit):
        raise SchemaError(f"{path}: {reason}", tlv.contents)


def size_error(kind: Kind, size: int, unit: str) -> str | None:
    """Why ``size`` is not one that ``kind`` allows, None when it is."""
    if kind.size is None:
        return None
    low, high = kind.size
    if low <= size and (high is None or size <= high):
        return None
    wanted = f"{low}" if low == high else f"at least {low}" if high is None else f"{low} to {high}"
    return f"{size} {unit} where {wanted} are allowed"


def limits_error(kind: Kind, number: int) -> str | None:
    """Why ``number`` is not one that ``kind`` allows, None when it is."""
    if kind.limits is None:
        return None
    low, high = kind.limits
    if low <= number and (high is None or number <= high):
        return None
    return f"{number} is not within {low} to {'…' if high is None else high}"


def _integer(kind: Kind, tlv: Tlv, path: str) -> int:
    if not tlv.value:
        raise SchemaError(f"{path}: INTEGER without contents", tlv.contents)
    number = int.from_bytes(tlv.value, "big", signed=True)
    if reason := limits_error(kind, number):
        raise SchemaError(f"{path}: {reason}", tlv.contents)
    return number


def _boolean(kind: Kind, tlv: Tlv, path: str) -> bool:
    if len(tlv.value) != 1:
        raise SchemaError(f"{path}: BOOLEAN of {len(tlv.value)} octets", tlv.contents)
    return tlv.value != b"\0"


def _null(kind: Kind, tlv: Tlv, path: str) -> None:
    if tlv.value:
        raise SchemaError(f"{path}: NULL with contents", tlv.contents)


def _octets(kind: Kind, tlv: Tlv, path: str) -> bytes:
    _check_size(kind, len(tlv.value), "octets", tlv, path)
    return tlv.value


def _bits(kind: Kind, tlv: Tlv, path: str) -> tuple[bytes, int]:
    """The octets and how many bits of them count; any number of trailing zero bits is taken as it comes."""
    if not tlv.value:
        raise SchemaError(f"{path}: BIT STRING without contents", tlv.contents)
    unused, octets = tlv.value[0], tlv.value[1:]
    if unused > 7 or unused > 8 * len(octets):
        raise SchemaError(f"{path}: BIT STRING of {len(octets)} octets with {unused} unused bits", tlv.contents)
    return octets, 8 * len(octets) - unused


def _text(kind: Kind, tlv: Tlv, path: str) -> str:
    try:
        text = tlv.value.decode()
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path}: not UTF-8", tlv.contents + error.start) from None
    _check_size(kind, len(text), "characters", tlv, path)
    return text


def _oid(kind: Kind, tlv: Tlv, path: str) -> str:
    """Dotted form (X.690 8.19). The first subidentifier holds two arcs, the second of which may exceed 39."""
    if not tlv.value or tlv.value[-1] & 0x80:
        raise SchemaError(f"{path}: OBJECT IDENTIFIER without an end", tlv.contents)
    numbers, number = [], 0
    for octet in tlv.value:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


_PRIMITIVES: dict[str, Callable[[Kind, Tlv, str], Any]] = {
    "INTEGER": _integer,
    "BOOLEAN": _boolean,
    "NULL": _null,
    "OCTET STRING": _octets,
    "BIT STRING": _bits,
    "UTF8String": _text,
    "OBJECT IDENTIFIER": _oid,
}
