"""What a recorded message must not tell: activation codes, matching ids and hashed confirmation codes in it.

Their octets become asterisks, so that the message keeps its length and can still be decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from microipa.asn1.kinds import Kind
from microipa.asn1.schema import rsp, sgp32
from microipa.asn1.tlv import tag_bytes
from microipa.common.activation_codes import SHOWN

ACTIVATION_CODE, MATCHING_ID, HASH = "activationCode", "matchingId", "hashCc"
_SECRETS = (ACTIVATION_CODE, MATCHING_ID, HASH)
_CONSTRUCTED, _MORE, _LONG = 0x20, 0x1F, 0x80
_DOLLAR, _ASTERISK = ord("$"), ord("*")
_BEFORE_ID = 2  # dollars that stand before the matching id of an activation code
_LONGEST_HEADER = 9  # octets of a tag and a length


class Mask:
    """Masks one message that may come in pieces, as STORE DATA brings one to a card."""

    def __init__(self) -> None:
        self._place = 0  # octets seen so far
        self._header = b""
        self._around: list[tuple[int, int]] = []  # tag and end of the objects we are in
        self._value_end = 0  # of the primitive object we are in
        self._secret = ""
        self._dollars = self._shown = 0

    def feed(self, piece: bytes) -> bytes:
        """The same number of octets."""
        seen = bytearray(piece)
        at = 0
        while at < len(seen):
            if self._place < self._value_end:
                size = min(len(seen) - at, self._value_end - self._place)
                if self._secret:
                    seen[at : at + size] = bytes(map(self._hidden, seen[at : at + size]))
            else:
                size = 1
                self._take_header(seen[at])
            at += size
            self._place += size
        return bytes(seen)

    def _take_header(self, octet: int) -> None:
        if not self._header:
            while self._around and self._place >= self._around[-1][1]:
                self._around.pop()
        self._header += bytes([octet])
        read = _read_header(self._header)
        if read is None:
            if len(self._header) > _LONGEST_HEADER:  # no TLV: nothing in it is known
                self._value_end, self._secret = 1 << 62, ""
            return
        tag, length = read
        end = self._place + 1 + length
        path = (*(outer for outer, _ in self._around), tag)
        if self._header[0] & _CONSTRUCTED:
            self._around.append((tag, end))
        else:
            self._value_end, self._secret = end, _paths().get(path, "")
            self._dollars, self._shown = (0, 0) if self._secret == ACTIVATION_CODE else (_BEFORE_ID, 0)
        self._header = b""

    def _hidden(self, octet: int) -> int:
        if self._secret == HASH:
            return 0
        if octet == _DOLLAR:
            self._dollars, self._shown = self._dollars + 1, 0
            return octet
        if self._dollars != _BEFORE_ID:
            return octet
        self._shown += 1
        return octet if self._shown <= SHOWN else _ASTERISK


def masked(message: bytes) -> bytes:
    """A whole message without its secrets."""
    return Mask().feed(message)


def _read_header(octets: bytes) -> tuple[int, int] | None:
    """Tag and length, None while octets are missing."""
    end = 1
    if octets[0] & _MORE == _MORE:
        while end < len(octets) and octets[end] & _LONG:
            end += 1
        end += 1
    if len(octets) <= end:
        return None
    length, count = octets[end], 0
    if length & _LONG:
        count = length & ~_LONG
        length = int.from_bytes(octets[end + 1 :], "big")
    if len(octets) < end + 1 + count:
        return None
    return int.from_bytes(octets[:end], "big"), length


@cache
def _paths() -> dict[tuple[int, ...], str]:
    """The tags that lead to each secret, from those of the outermost object on: of all messages the modules know."""
    found: dict[tuple[int, ...], str] = {}
    for schema in (rsp, sgp32):
        for name in schema.types:
            kind = schema.kind(name)
            if kind.tags and len(tag_bytes(kind.tags[0])) > 1:
                found |= dict(_secrets(kind, ()))
    return found


def _secrets(kind: Kind, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    path += kind.tags
    for member in kind.members:
        if member.name in _SECRETS:
            yield path + member.kind.tags, member.name
        else:
            yield from _secrets(member.kind, path)
    if kind.element:
        yield from _secrets(kind.element, path)
