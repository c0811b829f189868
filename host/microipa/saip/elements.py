"""One profile element: decoding it, and what PE-AKAParameter says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from microipa.asn1 import SchemaError, saip
from microipa.asn1.tlv import Tlv
from microipa.saip.values import SaipError

ALGORITHMS = {1: "milenage", 2: "tuak", 3: "usim-test-algorithm"}
ROTATIONS = bytes.fromhex("4000204060")  # r1…r5 of TS 35.206
CONSTANTS = b"".join(value.to_bytes(16, "big") for value in (0, 1, 2, 4, 8))  # c1…c5
WINDOW = bytes.fromhex("000010000000")  # default of sqnDelta and sqnAgeLimit


class NotSupported(SaipError):
    """A profile that may be right but that the lab cannot compute."""


@dataclass(frozen=True)
class Element:
    """One profile element: name as in the standard, value in asn1tools notation, bytes, byte offset."""

    name: str
    value: dict[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)
    offset: int

    @classmethod
    def decode(cls, tlv: Tlv) -> Element:
        """Raises SaipError when the schema has no such element or it is not as the schema says."""
        try:
            name, value = saip.decode("ProfileElement", tlv.raw)
            saip.encode("ProfileElement", (name, value))  # sizes and ranges are looked at on this way only
        except SchemaError as error:
            place = tlv.offset + (error.offset or 0)
            raise SaipError(f"profile element {tlv.tag:02X}", place, error.reason) from error
        return cls(name, value, tlv.raw, tlv.offset)

    def encode(self) -> bytes:
        """DER of the value."""
        return saip.encode("ProfileElement", (self.name, self.value))

    @property
    def header(self) -> dict[str, Any]:
        """The PEHeader; empty in the package's header element, which has none."""
        return next((item for key, item in self.value.items() if key.lower().endswith("-header")), {})


@dataclass(frozen=True)
class Aka:
    """PE-AKAParameter: ``algorithm`` is milenage, tuak or usim-test-algorithm (the XOR of TS 34.108).

    ``sqn_init``: 32 sequence numbers without their index, 43 bits each; ``sqn_delta``, ``sqn_age_limit`` the
    windows of TS 33.102 annex C, ``sqn_options`` as coded.
    """

    algorithm: str
    k: bytes = field(repr=False)
    opc: bytes = field(repr=False)
    sqn_options: int
    sqn_delta: int
    sqn_age_limit: int
    sqn_init: tuple[int, ...] = field(repr=False)

    @classmethod
    def of(cls, element: Element) -> Aka:
        """From a PE-AKAParameter with keys. Raises SaipError, NotSupported for what the lab cannot compute."""
        value = element.value["algoConfiguration"][1]
        algorithm = ALGORITHMS.get(value["algorithmID"])
        if algorithm is None:
            raise NotSupported(element.name, element.offset, f"algorithm {value['algorithmID']} is unknown")
        if algorithm == "milenage":
            if value.get("rotationConstants", ROTATIONS) != ROTATIONS:
                raise NotSupported(element.name, element.offset, "rotation constants other than those of TS 35.206")
            if value.get("xoringConstants", CONSTANTS) != CONSTANTS:
                raise NotSupported(element.name, element.offset, "XOR constants other than those of TS 35.206")
            if len(value["opc"]) != 16:
                raise _error(element, f"OPc of {len(value['opc'])} bytes, Milenage wants 16")
        if algorithm != "tuak" and len(value["key"]) != 16:
            raise _error(element, f"K of {len(value['key'])} bytes, {algorithm} wants 16")
        return cls(
            algorithm=algorithm,
            k=value["key"],
            opc=value["opc"],
            sqn_options=element.value.get("sqnOptions", b"\x02")[0],
            sqn_delta=int.from_bytes(element.value.get("sqnDelta", WINDOW), "big"),
            sqn_age_limit=int.from_bytes(element.value.get("sqnAgeLimit", WINDOW), "big"),
            sqn_init=tuple(int.from_bytes(n, "big") for n in element.value.get("sqnInit", [b"\0"] * 32)),
        )


def _error(element: Element, reason: str) -> SaipError:
    return SaipError(element.name, element.offset, reason)
