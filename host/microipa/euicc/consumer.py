"""ES10c of a consumer eUICC (SGP.22 v2): its owner manages profiles, no eIM is there to sign for it."""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, integer, parse_all, tlv
from microipa.euicc import identity, notifications, profiles, revocation, session
from microipa.euicc.chip import Chip, Handler, flag, text
from microipa.euicc.memory_reset import memory_reset_consumer
from microipa.euicc.nvm import Profile
from microipa.euicc.profiles import CAT_BUSY, DISALLOWED_BY_POLICY, ICCID_NOT_FOUND, OK, WRONG_STATE

KNOWN_TAGS = frozenset(profiles.ORDER) - {
    profiles.ECALL_TAG, profiles.FALLBACK_TAG, profiles.FALLBACK_ALLOWED_TAG,
}  # fmt: skip
NICKNAME, MAX_NICKNAME = 0x90, 64
IDENTIFIER, REFRESH_FLAG = 0xA0, 0x81


def enable(chip: Chip, command: Tlv) -> bytes:
    """EnableProfile BF31{A0{4F | 5A}, 81 refreshFlag}, clause 5.7.16."""
    target, current = _named(chip, command[IDENTIFIER]), chip.state.enabled()
    if target is None:
        code = ICCID_NOT_FOUND
    elif target.enabled:
        code = WRONG_STATE
    elif current is not None and current.rule(1):
        code = DISALLOWED_BY_POLICY
    else:
        code = _switch(chip, command, target)
    return tlv(0xBF31, integer(0x80, code))


def disable(chip: Chip, command: Tlv) -> bytes:
    """DisableProfile BF32, clause 5.7.17."""
    target = _named(chip, command[IDENTIFIER])
    if target is None:
        code = ICCID_NOT_FOUND
    elif not target.enabled:
        code = WRONG_STATE
    elif target.rule(1):
        code = DISALLOWED_BY_POLICY
    else:
        code = _switch(chip, command, None)
    return tlv(0xBF32, integer(0x80, code))


def delete(chip: Chip, command: Tlv) -> bytes:
    """DeleteProfile BF33{4F | 5A}, clause 5.7.18."""
    target = _named(chip, command)
    if target is None:
        code = ICCID_NOT_FOUND
    elif target.enabled:
        code = WRONG_STATE
    elif target.rule(2):
        code = DISALLOWED_BY_POLICY
    else:
        profiles.announce(chip, [profiles.delete(chip, target)])
        code = OK
    return tlv(0xBF33, integer(0x80, code))


def set_nickname(chip: Chip, command: Tlv) -> bytes:
    """SetNickname BF29{5A, 90}, clause 5.7.21; an empty one removes it."""
    target, nickname = chip.state.profile(command[0x5A].value), command[NICKNAME]
    if target is None:
        return tlv(0xBF29, integer(0x80, ICCID_NOT_FOUND))
    if len(text(nickname)) > MAX_NICKNAME:
        raise ValueError(f"a nickname has at most {MAX_NICKNAME} characters")
    others = [item.raw for item in parse_all(target.metadata) if item.tag != NICKNAME]
    target.metadata = b"".join([*others, nickname.raw if nickname.value else b""])
    return tlv(0xBF29, integer(0x80, OK))


def _named(chip: Chip, identifier: Tlv) -> Profile | None:
    """The profile that a ProfileIdentifier means."""
    wanted = identifier.get(0x5A) or identifier[0x4F]
    return next((p for p in chip.state.profiles if wanted.value in (p.iccid, p.aid)), None)


def _switch(chip: Chip, command: Tlv, target: Profile | None) -> int:
    refresh = flag(command, REFRESH_FLAG)
    if refresh and chip.cat_busy:
        return CAT_BUSY
    profiles.announce(chip, profiles.switch(chip, target))
    if refresh:  # without it the terminal starts anew by itself, and the card goes on at once
        chip.change_profile(refresh)
    return OK


def list_info(chip: Chip, command: Tlv) -> bytes:
    """GetProfilesInfo, clause 5.7.15; asked for a tag they do not know, consumer cards refuse the list."""
    return profiles.list_info(chip, command, known=KNOWN_TAGS)


COMMANDS: dict[int, Handler] = {
    **{tag: identity.COMMANDS[tag] for tag in (0xBF3E, 0xBF20, 0xBF22, 0xBF3C, 0xBF43)},
    **notifications.COMMANDS,
    **session.COMMANDS,
    **revocation.COMMANDS,
    0xBF3F: identity.set_default_dp,
    0xBF2D: list_info,
    0xBF31: enable,
    0xBF32: disable,
    0xBF33: delete,
    0xBF34: memory_reset_consumer,
    0xBF29: set_nickname,
}
