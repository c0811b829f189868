"""What the card answers when its memory does not take what a command has done."""

from __future__ import annotations

from microipa.asn1.tlv import integer, parse, tlv
from microipa.euicc import packages
from microipa.euicc.chip import Chip
from microipa.euicc.status import MEMORY_PROBLEM, StatusWord

UNDEFINED = 127
PREPARE_DOWNLOAD, LOAD_EUICC_PACKAGE = 0xBF21, 0xBF51
# Where a function carries its undefinedError; what is not here answers with a status word.
PLACE = {
    0xBF57: 0x81,
    0xBF35: 0x81,
    0xBF58: 0x02,
    **dict.fromkeys((0xBF30, 0xBF59, 0xBF5A, 0xBF5B, 0xBF5C, 0xBF5D, 0xBF5E, 0xBF64, 0xBF65), 0x80),
    **dict.fromkeys((0xBF29, 0xBF31, 0xBF32, 0xBF33, 0xBF34, 0xBF3F), 0x80),  # of a consumer card
}


def answer(chip: Chip, command: bytes) -> bytes:
    """In place of what ``command`` would have answered. Raises StatusWord where no code says it."""
    if command[:1] != b"\xbf":
        raise StatusWord(MEMORY_PROBLEM)
    parsed = parse(command)
    if parsed.tag in PLACE:
        return tlv(parsed.tag, integer(PLACE[parsed.tag], UNDEFINED))
    if parsed.tag == LOAD_EUICC_PACKAGE:
        return packages.failed(chip, parsed)
    if parsed.tag == PREPARE_DOWNLOAD:
        transaction_id = parsed[0x30][0x80].raw
        return tlv(PREPARE_DOWNLOAD, tlv(0xA1, transaction_id, integer(0x02, UNDEFINED)))
    raise StatusWord(MEMORY_PROBLEM)
