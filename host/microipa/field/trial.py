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
    on the new profile; None where the quirk is about coverage or makes the modem begin again. ``families``: on which it
    is tried, empty for those of the part.
    """

    number: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    limit_s: float = 60.0
    attaches: int | None = 2
    families: tuple[str, ...] = ()


_PINNED = {"trust": "pin"}  # no certificate whose dates a device without a clock would have to judge

TRIALS: dict[str, Trial] = {
    # On a link that does not wait, what a true modem takes is 0: these take a hundredth.
    "slow-card": Trial(options={"radio": "short"}, number=1),
    "slow-refresh": Trial(options={"radio": "short"}, number=60),
    # These modems begin again, or are off the network for a time
    "restarts": Trial(attaches=None),
    "mute": Trial(attaches=None, limit_s=120),
    "no-sim-at-boot": Trial(attaches=None, limit_s=120),
    "falls-off-network": Trial(0.3, attaches=None),
    "ignores-refresh": Trial(attaches=None),
    "coverage-gap": Trial(attaches=None),
    "uart-holes": Trial(limit_s=120),
    "lost-final": Trial(limit_s=120),
    "open-hangs": Trial(limit_s=300),
    "slow-first-search": Trial(8, {"attach_timeout_s": 3}),
    "slow-search": Trial(5, {"attach_timeout_s": 3}),
    "mtu": Trial(limit_s=120, families=ANY),
    "loss": Trial(limit_s=120, families=ANY),
    "duplicates": Trial(families=ANY),
    "disorder": Trial(families=ANY),
    "detour": Trial(1, limit_s=120, families=ANY),
    "many-networks": Trial(families=ANY),
    "apn-per-operator": Trial(settings={"apn": ""}),
    # No time, or a wrong one
    "cclk-error": Trial(options=_PINNED),
    "cclk-impossible": Trial(options=_PINNED),
    "no-network-time": Trial(options=_PINNED),
}


def trial(name: str) -> Trial:
    """The trial of a quirk."""
    return TRIALS.get(name, Trial())
