"""A device as a load generator needs it: little work of its own, real DTLS or TLS, real signatures."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509

from microipa.asn1.tlv import Tlv, integer, number, parse, tlv
from microipa.common.errors import MicroipaError
from microipa.crypto import ec
from microipa.crypto.pki import Credential
from microipa.eim.dtls_handshake import CIPHERS
from microipa.eim.dtls_records import records

ANSWER_SECONDS = 30.0
ACK_TIMEOUT_S, MAX_RETRANSMIT = 2.0, 4  # RFC 7252 4.8
URI_PATH = b"\xb4gsma\x04rsp2\x04asn1"  # RFC 7252 3.1: option 11 three times
CON, EMPTY_ACK = 0, b"\x60\x00"
CON_POST, CHANGED = b"\x42\x02", 0x44  # version 1, token of two bytes, 0.02; 2.04
HTTP_HEAD = (
    b"POST /gsma/rsp2/asn1 HTTP/1.1\r\nHost: eim\r\nContent-Type: application/x-gsma-rsp-asn1\r\n"
    b"X-Admin-Protocol: gsma/rsp/v2.1.0\r\nContent-Length: %d\r\n\r\n"
)
NO_PACKAGE = tlv(0xBF4F, integer(0x02, 1))

T = TypeVar("T")
Ask = Callable[[bytes], Awaitable[bytes]]


class Failed(MicroipaError):
    """An operation that did not end as it has to."""


def dtls_context(ca: x509.Certificate) -> SSL.Context:
    """What all devices share: whom they trust."""
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    assert SSL.OP_NO_QUERY_MTU is not None  # absent only from libraries without DTLS
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET)
    context.set_cipher_list(CIPHERS)
    context.set_verify(SSL.VERIFY_PEER, lambda *arguments: bool(arguments[-1]))
    store = context.get_cert_store()
    assert store
    store.add_cert(X509.from_cryptography(ca))
    return context


class CoapsLink(asyncio.DatagramProtocol):
    """One DTLS association and one CoAP request at a time.

    ``delay`` seconds pass before each datagram goes out; after ``patience`` seconds without an answer it gives up.
    ``source`` is the address that it comes from, by default one that the system chooses.
    """

    def __init__(
        self, context: SSL.Context, address: tuple[str, int], delay: float = 0.0, patience: float = ANSWER_SECONDS,
        source: tuple[str, int] | None = None,
    ) -> None:
        self._context, self._address, self._delay, self._patience = context, address, delay, patience
        self._source = source
        self._changed = asyncio.Event()
        self._mid = 0

    async def open(self) -> CoapsLink:
        """Raises Failed."""
        loop = asyncio.get_running_loop()
        self._ssl = SSL.Connection(self._context, None)
        self._ssl.set_ciphertext_mtu(1200)
        self._ssl.set_connect_state()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=self._source, remote_addr=self._address
        )
        try:
            async with asyncio.timeout(2 * self._patience + 20 * self._delay):
                await self._until(self._ssl.do_handshake)
        except (TimeoutError, SSL.Error) as error:
            self._transport.close()
            raise Failed(f"handshake: {type(error).__name__}") from error
        self._flush()
        return self

    async def ask(self, payload: bytes) -> bytes:
        """POST one ESipa message. Raises Failed."""
        self._mid = (self._mid + 1) & 0xFFFF
        token = self._mid.to_bytes(2, "big")
        request = CON_POST + token + token + URI_PATH + b"\xff" + payload
        try:
            for wait in self._waits():
                self._ssl.send(request)
                self._flush()
                try:
                    async with asyncio.timeout(wait):
                        while True:
                            answer = await self._until(lambda: self._ssl.recv(1 << 14))
                            if answer[1] and answer[4:6] == token:
                                if answer[0] >> 4 & 3 == CON:  # it came later than the acknowledgement (RFC 7252 5.2.2)
                                    self._ssl.send(EMPTY_ACK + answer[2:4])
                                    self._flush()
                                return _payload(answer)
                except TimeoutError:
                    continue
        except SSL.Error as error:
            raise Failed(f"association lost: {type(error).__name__}") from error
        raise Failed("no answer")

    def _waits(self) -> Iterator[float]:
        """Seconds from one transmission of a request to the next, and after the last (RFC 7252 4.2)."""
        left = self._patience
        for repeat in range(MAX_RETRANSMIT):
            if left > (wait := ACK_TIMEOUT_S * 2**repeat):
                yield wait
                left -= wait
        yield left

    async def closed(self) -> bool:
        """Whether the server says good-bye (close_notify) before long."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS / 3):
                await self._until(lambda: self._ssl.recv(1 << 14))
        except SSL.ZeroReturnError:
            return True
        except (SSL.Error, TimeoutError):
            return False
        return False

    def close(self, *, silently: bool = False) -> None:
        if not silently:
            self._ssl.shutdown()
            self._flush()
        self._transport.close()

    async def _until(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except SSL.WantReadError:
                self._flush()
                self._changed.clear()
                timeout = self._ssl.DTLSv1_get_timeout()
                try:
                    await asyncio.wait_for(self._changed.wait(), timeout)
                except TimeoutError:
                    self._ssl.DTLSv1_handle_timeout()

    def _flush(self) -> None:
        try:
            output = self._ssl.bio_read(1 << 16)
        except SSL.WantReadError:
            return
        datagram = b"".join(records(output))
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._send, datagram)
        else:
            self._send(datagram)

    def _send(self, datagram: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(datagram)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._ssl.bio_write(data)
        self._changed.set()

    def error_received(self, exc: Exception) -> None:
        """The server is not there now: silence tells the same."""


def _payload(answer: bytes) -> bytes:
    if answer[1] != CHANGED:
        raise Failed(f"CoAP {answer[1] >> 5}.{answer[1] & 31:02}")
    return answer[answer.index(b"\xff", 4 + (answer[0] & 15)) + 1 :]


class HttpsLink:
    """One TLS connection that is kept alive."""

    def __init__(self, context: ssl.SSLContext, address: tuple[str, int], name: str) -> None:
        self._context, self._address, self._name = context, address, name

    async def open(self) -> HttpsLink:
        """Raises Failed."""
        try:
            self._reader, self._writer = await asyncio.open_connection(
                *self._address, ssl=self._context, server_hostname=self._name, ssl_handshake_timeout=ANSWER_SECONDS
            )
        except OSError as error:
            raise Failed(f"connection: {type(error).__name__}") from error
        return self

    async def ask(self, payload: bytes) -> bytes:
        """POST one ESipa message. Raises Failed."""
        self._writer.write(HTTP_HEAD % len(payload) + payload)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                head = await self._reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"HTTP/1.1 204"):
                    return b""
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await self._reader.readexactly(length)
        except (OSError, EOFError, TimeoutError, IndexError) as error:
            raise Failed(f"HTTP: {type(error).__name__}") from error
        if not head.startswith(b"HTTP/1.1 200"):
            raise Failed(head.split(b"\r\n")[0].decode("latin-1"))
        return body

    def close(self, *, silently: bool = False) -> None:
        self._writer.transport.abort() if silently else self._writer.close()


class Device:
    """An IPA with its eUICC. It signs results with ``key``, as a device with an enrolled key does."""

    def __init__(self, eid: str, key: Credential, token: int, eim_id: str, outcome: bytes) -> None:
        self.eid = tlv(0x5A, bytes.fromhex(eid))
        self._key, self._token, self._eim_id, self._outcome = key, integer(0x84, token), eim_id, outcome
        self._sequence = itertools.count(1)
        self._poll = tlv(0xBF4F, self.eid)

    async def call(self, ask: Ask) -> bytes:
        """The answer to GetEimPackage. Raises Failed."""
        return await ask(self._poll)

    async def poll(self, ask: Ask) -> None:
        """GetEimPackage when nothing waits. Raises Failed."""
        if (answer := await self.call(ask)) != NO_PACKAGE:
            raise Failed(f"a poll is answered by {answer.hex()[:40]}")

    async def cycle(self, ask: Ask) -> None:
        """Fetch an eUICC package, send its signed result, hear that it is acknowledged. Raises Failed."""
        package = parse(await ask(self._poll)).children()[0]
        if package.tag != 0xBF51:
            raise Failed(f"a poll is answered by {package.raw.hex()[:40]}")
        sequence = next(self._sequence)
        answer = parse(await ask(tlv(0xBF50, self.eid, self._result(package, sequence)))).children()[0]
        if answer.tag != 0xBF53 or [number(one) for one in answer] != [sequence]:
            raise Failed(f"a result is answered by {answer.raw.hex()[:40]}")

    def _result(self, package: Tlv, sequence: int) -> bytes:
        request = package[0x30]
        fields = (request[0x81].raw, request[0x82].raw, integer(0x83, sequence))
        data = tlv(0x30, tlv(0x80, self._eim_id.encode()), *fields, tlv(0x30, self._outcome))
        signature = ec.sign(self._key.private_key, data + self._token)
        return tlv(0xBF51, tlv(0xA0, data, tlv(0x5F37, signature)))
