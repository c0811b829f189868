"""What a device may do by itself: immediate enable, fallback, emergency profile, memory reset.

SGP.32 clauses 5.9.15 to 5.9.23 and EuiccMemoryReset. Rollback stands with the packages it belongs to.
"""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, integer, tlv
from microipa.euicc import operations, profiles
from microipa.euicc.chip import Chip, Handler, flag, oid_value
from microipa.euicc.nvm import ImmediateEnable, Profile

OK = 0
IMMEDIATE_ENABLE_NOT_AVAILABLE, NO_SESSION_CONTEXT = 1, 4
EIM_ALREADY_ASSOCIATED = 2
NOT_IN_DISABLED_STATE = NOT_IN_ENABLED_STATE = 2
FALLBACK_NOT_AVAILABLE, COMMAND_ERROR = 6, 7
ECALL_NOT_AVAILABLE = 8
ECALL_ACTIVE = 104
NOTHING_TO_DELETE = 1
NOT_SUPPORTED = 1
TEST, PROVISIONING, OPERATIONAL = 0, 1, 2


def _switch(chip: Chip, command: Tlv, target: Profile, *, silent: bool = False) -> None:
    """Change the enabled profile outside a package; an earlier authorisation to roll back is gone."""
    refresh = flag(command, 0x80)
    events = profiles.switch(chip, target)
    if not silent:
        profiles.announce(chip, events)
    chip.state.rollback = None
    chip.change_profile(refresh)


def configure_immediate_enabling(chip: Chip, command: Tlv) -> bytes:
    """ES10b.ConfigureImmediateProfileEnabling: only while no eIM is there to say so."""
    if chip.state.eims:
        return tlv(0xBF59, integer(0x80, EIM_ALREADY_ASSOCIATED))
    operations.configure_immediate(chip, command)
    return tlv(0xBF59, integer(0x80, OK))


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
    if chip.state.emergency:
        return ECALL_ACTIVE
    if target is None:
        return FALLBACK_NOT_AVAILABLE
    if target.enabled:
        return NOT_IN_DISABLED_STATE
    chip.state.fallback_from = current.iccid
    _switch(chip, command, target)
    return OK


def return_from_fallback(chip: Chip, command: Tlv) -> bytes:
    """ES10b.ReturnFromFallback, clause 5.9.21."""
    target = operations.fallback_profile(chip)
    previous = chip.state.profile(chip.state.fallback_from)
    if target is None or not target.enabled or chip.state.fallback_from is None:
        return tlv(0xBF5E, integer(0x80, FALLBACK_NOT_AVAILABLE))
    if previous is None:
        return tlv(0xBF5E, integer(0x80, COMMAND_ERROR))
    chip.state.fallback_from = None
    _switch(chip, command, previous)
    return tlv(0xBF5E, integer(0x80, OK))


def enable_emergency(chip: Chip, command: Tlv) -> bytes:
    """ES10b.EnableEmergencyProfile, clause 5.9.22: silent, and it stays over a power cycle."""
    target = next((p for p in chip.state.profiles if p.flag(profiles.ECALL_TAG)), None)
    if target is None:
        return tlv(0xBF5B, integer(0x80, ECALL_NOT_AVAILABLE))
    if target.enabled:
        return tlv(0xBF5B, integer(0x80, NOT_IN_DISABLED_STATE))
    current = chip.state.enabled()
    chip.state.emergency = True
    chip.state.emergency_from = current.iccid if current else None
    _switch(chip, command, target, silent=True)
    return tlv(0xBF5B, integer(0x80, OK))


def disable_emergency(chip: Chip, command: Tlv) -> bytes:
    """ES10b.DisableEmergencyProfile, clause 5.9.23."""
    if not chip.state.emergency:
        return tlv(0xBF5C, integer(0x80, NOT_IN_ENABLED_STATE))
    previous = chip.state.profile(chip.state.emergency_from)
    chip.state.emergency, chip.state.emergency_from, chip.state.rollback = False, None, None
    profiles.switch(chip, previous)
    chip.change_profile(flag(command, 0x80))
    return tlv(0xBF5C, integer(0x80, OK))


def memory_reset(chip: Chip, command: Tlv) -> bytes:
    """EuiccMemoryReset BF64{82 bits}: each bit one thing to forget; no rule and no rollback holds it back."""
    options = command[0x82].value
    bits = int.from_bytes(options[1:2].ljust(1, b"\x00"), "big")
    chosen = [bool(bits & 0x80 >> bit) for bit in range(7)]
    if not any(chosen):
        raise ValueError("a memory reset that names nothing to reset")
    if chip.state.emergency:
        return tlv(0xBF64, integer(0x80, ECALL_ACTIVE))
    operational, field_test, default_dp, loaded_test, provisioning, eim_data, immediate = chosen
    wanted = {OPERATIONAL: operational, TEST: field_test or loaded_test, PROVISIONING: provisioning}
    done = _delete_classes(chip, {kind for kind in wanted if wanted[kind]})
    if default_dp:
        done = done or chip.state.default_dp is not None
        chip.state.default_dp = None
    more = b""
    if eim_data:
        more = integer(0x81, OK if chip.state.eims else NOTHING_TO_DELETE)
        done = done or bool(chip.state.eims)
        chip.state.eims = []
    if immediate:
        more += integer(0x82, OK)
        done = True
        chip.state.immediate_enable = ImmediateEnable()
    return tlv(0xBF64, integer(0x80, OK if done else NOTHING_TO_DELETE), more)


def _delete_classes(chip: Chip, classes: set[int]) -> bool:
    """Delete all profiles of these classes, the enabled one too. True when there was one."""
    found = [profile for profile in chip.state.profiles if profile.profile_class in classes]
    events = []
    if chip.state.enabled() in found:
        events += profiles.switch(chip, None)
        chip.change_profile(refresh=True)
    profiles.announce(chip, events + [profiles.delete(chip, profile) for profile in found])
    if found:
        chip.state.rollback, chip.state.fallback_from = None, None
    return bool(found)


def ipae_activation(chip: Chip, command: Tlv) -> bytes:
    """IpaeActivation: there is no IPA inside this card."""
    return tlv(0xBF42, integer(0x80, NOT_SUPPORTED))


COMMANDS: dict[int, Handler] = {
    0xBF59: configure_immediate_enabling,
    0xBF5A: immediate_enable,
    0xBF5D: execute_fallback,
    0xBF5E: return_from_fallback,
    0xBF5B: enable_emergency,
    0xBF5C: disable_emergency,
    0xBF64: memory_reset,
    0xBF42: ipae_activation,
}
