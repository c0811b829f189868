"""Quirks of operators and of the internet behind them. What they change: ``microipa.radio.behaviour``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microipa.quirks.registry import NUMBER, Quirk


def _network(name: str, changes: Mapping[str, object], says: str, source: str, **more: Any) -> Quirk:
    return Quirk(name, "network", changes, says, source, **more)


QUIRKS = (
    _network("slow-first-search", {"first_search_s": NUMBER},
             "The search for the first cell takes long, and begins anew whenever the radio is switched off.",
             "zephyr #33923, DevZone 78351, walter-arduino #18", number=200, unit="seconds"),
    _network("first-dns-fails", {"dns_failures": NUMBER}, "After each attach the first questions for a name fail.",
             "NB-IoT: californium #1792", number=1, unit="questions"),
    _network("first-context-fails", {"context_failures": NUMBER},
             "After each attach the first activations of a data context are refused.", "NB-IoT: californium #1792",
             number=1, unit="activations"),
)
