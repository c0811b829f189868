"""The types of a parsed ASN.1 module with references followed, tags gathered and names kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from microipa.asn1.tlv import tag_bytes

_CLASSES = {"UNIVERSAL": 0x00, "APPLICATION": 0x40, "CONTEXT": 0x80, "PRIVATE": 0xC0}
_CONSTRUCTED = 0x20
_UNIVERSAL = {
    "BOOLEAN": 0x01,
    "INTEGER": 0x02,
    "BIT STRING": 0x03,
    "OCTET STRING": 0x04,
    "NULL": 0x05,
    "OBJECT IDENTIFIER": 0x06,
    "UTF8String": 0x0C,
    "SEQUENCE": 0x30,
    "SEQUENCE OF": 0x30,
}
# Types the modules take as ANY although their tag is known.
_TAG_OF_ANY = {"Certificate": 0x30}


@dataclass(frozen=True)
class Kind:
    """One type.

    ``tags`` are those on the wire, outermost first: none for an untagged CHOICE and for ANY, several when a
    tag is EXPLICIT. ``accepts`` holds the outermost tags an element of the type can have, None for any.
    ``names`` maps numbers of an INTEGER or bits of a BIT STRING to their names. ``size`` counts octets,
    characters or elements, ``limits`` are those of an INTEGER; None stands for no upper bound.
    """

    base: str
    type_name: str
    tags: tuple[int, ...]
    accepts: frozenset[int] | None
    names: Mapping[int, str] = field(default_factory=dict)
    size: tuple[int, int | None] | None = None
    limits: tuple[int, int | None] | None = None
    members: tuple[Member, ...] = ()
    element: Kind | None = None


@dataclass(frozen=True)
class Member:
    """A component of a SEQUENCE or an alternative of a CHOICE."""

    name: str
    kind: Kind
    optional: bool
    default: Any

    @property
    def required(self) -> bool:
        return not self.optional and self.default is None


class Kinds:
    """All types of parsed modules, by name. A name in several modules has the meaning of the last."""

    def __init__(self, modules: Mapping[str, Any]) -> None:
        self._modules = modules
        self._known: dict[tuple[str, str], Kind] = {}
        self._home = {name: module for module, text in modules.items() for name in text["types"]}
        self.last = next(reversed(list(modules)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __contains__(self, name: object) -> bool:
        return name in self._home

    def __getitem__(self, name: str) -> Kind:
        return self._named(name, self._home[name])

    def home(self, name: str) -> str:
        """The module whose meaning ``name`` has."""
        return self._home[name]

    def _named(self, name: str, module: str) -> Kind:
        text = self._modules[module]
        if name not in text["types"]:
            module = next(source for source, names in text["imports"].items() if name in names)
            text = self._modules[module]
        key = (module, name)
        if key not in self._known:
            self._known[key] = self._kind(text["types"][name], module, name)
        return self._known[key]

    def _kind(self, text: Mapping[str, Any], module: str, name: str) -> Kind:
        base = text["type"]
        if base == "ANY" or base == "CHOICE" or base in _UNIVERSAL:
            kind = self._builtin(text, module, name)
        else:
            kind = replace(self._named(base, module), type_name=name or base)
        if "tag" in text:
            tags = _tagged(text["tag"], kind)
            kind = replace(kind, tags=tags, accepts=frozenset(tags[:1]))
        if "size" in text:
            kind = replace(kind, size=_range(text["size"]))
        return kind

    def _builtin(self, text: Mapping[str, Any], module: str, name: str) -> Kind:
        base = text["type"]
        members = tuple(
            Member(part["name"], self._kind(part, module, ""), part.get("optional", False), part.get("default"))
            for part in text.get("members", ())
            if part is not None  # the extension marker
        )
        tags = (_UNIVERSAL[base],) if base in _UNIVERSAL else ()
        accepts: frozenset[int] | None = frozenset(tags)
        if base == "CHOICE":
            accepts = frozenset(tag for member in members for tag in member.kind.accepts or ())
        elif base == "ANY":
            accepts = frozenset({_TAG_OF_ANY[name]}) if name in _TAG_OF_ANY else None
        return Kind(
            base,
            name,
            tags,
            accepts,
            _names(text),
            limits=_range(text["restricted-to"]) if "restricted-to" in text else None,
            members=members,
            element=self._kind(text["element"], module, "") if "element" in text else None,
        )


def _tagged(tag: Mapping[str, Any], kind: Kind) -> tuple[int, ...]:
    identifier = _CLASSES[tag.get("class", "CONTEXT")]
    if tag["kind"] == "EXPLICIT":
        return (_identifier(identifier | _CONSTRUCTED, tag["number"]), *kind.tags)
    constructed = tag_bytes(kind.tags[0])[0] & _CONSTRUCTED
    return (_identifier(identifier | constructed, tag["number"]), *kind.tags[1:])


def _identifier(leading: int, number: int) -> int:
    """The identifier octets (X.690 8.1.2) as one number, as tlv.Tlv has it."""
    if number < 0x1F:
        return leading | number
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.insert(0, 0x80 | number & 0x7F)
    return int.from_bytes(bytes([leading | 0x1F, *octets]), "big")


def _names(text: Mapping[str, Any]) -> dict[int, str]:
    if "named-bits" in text:
        return {int(bit): name for name, bit in text["named-bits"]}
    return {number: name for name, number in text.get("named-numbers", {}).items()}


def _range(text: list[Any]) -> tuple[int, int | None]:
    low, high = text[0] if isinstance(text[0], tuple) else (text[0], text[0])
    return int(low), None if high == "MAX" else int(high)
