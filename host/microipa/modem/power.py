"""Power saving as the network grants it: PSM (TS 27.007 7.38) and eDRX (7.40, 7.41)."""

from __future__ import annotations

from microipa.modem.dialect import Modem
from microipa.radio.rrc import Granted

_NB_IOT = "5"  # <AcT-type> of TS 27.007 7.40: E-UTRAN (NB-S1 mode)
_WINDOW = "0011"

# Seconds a step, by the three high bits: GPRS timers 3 and 2 of TS 24.008 10.5.7.4a and 10.5.7.4; 111 is deactivated.
_T3412_STEPS = (600, 3600, 36000, 2, 30, 60, 1152000)
_T3324_STEPS = (2, 60, 360, 60, 60, 60, 60)
# Seconds by the four bits, TS 24.008 10.5.5.32
_CYCLES = (5.12, 10.24, 20.48, 40.96, 61.44, 81.92, 102.4, 122.88, 143.36, 163.84, 327.68, 655.36, 1310.72, 2621.44,
           5242.88, 10485.76)


def granted(modem: Modem) -> Granted:
    """Seconds that are in force."""
    values: dict[str, float] = {}
    if timers := granted_timers(modem):
        update_s, active_s = _seconds(timers[0], _T3412_STEPS), _seconds(timers[1], _T3324_STEPS)
        if update_s is not None and active_s is not None:
            values = {"update_s": update_s, "active_s": active_s}
    if cycle := granted_cycle(modem):
        values["cycle_s"] = _CYCLES[int(cycle.split('"')[3], 2)]
    return Granted(**values)


def _seconds(digits: str, steps: tuple[int, ...]) -> float | None:
    octet = int(digits, 2)
    return None if octet >> 5 == 7 else (octet & 31) * steps[octet >> 5]


def granted_timers(modem: Modem) -> tuple[str, str] | None:
    """T3412 extended and T3324, eight binary digits each, or None where PSM was not asked for or not granted."""
    asked = [field.strip('"') for field in modem.settings.get("+CPSMS", "0").split(",")]
    if asked[0] != "1" or len(asked) != 5 or not modem.behaviour.power_saving:
        return None
    return modem.behaviour.granted_psm or (asked[3], asked[4])


def granted_cycle(modem: Modem) -> str | None:
    """The eDRX cycle in force as +CEDRXRDP tells it, or None where it was not asked for or not granted."""
    asked = [field.strip('"') for field in modem.settings.get("+CEDRXS", "0").split(",")]
    attached = modem.registration.attachment is not None
    if not attached or not modem.behaviour.power_saving or len(asked) < 3 or asked[1] != _NB_IOT:
        return None
    return f'{_NB_IOT},"{asked[2]}","{asked[2]}","{_WINDOW}"'
