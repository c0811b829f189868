"""The lab's ASN.1 modules, compiled when first used.

asn1tools parses them; ``reader`` decodes and ``writer`` encodes along what it found.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from microipa.asn1.kinds import Kind, Kinds
from microipa.asn1.parsed import parsed
from microipa.asn1.reader import Node, SchemaError, read
from microipa.asn1.writer import write

_FOLDER = Path(__file__).parent


class Schema:
    """The types of some ASN.1 modules. Where two define a name, the last module's meaning holds.

    Values are in asn1tools notation: dict for SEQUENCE, list for SEQUENCE OF, (name, value) for CHOICE,
    (bytes, number of bits) for BIT STRING, int for INTEGER, dotted str for OBJECT IDENTIFIER, None for NULL,
    bytes of a whole TLV for ANY. A component with a DEFAULT is always there after decoding.

    A certificate is ``Certificate``, its DER in one piece, wherever it has its own header, and
    ``CertificateFields`` where an implicit tag (A5, A6, A1 …) has replaced that header. Encoding or decoding
    the type ``CertificateFields`` itself converts from and to DER.
    """

    def __init__(self, title: str, *files: str) -> None:
        self.title = title
        self._files = tuple(_FOLDER / file for file in files)

    @cached_property
    def kinds(self) -> Kinds:
        """All of them, by name."""
        return Kinds(parsed(self._files))

    @property
    def types(self) -> tuple[str, ...]:
        """Names of all types."""
        return tuple(self.kinds)

    def is_own(self, type_name: str) -> bool:
        """Whether the last module defines this type, be it anew."""
        return type_name in self.kinds and self.kinds.home(type_name) == self.kinds.last

    def kind(self, type_name: str) -> Kind:
        """The type of that name. Raises SchemaError without one."""
        if type_name not in self.kinds:
            raise SchemaError(f"{self.title} has no type {type_name!r}")
        return self.kinds[type_name]

    def encode(self, type_name: str, value: Any) -> bytes:
        """The DER of ``value``. Raises SchemaError, without an offset."""
        return write(self.kind(type_name), value, type_name)

    def decode(self, type_name: str, der: bytes) -> Any:
        """The value that ``der``, all of it, encodes. Raises SchemaError with an offset."""
        return self.read(type_name, der).value

    def read(self, type_name: str, der: bytes) -> Node:
        """As decode, but with the type, name and offset of every element. Raises SchemaError."""
        return read(self.kind(type_name), der, type_name)


rsp = Schema("SGP.22", "rsp.asn")
sgp32 = Schema("SGP.32", "rsp.asn", "sgp32.asn")
saip = Schema("SAIP", "saip.asn")
