"""DTLS 1.2 as a modem speaks it itself: a client that trusts what was stored in it (RFC 6347)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cryptography import x509
from OpenSSL import SSL, crypto

from microipa.common.errors import MicroipaError
from microipa.eim.dtls_handshake import CIPHERS
from microipa.eim.dtls_records import records

MTU = 1280
HANDSHAKE_S = 60.0
_RECEIVE = 1 << 14


class HandshakeFailed(MicroipaError):
    """The server did not prove to be who was called, or did not answer."""


class DtlsClient:
    """One association. ``transmit`` gets datagrams for the server; feed what it sends to ``receive``."""

    def __init__(self, transmit: Callable[[bytes], None], ca_pem: bytes, host: str, compares_name: bool = True) -> None:
        """``host``: the name that the server's certificate must bear where ``compares_name``. Raises HandshakeFailed
        for a CA that is no certificate."""
        self._transmit = transmit
        self._host = host
        self._compares_name = compares_name
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.set_cipher_list(CIPHERS)
        context.set_verify(SSL.VERIFY_PEER)
        store = context.get_cert_store()
        assert store
        try:
            store.add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(ca_pem)))
        except ValueError as error:
            raise HandshakeFailed(f"what is stored is no certificate in PEM: {error}") from error
        assert SSL.OP_NO_QUERY_MTU is not None  # absent only from libraries without DTLS
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET)
        self._ssl = SSL.Connection(context, None)
        self._ssl.set_ciphertext_mtu(MTU)
        self._ssl.set_tlsext_host_name(host.encode())
        self._ssl.set_connect_state()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None

    async def handshake(self) -> None:
        """Raises HandshakeFailed."""
        self._advance()
        try:
            await asyncio.wait_for(self._done, HANDSHAKE_S)
        except TimeoutError:
            raise HandshakeFailed(f"{self._host} does not finish the handshake") from None
        finally:
            self.stop()

    def receive(self, datagram: bytes) -> list[bytes]:
        """Feed a datagram. Returns the messages it carried; none of what does not belong to the association."""
        self._ssl.bio_write(datagram)
        if not self._done.done():
            self._advance()
        if not self._done.done() or self._done.cancelled() or self._done.exception():
            return []
        messages = []
        try:
            while True:
                messages.append(self._ssl.recv(_RECEIVE))
        except SSL.Error:  # nothing more, or the server closed: its silence tells the device
            return messages

    def send(self, message: bytes) -> None:
        """Protect and send one message."""
        self._ssl.send(message)
        self._flush()

    def stop(self) -> None:
        """Repeat nothing any more."""
        if self._timer:
            self._timer.cancel()

    def _advance(self) -> None:
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self._done.set_exception(HandshakeFailed(f"{self._host}: {error}"))
        else:
            self._check_name()
        self._flush()
        self._schedule()

    def _check_name(self) -> None:
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        assert certificate
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            known = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
        except x509.ExtensionNotFound:
            known = []
        if not self._compares_name or self._host.lower() in known:
            self._done.set_result(None)
        else:
            self._done.set_exception(HandshakeFailed(f"the certificate is for {known}, not for {self._host}"))

    def _flush(self) -> None:
        """OpenSSL's memory buffer keeps no boundaries: pack records up to the MTU."""
        output = b""
        try:
            while True:
                output += self._ssl.bio_read(1 << 16)
        except SSL.WantReadError:
            pass
        datagram = b""
        for record in records(output):
            if datagram and len(datagram) + len(record) > MTU:
                self._transmit(datagram)
                datagram = b""
            datagram += record
        if datagram:
            self._transmit(datagram)

    def _schedule(self) -> None:
        self.stop()
        seconds = None if self._done.done() else self._ssl.DTLSv1_get_timeout()
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._again)

    def _again(self) -> None:
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error as error:
            if not self._done.done():
                self._done.set_exception(HandshakeFailed(f"{self._host}: {error}"))
            return
        self._flush()
        self._schedule()
