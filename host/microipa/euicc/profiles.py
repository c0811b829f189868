"""Which profile is enabled, how that changes, and what is told about each (SGP.32 clauses 3.4, 5.9.14)."""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, parse_all, tlv
from microipa.euicc import notifications
from microipa.euicc.chip import Chip, Handler
from microipa.euicc.nvm import Profile

OK, ICCID_NOT_FOUND, WRONG_STATE, DISALLOWED_BY_POLICY, CAT_BUSY = 0, 1, 2, 3, 5
INCORRECT_INPUT_VALUES, PROFILE_CHANGE_ONGOING = 1, 11

STATE_TAG, CLASS_TAG, ECALL_TAG, FALLBACK_TAG, FALLBACK_ALLOWED_TAG = 0x9F70, 0x95, 0x9F7B, 0x9F26, 0x9F67
# The order of ProfileInfo's components, the defaults of GetProfilesInfo among them.
ORDER = (
    0x5A, 0x4F, STATE_TAG, 0x90, 0x91, 0x92, 0x93, 0x94, CLASS_TAG,
    0xB6, 0xB7, 0xB8, 0x99, 0xBF22, ECALL_TAG, FALLBACK_TAG, FALLBACK_ALLOWED_TAG,
)  # fmt: skip
DEFAULT = frozenset(ORDER) - {0xB6, 0xB7, 0xB8, 0x99, 0xBF22}


def switch(chip: Chip, target: Profile | None) -> list[tuple[int, Profile]]:
    """Enable ``target`` (None: nothing) instead of what is enabled.

    Returns the events that this causes, for ``announce`` once the result they follow has its seqNumber.
    """
    events = []
    current = chip.state.enabled()
    if current is not None and current is not target:
        current.enabled = False
        events.append((notifications.DISABLE, current))
    if target is not None and target is not current:
        target.enabled = True
        events.append((notifications.ENABLE, target))
    return events


def announce(chip: Chip, events: list[tuple[int, Profile]]) -> None:
    for event, profile in events:
        notifications.emit(chip, profile, event)


def delete(chip: Chip, profile: Profile) -> tuple[int, Profile]:
    """Remove a disabled profile. Returns the event."""
    chip.state.profiles = [other for other in chip.state.profiles if other.iccid != profile.iccid]
    return notifications.DELETE, profile


def info(profile: Profile, tags: frozenset[int] = DEFAULT) -> bytes:
    """ProfileInfo E3 with those of ``tags`` that the profile has."""
    known = {item.tag: item.raw for item in parse_all(profile.metadata)}
    known[0x4F] = tlv(0x4F, profile.aid)
    known[STATE_TAG] = tlv(STATE_TAG, bytes([profile.enabled]))
    known.setdefault(CLASS_TAG, tlv(CLASS_TAG, bytes([profile.profile_class])))
    known[FALLBACK_TAG] = tlv(FALLBACK_TAG, b"\xff") if profile.fallback else b""
    return tlv(0xE3, *(known[tag] for tag in ORDER if tag in tags and tag in known))


def list_info(chip: Chip, command: Tlv, known: frozenset[int] | None = None) -> bytes:
    """GetProfilesInfo and PSMO listProfileInfo, which look alike: BF2D.

    With ``known`` a tag outside it spoils the list, else the profiles just do not have it.
    """
    criteria, wanted = command.get(0xA0), command.get(0x5C)
    found = chip.state.profiles
    if criteria is not None:
        search = criteria.children()
        if len(search) != 1 or search[0].tag not in (0x4F, 0x5A, 0x95):
            return list_error(INCORRECT_INPUT_VALUES)
        tag, value = search[0].tag, search[0].value
        found = [profile for profile in found if _searched(profile, tag) == value]
    try:
        tags = _tags(wanted.value) if wanted else DEFAULT
    except ValueError:
        return list_error(INCORRECT_INPUT_VALUES)
    if known is not None and wanted and not tags <= known:
        return list_error(INCORRECT_INPUT_VALUES)
    return tlv(0xBF2D, tlv(0xA0, *(info(profile, tags) for profile in found)))


def list_error(code: int) -> bytes:
    return tlv(0xBF2D, tlv(0x81, bytes([code])))


def _searched(profile: Profile, tag: int) -> bytes:
    if tag == CLASS_TAG:
        return bytes([profile.profile_class])
    return profile.aid if tag == 0x4F else profile.iccid


def _tags(value: bytes) -> frozenset[int]:
    """The tags that 5C names. Raises ValueError when it ends in the middle of one."""
    tags, position = set(), 0
    while position < len(value):
        end = position + 1
        if value[position] & 0x1F == 0x1F:
            while value[end : end + 1] and value[end] & 0x80:
                end += 1
            end += 1
        if end > len(value):
            raise ValueError("a tag list that ends in the middle of a tag")
        tags.add(int.from_bytes(value[position:end], "big"))
        position = end
    return frozenset(tags)


COMMANDS: dict[int, Handler] = {0xBF2D: list_info}
