"""Command APDUs as terminals send them (ISO 7816-4 clause 5.1, TS 102 221 clause 10.1)."""

from __future__ import annotations

from dataclasses import dataclass

from microipa.euicc.status import NO_CHAINING, NO_CLASS, NO_SECURE_MESSAGING, WRONG_LENGTH, StatusWord

MAX_ANSWER = 256


@dataclass(frozen=True)
class Command:
    """``proprietary``: class 8X or CX. ``le`` is None when absent; 0 stands for 256."""

    channel: int
    proprietary: bool
    ins: int
    p1: int
    p2: int
    data: bytes
    le: int | None

    @property
    def p1_p2(self) -> int:
        return self.p1 << 8 | self.p2


def parse(apdu: bytes) -> Command:
    """Raises StatusWord for what is no short APDU of a class this card knows."""
    if len(apdu) < 4:
        raise StatusWord(WRONG_LENGTH)
    cla, ins, p1, p2 = apdu[:4]
    channel, proprietary = _class(cla)
    body = apdu[4:]
    if len(body) <= 1:
        return Command(channel, proprietary, ins, p1, p2, b"", body[0] if body else None)
    count = body[0]
    if count == 0 or len(body) not in (1 + count, 2 + count):
        raise StatusWord(WRONG_LENGTH)
    le = body[1 + count] if len(body) == 2 + count else None
    return Command(channel, proprietary, ins, p1, p2, body[1 : 1 + count], le)


def _class(cla: int) -> tuple[int, bool]:
    """(logical channel, proprietary) from a class byte: 0X and 8X are channels 0–3, 4X and CX 4–19."""
    further = bool(cla & 0x40)
    if cla & 0x20:
        raise StatusWord(NO_SECURE_MESSAGING if further else NO_CLASS)
    if cla & 0x10:
        raise StatusWord(NO_CHAINING)
    if further:
        return 4 + (cla & 0x0F), bool(cla & 0x80)
    if cla & 0x0C:
        raise StatusWord(NO_SECURE_MESSAGING)
    return cla & 0x03, bool(cla & 0x80)


def exact(data: bytes, le: int | None) -> bytes:
    """``data`` of fixed length under an expected length: another Le than that is answered 6Cxx."""
    if le and le != len(data):
        raise StatusWord(0x6C00 | len(data) & 0xFF)
    return data
