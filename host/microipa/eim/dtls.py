"""DTLS 1.2 server with an X.509 certificate: one UDP socket, one OpenSSL object an association.

aiocoap brings DTLS with pre-shared keys only, and OpenSSL's own listener sends ServerHello under a record
number that mbedTLS's anti-replay window may already have seen. So this endpoint answers the first
ClientHello itself, without keeping state (RFC 6347, 4.2.1), and begins an association only for a peer that
returned the cookie. Only the eIM proves who it is (SGP.32 6.1); the eUICC proves itself by its signatures.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from microipa.crypto.pki import Credential

log = logging.getLogger(__name__)

Address = tuple[str, int]

CIPHERS = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE = 20, 21, 22  # RFC 6347 4.1, record content types
CLIENT_HELLO, HELLO_VERIFY_REQUEST = 1, 3  # RFC 6347 4.2.2, handshake types
DTLS_1_0 = b"\xfe\xff"  # the version every HelloVerifyRequest bears, RFC 6347 4.2.1
RECORD_HEADER, HANDSHAKE_HEADER = 13, 12
SHORTEST_HELLO = 36  # version, random, and the lengths of session identifier and cookie
COOKIE = 8
"""Bytes of a cookie: each costs two on the air, and a guess at it one datagram (RFC 6347 4.2.1)."""


@dataclass(frozen=True)
class DtlsSettings:
    """Limits of the endpoint; sizes in bytes of UDP payload, times in seconds."""

    mtu: int = 1200
    """No datagram is larger, unless one record alone is."""
    small_mtu: int = 548
    """A handshake that gets no further goes on with these: every IPv4 network takes 576 bytes (RFC 791)."""
    min_retransmit: float = 2.0
    """OpenSSL repeats a flight after 1 s; over NB-IoT the answer is still on its way then."""
    handshake_seconds: float = 150.0
    idle_seconds: float = 3600.0
    """Some devices keep an association from one poll to the next."""
    max_half_open: int = 64
    max_associations: int = 1024


@dataclass(frozen=True)
class ClientHello:
    """A ClientHello in one piece. ``plain`` is its body with the cookie taken out."""

    record_sequence: int
    cookie: bytes
    plain: bytes

    @classmethod
    def find(cls, datagram: bytes) -> ClientHello | None:
        """The ClientHello a datagram begins with; None when it begins with anything else."""
        body = datagram[RECORD_HEADER + HANDSHAKE_HEADER :]
        length = int.from_bytes(datagram[14:17], "big")
        whole = datagram[14:17] == datagram[22:25] and datagram[19:22] == bytes(3) and length <= len(body)
        if min(len(body), length) < SHORTEST_HELLO or datagram[0] != HANDSHAKE or datagram[13] != CLIENT_HELLO:
            return None
        if datagram[3:5] != bytes(2) or not whole:
            return None
        body = body[:length]
        cookie_at = 35 + body[34]  # version 2, random 32, session identifier with its length
        if cookie_at >= length or cookie_at + 1 + body[cookie_at] > length:
            return None
        after = cookie_at + 1 + body[cookie_at]
        return cls(
            int.from_bytes(datagram[5:11], "big"),
            body[cookie_at + 1 : after],
            body[:cookie_at] + b"\0" + body[after:],
        )

    def first(self) -> bytes:
        """The datagram this peer sent before it knew the cookie: OpenSSL has to see it too."""
        message = _handshake(CLIENT_HELLO, self.plain)
        return bytes([HANDSHAKE]) + DTLS_1_0 + bytes(8) + len(message).to_bytes(2, "big") + message

    def verify_request(self, cookie: bytes) -> bytes:
        """HelloVerifyRequest under the record number of the hello, as a stateless server must."""
        message = _handshake(HELLO_VERIFY_REQUEST, DTLS_1_0 + bytes([len(cookie)]) + cookie)
        number = self.record_sequence.to_bytes(6, "big")
        return bytes([HANDSHAKE]) + DTLS_1_0 + bytes(2) + number + len(message).to_bytes(2, "big") + message


def _handshake(kind: int, body: bytes) -> bytes:
    """The first handshake message (message_seq 0) of a side, unfragmented."""
    length = len(body).to_bytes(3, "big")
    return bytes([kind]) + length + bytes(5) + length + body


def records(stream: bytes) -> Iterator[bytes]:
    """Cut what OpenSSL wrote, or a datagram, into its records; a damaged rest is left out."""
    position = 0
    while position + RECORD_HEADER <= len(stream):
        end = position + RECORD_HEADER + int.from_bytes(stream[position + 11 : position + 13], "big")
        if end > len(stream):
            return
        yield stream[position:end]
        position = end


class Association:
    """One DTLS session with one peer; compared by identity, as RFC 7252 9.1.2 wants of an epoch."""

    def __init__(self, server: DtlsServer, address: Address, hello: ClientHello, cookie: bytes) -> None:
        self.address = address
        self.cookie = cookie
        self.established = False
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.born = self.last_heard = self._loop.time()
        self._sent: dict[bytes, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._number_offset = hello.record_sequence
        self._ssl = SSL.Connection(server.context, None)
        self._ssl.set_app_data(cookie)
        self._mtu = server.settings.mtu
        self._timeouts = 0
        self._ssl.set_ciphertext_mtu(self._mtu)
        self._ssl.set_accept_state()
        self._ssl.bio_write(hello.first())
        self._advance()
        self._take_output()  # OpenSSL's HelloVerifyRequest: the peer has had ours

    def receive(self, datagram: bytes) -> list[bytes]:
        """Feed a datagram. Returns the messages it carried. Raises SSL.Error when the session is over."""
        self.last_heard = self._loop.time()
        self._ssl.bio_write(datagram)
        try:
            if not self.established:
                self._advance()
            return list(self._messages()) if self.established else []
        finally:
            self._flush()

    def send(self, message: bytes) -> None:
        """Protect and send one message. Raises SSL.Error when the session is over."""
        self._ssl.send(message)
        self._flush()

    def close(self) -> None:
        """Say good-bye if there is someone to say it to, and stop the timer."""
        if self._timer:
            self._timer.cancel()
        if self.established:
            try:
                self._ssl.shutdown()
            except SSL.Error as error:
                log.debug("no close_notify to %s: %s", self.address, error)
            self._flush()
        self.established = False

    def _advance(self) -> None:
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            return
        self.established = True

    def _messages(self) -> Iterator[bytes]:
        while True:
            try:
                yield self._ssl.recv(1 << 14)
            except SSL.WantReadError:
                return

    def _take_output(self) -> bytes:
        output = b""
        while True:
            try:
                output += self._ssl.bio_read(1 << 16)
            except SSL.WantReadError:
                return output

    def _flush(self) -> None:
        """Send what OpenSSL wrote. Its memory buffer keeps no boundaries: pack records up to the MTU."""
        datagram = b""
        for record in records(self._take_output()):
            if record[3:5] == bytes(2):
                if self._too_early(record):
                    continue
                number = int.from_bytes(record[5:11], "big") + self._number_offset
                record = record[:5] + number.to_bytes(6, "big") + record[11:]
            if datagram and len(datagram) + len(record) > self._mtu:
                self._server.transmit(datagram, self.address)
                datagram = b""
            datagram += record
        if datagram:
            self._server.transmit(datagram, self.address)
        self._schedule()

    def _too_early(self, record: bytes) -> bool:
        """A clear handshake message repeated sooner than an NB-IoT peer could have answered it."""
        if record[0] != HANDSHAKE:
            return False
        which = record[17:22]  # message_seq and fragment_offset
        now = self._loop.time()
        if now - self._sent.get(which, float("-inf")) < self._server.settings.min_retransmit:
            return True
        self._sent[which] = now
        return False

    def _schedule(self) -> None:
        if self._timer:
            self._timer.cancel()
        seconds = None if self.established else self._ssl.DTLSv1_get_timeout()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        self._timeouts += 1
        if self._timeouts == 2:  # the first repeat is kept back, so this flight was sent once
            self._mtu = min(self._mtu, self._server.settings.small_mtu)
        try:
            self._ssl.set_ciphertext_mtu(self._mtu)
            self._ssl.DTLSv1_handle_timeout()
            self._flush()
        except SSL.Error as error:
            self._server.drop(self, f"handshake given up: {error}")


class DtlsServer(asyncio.DatagramProtocol):
    """The endpoint: ``on_message(association, bytes)`` and ``on_lost(association)`` are its two outputs."""

    def __init__(
        self,
        credential: Credential,
        on_message: Callable[[Association, bytes], None],
        on_lost: Callable[[Association], None],
        settings: DtlsSettings,
    ) -> None:
        self.settings = settings
        self.context = _context(credential)
        self._on_message = on_message
        self._on_lost = on_lost
        self._secret = secrets.token_bytes(32)
        self._half_open: dict[Address, Association] = {}
        self._living: dict[Address, Association] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Bind. Returns the port, chosen by the system when ``port`` is 0. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self._sweep()
        bound: int = self._transport.get_extra_info("sockname")[1]
        return bound

    def stop(self) -> None:
        """Close all associations and the socket."""
        if self._sweeper:
            self._sweeper.cancel()
        for association in [*self._half_open.values(), *self._living.values()]:
            self.drop(association, "server stops")
        if self._transport:
            self._transport.close()

    @property
    def associations(self) -> int:
        """How many peers have finished the handshake."""
        return len(self._living)

    @property
    def half_open(self) -> int:
        return len(self._half_open)

    def transmit(self, datagram: bytes, address: Address) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.sendto(datagram, address)

    def drop(self, association: Association, reason: str) -> None:
        """Forget an association; whoever waits on it is told by ``on_lost``."""
        log.debug("association with %s ends: %s", association.address, reason)
        for table in (self._half_open, self._living):
            if table.get(association.address) is association:
                del table[association.address]
        was_established = association.established
        association.close()
        if was_established:
            self._on_lost(association)

    def error_received(self, exc: Exception) -> None:
        log.debug("socket error: %s", exc)  # an ICMP answer: the peer's silence will be noticed anyway

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        address, datagram = (addr[0], addr[1]), data
        if not datagram:  # OpenSSL takes it for the end of the stream
            return
        hello = ClientHello.find(datagram)
        if hello and not self._admit(hello, address):
            return
        half_open = self._half_open.get(address)
        living = self._living.get(address)
        speaks_handshake = hello or datagram[0] in (CHANGE_CIPHER_SPEC, HANDSHAKE)
        association = half_open if half_open and (speaks_handshake or not living) else living
        if association:
            self._feed(association, datagram)

    def _admit(self, hello: ClientHello, address: Address) -> bool:
        """Answer a hello without a good cookie; begin an association for one that has it.

        A living association of the same address stays until the new handshake is finished (see ``_feed``):
        a forged or forgotten hello does not cut anyone off. Returns whether the hello is to be fed on.
        """
        identity = f"{address[0]}|{address[1]}|".encode() + hello.plain
        cookie = hmac.digest(self._secret, identity, hashlib.sha256)[:COOKIE]
        if not hmac.compare_digest(hello.cookie, cookie):
            self.transmit(hello.verify_request(cookie), address)
            return False
        known = (self._half_open.get(address), self._living.get(address))
        if any(one and one.cookie == cookie for one in known):
            return known[0] is not None and known[0].cookie == cookie
        if known[0]:
            self.drop(known[0], "peer began again")
        elif len(self._half_open) >= self.settings.max_half_open:
            self.drop(next(iter(self._half_open.values())), "too many half-open associations")
        try:
            self._half_open[address] = Association(self, address, hello, cookie)
        except SSL.Error as error:
            log.debug("hello of %s refused: %s", address, error)
            return False
        return True

    def _feed(self, association: Association, datagram: bytes) -> None:
        was_established = association.established
        try:
            messages = association.receive(datagram)
        except SSL.ZeroReturnError:
            return self.drop(association, "closed by the peer")
        except SSL.Error as error:
            return self.drop(association, f"DTLS error {error}")
        if association.established:
            if not was_established:
                self._replace(association)
            else:  # least recently heard first
                self._living[association.address] = self._living.pop(association.address)
        for message in messages:
            self._on_message(association, message)
        return None

    def _replace(self, association: Association) -> None:
        """A handshake is finished: now the older association of that address may go."""
        self._half_open.pop(association.address, None)
        old = self._living.pop(association.address, None)
        if old:
            old.established = False  # no close_notify: its keys are gone on the other side
            self._on_lost(old)
        if len(self._living) >= self.settings.max_associations:
            self.drop(next(iter(self._living.values())), "too many associations")
        self._living[association.address] = association

    def _sweep(self) -> None:
        """Forget handshakes that take too long and peers that left without a word, as MicroPython does."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for association in list(self._half_open.values()):
            if now - association.born > self.settings.handshake_seconds:
                self.drop(association, "handshake took too long")
        for association in list(self._living.values()):
            if now - association.last_heard > self.settings.idle_seconds:
                self.drop(association, "idle")
        pause = min(self.settings.handshake_seconds, self.settings.idle_seconds) / 4
        self._sweeper = loop.call_later(pause, self._sweep)


def _context(credential: Credential) -> SSL.Context:
    """One certificate and no chain: an IPA trusts that certificate, its key or its issuer."""
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.set_cipher_list(CIPHERS)
    context.set_tmp_ecdh(ec.SECP256R1())
    context.use_certificate(credential.certificate)
    context.use_privatekey(credential.private_key)
    context.check_privatekey()
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    assert SSL.OP_COOKIE_EXCHANGE is not None  # absent only from libraries without DTLS
    context.set_options(
        SSL.OP_COOKIE_EXCHANGE
        | SSL.OP_NO_QUERY_MTU
        | SSL.OP_NO_TICKET
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_cookie_generate_callback(lambda connection: connection.get_app_data())
    context.set_cookie_verify_callback(
        lambda connection, cookie: hmac.compare_digest(connection.get_app_data(), cookie)
    )
    return context
