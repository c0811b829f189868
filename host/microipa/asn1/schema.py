"""The lab's ASN.1 modules, compiled when first used.

asn1tools compiles them and encodes. ``reader`` decodes, ``values`` checks what is to be encoded.
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any

from microipa.asn1.kinds import Kind, Kinds
from microipa.asn1.parsed import parsed
from microipa.asn1.reader import Node, SchemaError, read
from microipa.asn1.values import ready

_FOLDER = Path(__file__).parent


@cache
def _parsed(name: str) -> dict[str, Any]:
    return parsed(_FOLDER / name)


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
        self._files = files

    @cached_property
    def _compiled(self) -> tuple[Kinds, Any]:
        import asn1tools

        modules = {name: module for file in self._files for name, module in _parsed(file).items()}
        specification = asn1tools.compile_dict(modules, "der")  # also notes in ``modules`` how tags apply
        return Kinds(modules), specification

    @property
    def types(self) -> tuple[str, ...]:
        """Names of all types."""
        return tuple(self._compiled[0])

    def is_own(self, type_name: str) -> bool:
        """Whether the last module defines this type, be it anew."""
        kinds, _ = self._compiled
        return type_name in kinds and kinds.home(type_name) == kinds.last

    def kind(self, type_name: str) -> Kind:
        """The type of that name. Raises SchemaError without one."""
        kinds, _ = self._compiled
        if type_name not in kinds:
            raise SchemaError(f"{self.title} has no type {type_name!r}")
        return kinds[type_name]

    def encode(self, type_name: str, value: Any) -> bytes:
        """The DER of ``value``. Raises SchemaError, without an offset."""
        value = ready(self.kind(type_name), value, type_name)
        kinds, specification = self._compiled
        return bytes(specification.modules[kinds.home(type_name)][type_name].encode(value))

    def decode(self, type_name: str, der: bytes) -> Any:
        """The value that ``der``, all of it, encodes. Raises SchemaError with an offset."""
        return self.read(type_name, der).value

    def read(self, type_name: str, der: bytes) -> Node:
        """As decode, but with the type, name and offset of every element. Raises SchemaError."""
        return read(self.kind(type_name), der, type_name)


rsp = Schema("SGP.22", "rsp.asn")
sgp32 = Schema("SGP.32", "rsp.asn", "sgp32.asn")
saip = Schema("SAIP", "saip.asn")
