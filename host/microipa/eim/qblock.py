"""Answers in bursts of blocks (RFC 9177, Q-Block2) for devices that ask for them.

Requests stay confirmable (SGP.32 6.2): the first block of a burst is the acknowledgement, the others follow as
non-confirmable messages. The next burst leaves when the device asks for it, not after a time: its card may
need longer for a block than the radio.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiocoap import Message, error
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import NON

MAX_PAYLOADS = 10
"""Blocks in a burst, which both sides know (RFC 9177 7.2)."""


@dataclass(frozen=True)
class Wanted:
    """One Q-Block2 option of a request: a block, or with ``more`` the burst that begins with it."""

    number: int
    more: bool
    size: int

    @classmethod
    def all_of(cls, request: Message) -> list[Wanted]:
        """Those of a request, none when it does not ask for bursts. Raises BadOption."""
        options = [cls._parse(option.value) for option in request.opt.get_option(OptionNumber.Q_BLOCK2) or ()]
        if options and (request.opt.block1 or request.opt.block2 or len({one.size for one in options}) > 1):
            raise error.BadOption  # RFC 9177 4.1: one way of transfer, one size
        return options

    @classmethod
    def _parse(cls, value: bytes) -> Wanted:
        number = int.from_bytes(value, "big")
        if len(value) > 3 or number & 7 == 7:
            raise error.BadOption
        return cls(number >> 4, bool(number & 8), 16 << (number & 7))


@dataclass(frozen=True)
class Body:
    """An answer that is larger than a block."""

    message: Message
    etag: bytes

    def burst(self, wanted: Sequence[Wanted]) -> list[Message]:
        """The blocks that are wanted, at most MAX_PAYLOADS. Raises BadOption when there are none."""
        if messages := list(self._blocks(wanted)):
            return messages
        raise error.BadOption

    def _blocks(self, wanted: Sequence[Wanted]) -> Iterator[Message]:
        size, payload = wanted[0].size, self.message.payload
        blocks = -(-len(payload) // size)
        numbers = [one.number for one in wanted]
        if wanted[0].more:
            numbers = list(range(numbers[0], numbers[0] - numbers[0] % MAX_PAYLOADS + MAX_PAYLOADS))
        for place, number in enumerate([number for number in numbers if number < blocks][:MAX_PAYLOADS]):
            how: dict[str, Any] = {"_mtype": NON} if place else {}
            block = Message(
                code=self.message.code,
                payload=payload[number * size : (number + 1) * size],
                transport_tuning=self.message.transport_tuning,
                **how,
            )
            value = number << 4 | (8 if number < blocks - 1 else 0) | size.bit_length() - 5
            option = OptionNumber.Q_BLOCK2.create_option(value=value.to_bytes((value.bit_length() + 7) // 8, "big"))
            block.opt.add_option(option)
            block.opt.etag = self.etag
            block.opt.size2 = len(payload)
            yield block
