"""Quirks of cards. What they change: ``microipa.euicc.behaviour``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microipa.quirks.registry import NUMBER, Quirk


def _card(name: str, changes: Mapping[str, object], says: str, source: str, **more: Any) -> Quirk:
    return Quirk(name, "card", changes, says, source, **more)


QUIRKS = (
    _card("no-le", {"needs_le": True},
          "STORE DATA without Le returns 9000 and no data; with Le, or after GET RESPONSE, the card sends the data.",
          "lpac #118, #159"),
    _card("late-isdr", {"late_isdr": NUMBER}, "After each reset the first SELECTs of the ISD-R fail.",
          "openpilot PR 37771", number=10, unit="SELECTs"),
    _card("busy-channels", {"busy_channels": NUMBER}, "After each reset the first MANAGE CHANNELs return 6A81.",
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
          "For an empty list of results or notifications the card returns noResultAvailable.",
          "SGP.22 v2 cards: field.md 2"),
    _card("enable-by-aid-only", {"enables_by": frozenset((0x4F,))},
          "EnableProfile of a consumer card refuses the ICCID and accepts the AID of the ISD-P.", "SimAdmin #31"),
    _card("enable-refresh-0-only", {"enables_with": frozenset((0,))},
          "EnableProfile of a consumer card refuses refreshFlag 1.", "lpac #13"),
    _card("lost-response", {"lost_response_at": NUMBER},
          "One GET RESPONSE returns 6F00, although the command was executed.",
          "seek-for-android #77", number=8, unit="GET RESPONSEs"),
    _card("card-dies", {"dies_at": NUMBER}, "Once, the card stops answering in STORE DATA until it is reset.",
          "nrf-softsim #95, kura #2820", number=30, unit="STORE DATA commands"),
    _card("refused-block", {"refuses_block_at": NUMBER}, "One block of STORE DATA returns 6985, once.",
          "EC20, EG25: lpac #173", number=30, unit="STORE DATA commands"),
)
