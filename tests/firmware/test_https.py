"""ipa.net.https against TLS servers on loopback: requests, answers in every framing, trust (RFC 9112)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from board_run import Run
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from microipa.crypto.pki import Credential, Pki
from stream import TCP

HOST = "smdpp.microipa.example"

SCRIPT = TCP + """
import sys
from ipa.net import NetError, https, trust
from ipa.net.https import Https

streams = []

async def connect(host, port):
    streams.append(Tcp(int(sys.argv[1])))
    return streams[-1]

def client(anchor, host="smdpp.microipa.example", port=443):
    return Https(connect, host, port, anchor, b"Content-Type: text/plain\\r\\n")

async def post(link, data=b"ping", path="/x", piece=100):
    try:
        body = await link.post(path, len(data), lambda: iter([data]))
        got, buf = b"", bytearray(piece)
        while True:
            n = await body.readinto(buf)
            if not n:
                break
            got += buf[:n]
        print("%d bytes" % len(got) if len(got) > 50 else got.decode())
        return got
    except NetError as error:
        print(type(error).__name__, error)

async def ask(anchor, *how, **more):
    link = client(anchor)
    await post(link, *how, **more)
    link.close()
    link.close()
    assert all(stream.closed for stream in streams)
"""

Piece = bytes | float
Answer = bytes | Sequence[Piece] | None


class Server:
    """Answers each request with the next of ``answers``: bytes, or pieces with pauses in seconds between
    them; None closes the connection instead. ``requests`` are what came, header and body."""

    def __init__(self, answers: Sequence[Answer], close_after: bool = False) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.close_after = close_after

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    if isinstance(piece, bytes):
                        writer.write(piece)
                        await writer.drain()
                    else:
                        await asyncio.sleep(piece)
                if self.close_after:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def serving(server: Server, credential: Credential, folder: Path,
                  above: Sequence[x509.Certificate] = ()) -> AsyncIterator[int]:
    """``above``: certificates of CAs between the server's and the one its clients trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = folder / "server.pem"
    pem.write_bytes(credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                    + b"".join(one.public_bytes(Encoding.PEM) for one in (credential.certificate, *above)))
    context.load_cert_chain(pem)
    listener = await asyncio.start_server(
        server.serve, "127.0.0.1", 0, ssl=context, ssl_shutdown_timeout=0.1)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


class Scene:
    def __init__(self, micropython: Run, pki: Pki, folder: Path) -> None:
        self.micropython, self.pki, self.folder = micropython, pki, folder
        self.ca = ("ca", pki.ci.der)

    async def run(self, server: Server, script: str, credential: Credential | None = None) -> list[str]:
        async with serving(server, credential or self.pki.smdpp_tls, self.folder) as port:
            return (await self.micropython(SCRIPT + script, port)).splitlines()

    async def ask(self, answer: Answer, more: str = "") -> str:
        """What one request to a server that gives this answer prints, and then closes."""
        server = Server([answer], close_after=True)
        return (await self.run(server, f"asyncio.run(ask({self.ca!r}{more}))"))[-1]


@pytest.fixture
def scene(micropython: Run, pki: Pki, tmp_path: Path) -> Scene:
    return Scene(micropython, pki, tmp_path)


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*chunks: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n" % len(chunk) + chunk + b"\r\n" for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + last


# requests


async def test_a_request_has_its_host_its_length_and_the_callers_headers(scene: Scene) -> None:
    server = Server([ok(b"pong")])
    assert await scene.run(server, f"asyncio.run(ask({scene.ca!r}))") == ["pong"]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [b"POST /x HTTP/1.1", b"Host: smdpp.microipa.example", b"Content-Length: 4",
                                   b"Content-Type: text/plain"]
    assert body == b"ping"


async def test_a_port_other_than_443_is_part_of_host(scene: Scene) -> None:
    server = Server([ok(b"")])
    await scene.run(server, f"asyncio.run(post(client({scene.ca!r}, port=8443)))")
    assert b"Host: smdpp.microipa.example:8443\r\n" in server.requests[0]


async def test_a_request_larger_than_any_buffer_arrives_whole(scene: Scene) -> None:
    server = Server([ok(b"pong")])
    out = await scene.run(server, f"""
data = bytes(range(256)) * 40
def chunks():
    for i in range(0, len(data), 300):
        yield data[i:i + 300]
async def main():
    body = await client({scene.ca!r}).post("/x", len(data), chunks)
    print(await body.readinto(bytearray(10)))
asyncio.run(main())
""")
    assert out == ["4"]
    assert server.requests[0].endswith(b"\r\n\r\n" + bytes(range(256)) * 40)


async def test_a_stream_that_takes_a_few_bytes_at_a_time_is_enough(scene: Scene) -> None:
    server = Server([ok(b"pong")])
    assert await scene.run(server, f"""
async def connect(host, port):
    return Tcp(int(sys.argv[1]), most=37)
asyncio.run(post(client({scene.ca!r}), b"x" * 500))
""") == ["pong"]
    assert server.requests[0].endswith(b"x" * 500)


# answers

LINE = b"X: ".ljust(128, b"x")  # as long as what is kept of a line
LONG = b"HTTP/1.1 200 ".ljust(16384, b"x")  # as long as a line may be


@pytest.mark.parametrize(("answer", "expected"), [
    (ok(b"pong"), "pong"),
    (ok(bytes(5000)), "5000 bytes"),
    (b"HTTP/1.1 200\r\ncontent-length:4\r\n\r\npong", "pong"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
    (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
    (chunked(b"po", b"ng"), "pong"),
    (chunked(bytes(3000), bytes(1)), "3001 bytes"),
    (chunked(b"pong", last=b"0;ext=1\r\nTrailer: x\r\n\r\n"), "pong"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;name=value\r\npong\r\n00\r\n\r\n", "pong"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"pong"), "pong"),
    (ok(b"pong", b"Set-Cookie: " + b"x" * 4000), "pong"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 00000004\r\n\r\npong", "pong"),
    (b"HTTP/1.1 299 OK\r\nContent-Length: 4\r\n\r\npong", "pong"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000004\r\npong\r\n0\r\n\r\n", "pong"),
    (ok(b"pong", *[LINE] * 127, LINE[:96]), "pong"),
    (LONG + b"\n\nuntil the end", "until the end"),
    (chunked(b"pong", last=b"0\r\n" + b"\r\n".join([LINE] * 128) + b"\r\n\r\n"), "pong"),
    ([bytes([octet]) for octet in ok(b"pong")], "pong"),
    ([bytes([octet]) for octet in chunked(b"po", b"ng")], "pong"),
], ids=["length", "long", "bare header", "204", "empty", "until close", "chunks", "large chunks", "trailers",
        "chunk extension", "100", "long header", "length of 8 digits", "299", "chunk of 8 digits",
        "headers of 16384 bytes", "a line of 16384 bytes", "trailers of 16384 bytes", "byte by byte",
        "chunks byte by byte"])
async def test_rfc9112_6_a_body_in_every_framing(scene: Scene, answer: Answer, expected: str) -> None:
    assert await scene.ask(answer) == expected


@pytest.mark.parametrize(("answer", "expected"), [
    (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", "HttpsRefused HTTP 503"),
    (b"HTTP/1.1 300 Multiple Choices\r\nContent-Length: 0\r\n\r\n", "HttpsRefused HTTP 300"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 000000004\r\n\r\npong", "HttpsMalformed Content-Length b'000000004'"),
    (chunked(last=b"000000004\r\npong\r\n0\r\n\r\n"), "HttpsMalformed chunk of length b'000000004'"),
    (ok(b"pong", *[LINE] * 127, LINE[:97]), "HttpsMalformed more than 16384 bytes of headers"),
    (chunked(last=b"0\r\n" + b"\r\n".join([LINE] * 128) + b"\r\nX\r\n\r\n"), "HttpsMalformed trailers without end"),
    (b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\n\r\n", "HttpsRefused HTTP 302"),
    (b"SSH-2.0\r\n\r\n", "HttpsMalformed no HTTP/1 status line"),
    (b"HTTP/1.1 OK\r\n\r\n", "HttpsMalformed no HTTP/1 status line"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\npong", "HttpsMalformed Content-Length b'-4'"),
    (ok(b"pong", b"Content-Length: 5"), "HttpsMalformed Content-Length b'5'"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
     "HttpsMalformed Content-Length b'999999999'"),
    (ok(b"pong", b"Transfer-Encoding: gzip, chunked"), "HttpsMalformed Transfer-Encoding b'gzip, chunked'"),
    (ok(b"pong", b"Content-Encoding: gzip"), "HttpsMalformed Content-Encoding b'gzip'"),
    (ok(b"pong", *[b"X: " + b"x" * 120] * 200), "HttpsMalformed more than 16384 bytes of headers"),
    (ok(b"pong", b"X: " + b"x" * 20000), "HttpsMalformed a line of more than 16384 bytes"),
    (LONG + b"x\n\nuntil the end", "HttpsMalformed a line of more than 16384 bytes"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 900 + ok(b"pong"), "HttpsMalformed more than 16384 bytes of headers"),
    (chunked(b"pong")[:-7] + b"nope\r\n", "HttpsMalformed chunk longer than its length"),
    (chunked(last=b"xyz\r\n"), "HttpsMalformed chunk of length b'xyz'"),
    (chunked(last=b"-1\r\n"), "HttpsMalformed chunk of length b'-1'"),
    (chunked(last=b"\r\n"), "HttpsMalformed chunk of length b''"),
    (chunked(last=b"0\r\n" + b"x: yyyyyyyyyyyyyyyyyyyyyy\r\n" * 1000), "HttpsMalformed trailers without end"),
    (ok(b"pong")[:-1], "HttpsClosed the answer ends early"),
    (chunked(b"pong")[:-9], "HttpsClosed the answer ends early"),
    (b"HTTP/1.1 200 OK\r\nCont", "HttpsClosed closed before the end of the answer"),
    (None, "HttpsClosed closed before the end of the answer"),
], ids=lambda value: None if isinstance(value, str) else "")
async def test_rfc9112_what_is_no_good_answer_has_a_name(
        scene: Scene, answer: Answer, expected: str) -> None:
    assert await scene.ask(answer) == expected


# connections


async def test_rfc9112_9_3_a_connection_serves_many_requests(scene: Scene) -> None:
    server = Server([ok(b"one"), chunked(b"two"), b"HTTP/1.1 204 No Content\r\n\r\n", ok(b"four")])
    assert await scene.run(server, f"""
async def main():
    link = client({scene.ca!r})
    for _ in range(4):
        await post(link)
asyncio.run(main())
""") == ["one", "two", "", "four"]
    assert server.connections == 1


@pytest.mark.parametrize("first", [
    ok(b"one", b"Connection: close"), b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\none",
])
async def test_rfc9112_9_6_a_connection_that_the_server_ends_is_followed_by_another(
        scene: Scene, first: bytes) -> None:
    server = Server([first, ok(b"two")])
    assert await scene.run(server, f"""
async def main():
    link = client({scene.ca!r})
    await post(link)
    await post(link)
    print(streams[0].closed)
asyncio.run(main())
""") == ["one", "two", "True"]
    assert server.connections == 2


async def test_rfc9112_9_6_a_connection_that_closed_while_idle_is_not_used(scene: Scene) -> None:
    server = Server([ok(b"one"), ok(b"two")], close_after=True)
    assert await scene.run(server, f"""
async def main():
    link = client({scene.ca!r})
    await post(link)
    await asyncio.sleep_ms(100)
    await post(link)
asyncio.run(main())
""") == ["one", "two"]
    assert len(server.requests) == 2


async def test_rfc9110_9_2_2_a_request_that_met_the_end_of_its_connection_is_made_again_once(
        scene: Scene) -> None:
    server = Server([ok(b"one"), None, ok(b"two"), None, None])
    assert await scene.run(server, f"""
async def main():
    link = client({scene.ca!r})
    await post(link)
    await post(link)
    await post(link)
asyncio.run(main())
""") == ["one", "two", "HttpsClosed closed before the end of the answer"]
    assert len(server.requests) == 5


async def test_an_answer_not_read_to_its_end_costs_the_connection(scene: Scene) -> None:
    server = Server([ok(bytes(5000)), ok(b"two")])
    assert await scene.run(server, f"""
async def main():
    link = client({scene.ca!r})
    body = await link.post("/x", 0, lambda: iter(()))
    await body.readinto(bytearray(10))
    await post(link)
asyncio.run(main())
""") == ["two"]
    assert server.connections == 2


async def test_a_silent_server_ends_in_a_named_error(scene: Scene) -> None:
    """The times are constants of minutes: the script's clock runs faster."""
    out = await scene.run(Server([[5.0]]), f"""
ticks = https.ticks_ms
https.ticks_ms = lambda: ticks() * 200
asyncio.run(ask({scene.ca!r}))
""")
    assert out == ["HttpsTimeout no end of the answer"]


async def test_a_server_that_does_not_speak_tls_is_named(scene: Scene) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        out = await scene.micropython(SCRIPT + f"asyncio.run(ask({scene.ca!r}))", port)
    assert out.startswith("HttpsClosed TLS: ")


async def test_a_socket_the_modem_does_not_open_is_an_error_of_the_channel(scene: Scene) -> None:
    out = await scene.micropython(SCRIPT + f"""
from ipa.modem import SocketError
async def connect(host, port):
    raise SocketError("no socket to {{}} port {{}}".format(host, port))
asyncio.run(ask({scene.ca!r}))
""", 0)
    assert out.strip() == "HttpsError no socket to smdpp.microipa.example port 443"


async def test_a_name_that_is_too_long_for_tls_ends_in_a_named_error_and_the_socket_is_closed(scene: Scene) -> None:
    server = Server([])
    out = await scene.run(server, f"""
link = client({scene.ca!r}, host="a" * 300)
asyncio.run(post(link))
print(streams[0].closed)
""")
    assert out[0].startswith("HttpsError no TLS: ")
    assert out[1] == "True"


# trust


async def test_6_1_the_server_must_be_under_a_trusted_ca(scene: Scene, tmp_path: Path) -> None:
    other = Pki.open(tmp_path / "other")
    out = await scene.run(Server([ok(b"pong")] * 2), f"""
asyncio.run(ask(("ca", {other.ci.der!r})))
asyncio.run(ask(("ca", {other.ci.der!r}, {scene.pki.ci.der!r})))
""")
    assert out == ["PeerNotTrusted The certificate is not correctly signed by the trusted CA", "pong"]


async def test_6_1_the_server_must_have_the_name_that_was_asked_for(scene: Scene) -> None:
    out = await scene.run(Server([]), f"asyncio.run(post(client({scene.ca!r}, 'smdpp.other.example')))")
    assert out == ["PeerNotTrusted The certificate Common Name (CN) does not match with the expected CN"]


async def test_without_a_clock_no_certificate_is_believed_and_no_byte_sent(scene: Scene) -> None:
    out = await scene.run(Server([]), f"""
trust.unix_time = lambda: None
asyncio.run(ask({scene.ca!r}))
print(Tcp.opened)
""")
    assert out == ["ClockUnset the clock is not set, certificates cannot be checked", "0"]


async def test_without_an_anchor_nobody_is_trusted(scene: Scene) -> None:
    assert await scene.run(Server([]), "asyncio.run(ask(('ca',)))\nprint(Tcp.opened)") == [
        "PeerNotTrusted no trusted certificate is configured", "0"]
