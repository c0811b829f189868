"""What a device may do by itself: immediate enable, fallback, emergency profile (SGP.32 5.9.15 to 5.9.23).

Rollback stands with the packages it belongs to.
"""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, integer, tlv
from microipa.euicc import operations, profiles
from microipa.euicc.chip import Chip, Handler, flag, oid_value
from microipa.euicc.nvm import Profile
from microipa.euicc.profiles import CAT_BUSY, OK

IMMEDIATE_ENABLE_NOT_AVAILABLE, NO_SESSION_CONTEXT = 1, 4
EIM_ALREADY_ASSOCIATED, INSUFFICIENT_MEMORY, UNDEFINED = 2, 1, 127
NOT_IN_DISABLED_STATE = NOT_IN_ENABLED_STATE = 2
FALLBACK_NOT_AVAILABLE, COMMAND_ERROR = 6, 7
ECALL_NOT_AVAILABLE = 8
ECALL_ACTIVE = 104
NOT_SUPPORTED = 1
ACTIVATE_IPAE = 0x80


def _busy(chip: Chip, command: Tlv) -> bool:
    """Whether the REFRESH that ``command`` asks for would fall into another proactive session."""
    return chip.cat_busy and flag(command, 0x80)


def _switch(chip: Chip, command: Tlv, target: Profile | None, *, silent: bool = False) -> None:
    """Change the enabled profile outside a package; an earlier authorisation to roll back is gone."""
    events = profiles.switch(chip, target)
    if not silent:
        profiles.announce(chip, events)
    chip.state.rollback = None
    chip.change_profile(flag(command, 0x80))


def configure_immediate_enabling(chip: Chip, command: Tlv) -> bytes:
    """ES10b.ConfigureImmediateProfileEnabling: only while no eIM is there to say so."""
    if chip.state.eims:
        return tlv(0xBF59, integer(0x80, EIM_ALREADY_ASSOCIATED))
    code = operations.configure_immediate(chip, command)
    return tlv(0xBF59, integer(0x80, code if code in (OK, INSUFFICIENT_MEMORY) else UNDEFINED))


def immediate_enable(chip: Chip, command: Tlv) -> bytes:
    """ES10b.ImmediateEnable: the profile that was loaded in this session, if so configured."""
    return tlv(0xBF5A, integer(0x80, _immediate_enable(chip, command)))


def _immediate_enable(chip: Chip, command: Tlv) -> int:
    installed, configured = chip.installed, chip.state.immediate_enable
    profile = chip.state.profile(installed.iccid) if installed else None
    if installed is None or profile is None:
        return NO_SESSION_CONTEXT
    current = chip.state.enabled()
    if (
        not configured.flag
        or configured.smdp_oid not in (None, oid_value(installed.smdp_oid))
        or configured.smdp_address not in (None, installed.smdp_address)
        or (current is not None and current.rule(1))
        or chip.state.emergency
    ):
        return IMMEDIATE_ENABLE_NOT_AVAILABLE
    if _busy(chip, command):
        return CAT_BUSY
    chip.installed = None
    chip.state.fallback_from = None
    _switch(chip, command, profile)
    return OK


def execute_fallback(chip: Chip, command: Tlv) -> bytes:
    """ES10b.ExecuteFallbackMechanism, clause 5.9.20."""
    return tlv(0xBF5D, integer(0x80, _execute_fallback(chip, command)))


def _execute_fallback(chip: Chip, command: Tlv) -> int:
    current, target = chip.state.enabled(), operations.fallback_profile(chip)
    if current is None:
        return COMMAND_ERROR
    if target is None:
        return FALLBACK_NOT_AVAILABLE
    if target.enabled:
        return NOT_IN_DISABLED_STATE
    if chip.state.emergency:
        return ECALL_ACTIVE
    if _busy(chip, command):
        return CAT_BUSY
    chip.state.fallback_from = current.iccid
    _switch(chip, command, target)
    return OK


def return_from_fallback(chip: Chip, command: Tlv) -> bytes:
    """ES10b.ReturnFromFallback, clause 5.9.21."""
    return tlv(0xBF5E, integer(0x80, _return_from_fallback(chip, command)))


def _return_from_fallback(chip: Chip, command: Tlv) -> int:
    target = operations.fallback_profile(chip)
    previous = chip.state.profile(chip.state.fallback_from)
    if target is None or not target.enabled or chip.state.fallback_from is None:
        return FALLBACK_NOT_AVAILABLE
    if previous is None:
        return COMMAND_ERROR
    if _busy(chip, command):
        return CAT_BUSY
    chip.state.fallback_from = None
    _switch(chip, command, previous)
    return OK


def enable_emergency(chip: Chip, command: Tlv) -> bytes:
    """ES10b.EnableEmergencyProfile, clause 5.9.22: silent, and it stays over a power cycle."""
    return tlv(0xBF5B, integer(0x80, _enable_emergency(chip, command)))


def _enable_emergency(chip: Chip, command: Tlv) -> int:
    target = next((p for p in chip.state.profiles if p.flag(profiles.ECALL_TAG)), None)
    if target is None:
        return ECALL_NOT_AVAILABLE
    if target.enabled:
        return NOT_IN_DISABLED_STATE
    if _busy(chip, command):
        return CAT_BUSY
    current = chip.state.enabled()
    chip.state.emergency = True
    chip.state.emergency_from = current.iccid if current else None
    _switch(chip, command, target, silent=True)
    return OK


def disable_emergency(chip: Chip, command: Tlv) -> bytes:
    """ES10b.DisableEmergencyProfile, clause 5.9.23."""
    if not chip.state.emergency:
        return tlv(0xBF5C, integer(0x80, NOT_IN_ENABLED_STATE))
    if _busy(chip, command):
        return tlv(0xBF5C, integer(0x80, CAT_BUSY))
    previous = chip.state.profile(chip.state.emergency_from)
    chip.state.emergency, chip.state.emergency_from = False, None
    _switch(chip, command, previous, silent=True)
    return tlv(0xBF5C, integer(0x80, OK))


def ipae_activation(chip: Chip, command: Tlv) -> bytes:
    """IpaeActivation BF42{80 bits}, clause 3.8: bit 0 wakes the IPA inside the card, where there is one."""
    wanted = bool(command[0x80].value[1:2].ljust(1, b"\x00")[0] & ACTIVATE_IPAE)
    if not chip.state.ipae:
        return tlv(0xBF42, integer(0x80, NOT_SUPPORTED))
    chip.ipae_active = chip.ipae_active or wanted
    return tlv(0xBF42, integer(0x80, OK))


COMMANDS: dict[int, Handler] = {
    0xBF59: configure_immediate_enabling,
    0xBF5A: immediate_enable,
    0xBF5D: execute_fallback,
    0xBF5E: return_from_fallback,
    0xBF5B: enable_emergency,
    0xBF5C: disable_emergency,
    0xBF42: ipae_activation,
}
