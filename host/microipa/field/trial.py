"""What a device is put through under each quirk, where that is not the common trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from microipa.quirks import QUIRKS

DRIVERS = ("bg95", "sim7080g", "sim7000", "gm02s", "sara-r5", "nrf91", "tx62")
"""One family for each driver of the firmware."""
ANY = ("bg95",)
"""Where the modem has no part in it."""
NONE = "none"
"""The name of the row without a quirk, to compare with."""
INDIRECT, DIRECT = "", "direct"
SETTINGS = {"stop_when_idle": True, "backoff_s": 1, "backoff_max_s": 4, "attach_timeout_s": 20}


@dataclass(frozen=True)
class Trial:
    """``number`` replaces the quirk's own, ``settings`` go over SETTINGS into ipa.json, ``options`` to the Lab.

    ``limit_s`` is how long the device has. ``attaches``: how many the network may count, the one after boot and the one
    on the new profile; None where the quirk is about coverage or makes the modem begin again. ``families``: on which it
    is tried, empty for those of the part. ``downloads``: direct, indirect or both. ``ends``: how the two orders are to
    end. ``asleep``: they come when the modem is in PSM, after a poll that had nothing to do.
    """

    number: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    limit_s: float = 60.0
    attaches: int | None = 2
    families: tuple[str, ...] = ()
    downloads: tuple[str, ...] = (INDIRECT,)
    ends: tuple[str, str] = ("done", "done")
    asleep: bool = False


_BOTH = Trial(downloads=(INDIRECT, DIRECT))
_REFUSED = Trial(3, ends=("done", "failed"))  # so often the eIM asks for what nobody has signed
_CONSUMER = Trial(settings={"emulation": True}, options={"card": {"kind": "consumer"}, "heap": "264K"})
_ASLEEP = Trial(settings={"psm_periodic_s": 86400, "psm_active_s": 30, "poll_interval_s": 5, "stop_when_idle": False},
                limit_s=120, asleep=True)
_PINNED = {"trust": "pin"}  # no certificate whose dates a device without a clock would have to judge

TRIALS: dict[str, Trial] = {
    # On a link that does not wait, what a true modem takes is 0: these take a hundredth.
    "slow-card": Trial(options={"radio": "short"}, number=1),
    "slow-refresh": Trial(options={"radio": "short"}, number=60),
    # These modems begin again, or are off the network for a time
    "restarts": Trial(attaches=None, limit_s=180),
    "mute": Trial(attaches=None, limit_s=180),
    "no-sim-at-boot": Trial(attaches=None, limit_s=600, families=("bg95", "gm02s", "sara-r5", "tx62")),
    "falls-off-network": Trial(attaches=None, limit_s=180),
    "ignores-refresh": Trial(attaches=None),
    "coverage-gap": Trial(attaches=None),
    "cts-high": Trial(attaches=None, limit_s=180),
    "uart-holes": Trial(limit_s=180),
    "lost-data-urcs": Trial(limit_s=240),
    "lost-final": Trial(limit_s=120),
    "open-hangs": Trial(limit_s=300, families=("bg95", "sim7080g")),
    "slow-first-search": Trial(8, {"attach_timeout_s": 3}),
    "slow-search": Trial(5, {"attach_timeout_s": 3}),
    "mtu": Trial(limit_s=180, families=ANY),
    "loss": Trial(limit_s=120, families=ANY),
    "duplicates": Trial(families=ANY),
    "disorder": Trial(families=ANY),
    "detour": Trial(1, limit_s=120, families=ANY),
    "many-networks": Trial(families=ANY),
    "apn-per-operator": Trial(settings={"apn": ""}),
    # Power saving
    "no-release-assistance": _ASLEEP,
    "card-off-in-psm": _ASLEEP,
    "release-assistance-ignored": _ASLEEP,
    "keeps-datagrams": _ASLEEP,
    # Cards
    "late-isdr": Trial(families=("bg95", "sara-r5")),
    "card-dies": Trial(attaches=None, limit_s=240),
    "refused-block": Trial(ends=("failed", "failed")),  # what a card has refused is no profile
    "package-6a84": _REFUSED,
    "package-6985": _REFUSED,
    "enable-by-aid-only": _CONSUMER,
    "enable-refresh-0-only": _CONSUMER,
    # SM-DP+
    "smdpp-503-initiate": _BOTH,
    "smdpp-503-authenticate": _BOTH,
    "smdpp-503-package": _BOTH,
    "smdpp-503-notification": _BOTH,
    "smdpp-429-package": _BOTH,
    "smdpp-429-notification": _BOTH,
    "smdpp-closes-authenticate": _BOTH,
    "smdpp-closes-package": _BOTH,
    "smdpp-slow": replace(_BOTH, limit_s=120),
    "smdpp-restart": _BOTH,
    "smdpp-nulls": _BOTH,
    "smdpp-byte-order-mark": _BOTH,
    "smdpp-critical-policy": Trial(downloads=(DIRECT,)),
    "smdpp-other-metadata": replace(_BOTH, ends=("failed", "failed")),
    # eIM
    "eim-slow": Trial(1, limit_s=120),
    "eim-code-blanks": _BOTH,
    "eim-silent": Trial(limit_s=180),
    "foreign-injects": Trial(settings={"inject_wait_s": 1}, limit_s=120),
    # No time, or a wrong one
    "cclk-error": Trial(options=_PINNED),
    "cclk-impossible": Trial(options=_PINNED),
    "no-network-time": Trial(options=_PINNED),
}


def trial(quirk: str) -> Trial:
    """The trial of a quirk, whose number may stand behind its name."""
    return TRIALS.get(quirk.partition(":")[0], Trial())


def families(quirk: str) -> tuple[str, ...]:
    """On which a quirk is tried: all drivers where modem or network have a part in it."""
    name = quirk.partition(":")[0]
    if name == NONE:
        return DRIVERS
    of_all = DRIVERS if QUIRKS[name].part in ("modem", "network") else ANY
    return tuple(family for family in trial(name).families or of_all if QUIRKS[name].suits(family))
