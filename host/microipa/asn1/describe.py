"""Messages for people: which type is it, what does it say, and in one line, what matters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Never, Protocol

from microipa.asn1.facts import facts
from microipa.asn1.kinds import Kind
from microipa.asn1.reader import Node, SchemaError
from microipa.asn1.schema import rsp, saip, sgp32
from microipa.asn1.secrets import veiled
from microipa.asn1.tlv import TlvError, parse, parse_all
from microipa.asn1.words import certificate_words, is_certificate, plain, say

PROFILE_PACKAGE = "ProfilePackage"
_SEQUENCE = 0x30
_HEADER_ELEMENT = 0xA0


class _Codec(Protocol):
    title: str

    def encode(self, type_name: str, value: Any) -> bytes: ...
    def read(self, type_name: str, der: bytes) -> Node: ...


class _ProfilePackages:
    """A profile package: ProfileElements one after the other, without a TLV around them."""

    title = "SAIP"

    def encode(self, type_name: str, value: Any) -> bytes:
        return b"".join(saip.encode("ProfileElement", element) for element in value)

    def read(self, type_name: str, der: bytes) -> Node:
        element = saip.kind("ProfileElement")
        nodes = []
        try:
            for tlv in parse_all(der):
                start = tlv.offset
                nodes.append(saip.read("ProfileElement", tlv.raw))
        except TlvError as error:
            raise SchemaError(error.reason, error.offset) from None
        except SchemaError as error:
            raise SchemaError(error.reason, start + (error.offset or 0)) from None
        kind = Kind("SEQUENCE OF", PROFILE_PACKAGE, (), None, element=element)
        return Node("", kind, [node.value for node in nodes], 0, tuple(nodes))


_packages = _ProfilePackages()


@dataclass(frozen=True)
class Description:
    """A message that was understood: as what, and what it says.

    ``also`` names other types that the same bytes fit.
    """

    type_name: str
    value: Any
    schema: _Codec
    node: Node
    also: tuple[str, ...] = ()

    def text(self) -> str:
        """Indented lines: field names of the standard, codes in words, identities in digits, no secrets."""
        lines = [f"{self.type_name} ({self.schema.title})"]
        if self.also:
            lines[0] += f", or {' or '.join(self.also[:3])}"
        node = veiled(self.node)
        inner = node.children or (node,)
        return "\n".join(lines + [f"  {line}" for child in inner for line in _lines(child)])

    def json(self) -> dict[str, Any]:
        """``type``, ``standard``, ``value``: objects for SEQUENCE and CHOICE, hex for binary, no secrets."""
        return {"type": self.type_name, "standard": self.schema.title, "value": _json(veiled(self.node))}

    def reencode(self) -> bytes:
        """The DER of what was understood; elements of later versions are not in it."""
        return self.schema.encode(self.type_name, self.value)

    def summary(self) -> str:
        """One line: the type and the facts that matter."""
        matters = ", ".join(facts(self.node))
        return f"{self.type_name}: {matters}" if matters else self.type_name


def identify(der: bytes) -> list[str]:
    """Names of the types that begin with the outermost tag of ``der``, likeliest first."""
    return list(dict.fromkeys(name for _, name in _candidates(der)))


def describe(der: bytes, type_name: str | None = None) -> Description:
    """Understand a message, by its tag unless ``type_name`` is given.

    Of several types with the tag the one is taken that understands most of the message and finds least odd
    in it, SGP.32 before SGP.22. Raises SchemaError with offset and reason, from the type that came furthest.
    """
    candidates = _candidates(der) if type_name is None else _called(type_name)
    understood: list[tuple[tuple[bool, int, int], Description]] = []
    failures: list[SchemaError] = []
    for codec, name in candidates:
        try:
            node = codec.read(name, der)
            if is_certificate(node) and certificate_words(node) is None:
                raise SchemaError(f"{name}: not an X.509 certificate", 0)
        except SchemaError as error:
            failures.append(error)
            continue
        again = codec.encode(name, node.value)
        if type_name is None and 2 * len(again) < len(der):
            failures.append(SchemaError(f"{name}: most of it is unknown", 0))
            continue
        rank = (again == der, len(again), -_oddities(node))
        understood.append((rank, Description(name, node.value, codec, node)))
    if not understood:
        raise max(failures, key=lambda error: error.offset or 0)
    best, chosen = max(understood, key=lambda item: item[0])
    fitting = (other for rank, other in understood if rank == best and best[0] and other.node.kind.tags)
    also = dict.fromkeys(other.type_name for other in fitting if other.type_name != chosen.type_name)
    return replace(chosen, also=tuple(also))


def _candidates(der: bytes) -> list[tuple[_Codec, str]]:
    if not der:
        raise SchemaError("nothing to decode", 0)
    try:
        tag = parse(der).tag
    except TlvError as error:
        if der[0] == _HEADER_ELEMENT:
            return [(_packages, PROFILE_PACKAGE)]
        raise SchemaError(error.reason, error.offset) from None
    if tag not in _by_tag():
        raise SchemaError(f"no type begins with {tag:02X}", 0)
    return _by_tag()[tag]


@cache
def _by_tag() -> dict[int, list[tuple[_Codec, str]]]:
    """The types an outermost tag can mean, likeliest first: tagged ones of SGP.32 and SGP.22, then the rest.

    A tag that only says which universal type of ASN.1 a value has tells nothing, but for SEQUENCE.
    """
    own = [(sgp32, name) for name in sgp32.types if sgp32.is_own(name)]
    older = [(rsp, name) for name in rsp.types]
    ranked = [*own, *older, (saip, "ProfileElement"), (saip, "EUICCResponse")]
    kinds = [(schema, name, schema.kind(name)) for schema, name in ranked]
    tagged = [entry for entry in kinds if entry[2].tags]
    untagged = [entry for entry in kinds if not entry[2].tags]
    found: dict[int, list[tuple[_Codec, str]]] = {}
    for schema, name, kind in [*tagged, *untagged]:
        for tag in kind.accepts or ():
            if tag >= _SEQUENCE and name != "CertificateFields":
                found.setdefault(tag, []).append((schema, name))
    return found


def _called(type_name: str) -> list[tuple[_Codec, str]]:
    if type_name == PROFILE_PACKAGE:
        return [(_packages, type_name)]
    own = [sgp32] if type_name in sgp32.types and sgp32.is_own(type_name) else []
    found: list[tuple[_Codec, str]] = [(schema, type_name) for schema in (*own, rsp, saip) if type_name in schema.types]
    return found or _unknown(type_name)


def _unknown(type_name: str) -> Never:
    names = [PROFILE_PACKAGE, *sgp32.types, *saip.types]
    close = " or ".join(get_close_matches(type_name, names, n=3))
    hint = f"; did you mean {close}?" if close else ""
    raise SchemaError(f"no type {type_name!r} in SGP.32, SGP.22 or SAIP{hint}")


def _oddities(node: Node) -> int:
    """How much in a reading no sender means: numbers without a name, text that cannot be printed."""
    odd = 0
    if node.kind.base == "INTEGER":
        odd += not -(2**31) <= node.value < 2**31
        odd += bool(node.kind.names) and node.value not in node.kind.names
    elif node.kind.base == "UTF8String":
        odd += not node.value.isprintable()
    elif node.name == "refreshFlag":
        odd += not node.value  # 80 01 00 is far more often a result: ok
    return odd + sum(_oddities(child) for child in node.children)


def _is_leaf(node: Node) -> bool:
    return node.kind.base not in ("SEQUENCE", "SEQUENCE OF", "CHOICE") or is_certificate(node)


def _lines(node: Node, number: int | None = None) -> Iterator[str]:
    label = node.name or ("" if number is None else f"[{number}]")
    if node.kind.base == "NULL":
        yield label
    elif _is_leaf(node):
        yield f"{label}: {say(node)}"
    if inner := _inside(node):
        node = inner
    elif _is_leaf(node):
        return
    elif node.kind.base == "CHOICE" and not node.name:
        yield from _lines(node.children[0])
        return
    else:
        yield label
    for index, child in enumerate(node.children):
        yield from (f"  {line}" for line in _lines(child, index))


def _inside(node: Node) -> Node | None:
    """What a card says about a profile it installed or refused (EUICCResponse of SAIP)."""
    if node.name != "simaResponse":
        return None
    try:
        return saip.read("EUICCResponse", node.value)
    except SchemaError:
        return None


def _json(node: Node) -> Any:
    if _is_leaf(node):
        return plain(node)
    if node.kind.base == "SEQUENCE OF":
        return [_json(child) for child in node.children]
    return {child.name: _json(child) for child in node.children}
