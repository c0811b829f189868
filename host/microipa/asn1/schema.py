"""The lab's ASN.1 modules, compiled by asn1tools when first used."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import asn1tools

from microipa.asn1.tlv import TlvError, parse
from microipa.errors import MicroipaError

_FOLDER = Path(__file__).parent


class SchemaError(MicroipaError):
    """A value or an encoding that the schema does not allow.

    ``offset`` counts bytes from the start of the encoding, None when there is no encoding (encode) or no
    single place to point at.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason if offset is None else f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset


class Schema:
    """The types of some ASN.1 modules. Where two define a name, the last module's meaning holds.

    Values are in asn1tools notation: dict for SEQUENCE, (name, value) for CHOICE, (bytes, bits) for BIT
    STRING, int for INTEGER, dotted str for OBJECT IDENTIFIER, bytes of a whole TLV for ANY.
    """

    def __init__(self, *files: str) -> None:
        self._paths = [_FOLDER / name for name in files]

    @cached_property
    def _compiled(self) -> dict[str, Any]:
        specification = asn1tools.compile_files([str(path) for path in self._paths], "der")
        return {name: kind for types in specification.modules.values() for name, kind in types.items()}

    @property
    def types(self) -> tuple[str, ...]:
        """Names of all types."""
        return tuple(self._compiled)

    def encode(self, type_name: str, value: Any) -> bytes:
        """The DER of ``value``. Raises SchemaError."""
        kind = self._type(type_name)
        try:
            kind.type_checker.encode(value)
            kind.constraints_checker.encode(value)
            return bytes(kind.encode(value))
        except (asn1tools.EncodeError, asn1tools.ConstraintsError) as error:
            raise SchemaError(f"{type_name}: {error}") from error

    def decode(self, type_name: str, der: bytes) -> Any:
        """The value that ``der``, all of it, encodes. Raises SchemaError."""
        kind = self._type(type_name)
        try:
            parse(der)
            return kind.decode(der)
        except TlvError as error:
            raise SchemaError(error.reason, error.offset) from error
        except asn1tools.DecodeError as error:
            raise SchemaError(str(error), getattr(error, "offset", None)) from error

    def _type(self, name: str) -> Any:
        try:
            return self._compiled[name]
        except KeyError:
            raise SchemaError(f"no type {name!r}; microipa.asn1.schema lists them in .types") from None


rsp = Schema("rsp.asn")
sgp32 = Schema("rsp.asn", "sgp32.asn")
saip = Schema("saip.asn")
