"""Power saving as the network grants it: PSM (TS 27.007 7.38) and eDRX (7.40, 7.41)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from microipa.modem.virtual import VirtualModem

_NB_IOT = "5"  # <AcT-type> of TS 27.007 7.40: E-UTRAN (NB-S1 mode)
_WINDOW = "0011"


def granted_timers(modem: VirtualModem) -> tuple[str, str] | None:
    """T3412 extended and T3324, eight binary digits each, or None where PSM was not asked for or not granted."""
    asked = [field.strip('"') for field in modem.settings.get("+CPSMS", "0").split(",")]
    if asked[0] != "1" or len(asked) != 5 or not modem.behaviour.power_saving:
        return None
    return modem.behaviour.granted_psm or (asked[3], asked[4])


def granted_cycle(modem: VirtualModem) -> str | None:
    """The eDRX cycle in force as +CEDRXRDP tells it, or None where it was not asked for or not granted."""
    asked = [field.strip('"') for field in modem.settings.get("+CEDRXS", "0").split(",")]
    attached = modem.registration.attachment is not None
    if not attached or not modem.behaviour.power_saving or len(asked) < 3 or asked[1] != _NB_IOT:
        return None
    return f'{_NB_IOT},"{asked[2]}","{asked[2]}","{_WINDOW}"'
