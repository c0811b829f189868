"""The HTTPS servers under peers that are slow, silent or many."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from microipa.crypto.pki import Pki
from microipa.crypto.tls import client_context
from microipa.net import https_server, tls_listener
from microipa.net.https_server import read_body, serve_https
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ROOM = 6  # connections that the server takes in these tests
NAME = Pki.smdpp_address
HEAD = b"POST /echo HTTP/1.1\r\nHost: smdpp\r\nX-Admin-Protocol: gsma/rsp/v2.5.0\r\n"
WHOLE = HEAD + b"Content-Length: 2\r\n\r\nhi"
HALVES = {
    "nothing": b"",
    "half a head": HEAD[:-9],
    "no end of the head": HEAD,
    "half a body": HEAD + b"Content-Length: 20\r\n\r\nhi",
}
OTHER_HOST = "127.0.0.2"


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


class Client:
    """One connection under TLS, that says what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> Client:
        self.writer.write(data)
        await self.writer.drain()
        return self

    async def say_slowly(self, data: bytes) -> None:
        for byte in data:
            await self.say(bytes([byte]))
            await asyncio.sleep(0.01)

    async def answer(self) -> bytes:
        """Status line and body of one answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head.split(b"\r\n")[0] + b" " + await self.reader.readexactly(length)

    async def is_closed(self) -> bool:
        """Wait until the server has closed it."""
        with suppress(ConnectionError, ssl.SSLError):
            await self.reader.read()
        return True

    async def served(self) -> bool:
        """Whether another request on this connection is answered."""
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            return await (await self.say(WHOLE)).answer() == b"HTTP/1.1 200 OK hi"
        return False


class Bench:
    def __init__(self, pki: Pki, port: int) -> None:
        self._pki = pki
        self.port = port
        self._clients: list[Client] = []

    async def client(self, host: str = "127.0.0.1") -> Client:
        tls = client_context([self._pki.ci.certificate])
        streams = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=tls, server_hostname=NAME, local_addr=(host, 0)
        )
        self._clients.append(Client(*streams))
        return self._clients[-1]

    async def mute(self, host: str = "127.0.0.1") -> Client:
        """Connected by TCP alone: its handshake never begins."""
        self._clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(host, 0))))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()


@asynccontextmanager
async def serving(pki: Pki) -> AsyncIterator[Bench]:
    async def echo(request: Request) -> Response:
        return Response(await read_body(request))

    async def never(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = Starlette(routes=[Route("/echo", echo, methods=["POST"]), Route("/never", never, methods=["POST"])])
    async with serve_https(app, pki.smdpp_tls) as port:
        bench = Bench(pki, port)
        try:
            yield bench
        finally:
            bench.close()


@pytest.fixture
def small(monkeypatch) -> None:
    """A server that takes few connections, so that few are a flood."""
    monkeypatch.setattr(https_server, "MAX_CONNECTIONS", ROOM)


# floods


@pytest.mark.parametrize("sent", HALVES)
async def test_connections_that_ask_nothing_whole_do_not_keep_others_out(pki, small, sent):
    async with serving(pki) as bench:
        for _ in range(3 * ROOM):
            await (await bench.client()).say(HALVES[sent])
            assert await (await bench.client()).served()


async def test_connections_without_a_handshake_do_not_keep_others_out(pki, small):
    async with serving(pki) as bench:
        for _ in range(3 * ROOM):
            await bench.mute()
        assert await (await bench.client()).served()


async def test_a_flood_from_one_address_throws_out_its_own_and_not_a_neighbour_between_two_requests(pki, small):
    async with serving(pki) as bench:
        honest = await bench.client()
        assert await honest.served()
        flood = [await bench.client(OTHER_HOST) for _ in range(3 * ROOM)]
        assert await honest.served()
        assert await flood[0].is_closed()


async def test_a_flood_without_handshakes_throws_out_its_own_and_not_a_neighbour(pki, small):
    async with serving(pki) as bench:
        honest = await bench.client()
        flood = [await bench.mute(OTHER_HOST) for _ in range(3 * ROOM)]
        assert await flood[0].is_closed()
        assert await honest.served()


async def test_whoever_waits_for_an_answer_is_not_thrown_out(pki, small):
    async with serving(pki) as bench:
        waiting = [await bench.client() for _ in range(ROOM)]
        for one in waiting:
            await one.say(WHOLE.replace(b"/echo", b"/never"))
        turned_away = await bench.mute()
        assert await turned_away.is_closed()
        assert not any(one.reader.at_eof() for one in waiting)


async def test_requests_of_one_address_that_wait_for_answers_do_not_keep_others_out(pki, small):
    """Some answers take as long as another server likes."""
    async with serving(pki) as bench:
        honest = await bench.client()
        assert await honest.served()
        flood = [await bench.client(OTHER_HOST) for _ in range(ROOM - 1)]
        for one in flood:
            await one.say(WHOLE.replace(b"/echo", b"/never"))
        assert await (await bench.client()).served()
        assert await honest.served()
        ends = [asyncio.create_task(one.is_closed()) for one in flood]
        done, waiting = await asyncio.wait(ends, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(waiting)) == (1, ROOM - 2)
        for one in waiting:
            one.cancel()


# a time for each phase


async def test_a_handshake_has_its_time(pki, monkeypatch):
    monkeypatch.setattr(tls_listener, "HANDSHAKE_S", 0.2)
    async with serving(pki) as bench:
        assert await (await bench.mute()).is_closed()


@pytest.mark.parametrize("sent", ["nothing", "half a head", "no end of the head"])
async def test_the_head_of_a_request_has_its_time(pki, monkeypatch, sent):
    monkeypatch.setattr(https_server, "HEAD_TIMEOUT_S", 0.2)
    async with serving(pki) as bench:
        assert await (await (await bench.client()).say(HALVES[sent])).is_closed()


async def test_a_head_that_comes_byte_by_byte_has_no_more_time(pki, monkeypatch):
    monkeypatch.setattr(https_server, "HEAD_TIMEOUT_S", 0.3)
    async with serving(pki) as bench:
        client = await bench.client()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await client.say_slowly(b"P" * 1000)


async def test_the_head_of_a_second_request_has_its_time_too(pki, monkeypatch):
    monkeypatch.setattr(https_server, "HEAD_TIMEOUT_S", 0.3)
    async with serving(pki) as bench:
        client = await bench.client()
        assert await client.served()
        assert await (await client.say(HEAD)).is_closed()


async def test_the_body_has_its_time(pki, monkeypatch):
    monkeypatch.setattr(https_server, "BODY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(https_server, "REQUEST_TIMEOUT_S", 0.4)
    async with serving(pki) as bench:
        assert await (await (await bench.client()).say(HALVES["half a body"])).is_closed()


async def test_an_answer_has_its_time(pki, monkeypatch):
    monkeypatch.setattr(https_server, "REQUEST_TIMEOUT_S", 0.2)
    async with serving(pki) as bench:
        assert await (await (await bench.client()).say(WHOLE.replace(b"/echo", b"/never"))).is_closed()


async def test_a_connection_without_a_further_request_is_closed(pki, monkeypatch):
    monkeypatch.setattr(https_server, "KEEP_ALIVE_S", 0.2)
    async with serving(pki) as bench:
        client = await bench.client()
        assert await client.served()
        assert await client.is_closed()


async def test_requests_one_after_the_other_each_have_their_own_time(pki, monkeypatch):
    monkeypatch.setattr(https_server, "HEAD_TIMEOUT_S", 0.5)
    monkeypatch.setattr(https_server, "REQUEST_TIMEOUT_S", 0.5)
    async with serving(pki) as bench:
        client = await bench.client()
        until = asyncio.get_running_loop().time() + 0.8
        while asyncio.get_running_loop().time() < until:
            assert await client.served()


# the listener


async def test_answers_do_not_wait_for_acknowledgements(pki):
    """TCP_NODELAY on the server's side of a connection."""
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Looks(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found = transport.get_extra_info("socket")
            seen.set_result(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    listener = socket.create_server(("127.0.0.1", 0))
    door = tls_listener.TlsListener(
        listener, https_server.server_context(pki.smdpp_tls), lambda connection: Looks(), ROOM
    )
    accepting = asyncio.create_task(door.run())
    client = await Bench(pki, listener.getsockname()[1]).client()
    assert await seen
    client.writer.transport.abort()
    accepting.cancel()


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_host_counts_as_its_network(address, source):
    assert tls_listener.Connection(address, 0).source == source
