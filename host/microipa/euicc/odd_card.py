"""A card that differs from the standard, made of one that does not: it stands between its contacts and the modem."""

from __future__ import annotations

from collections.abc import Iterable

from microipa.asn1.tlv import Tlv, TlvError, integer, parse, tlv
from microipa.euicc.behaviour import Behaviour
from microipa.euicc.card import Euicc
from microipa.quirks import QUIRKS

_SELECT, _MANAGE_CHANNEL, _GET_RESPONSE, _STORE_DATA = 0xA4, 0x70, 0xC0, 0xE2
_ISDR = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
_LAST_BLOCK = 0x91
_OK, _NOT_FOUND, _NO_CHANNEL, _CONDITIONS, _FAILED = 0x9000, 0x6A82, 0x6A81, 0x6985, 0x6F00
_PACKAGE, _RETRIEVE_LIST, _ENABLE = 0xBF51, 0xBF2B, 0xBF31
_CRITERIA, _RESULTS = 0xA0, 0x82
_IDENTIFIER, _REFRESH_FLAG = 0xA0, 0x81
_NO_RESULT, _UNDEFINED = 1, 127


def odd_card(card: Euicc, quirks: Iterable[str]) -> OddCard | Euicc:
    """``card`` as these quirks make it; as it is without any of a card. Raises UnknownQuirk."""
    behaviour = QUIRKS.behaviour("card", Behaviour(), quirks)
    return card if behaviour == Behaviour() else OddCard(card, behaviour)


class OddCard:
    """What a modem powers, resets and talks to."""

    def __init__(self, card: Euicc, behaviour: Behaviour) -> None:
        self._card = card
        self._behaviour = behaviour
        self._stores = self._responses = self._packages = self._searches = 0  # since it was made
        self._forget()

    def _forget(self) -> None:
        self._selects = self._channels = 0
        self._dead = False
        self._command = b""  # of STORE DATA blocks
        self._answer = b""  # that GET RESPONSE gets from us
        self._hidden: tuple[bytes, bytes] | None = None  # a command without Le, and what announces its answer

    def power_on(self) -> bytes:
        self._forget()
        return self._card.power_on()

    def power_off(self) -> None:
        self._card.power_off()

    def reset(self) -> bytes:
        self._forget()
        return self._card.reset()

    def transmit(self, apdu: bytes) -> bytes:
        """One command: data and status word, nothing from a card that has fallen silent. Raises as Euicc.transmit."""
        if self._dead:
            return b""
        behaviour, ins = self._behaviour, apdu[1]
        if ins == _GET_RESPONSE:
            return self._get_response(apdu)
        self._answer = b""
        if ins == _SELECT and apdu[2] == 4 and apdu[5 : 5 + apdu[4]] == _ISDR:
            self._selects += 1
            if self._selects <= behaviour.late_isdr:
                return _status(_NOT_FOUND)
        if ins == _MANAGE_CHANNEL and apdu[2] == 0:
            self._channels += 1
            if self._channels <= behaviour.busy_channels:
                return _status(_NO_CHANNEL)
        if ins == _STORE_DATA:
            return self._store_data(apdu)
        return self._card.transmit(apdu)

    def _get_response(self, apdu: bytes) -> bytes:
        self._responses += 1
        if self._responses == self._behaviour.lost_response_at:
            self._card.transmit(apdu)
            return _status(_FAILED)
        if self._answer:
            answer, self._answer = self._answer, b""
            return answer + _status(_OK)
        return self._card.transmit(apdu)

    def _store_data(self, apdu: bytes) -> bytes:
        behaviour = self._behaviour
        self._stores += 1
        if self._stores == behaviour.dies_at:
            self._dead = True
            return b""
        if self._stores == behaviour.refuses_block_at:
            return _status(_CONDITIONS)
        if self._hidden and apdu[:-1] == self._hidden[0]:
            return self._hidden[1]  # the same again, with Le
        self._hidden = None
        data = apdu[5 : 5 + apdu[4]]
        self._command = data if apdu[3] == 0 else self._command + data
        if apdu[2] == _LAST_BLOCK and (refusal := self._refuse(self._command)):
            return refusal
        response = self._card.transmit(apdu)
        if behaviour.says_empty and apdu[2] == _LAST_BLOCK:
            response = self._without_empty_list(apdu, response)
        if behaviour.needs_le and len(apdu) == 5 + apdu[4] and response[-2] == 0x61:
            self._hidden = apdu, response
            return _status(_OK)
        return response

    def _refuse(self, command: bytes) -> bytes:
        """What this card answers in place of carrying out a command; b"" where it carries it out."""
        try:
            parsed = parse(command)
        except TlvError:
            return b""  # a piece of a profile
        behaviour = self._behaviour
        if parsed.tag == _PACKAGE and self._packages < behaviour.packages_refused:
            self._packages += 1
            return _status(behaviour.package_status)
        if parsed.tag == _RETRIEVE_LIST and (criteria := parsed.get(_CRITERIA)) and _RESULTS in criteria:
            self._searches += 1
            if self._searches <= behaviour.lists_refused and behaviour.list_status:
                return _status(behaviour.list_status)
            if self._searches <= behaviour.lists_refused:
                return self._own(tlv(_RETRIEVE_LIST, integer(0x81, _UNDEFINED)))
        if parsed.tag == _ENABLE and not self._enables(parsed):
            return self._own(tlv(_ENABLE, integer(0x80, _UNDEFINED)))
        return b""

    def _enables(self, command: Tlv) -> bool:
        identifier, flag = command[_IDENTIFIER].children()[0].tag, command[_REFRESH_FLAG].value[0]
        return identifier in self._behaviour.enables_by and flag in self._behaviour.enables_with

    def _without_empty_list(self, apdu: bytes, response: bytes) -> bytes:
        """An answer that holds an empty list becomes an error."""
        if not self._command.startswith(_RETRIEVE_LIST.to_bytes(2, "big")) or response != b"\x61\x05":
            return response
        self._card.transmit(bytes([apdu[0] & 0x0F, _GET_RESPONSE, 0, 0, 5]))
        return self._own(tlv(_RETRIEVE_LIST, integer(0x81, _NO_RESULT)))

    def _own(self, answer: bytes) -> bytes:
        self._answer = answer
        return bytes([0x61, len(answer)])


def _status(word: int) -> bytes:
    return word.to_bytes(2, "big")
