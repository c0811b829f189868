"""What goes into a record, and what never does: keys, PINs, values of AKA, whole activation codes, contents of sockets.

A record is looked at for long and handed on, so that it is made without them; in the process parts see all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from microipa.asn1.masking import Mask, masked
from microipa.common.activation_codes import short, shortened_codes

AUTHENTICATE, GET_RESPONSE, STORE_DATA, SELECT = 0x88, 0xC0, 0xE2, 0xA4
PINS = frozenset((0x20, 0x24, 0x26, 0x28, 0x2C))  # VERIFY, CHANGE, DISABLE, ENABLE, UNBLOCK PIN
_READS, _UPDATES = frozenset((0xB0, 0xB2)), frozenset((0xD6, 0xDC))
# EF.Keys, EF.KeysPS, EF.EPSNSC, EF.Kc, EF.KcGPRS, EF.5GS3GPPNSC, EF.5GSN3GPPNSC, EF.5GAUTHKEYS, EF.MSK, EF.MUK
_KEY_FILES = frozenset(
    bytes.fromhex(name) for name in ["6F08", "6F09", "6FE4", "4F20", "4F52", "4F03", "4F04", "4F05", "6FD7", "6FD8"]
)
_HEADER = 5  # octets of an APDU before its data: CLA, INS, P1, P2, Lc

# In AT commands: an APDU, the answer to one, what has a PIN or a password behind it, and long hexadecimal.
_APDU = re.compile(r'(AT\+C(?:GLA=[^,]*,|SIM=)\d+,")([0-9A-F]{2}(?:[0-9A-F]{2})+)', re.IGNORECASE)
_ANSWER = re.compile(r'(\+C(?:GLA|SIM): *\d+,"?)((?:[0-9A-F]{2}){2,})', re.IGNORECASE)
_PASSWORD = re.compile(r"(\+(?:CPIN|CPWD|CLCK|CGAUTH)=)(?!\?).+", re.IGNORECASE)
_LONG_HEX = re.compile(r"((?:[0-9A-F]{2}){32})((?:[0-9A-F]{2})+)", re.IGNORECASE)
_DTLS_RECORD, _TLS_HANDSHAKE = re.compile("1[4-9]fe(fd|ff)"), re.compile("1603")
FLOWS = 64  # TCP connections that are remembered
DATA_SHOWN, TEXT_SHOWN = 32, 200  # bytes of socket data, characters of an AT line that carries no APDU


class Redactor:
    """Makes events fit for a record. It has to see them in order: a message reaches a card in pieces."""

    def __init__(self) -> None:
        self._contacts, self._at = _Card(), _Card()
        self._flows: dict[Any, bool] = {}  # whether a TCP connection has TLS

    def __call__(self, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of an event of this kind as they may be kept."""
        kept = {name: shortened_codes(value) if isinstance(value, str) else value for name, value in fields.items()}
        if isinstance(kept.get("matching_id"), str):
            kept["matching_id"] = short(kept["matching_id"])
        masks: dict[str, Callable[[bytes], bytes]] = {}
        if kind == "esipa":
            masks = {"message": masked}
        elif kind == "apdu":
            masks = {"command": self._contacts.command, "response": self._contacts.response}
        elif kind == "at":
            kept |= self._at_line(kept)
        elif kind == "datagram":
            kept |= self._datagram(kept)
        return kept | {name: _in_hex(kept[name], mask) for name, mask in masks.items() if name in kept}

    def _datagram(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Whole where it is encrypted: a DTLS record, or a segment of a flow that began with TLS."""
        payload, flow = fields.get("payload"), fields.get("flow")
        if not isinstance(payload, str) or len(payload) <= 2 * DATA_SHOWN or _DTLS_RECORD.match(payload):
            return {}
        if "flags" in fields and flow not in self._flows:
            self._flows = {flow: bool(_TLS_HANDSHAKE.match(payload)), **dict(list(self._flows.items())[:FLOWS])}
        return {} if self._flows.get(flow) else {"payload": payload[: 2 * DATA_SHOWN]}

    def _at_line(self, fields: dict[str, Any]) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        data, text = fields.get("data"), fields.get("text")
        if isinstance(data, str) and len(data) > 2 * DATA_SHOWN:
            changed |= {"data": data[: 2 * DATA_SHOWN], "bytes": len(data) // 2}
        if isinstance(text, str):
            asked = fields.get("direction") == "in"
            pattern, mask = (_APDU, self._at.command) if asked else (_ANSWER, self._at.response)
            said, apdus = pattern.subn(lambda found: found[1] + _in_hex(found[2], mask).upper(), text)
            changed["text"] = said if apdus else _cut(said)
        return changed


class _Card:
    """What a card is asked and answers, on each of its channels."""

    def __init__(self) -> None:
        self._channel = 0
        self._asked: dict[int, tuple[int, Mask, Mask]] = {}  # number of the last block, before it and after it
        self._answer: dict[int, Mask] = {}
        self._hides = False  # the answer to this command
        self._in_keys: set[int] = set()  # channels on which a file of keys is selected

    def command(self, apdu: bytes) -> bytes:
        if len(apdu) < _HEADER:
            self._hides = False
            return apdu
        self._channel, instruction, data = apdu[0] & 0x4F, apdu[1], apdu[_HEADER:]
        in_keys = self._channel in self._in_keys
        if instruction == GET_RESPONSE:
            return apdu
        self._hides = instruction == AUTHENTICATE or (in_keys and instruction in _READS)
        self._answer[self._channel] = Mask()
        if instruction == SELECT:
            self._select(data)
        elif instruction == STORE_DATA:
            data = self._block(apdu[3], data)
        elif instruction == AUTHENTICATE or instruction in PINS or (in_keys and instruction in _UPDATES):
            data = bytes(len(data))
        return apdu[:_HEADER] + data

    def response(self, answer: bytes) -> bytes:
        data, status = answer[:-2], answer[-2:]
        if self._hides:
            return bytes(len(data)) + status
        return self._answer.setdefault(self._channel, Mask()).feed(data) + status

    def _block(self, number: int, data: bytes) -> bytes:
        """A block of STORE DATA, the first of a message, the next, or the last one once more."""
        last, before, after = self._asked.get(self._channel, (-1, Mask(), Mask()))
        before = Mask() if number == 0 else before if number == last else after
        after = deepcopy(before)
        self._asked[self._channel] = number, before, after
        return after.feed(data)

    def _select(self, data: bytes) -> None:
        (self._in_keys.add if data[-2:] in _KEY_FILES else self._in_keys.discard)(self._channel)


def _cut(line: str) -> str:
    """An AT line without passwords, and of what it carries the beginning."""
    said = _PASSWORD.sub(r"\1…", line)
    said = _LONG_HEX.sub(lambda found: f"{found[1]}… ({len(found[0]) // 2} bytes)", said)
    return said if len(said) <= TEXT_SHOWN else f"{said[:TEXT_SHOWN]}… ({len(said)} characters)"


def _in_hex(digits: Any, mask: Callable[[bytes], bytes]) -> Any:
    """Hexadecimal through ``mask``; what is none stays."""
    try:
        return mask(bytes.fromhex(digits)).hex()
    except (TypeError, ValueError):
        return digits
