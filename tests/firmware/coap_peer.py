"""What tests of ipa.net.coap share: a script that posts bodies, and a peer that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable

from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import Type
from board_run import Run
from datagram import UDP

SCRIPT = UDP + """
import asyncio, hashlib, sys
from ipa.net import coap
from ipa.net import NetError
from ipa.net.coap import Coap
from ipa.net.dtls import Dtls

class Plain:
    "What Dtls is to Coap, without the secret."
    rtt_ms = 10

    def __init__(self, datagram):
        self.datagram = datagram

    async def send(self, buf):
        self.datagram.write(buf)

    async def recv(self, buf, ms):
        for _ in range(ms // 5):
            n = self.datagram.readinto(buf)
            if n is not None:
                return n
            await self.datagram.wait(5)
        return 0

async def post(link, parts):
    body = await link.exchange(parts)
    digest, size, buf = hashlib.sha256(), 0, bytearray(100)
    while True:
        n = await body.readinto(memoryview(buf))
        if not n:
            return size, digest.digest()[:4].hex()
        size += n
        digest.update(memoryview(buf)[:n])

async def posts(link, *sizes):
    for size in sizes:
        try:
            print(*await post(link, (bytes(size // 3), b"x" * (size - size // 3))))
        except NetError as error:
            print(type(error).__name__, error)
"""

PLAIN = SCRIPT + "asyncio.run(posts(Coap(Plain(Udp(int(sys.argv[1])))), *[int(n) for n in sys.argv[2:]]))"


def told(body: bytes) -> str:
    return f"{len(body)} {hashlib.sha256(body).digest()[:4].hex()}"


Reply = Callable[[Message], list[Message]]


class ScriptedPeer(asyncio.DatagramProtocol):
    def __init__(self, reply: Reply) -> None:
        self.heard: list[Message] = []
        self._reply = reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = Message.decode(data)
        self.heard.append(message)
        for answer in self._reply(message):
            raw = answer if isinstance(answer, bytes) else answer.encode()
            self._transport.sendto(raw, addr)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def peer(reply: Reply) -> AsyncIterator[tuple[int, list[Message]]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: ScriptedPeer(reply), local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1], protocol.heard
    finally:
        transport.close()


async def against(micropython: Run, reply: Reply, *sizes: int) -> tuple[list[str], list[Message]]:
    async with peer(reply) as (port, heard):
        return (await micropython(PLAIN, port, *sizes)).splitlines(), heard


def answer(request: Message, code: Code = Code.CHANGED, payload: bytes = b"", kind: Type = Type.ACK,
           mid: int | None = None, **options: object) -> Message:
    made = Message(code=code, payload=payload, _mtype=kind, _mid=request.mid if mid is None else mid,
                   _token=request.token)
    for name, value in options.items():
        setattr(made.opt, name, value)
    return made
