"""What an eIM keeps of the CoAP exchanges of one association, and only as long as that lives.

The only module beside ``coap`` that touches the inner parts of aiocoap; they are those of 0.4.17, which pyproject
pins. aiocoap keeps the like in tables of its own for minutes, over all its peers; with thousands of them those tables
are most of the memory, and each look at them takes longer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiocoap import Message, error
from aiocoap.blockwise import Block1Spool, Block2Cache, IncompleteException
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers import TransportTuning, codes
from aiocoap.numbers.types import CON

from microipa.eim.qblock import Body

LARGEST_REQUEST = 1 << 16
MOST_RECENT = 8
"""Messages of a peer whose repeats are recognised: it has one exchange at a time (RFC 7252 4.7)."""

Said = tuple[Any, ...]
"""What makes two messages say the same: token, Block1, Request-Tag and payload."""


class SlowLink(TransportTuning):
    """RFC 7252 4.8 for NB-IoT: seconds of latency, and an SM-DP+ to be asked before the answer is there."""

    ACK_TIMEOUT = 10.0
    MAX_RETRANSMIT = 3
    EMPTY_ACK_DELAY = 0.5  # an answer within this time saves the device two datagrams


SLOW_LINK = SlowLink()


@dataclass(frozen=True, slots=True)
class Done:
    """The request an association asked last, as it was put together, and its answer.

    A device whose path does not take the answer asks again for smaller blocks, in a new message with the token
    of the old one. What it wants has been done already.
    """

    said: Said
    request: Message
    code: codes.Code
    payload: bytes

    @staticmethod
    def identity(message: Message) -> Said:
        return message.token, message.opt.block1, message.opt.request_tag, message.payload

    def answer(self) -> Message:
        return Message(code=self.code, payload=self.payload, transport_tuning=SLOW_LINK)


class Kept:
    """``recent`` are the datagrams that answered the newest requests, by message ID; None while one is worked on."""

    __slots__ = ("answers", "body", "done", "recent", "requests")

    def __init__(self) -> None:
        self.recent: dict[int, bytes | None] = {}
        self.requests: Requests | None = None
        self.answers: Answers | None = None
        self.body: Body | None = None
        self.done: Done | None = None

    def clear(self) -> None:
        """Forget all of it: no device asks for it any more."""
        self.__init__()  # type: ignore[misc]


class Requests(Block1Spool):
    """Requests that arrive in blocks: one at a time, bounded in size."""

    def __init__(self) -> None:
        self._assemblies: dict[Any, Message] = {}

    def feed_and_take(self, req: Message) -> Message:
        block = req.opt.block1
        if block and block.start + len(req.payload) > LARGEST_REQUEST:
            raise error.RequestEntityTooLarge
        if block and block.block_number == 0:
            self._assemblies.clear()
        try:
            whole = super().feed_and_take(req)
        except ValueError as gap:
            raise IncompleteException from gap
        self._assemblies.clear()
        return whole


class Answers(Block2Cache):
    """The newest response that leaves in blocks."""

    def __init__(self) -> None:
        self._completes: dict[Any, Message] = {}

    async def extract_or_insert(self, req: Message, response_builder: Callable[[], Awaitable[Message]]) -> Message:
        if req.opt.block2 is None or req.opt.block2.block_number == 0:
            self._completes.clear()
        return await super().extract_or_insert(req, response_builder)


class Messages(MessageManager):
    """aiocoap's message layer, which recognises a repeated message by what its association keeps."""

    def _deduplicate_message(self, message: Message) -> bool:
        recent: dict[int, bytes | None] = message.remote.kept.recent
        if message.mid in recent:
            answer = recent[message.mid]
            if message.mtype is CON and answer is not None:
                message.remote.send(answer)
            return True
        recent[message.mid] = None
        if len(recent) > MOST_RECENT:
            del recent[next(iter(recent))]
        return False

    def _store_response_for_duplicates(self, message: Message) -> None:
        """Done where it is encoded."""

    def _send_via_transport(self, message: Message) -> None:
        datagram = message.encode()
        recent = message.remote.kept.recent
        if message.mid in recent and message.mtype is not CON:
            recent[message.mid] = datagram
        message.remote.send(datagram)
