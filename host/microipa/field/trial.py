"""What a device is put through under each quirk, where that is not the common trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DRIVERS = ("bg95", "sim7080g", "sim7000", "gm02s", "sara-r5", "nrf91", "tx62")
"""One family for each driver of the firmware."""
ANY = ("bg95",)
"""Where the modem has no part in it."""
SETTINGS = {"stop_when_idle": True, "backoff_s": 1, "backoff_max_s": 4, "attach_timeout_s": 20}


@dataclass(frozen=True)
class Trial:
    """``number`` replaces the quirk's own, ``settings`` go over SETTINGS into ipa.json, ``options`` to the Lab.

    ``limit_s`` is how long the device has. ``attaches``: how many the network may count, the one after boot and the one
    on the new profile; None where the quirk is about coverage. ``families``: on which it is tried, empty for those of
    the part.
    """

    number: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    limit_s: float = 60.0
    attaches: int | None = 2
    families: tuple[str, ...] = ()


TRIALS: dict[str, Trial] = {
    "slow-first-search": Trial(8, {"attach_timeout_s": 3}),
}


def trial(name: str) -> Trial:
    """The trial of a quirk."""
    return TRIALS.get(name, Trial())
