"""A CoAP client of the eIM: aiocoap over the tests' own DTLS, or message by message."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiocoap import Context, Message
from aiocoap.numbers.codes import POST, Code
from aiocoap.numbers.types import Type
from aiocoap.resource import Resource, Site
from aiocoap.transports.generic_udp import GenericMessageInterface
from cryptography import x509
from eim_client import DtlsClient
from microipa.eim.coap import Remote
from microipa.eim.esipa import EsipaRefused

PATH = ("gsma", "rsp2", "asn1")


class Datagrams(GenericMessageInterface):
    """aiocoap's transport over one DTLS association."""

    def __init__(self, manager: Any, client: DtlsClient) -> None:
        super().__init__(manager, logging.getLogger("test"), asyncio.get_running_loop())
        client.address = client.peer  # what Remote wants to know
        self.remote = Remote(client)
        self._reading = asyncio.create_task(self._read(manager, client))

    async def _read(self, manager: Any, client: DtlsClient) -> None:
        while True:
            datagram = await client.receive(timeout=60)
            manager.dispatch_message(Message.decode(datagram, self.remote))

    async def shutdown(self) -> None:
        self._reading.cancel()

    async def recognize_remote(self, remote: object) -> bool:
        return remote is self.remote


class Coap:
    """``post`` is what an IPA needs; ``last`` is the latest response."""

    def __init__(self, context: Context, remote: Remote) -> None:
        self.context = context
        self.remote = remote
        self.last: Message

    async def post(self, payload: bytes) -> bytes:
        """One ESipa message, in blocks when it is large. Raises EsipaRefused for 4.00."""
        request = Message(code=POST, payload=payload)
        request.opt.uri_path = PATH
        request.remote = self.remote
        self.last = await asyncio.wait_for(self.context.request(request).response, 20)
        if self.last.code == Code.BAD_REQUEST:
            raise EsipaRefused(self.last.payload.decode())
        return self.last.payload


class Listening(Resource):
    """Answers what the eIM sends unasked."""

    def __init__(self, answer: Callable[[bytes], bytes | Code]) -> None:
        super().__init__()
        self._answer = answer

    async def render_post(self, request: Message) -> Message:
        answer = self._answer(request.payload)
        return Message(code=answer) if isinstance(answer, Code) else Message(code=Code.CHANGED, payload=answer)


@contextlib.asynccontextmanager
async def connected(
    port: int, ca: x509.Certificate, answer: Callable[[bytes], bytes | Code] | None = None
) -> AsyncIterator[Coap]:
    """An aiocoap client over a new DTLS association; with ``answer`` it listens as well."""
    client = await DtlsClient(port, ca).connect()
    site = Site()
    if answer:
        site.add_resource(PATH, Listening(answer))
    context = Context(serversite=site)
    made: list[Datagrams] = []

    async def interface(manager: Any) -> Datagrams:
        made.append(Datagrams(manager, client))
        return made[0]

    await context._append_tokenmanaged_messagemanaged_transport(interface)
    try:
        yield Coap(context, made[0].remote)
    finally:
        await context.shutdown()
        await client.close()


class Bare:
    """Sends CoAP messages one by one over a DTLS association, and shows each answer."""

    def __init__(self, client: DtlsClient) -> None:
        self.client = client
        self._mid = 0

    async def exchange(self, payload: bytes = b"", code: Code = POST, **options: Any) -> Message:
        self.send(payload, code, **options)
        return await self.receive()

    def send(self, payload: bytes = b"", code: Code = POST, **options: Any) -> None:
        self._mid += 1
        message = Message(code=code, payload=payload, _mid=self._mid, _mtype=Type.CON)
        message.token = options.pop("token", self._mid.to_bytes(2, "big"))
        message.opt.uri_path = options.pop("uri_path", PATH)
        for name, value in options.items():
            setattr(message.opt, name, value)
        message.remote = None
        self.client.send(message.encode())

    async def receive(self) -> Message:
        return Message.decode(await self.client.receive())
