"""HTTPS for the servers of remote SIM provisioning: bodies with limits, TLS, a port on loopback."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp

from microipa.crypto.pki import Credential
from microipa.errors import MicroipaError
from microipa.smdpp.refusal import MalformedRequest, ServerBusy

LOOPBACK = "127.0.0.1"
MAX_BODY = 65_536  # bytes; the largest request, an authenticateServerResponse, has some 3 kB
BODY_TIMEOUT_S = 30.0
MAX_CONNECTIONS = 64
KEEP_ALIVE_S = 30
ADMIN_PROTOCOL = "gsma/rsp/v2.5.0"


class PortTaken(MicroipaError):
    """The port the server should listen on cannot be had."""


class BodyRefused(MicroipaError):
    """A request body that is too long, too slow or broken off. ``status`` says so in HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def admin_protocol(request: Request) -> str:
    """X-Admin-Protocol, any version, to be echoed: peers announce what they like. Raises MalformedRequest."""
    protocol = request.headers.get("x-admin-protocol", ADMIN_PROTOCOL)
    if not re.fullmatch(r"gsma/rsp/v[0-9.]{1,16}", protocol):
        raise MalformedRequest(f"X-Admin-Protocol {protocol[:64]!a} is not gsma/rsp/v…")
    return protocol


async def read_body(request: Request) -> bytes:
    """The whole body, chunked or not. Raises BodyRefused."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise BodyRefused(413, f"the body has more than {MAX_BODY} bytes")
    except TimeoutError:
        raise BodyRefused(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None
    except ClientDisconnect:
        raise BodyRefused(400, "the peer went away in the middle of its request") from None
    return bytes(body)


def http_status(error: MicroipaError) -> int:
    """The status of an answer to a request that came to nothing."""
    if isinstance(error, BodyRefused):
        return error.status
    return 503 if isinstance(error, ServerBusy) else 400


@asynccontextmanager
async def serve_https(app: ASGIApp, credential: Credential, port: int = 0) -> AsyncIterator[int]:
    """Serve ``app`` on 127.0.0.1 while the block runs; yields the port. Raises PortTaken."""
    try:
        listener = socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise PortTaken(f"cannot listen on {LOOPBACK}:{port}: {error.strerror}") from error
    config = uvicorn.Config(
        app,
        ssl_context_factory=lambda config, default: _tls(credential),
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        log_config=None,
        access_log=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    # The socket listens already: whoever connects before uvicorn is up waits in its queue.
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """uvicorn as one part of a larger program, which keeps its own signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _tls(credential: Credential) -> ssl.SSLContext:
    """Server side of TLS 1.2 or later. The key passes through a file because OpenSSL's wrapper wants one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    key = credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory(prefix="microipa-") as folder:  # mode 0700
        chain = Path(folder) / "tls.pem"
        chain.write_bytes(key + credential.certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(chain)
    return context
