"""A DTLS peer of the eIM for tests: OpenSSL over one loopback socket, datagrams may be watched and lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cryptography import x509
from microipa.crypto.pki import Credential
from microipa.eim.dtls_records import records
from OpenSSL import SSL
from OpenSSL.crypto import X509

Lose = Callable[[bytes, int], bool]


class DtlsClient(asyncio.DatagramProtocol):
    """``lose_up``/``lose_down`` get (datagram, its number from 0) and say whether it vanishes."""

    def __init__(
        self,
        port: int,
        ca: x509.Certificate,
        *,
        lose_up: Lose = lambda *_: False,
        lose_down: Lose = lambda *_: False,
        local_port: int = 0,
        mtu: int = 1200,
        ciphers: bytes = b"ECDHE+AESGCM",
        local_host: str = "127.0.0.1",
        credential: Credential | None = None,
    ) -> None:
        self.peer = ("127.0.0.1", port)
        self.local_host, self.local_port = local_host, local_port
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self._lose_up, self._lose_down = lose_up, lose_down
        self._news = asyncio.Event()
        self._closed = asyncio.Event()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.set_cipher_list(ciphers)
        context.set_verify(SSL.VERIFY_PEER, lambda *arguments: bool(arguments[-1]))
        context.get_cert_store().add_cert(X509.from_cryptography(ca))
        if credential:
            context.use_certificate(credential.certificate)
            context.use_privatekey(credential.private_key)
        self.ssl = SSL.Connection(context, None)
        self.ssl.set_ciphertext_mtu(mtu)
        self.ssl.set_connect_state()

    async def open(self) -> DtlsClient:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self.local_host, self.local_port), remote_addr=self.peer
        )
        self.local_port = self.transport.get_extra_info("sockname")[1]
        return self

    async def connect(self, timeout: float = 10) -> DtlsClient:
        await self.open()
        async with asyncio.timeout(timeout):
            while True:
                try:
                    self.ssl.do_handshake()
                    break
                except SSL.WantReadError:
                    self.flush()
                    await self._wait()
        self.flush()
        return self

    def send(self, message: bytes) -> None:
        self.ssl.send(message)
        self.flush()

    async def receive(self, timeout: float = 5) -> bytes:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    return self.ssl.recv(1 << 14)
                except SSL.WantReadError:
                    self.flush()
                    await self._wait()

    def flush(self) -> None:
        try:
            output = self.ssl.bio_read(1 << 16)
        except SSL.WantReadError:
            return
        datagram = b"".join(records(output))
        if not self._lose_up(datagram, len(self.up)):
            self.transport.sendto(datagram)
        self.up.append(datagram)

    async def close(self) -> None:
        """Leave without close_notify, as MicroPython does; the port is free afterwards."""
        self.transport.close()
        await self._closed.wait()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set()

    async def _wait(self) -> None:
        """For the next datagram or for OpenSSL's retransmission timer."""
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), self.ssl.DTLSv1_get_timeout())
        except TimeoutError:
            self.ssl.DTLSv1_handle_timeout()
            self.flush()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        lost = self._lose_down(data, len(self.down))
        self.down.append(data)
        if not lost:
            self.ssl.bio_write(data)
            self._news.set()
