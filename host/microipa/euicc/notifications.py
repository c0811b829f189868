"""Results and notifications: they wait on the card until the IPA removes them (SGP.32 clause 5.9.11)."""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, TlvError, integer, parse_all, tlv
from microipa.euicc.chip import Chip, Handler, number
from microipa.euicc.nvm import MAX_STORED, Profile, Stored

INSTALL, ENABLE, DISABLE, DELETE = 0x80, 0x40, 0x20, 0x10
UNUSED_BITS = {INSTALL: 7, ENABLE: 6, DISABLE: 5, DELETE: 4}

NOTHING_TO_DELETE, UNDEFINED = 1, 127
BY_SEQ, BY_EVENT, PACKAGE_RESULTS = 0x80, 0x81, 0x82  # searches


def next_seq(chip: Chip) -> int:
    chip.state.last_seq += 1
    return chip.state.last_seq


def store(chip: Chip, item: Stored) -> None:
    """Keep ``item``; the oldest goes only when there is no room."""
    stored = chip.state.stored
    stored.append(item)
    del stored[:-MAX_STORED]


def metadata(seq: int, event: int, address: str, iccid: bytes | None) -> bytes:
    """NotificationMetadata BF2F."""
    return tlv(
        0xBF2F,
        integer(0x80, seq),
        tlv(0x81, bytes([UNUSED_BITS[event], event])),
        tlv(0x0C, address.encode()),
        tlv(0x5A, iccid) if iccid else b"",
    )


def emit(chip: Chip, profile: Profile, event: int, besides: str | None = None) -> None:
    """Store one signed notification for each address the profile's metadata configures for ``event``.

    ``besides`` is the server that hears of an installation by its result already.
    """
    for bits, address in _configured(profile):
        if bits & event and address != besides:
            seq = next_seq(chip)
            tbs = metadata(seq, event, address, profile.iccid)
            certificates = chip.state.certificate + chip.state.eum_certificate
            store(chip, Stored(seq, "other", event, tbs, tlv(0x30, tbs, chip.sign(tbs), certificates)))


def _configured(profile: Profile) -> list[tuple[int, str]]:
    """notificationConfigurationInfo B6{30{80 events, 81 address}*}: (bits, address) each."""
    entries = parse_all(profile.info(0xB6) or b"")
    return [(_bits(entry[0x80].value), entry[0x81].value.decode()) for entry in entries]


def _bits(value: bytes) -> int:
    """The first eight bits of a BIT STRING."""
    return value[1] if len(value) > 1 else 0


def check_configuration(profile: Profile) -> None:
    """Raises ValueError or TlvError when the metadata configures notifications in no known way."""
    for entry in parse_all(profile.info(0xB6) or b""):
        tags = [child.tag for child in entry]
        if entry.tag != 0x30 or tags[:2] != [0x80, 0x81]:
            raise TlvError("not a notificationConfigurationInformation", entry.offset)
        entry[0x81].value.decode()


def retrieve_list(chip: Chip, command: Tlv) -> bytes:
    """ES10b.RetrieveNotificationsList with its three searches. Raises ValueError for one outside its A0."""
    criteria, stored = command.get(0xA0), chip.state.stored
    if criteria is None and command.value:
        raise ValueError("searchCriteria stand in A0")
    if criteria is None:
        found = [item for item in stored if item.kind != "epr"]
    elif search := criteria.get(BY_SEQ):
        found = [item for item in stored if item.seq == number(search)]
    elif search := criteria.get(BY_EVENT):
        found = [item for item in stored if item.event & _bits(search.value)]
    elif PACKAGE_RESULTS in criteria and chip.state.kind == "iot":
        return tlv(0xBF2B, tlv(0xA2, *(item.raw for item in stored if item.kind == "epr")))
    else:
        return tlv(0xBF2B, integer(0x81, UNDEFINED))
    results = any(item.kind == "epr" for item in found)
    return tlv(0xBF2B, tlv(0xA2 if results else 0xA0, *(item.raw for item in found)))


def list_metadata(chip: Chip, command: Tlv) -> bytes:
    """ES10b.ListNotification."""
    search = command.get(0x81)
    wanted = _bits(search.value) if search else 0xFF
    return tlv(0xBF28, tlv(0xA0, *(item.metadata for item in chip.state.stored if item.event & wanted)))


def remove(chip: Chip, command: Tlv) -> bytes:
    """ES10b.RemoveNotificationFromList: the only way anything leaves the list."""
    seq = number(command[0x80])
    kept = [item for item in chip.state.stored if item.seq != seq]
    code = 0 if len(kept) < len(chip.state.stored) else NOTHING_TO_DELETE
    chip.state.stored = kept
    return tlv(0xBF30, integer(0x80, code))


COMMANDS: dict[int, Handler] = {0xBF2B: retrieve_list, 0xBF28: list_metadata, 0xBF30: remove}
