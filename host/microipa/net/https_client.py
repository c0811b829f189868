"""One POST over HTTPS and goodbye.

httpx would do but for the goodbye: it drops a TLS connection without close_notify, and servers on OpenSSL 3 then log
a truncated stream for each call.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import h11

from microipa.common.errors import MicroipaError

PIECE = 65_536  # bytes read at a time
GOODBYE_S = 2.0


class NotReached(MicroipaError):
    """No connection, or a server that is not believed: it has seen nothing of the request."""


class Broken(MicroipaError):
    """The connection broke, or what came is not HTTP: whether the request was carried out is unknown."""


class TooLong(MicroipaError):
    """The answer is longer than it may be."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


async def post(
    place: tuple[str, int],
    name: str,
    path: str,
    headers: Mapping[str, str],
    content: bytes,
    tls: ssl.SSLContext,
    largest: int,
) -> Reply:
    """Ask the server at ``place``, which has to prove that it is ``name``. The caller sets the time limit.

    Raises NotReached, Broken, and TooLong for a body of more than ``largest`` bytes.
    """
    try:
        reader, writer = await asyncio.open_connection(*place, ssl=tls, server_hostname=name)
    except OSError as error:  # ssl.SSLError too
        raise NotReached(f"cannot connect to {place[0]}: {error}") from error
    try:
        http = h11.Connection(h11.CLIENT)
        sent = {**headers, "Content-Length": str(len(content)), "Connection": "close"}
        request = h11.Request(method="POST", target=path, headers=list(sent.items()))
        for event in (request, h11.Data(data=content), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        await writer.drain()
        return await _reply(reader, http, largest)
    except (OSError, h11.ProtocolError) as error:
        raise Broken(str(error) or type(error).__name__) from error
    finally:
        writer.close()
        # The rest of a server's TLS must not hold its answer up.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await writer.wait_closed()


async def _reply(reader: asyncio.StreamReader, http: h11.Connection, largest: int) -> Reply:
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            piece = await reader.read(PIECE)
            if not piece and head is None:
                raise Broken("the server closed the connection without an answer")
            http.receive_data(piece)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > largest:
                raise TooLong(f"the answer has more than {largest} bytes")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Reply(head.status_code, {k.decode(): v.decode("latin-1") for k, v in head.headers}, bytes(body))
