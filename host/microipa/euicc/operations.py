"""The operations of an eUICC package: PSMO and eCO (SGP.32 clauses 3.4 and 3.5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from microipa.asn1.tlv import Tlv, integer, tlv
from microipa.euicc import eims, identity, profiles
from microipa.euicc.chip import Chip, is_oid, text
from microipa.euicc.nvm import ImmediateEnable, Profile
from microipa.euicc.profiles import (
    CAT_BUSY,
    DISALLOWED_BY_POLICY,
    ICCID_NOT_FOUND,
    OK,
    PROFILE_CHANGE_ONGOING,
    WRONG_STATE,
)

ROLLBACK_NOT_AVAILABLE, RETURN_FALLBACK_PROFILE, UNDEFINED = 20, 21, 127
FALLBACK_NOT_ALLOWED, NO_FALLBACK_ATTRIBUTE, FALLBACK_PROFILE_ENABLED = 2, 2, 3
INSUFFICIENT_MEMORY, COMMAND_ERROR = 1, 7
RESULT_SIZE_OVERFLOW, UNKNOWN_OR_DAMAGED = 1, 2
ICCID = 0x5A


@dataclass
class Run:
    """One package being executed. ``before`` is the profile that was enabled when it began."""

    chip: Chip
    before: Profile | None
    enabled: bool = False  # an enable has been executed
    disabled: bool = False
    changed: bool = False  # an enable, disable or delete has
    rollback: bool = False  # authorised by the enable
    events: list[tuple[int, Profile]] = field(default_factory=list)


Operation = Callable[[Run, Tlv], bytes]


def terminated(code: int) -> bytes:
    """processingTerminated, the last element of a list that was not executed to its end."""
    return integer(0x02, code)


def enable(run: Run, operation: Tlv) -> bytes:
    """PSMO enable, clause 3.4.1. ``05 00`` is the rollbackFlag."""
    return integer(0x83, _enable(run, operation[ICCID].value, 0x05 in operation))


def _enable(run: Run, iccid: bytes, rollback: bool) -> int:
    if run.enabled:
        return UNDEFINED
    profile = run.chip.state.profile(iccid)
    if profile is None:
        return ICCID_NOT_FOUND
    if profile.enabled or profile is run.before:
        return WRONG_STATE
    current = run.chip.state.enabled()
    if current is not None and current.rule(1):
        return DISALLOWED_BY_POLICY
    if rollback and run.before is None:
        return ROLLBACK_NOT_AVAILABLE
    if run.chip.cat_busy:
        return CAT_BUSY
    run.events += profiles.switch(run.chip, profile)
    run.chip.state.fallback_from = None
    run.enabled = run.changed = True
    run.rollback = rollback
    return OK


def disable(run: Run, operation: Tlv) -> bytes:
    """PSMO disable, clause 3.4.2."""
    return integer(0x84, _disable(run, operation[ICCID].value))


def _disable(run: Run, iccid: bytes) -> int:
    if run.enabled or run.disabled:
        return UNDEFINED
    profile = run.chip.state.profile(iccid)
    if profile is None:
        return ICCID_NOT_FOUND
    if not profile.enabled:
        return WRONG_STATE
    if profile.rule(1):
        return DISALLOWED_BY_POLICY
    if run.chip.cat_busy:
        return CAT_BUSY
    run.events += profiles.switch(run.chip, None)
    run.chip.state.fallback_from = None
    run.disabled = run.changed = True
    return OK


def delete(run: Run, operation: Tlv) -> bytes:
    """PSMO delete, clause 3.4.3."""
    return integer(0x85, _delete(run, operation[ICCID].value))


def _delete(run: Run, iccid: bytes) -> int:
    profile = run.chip.state.profile(iccid)
    if profile is None:
        return ICCID_NOT_FOUND
    if profile.enabled:
        return WRONG_STATE
    if profile.rule(2):
        return DISALLOWED_BY_POLICY
    if run.rollback and profile is run.before:
        return ROLLBACK_NOT_AVAILABLE
    if profile.iccid == run.chip.state.fallback_from:
        return RETURN_FALLBACK_PROFILE
    run.events.append(profiles.delete(run.chip, profile))
    run.changed = True
    return OK


def list_profile_info(run: Run, operation: Tlv) -> bytes:
    """PSMO listProfileInfo; states are in motion once something was enabled, disabled or deleted."""
    if run.changed:
        return profiles.list_error(PROFILE_CHANGE_ONGOING)
    return profiles.list_info(run.chip, operation)


def get_rat(run: Run, operation: Tlv) -> bytes:
    return tlv(0xA6, identity.rules())


def configure_immediate_enable(run: Run, operation: Tlv) -> bytes:
    """PSMO configureImmediateEnable: without the flag the function is switched off."""
    return integer(0x87, configure_immediate(run.chip, operation))


def configure_immediate(chip: Chip, operation: Tlv) -> int:
    """Shared with ES10b.ConfigureImmediateProfileEnabling. Returns a ConfigureImmediateEnableResult."""
    oid, address = operation.get(0x81), operation.get(0x82)
    if address and len(address.value) > identity.MAX_ADDRESS:
        return INSUFFICIENT_MEMORY
    try:
        name = text(address) if address else None
    except ValueError:
        return COMMAND_ERROR
    if oid and not is_oid(oid.value):
        return COMMAND_ERROR
    chip.state.immediate_enable = ImmediateEnable(0x80 in operation, oid.value if oid else None, name)
    return OK


def set_fallback(run: Run, operation: Tlv) -> bytes:
    """PSMO setFallbackAttribute, clause 3.4.6."""
    return integer(0x8D, _set_fallback(run.chip, operation[ICCID].value))


def _set_fallback(chip: Chip, iccid: bytes) -> int:
    profile = chip.state.profile(iccid)
    if profile is None:
        return ICCID_NOT_FOUND
    if profile.fallback:
        return OK
    if not profile.flag(profiles.FALLBACK_ALLOWED_TAG) or profile.flag(profiles.ECALL_TAG):
        return FALLBACK_NOT_ALLOWED
    holder = fallback_profile(chip)
    if holder is not None and holder.enabled:
        return FALLBACK_PROFILE_ENABLED
    if holder is not None:
        holder.fallback = False
    profile.fallback = True
    return OK


def unset_fallback(run: Run, operation: Tlv) -> bytes:
    """PSMO unsetFallbackAttribute, clause 3.4.7."""
    holder = fallback_profile(run.chip)
    if holder is None:
        return integer(0x8E, NO_FALLBACK_ATTRIBUTE)
    if holder.enabled:
        return integer(0x8E, FALLBACK_PROFILE_ENABLED)
    holder.fallback = False
    return integer(0x8E, OK)


def fallback_profile(chip: Chip) -> Profile | None:
    return next((profile for profile in chip.state.profiles if profile.fallback), None)


def set_default_dp(run: Run, operation: Tlv) -> bytes:
    return identity.set_default_dp(run.chip, operation)


def add_eim(run: Run, operation: Tlv) -> bytes:
    """eCO addEim: the token when one was asked for, else the result code."""
    try:
        eim = eims.add(run.chip, operation)
    except eims.EimRefused as refused:
        return tlv(0xA8, integer(0x02, refused.code))
    return tlv(0xA8, integer(0x02, OK) if eim.token is None else eims.token_tlv(eim.token))


def delete_eim(run: Run, operation: Tlv) -> bytes:
    try:
        return integer(0x89, eims.delete(run.chip, operation))
    except eims.EimRefused as refused:
        return integer(0x89, refused.code)


def update_eim(run: Run, operation: Tlv) -> bytes:
    try:
        eims.update(run.chip, operation)
    except eims.EimRefused as refused:
        return integer(0x8A, refused.code)
    return integer(0x8A, OK)


def list_eim(run: Run, operation: Tlv) -> bytes:
    return tlv(0xAB, eims.list_ids(run.chip))


# The same tags mean different things in the two lists.
PSMO: dict[int, Operation] = {
    0xA3: enable,
    0xA4: disable,
    0xA5: delete,
    0xBF2D: list_profile_info,
    0xA6: get_rat,
    0xA7: configure_immediate_enable,
    0xA8: set_fallback,
    0xA9: unset_fallback,
    0xBF65: set_default_dp,
}
ECO: dict[int, Operation] = {0xA8: add_eim, 0xA9: delete_eim, 0xAA: update_eim, 0xAB: list_eim}
