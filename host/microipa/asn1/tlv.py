"""BER-TLV slices for the lab: what was signed is cut out and kept, never decoded and encoded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from microipa.common.errors import MicroipaError


class TlvError(MicroipaError):
    """Bytes that are not the TLV they claim to be; ``offset`` counts from the start of the whole input."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Tlv:
    """One TLV: ``tag`` as written (0x5A, 0xBF51), ``raw`` with header, ``value`` without.

    ``offset`` is where ``raw`` begins in the outermost input, so that errors can point there.
    """

    tag: int
    raw: bytes
    header: int
    offset: int = 0

    @property
    def value(self) -> bytes:
        return self.raw[self.header :]

    @property
    def contents(self) -> int:
        """Where ``value`` begins in the outermost input."""
        return self.offset + self.header

    def children(self) -> list[Tlv]:
        """The TLVs inside. Raises TlvError when the value is not a sequence of TLVs."""
        return parse_all(self.value, self.contents)

    def get(self, tag: int) -> Tlv | None:
        """The first child with this tag, None without one."""
        return next((child for child in self.children() if child.tag == tag), None)

    def __getitem__(self, tag: int) -> Tlv:
        """The first child with this tag. Raises TlvError without one."""
        child = self.get(tag)
        if child is None:
            raise TlvError(f"no {tag:02X} inside {self.tag:02X}", self.offset)
        return child

    def __contains__(self, tag: int) -> bool:
        return self.get(tag) is not None

    def __iter__(self) -> Iterator[Tlv]:
        return iter(self.children())


def parse(data: bytes) -> Tlv:
    """The one TLV that ``data`` is. Raises TlvError when it is cut short or followed by more."""
    tlv = _read(data, 0, 0)
    if surplus := len(data) - len(tlv.raw):
        raise TlvError(f"{_bytes(surplus)} after the end of {tlv.tag:02X}", len(tlv.raw))
    return tlv


def parse_all(data: bytes, offset: int = 0) -> list[Tlv]:
    """All TLVs of ``data``, one after the other. Raises TlvError."""
    found = []
    position = 0
    while position < len(data):
        found.append(_read(data, position, offset))
        position += len(found[-1].raw)
    return found


def tlv(tag: int, *parts: bytes) -> bytes:
    """Encode one TLV from its tag and the parts of its value."""
    value = b"".join(parts)
    return tag_bytes(tag) + length_bytes(len(value)) + value


def tag_bytes(tag: int) -> bytes:
    return tag.to_bytes((tag.bit_length() + 7) // 8 or 1, "big")


def length_bytes(length: int) -> bytes:
    """BER definite length in its shortest form."""
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def integer(tag: int, value: int) -> bytes:
    """A signed INTEGER of minimal length under ``tag`` (X.690 8.3)."""
    magnitude = value if value >= 0 else ~value
    return tlv(tag, value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True))


def number(field: Tlv) -> int:
    """A signed INTEGER, whatever its tag, of at most eight bytes: what a database or a line of text can hold.

    Raises TlvError.
    """
    if not 1 <= len(field.value) <= 8:
        raise TlvError(f"INTEGER {field.tag:02X} of {_bytes(len(field.value))}", field.offset)
    return int.from_bytes(field.value, "big", signed=True)


def _read(data: bytes, start: int, base: int) -> Tlv:
    position = start
    end = len(data)
    if position >= end:
        raise TlvError("nothing where a tag should be", base + position)
    tag = data[position]
    position += 1
    if tag & 0x1F == 0x1F:
        while True:
            if position >= end or position - start > 3:
                raise TlvError("tag without an end", base + start)
            tag = tag << 8 | data[position]
            position += 1
            if not data[position - 1] & 0x80:
                break
    if position >= end:
        raise TlvError(f"no length after tag {tag:02X}", base + position)
    length = data[position]
    position += 1
    if length == 0x80 or length > 0x84:
        raise TlvError(f"length form {length:02X} of {tag:02X} is not allowed", base + position - 1)
    if length > 0x80:
        count = length & 0x7F
        if position + count > end:
            raise TlvError(f"length of {tag:02X} is cut short", base + position)
        length = int.from_bytes(data[position : position + count], "big")
        position += count
    if position + length > end:
        there = "1 is" if end - position == 1 else f"{end - position} are"
        raise TlvError(f"{tag:02X} wants {_bytes(length)}, {there} there", base + position)
    return Tlv(tag, data[start : position + length], position - start, base + start)


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
