"""The protocols between a device and its servers, as demo, lab and tests choose them (SGP.32 3.2.3, 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from microipa.board.micropython import DEFAULT_HEAP


@dataclass(frozen=True)
class Protocols:
    """The default: indirect download (through the eIM), CoAP, ASN.1, complete messages."""

    direct: bool = False
    https: bool = False
    json: bool = False
    compact: bool = False
    certified: bool = False
    """The eIM asks the board for a client certificate."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a board's ipa.json says of it."""
        return {
            "download": "direct" if self.direct else "indirect",
            "transport": "https" if self.https else "coap",
            "binding": "json" if self.json else "asn1",
            "compact": self.compact,
        }

    @property
    def heap(self) -> str:
        """Heap of the virtual board, which holds all code in it: the table in firmware/README.md."""
        if self.direct:
            return "240K"
        return "216K" if self.https or self.json or self.compact else DEFAULT_HEAP

    def __str__(self) -> str:
        path = "direct" if self.direct else "through the eIM"
        transport, binding = "HTTPS" if self.https else "CoAP", "JSON" if self.json else "ASN.1"
        certified = ", with a client certificate" if self.certified else ""
        return f"{path}, {transport} and {binding} to the eIM{', compact' if self.compact else ''}{certified}"
