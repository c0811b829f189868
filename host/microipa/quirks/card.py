"""Quirks of cards. What they change: ``microipa.euicc.behaviour``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microipa.quirks.registry import NUMBER, Quirk


def _card(name: str, changes: Mapping[str, object], says: str, source: str, **more: Any) -> Quirk:
    return Quirk(name, "card", changes, says, source, **more)


QUIRKS = (
    _card("no-le", {"needs_le": True},
          "STORE DATA without Le answers 9000 and nothing; with Le, or to GET RESPONSE, the answer comes.",
          "lpac #118, #159"),
    _card("late-isdr", {"late_isdr": NUMBER}, "After each reset SELECT of the ISD-R fails the first times.",
          "openpilot PR 37771", number=10, unit="SELECTs"),
    _card("busy-channels", {"busy_channels": NUMBER}, "After each reset MANAGE CHANNEL answers 6A81 the first times.",
          "EG25: lpac #164", number=2, unit="channels"),
    _card("package-6a80", {"package_status": 0x6A80, "packages_refused": NUMBER},
          "The first eUICC packages end in status word 6A80.", "field.md 2", number=1, unit="packages"),
    _card("package-6a84", {"package_status": 0x6A84, "packages_refused": NUMBER},
          "The first eUICC packages end in status word 6A84.", "field.md 2", number=1, unit="packages"),
    _card("package-6985", {"package_status": 0x6985, "packages_refused": NUMBER},
          "The first eUICC packages end in status word 6985.", "field.md 2", number=1, unit="packages"),
    _card("no-result-list", {"lists_refused": NUMBER},
          "The first searches for eUICC package results end in code 127.", "field.md 2", number=1000, unit="searches"),
    _card("no-result-list-6a80", {"lists_refused": NUMBER, "list_status": 0x6A80},
          "The first searches for eUICC package results end in 6A80.", "field.md 2", number=1000, unit="searches"),
    _card("no-result-available", {"says_empty": True},
          "An empty list of results or notifications is noResultAvailable.", "SGP.22 v2 cards: field.md 2"),
    _card("enable-by-aid-only", {"enables_by": frozenset((0x4F,))},
          "EnableProfile of a consumer card refuses the ICCID and takes the AID of the ISD-P.", "SimAdmin #31"),
    _card("enable-refresh-0-only", {"enables_with": frozenset((0,))},
          "EnableProfile of a consumer card refuses refreshFlag 1.", "lpac #13"),
    _card("lost-response", {"lost_response_at": NUMBER},
          "One GET RESPONSE answers 6F00, though the command was carried out.",
          "seek-for-android #77", number=8, unit="GET RESPONSEs"),
    _card("card-dies", {"dies_at": NUMBER}, "The card falls silent in STORE DATA until it is reset, once.",
          "nrf-softsim #95, kura #2820", number=30, unit="STORE DATA commands"),
    _card("refused-block", {"refuses_block_at": NUMBER}, "One block of STORE DATA answers 6985, once.",
          "EC20, EG25: lpac #173", number=30, unit="STORE DATA commands"),
)
