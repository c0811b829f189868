"""What the card asks of the terminal: proactive commands (TS 102 223 clauses 6.1 and 6.6.13)."""

from __future__ import annotations

from microipa.asn1.tlv import TlvError, parse_all, tlv
from microipa.euicc.apdu import exact
from microipa.euicc.chip import Chip
from microipa.euicc.status import CONDITIONS, WRONG_DATA, StatusWord

REFRESH, UICC_RESET, PROFILE_STATE_CHANGE = 0x01, 0x04, 0x09
STATE_CHANGE_BYTE, STATE_CHANGE_BIT = 33, 0x20  # of TERMINAL PROFILE, clause 5.2
RESULT = 0x03
FIRST_FAILURE = 0x20  # general results from here on say that the command was not carried out


class Toolkit:
    """One per power-up. A REFRESH comes from the ISD-R, other commands from applets of the profile."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._fetched = b""  # its TERMINAL RESPONSE is due

    @property
    def waiting(self) -> bytes:
        """The command that FETCH would get, empty without one."""
        return self._refresh() if self._chip.refresh else self._chip.proactive

    def fetch(self, le: int | None) -> bytes:
        """The command that waits, under an expected length. Raises StatusWord without one."""
        if not self.waiting:
            raise StatusWord(CONDITIONS)
        self._fetched = exact(self.waiting, le)
        self._chip.refresh, self._chip.proactive = False, b""
        return self._fetched

    def respond(self, data: bytes) -> bool:
        """Take a TERMINAL RESPONSE; True when it says that a REFRESH was carried out. Raises StatusWord."""
        if not self._fetched:
            raise StatusWord(CONDITIONS)
        try:
            objects = {item.tag & 0x7F: item.value for item in parse_all(data)}
        except TlvError:
            raise StatusWord(WRONG_DATA) from None
        if not objects.get(RESULT):
            raise StatusWord(WRONG_DATA)
        answered, self._fetched = self._fetched, b""
        self._chip.cat_busy = False
        return answered == self._refresh() and objects[RESULT][0] < FIRST_FAILURE

    def _refresh(self) -> bytes:
        profile = self._chip.terminal_profile
        known = len(profile) > STATE_CHANGE_BYTE and profile[STATE_CHANGE_BYTE] & STATE_CHANGE_BIT
        mode = PROFILE_STATE_CHANGE if known else UICC_RESET
        return tlv(0xD0, tlv(0x81, bytes([1, REFRESH, mode])), tlv(0x82, b"\x81\x82"))
