"""HTTPS for the servers of remote SIM provisioning: TLS, and a limit for each phase of a connection.

uvicorn has no limit for a handshake, for the head of a request, or for what one address may hold open: those
are here and in ``tls_listener``.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from cryptography import x509
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from microipa.common.errors import Busy, MicroipaError
from microipa.crypto.pki import Credential
from microipa.crypto.revocation import Issuer
from microipa.crypto.tls import load, server_context, verified_chain
from microipa.net import sockets
from microipa.net.tls_listener import Connection, TlsListener
from microipa.trace.key_log import KeyLog

LOOPBACK = "127.0.0.1"
MAX_BODY = 65_536  # bytes; the largest request, an authenticateServerResponse, has some 3 kB
BODY_TIMEOUT_S = 30.0
HEAD_TIMEOUT_S = 20.0  # from the end of the handshake, or the first byte of a later request, to its last header
REQUEST_TIMEOUT_S = 300.0  # from there to the last byte of the answer, given to a slow radio
KEEP_ALIVE_S = 30
MAX_CONNECTIONS = 512
ADMIN_PROTOCOL = "gsma/rsp/v2.5.0"

Renewals = list[Callable[[Credential], None]]
"""What to call with a server's new credential while it serves."""


class RequestRefused(MicroipaError):
    """A request that HTTP itself has a ``status`` for: its body too long, too slow or broken off, a wrong header."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def admin_protocol(request: Request, default: str = ADMIN_PROTOCOL) -> str:
    """X-Admin-Protocol, any version, to be echoed: peers announce what they like. Raises RequestRefused."""
    protocol = request.headers.get("x-admin-protocol", default)
    if not re.fullmatch(r"gsma/rsp/v[0-9.]{1,16}", protocol):
        raise RequestRefused(400, f"X-Admin-Protocol {protocol[:64]!a} is not gsma/rsp/v…")
    return protocol


async def read_body(request: Request) -> bytes:
    """The whole body, chunked or not. Raises RequestRefused."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise RequestRefused(413, f"the body has more than {MAX_BODY} bytes")
    except TimeoutError:
        raise RequestRefused(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None
    except ClientDisconnect:
        raise RequestRefused(400, "the peer went away in the middle of its request") from None
    return bytes(body)


def http_status(error: MicroipaError) -> int:
    """The status of an answer to a request that came to nothing."""
    if isinstance(error, RequestRefused):
        return error.status
    return 503 if isinstance(error, Busy) else 400


@asynccontextmanager
async def serve_https(
    app: ASGIApp, credential: Credential, port: int = 0, *, host: str = LOOPBACK,
    clients: Sequence[x509.Certificate | Issuer] = (),
    bound: socket.socket | None = None, renewals: Renewals | None = None, key_log: KeyLog | None = None
) -> AsyncIterator[int]:
    """Serve ``app`` at an address of this machine, or at a socket that is ``bound`` and listens, while the block runs;
    yields the port. ``renewals`` is told how to renew the credential. ``key_log`` gets the
    secrets of its connections. Raises PortTaken.

    With ``clients`` only holders of a certificate under one of these are served; ``request.state.chain`` has the
    chain by which it was verified.
    """
    listener = bound or sockets.tcp(host, port)
    context = server_context(credential, clients)
    if key_log:
        context.keylog_filename = str(key_log.path)
    if renewals is not None:
        renewals.append(partial(load, context))
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = _Server(config)

    def speak(connection: Connection) -> _Http:
        """Called before the handshake."""
        if key_log and not key_log.has_room():
            context.keylog_filename = None  # type: ignore[assignment]  # ends it; the stubs know no None
        return _Http(config, server.server_state, connection, door)

    door = TlsListener(listener, context, speak, MAX_CONNECTIONS)
    listens_at: int = listener.getsockname()[1]
    # The socket listens already: whoever connects before uvicorn is up waits in its queue.
    accepting, serving = asyncio.create_task(door.run()), asyncio.create_task(server.serve(sockets=[]))
    try:
        yield listens_at
    finally:
        accepting.cancel()
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await accepting
        await serving


class _Http(H11Protocol):
    """uvicorn's HTTP/1.1 with a time for each phase. It tells its application the certificates of the client."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, connection: Connection, door: TlsListener
    ) -> None:
        super().__init__(config, state, {})
        self.heard = self.loop.time()
        self._connection = connection
        self._door = door
        self._timed: object = None  # the request whose time runs
        self._limit: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Its request has arrived whole and is not answered yet."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def drop(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        chain = verified_chain(transport.get_extra_info("ssl_object"))
        self.app_state = {"chain": chain, "abort": transport.abort}
        self._connection.peer = self
        super().connection_made(transport)
        self._allow(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._allow(None)
        self._door.closed(self._connection)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        if self._limit is None:
            self._allow(HEAD_TIMEOUT_S)
        super().data_received(data)
        self._time_request()

    def on_response_complete(self) -> None:
        self._allow(None)  # uvicorn itself measures the pause until the next request
        super().on_response_complete()
        self._time_request()

    def _time_request(self) -> None:
        """Once for each request, when its head has come."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way and self._timed is not self.cycle:
            self._timed = self.cycle
            self._allow(REQUEST_TIMEOUT_S)

    def _allow(self, seconds: float | None) -> None:
        if self._limit:
            self._limit.cancel()
        self._limit = self.loop.call_later(seconds, self.drop) if seconds else None


class _Server(uvicorn.Server):
    """uvicorn as one part of a larger program, which keeps its own signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
