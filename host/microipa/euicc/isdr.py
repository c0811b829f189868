"""The ISD-R: what SELECT tells about it, STORE DATA chains, and which function a command is for (ES10)."""

from __future__ import annotations

from microipa.asn1.tlv import TlvError, parse, tlv
from microipa.euicc import (
    connectivity,
    consumer,
    eims,
    identity,
    memory_reset,
    notifications,
    packages,
    profiles,
    revocation,
    session,
    worn_out,
)
from microipa.euicc.chip import Chip, Handler
from microipa.euicc.install import PACKAGE, PIECES, Loader
from microipa.euicc.nvm import WriteFailed
from microipa.euicc.status import (
    CONDITIONS,
    NOT_FOUND,
    SECURITY_STATUS,
    WRONG_DATA,
    WRONG_P1_P2,
    StatusWord,
)

AID = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
MORE_BLOCKS, LAST_BLOCK = 0x11, 0x91

IOT: dict[int, Handler] = {
    **identity.COMMANDS,
    **profiles.COMMANDS,
    **notifications.COMMANDS,
    **eims.COMMANDS,
    **session.COMMANDS,
    **packages.COMMANDS,
    **connectivity.COMMANDS,
    **memory_reset.COMMANDS,
    **revocation.COMMANDS,
}
# An M2M card (SGP.02) takes commands for its ISD-R over the air from an SM-SR, none at its contacts.
FUNCTIONS: dict[str, dict[int, Handler]] = {"iot": IOT, "consumer": consumer.COMMANDS, "m2m": {}}
GET_PROFILES_INFO = 0xBF2D
# What an IPAd may still ask while the IPA inside the card is in charge.
READING = {0xBF20, 0xBF22, GET_PROFILES_INFO, 0xBF3C, 0xBF3E, 0xBF42, 0xBF43, 0xBF55, 0xBF56}


class Isdr:
    """One per power-up. Each command is one transaction: it commits when it answers, else leaves no mark."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._chain = b""
        self._blocks = 0  # of the chain so far
        self._loader: Loader | None = None

    def fci(self) -> bytes:
        """The answer to SELECT: templates tell SGP.22 (E0) and SGP.32 (E0 and E1), SGP.02 has none."""
        kind = self._chip.state.kind
        rsp = tlv(0xE0, tlv(0x82, identity.SVN)) if kind != "m2m" else b""
        iot = tlv(0xE1, self._configuration()) if kind == "iot" else b""
        return tlv(0x6F, tlv(0x84, AID), tlv(0xA5, tlv(0x9F65, b"\xff")), rsp, iot)

    def _configuration(self) -> bytes:
        """euiccConfiguration: bit 0 ipaeSupported, bit 1 enabledProfile, no more bits than needed."""
        if self._chip.state.enabled():
            return tlv(0x80, b"\x06\xc0" if self._chip.state.ipae else b"\x06\x40")
        return tlv(0x80, b"\x07\x80" if self._chip.state.ipae else b"\x00")

    def store_data(self, p1: int, p2: int, data: bytes) -> bytes:
        """One block. Returns the answer of the function after the last one. Raises StatusWord."""
        if self._chip.state.kind == "m2m":
            raise StatusWord(SECURITY_STATUS)
        if p1 not in (MORE_BLOCKS, LAST_BLOCK):
            raise StatusWord(WRONG_P1_P2)
        if p2 == 0:
            self._chain, self._blocks = b"", 0  # a new command; what was unfinished is forgotten
        if p2 != self._blocks:
            self._chain, self._blocks = b"", 0
            raise StatusWord(WRONG_P1_P2)
        self._chain += data
        self._blocks += 1
        if p1 == MORE_BLOCKS:
            return b""
        command, self._chain, self._blocks = self._chain, b"", 0
        return self._transact(command)

    def _transact(self, command: bytes) -> bytes:
        try:
            answer = self._execute(command)
        except StatusWord:
            self._chip.nvm.roll_back()
            raise
        except (TlvError, ValueError):
            self._chip.nvm.roll_back()
            raise StatusWord(WRONG_DATA) from None
        try:
            self._chip.nvm.commit()
        except WriteFailed:
            self._chip.stay()
            return worn_out.answer(self._chip, command)
        return answer

    def _execute(self, command: bytes) -> bytes:
        chip = self._chip
        tag = int.from_bytes(command[: 2 if command[:1] == b"\xbf" else 1], "big")
        if chip.changing and tag == GET_PROFILES_INFO:
            return profiles.list_error(profiles.PROFILE_CHANGE_ONGOING)
        if chip.changing or (chip.ipae_active and tag not in READING):
            raise StatusWord(CONDITIONS)
        if tag in PIECES:
            return self._load(tag, command)
        parsed = parse(command)
        handler = FUNCTIONS[chip.state.kind].get(parsed.tag)
        if handler is None:
            raise StatusWord(NOT_FOUND)
        return handler(chip, parsed)

    def _load(self, tag: int, piece: bytes) -> bytes:
        """LoadBoundProfilePackage: a package begins anew with BF36, also when one was left unfinished."""
        if tag == PACKAGE:
            self._loader = Loader(self._chip)
        if self._loader is None:
            raise StatusWord(CONDITIONS)
        result = self._loader.feed(piece)
        if result:
            self._loader = None
        return result
