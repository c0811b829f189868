"""The client of RSP servers against servers that speak no HTTP, half of it, or another one (SGP.22 6.5)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from microipa.crypto.pki import Pki
from microipa.crypto.tls import server_context
from microipa.net.rsp_client import RspClient, RspUnavailable

OK = b"HTTP/1.1 200 OK\r\n"
BAD = {
    "nothing": (b"", "closed the connection without an answer"),
    "only promises": (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "closed the connection without an answer"),
    "no HTTP": (b"\0\1\2", "illegal"),
    "no number": (OK + b"Content-Length: abc\r\n\r\n", "bad Content-Length"),
    "no chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "illegal chunk header"),
    "half a body": (OK + b"Content-Length: 10\r\n\r\n{}", "without sending complete message body"),
    "another protocol": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "without a pending proposal"),
    "a line without end": (b"A" * 200_000, "too long"),
    "a header without end": (OK + b"X: " + b"y" * 200_000, "too long"),
    "no text": (OK + b"Content-Length: 4\r\n\r\n\xff\xfe\xfd\xfc", "is not JSON"),
    "another status": (b"HTTP/1.1 599 \xff\r\nContent-Length: 0\r\nRetry-After: \xff\r\n\r\n", "HTTP 599"),
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder: Path = tmp_path_factory.mktemp("pki")
    return Pki.open(folder)


@pytest.mark.parametrize(("answer", "words"), BAD.values(), ids=BAD)
async def test_6_5_what_is_no_answer_is_named(pki: Pki, answer: bytes, words: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(pki.smdpp_tls))
    async with server:
        route = {Pki.smdpp_address: server.sockets[0].getsockname()[:2]}
        client = RspClient("eim", [pki.ci.certificate], route, None)
        with pytest.raises(RspUnavailable, match=words):
            await client.call(Pki.smdpp_address, "handleNotification", {})
