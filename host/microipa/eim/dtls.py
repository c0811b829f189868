"""DTLS 1.2 server with an X.509 certificate: one UDP socket, its handshakes and its living associations.

aiocoap brings DTLS with pre-shared keys only. The eIM proves who it is (SGP.32 6.1), the device where it is
asked for a certificate; the eUICC proves itself by its signatures.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from OpenSSL import SSL

from microipa.crypto.pki import Credential
from microipa.eim import clients
from microipa.eim.dtls_handshake import DtlsSettings, Handshake, server_context
from microipa.eim.dtls_hello import ClientHello
from microipa.eim.dtls_records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    CLOSE_NOTIFY,
    FATAL,
    HANDSHAKE,
    Records,
    records,
    renumbered,
)
from microipa.eim.half_open import HalfOpen
from microipa.eim.shares import Address, Shares
from microipa.net import sockets
from microipa.trace.key_log import KeyLog

log = logging.getLogger(__name__)

RECEIVE_BUFFER = 4 << 20  # bytes of datagrams that wait while a transaction is being kept, as far as the system lets us
MOST_AT_ONCE = 64  # datagrams read before anything else is done
COOKIE = 8
"""Bytes of a cookie: each costs two on the air, and a guess at it one datagram (RFC 6347 4.2.1)."""


class Association:
    """One DTLS session with one peer; compared by identity, as RFC 7252 9.1.2 wants of an epoch."""

    __slots__ = (
        "_change_cipher_spec", "_handshake", "_records", "_server", "address", "born", "client", "closed_by_peer",
        "cookie", "last_heard",
    )  # fmt: skip

    def __init__(self, server: DtlsServer, address: Address, hello: ClientHello, cookie: bytes) -> None:
        """Raises SSL.Error."""
        self._server = server
        self.address = address
        self.cookie = cookie
        self.client = ""
        """The EID of the peer's certificate, where it has one."""
        self.closed_by_peer = False
        self.born = self.last_heard = server.now()
        self._records: Records | None = None
        self._change_cipher_spec = b""  # what goes before a repeat of our Finished
        self._handshake: Handshake | None = Handshake(
            server.context,
            server.settings,
            hello,
            cookie,
            lambda datagram: server.transmit(datagram, address),
            lambda reason: server.drop(self, reason),
        )

    @property
    def established(self) -> bool:
        return self._records is not None

    def receive(self, datagram: bytes) -> list[bytes]:
        """Feed a datagram. Returns the messages it carried. Raises SSL.Error when the handshake has failed."""
        messages: list[bytes] = []
        if self._handshake:
            self.last_heard = self._server.now()
            done, datagram = self._handshake.feed(datagram)
            if not done:
                return []
            messages += self._handshake.early()
            self._records = self._handshake.records()
            self._change_cipher_spec = self._handshake.change_cipher_spec()
            self.client = clients.eid_of(self._handshake.client())
            self._handshake.stop()
            self._handshake = None
        for record in records(datagram):
            if (message := self._open(record)) is not None:
                messages.append(message)
        return messages

    def send(self, message: bytes) -> None:
        """Protect and send one message; nothing once the association has ended."""
        if self._records:
            self._server.transmit(self._records.protect(APPLICATION_DATA, message), self.address)

    def close(self) -> None:
        """Say good-bye if there is someone to say it to."""
        if self._handshake:
            self._handshake.stop()
            self._handshake = None
        if self._records:
            self._server.transmit(self._records.protect(ALERT, CLOSE_NOTIFY), self.address)
            self._records = None

    def forget(self) -> None:
        """End without a word: the peer has thrown its keys away."""
        self._records = None

    def _open(self, record: bytes) -> bytes | None:
        """The message of a record under our keys; the rest is acted on here, or no answer is due to it."""
        content = self._records.open(record) if self._records else None
        if content is None or self._records is None:
            return None
        self.last_heard = self._server.now()
        if record[0] == APPLICATION_DATA:
            return content
        if record[0] == ALERT and (content == CLOSE_NOTIFY or content[:1] == FATAL):
            self.closed_by_peer = True
        elif record[0] == HANDSHAKE:  # its Finished once more: ours was lost (RFC 6347 4.2.4)
            self._server.transmit(self._change_cipher_spec + self._records.finished_again(), self.address)
            self._change_cipher_spec = renumbered(self._change_cipher_spec)
        return None


class DtlsServer:
    """The endpoint: ``on_message(association, bytes)`` and ``on_lost(association)`` are its two outputs."""

    def __init__(
        self,
        credential: Credential,
        on_message: Callable[[Association, bytes], None],
        on_lost: Callable[[Association], None],
        settings: DtlsSettings,
        issuers: Sequence[x509.Certificate] = (),
        key_log: KeyLog | None = None,
    ) -> None:
        """With ``issuers`` only peers with a certificate under one of them are served. See server_context."""
        self.settings, self._issuers, self._key_log = settings, issuers, key_log
        self.context = server_context(credential, issuers, key_log)
        self._on_message = on_message
        self._on_lost = on_lost
        self._secret = secrets.token_bytes(32)
        self._half_open = HalfOpen(settings.max_half_open)
        self._living: dict[Address, Association] = {}
        self._shares = Shares()
        self._socket: socket.socket | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Bind. Returns the port, chosen by the system when ``port`` is 0. Raises PortTaken."""
        return self.listen(sockets.udp(host, port))

    def listen(self, bound: socket.socket) -> int:
        """Serve at a socket that is bound already. Returns its port."""
        self._socket = bound
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        asyncio.get_running_loop().add_reader(bound, self._read)
        self._sweep()
        port: int = bound.getsockname()[1]
        return port

    def renew(self, credential: Credential) -> None:
        """Prove the server with another certificate in handshakes that begin from now on."""
        self.context = server_context(credential, self._issuers, self._key_log)

    def stop(self) -> None:
        """Close all associations and the socket."""
        if self._sweeper:
            self._sweeper.cancel()
        for association in [*self._half_open, *self._living.values()]:
            self.drop(association, "server stops")
        if self._socket:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    @property
    def associations(self) -> int:
        """How many peers have finished the handshake."""
        return len(self._living)

    @property
    def half_open(self) -> int:
        return len(self._half_open)

    @staticmethod
    def now() -> float:
        """Seconds on the loop's clock."""
        return asyncio.get_running_loop().time()

    def transmit(self, datagram: bytes, address: Address) -> None:
        """Send, or lose it as a network may."""
        if self._socket:
            try:
                self._socket.sendto(datagram, address)
            except OSError as error:  # its buffer is full, or there is no way to that address
                log.debug("nothing sent to %s: %s", address, error)

    def drop(self, association: Association, reason: str) -> None:
        """Forget an association; whoever waits on it is told by ``on_lost``."""
        log.debug("association with %s ends: %s", association.address, reason)
        self._half_open.remove(association)
        if self._living.get(association.address) is association:
            del self._living[association.address]
            self._shares.remove(association.address)
        was_established = association.established
        association.close()
        if was_established:
            self._on_lost(association)

    def _read(self) -> None:
        """Some of the datagrams that wait: those that come together are worked on together."""
        for _ in range(MOST_AT_ONCE):
            try:
                data, address = self._socket.recvfrom(1 << 16) if self._socket else (b"", ())
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("socket error: %s", error)  # an ICMP answer: the peer's silence will be noticed anyway
                return
            if address:
                self.datagram_received(data, address)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """One datagram from a peer."""
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

        A host that gets no place is not answered: its hellos cost so little that they do not fill the socket's queue,
        where those of others would be lost.
        """
        known = (self._half_open.get(address), self._living.get(address))
        if not known[0] and not self._half_open.has_room(address):
            return False
        identity = f"{address[0]}|{address[1]}|".encode() + hello.plain
        cookie = hmac.digest(self._secret, identity, hashlib.sha256)[:COOKIE]
        if not hmac.compare_digest(hello.cookie, cookie):
            self.transmit(hello.verify_request(cookie), address)
            return False
        if any(one and one.cookie == cookie for one in known):
            return known[0] is not None and known[0].cookie == cookie
        if known[0]:
            self.drop(known[0], "peer began again")
        self._begin(address, hello, cookie)
        return self._half_open.get(address) is not None

    def _begin(self, address: Address, hello: ClientHello, cookie: bytes) -> None:
        """Begin an association; none comes of a hello that OpenSSL does not take."""
        if surplus := self._half_open.surplus():
            self.drop(surplus, "too many handshakes from its address")
        try:
            self._half_open.add(Association(self, address, hello, cookie))
        except SSL.Error as error:
            log.debug("hello of %s refused: %s", address, error)

    def _feed(self, association: Association, datagram: bytes) -> None:
        was_established = association.established
        try:
            messages = association.receive(datagram)
        except SSL.Error as error:
            return self.drop(association, f"DTLS error {error}")
        if not was_established and association.established:
            self._replace(association)
        for message in messages:
            self._on_message(association, message)
        if association.closed_by_peer:
            self.drop(association, "closed by the peer")
        elif was_established and messages and association.established:  # least recently heard first
            self._living[association.address] = self._living.pop(association.address)
            self._shares.renew(association.address)
        return None

    def _replace(self, association: Association) -> None:
        """A handshake is finished: now the older association of that address may go."""
        self._half_open.remove(association)
        old = self._living.pop(association.address, None)
        if old:
            self._shares.remove(association.address)
            old.forget()
            self._on_lost(old)
        if len(self._living) >= self.settings.max_associations:
            self.drop(self._surplus(), "too many associations")
        self._living[association.address] = association
        self._shares.add(association.address)

    def _surplus(self) -> Association:
        """The one that was silent longest, of the host that has most."""
        if self._shares.most > 1:
            return self._living[self._shares.oldest_of_busiest()]
        return next(iter(self._living.values()))

    def _sweep(self) -> None:
        """Forget handshakes that take too long and peers that left without a word, as MicroPython does."""
        now = self.now()
        for association in self._half_open:
            if now - association.born <= self.settings.handshake_seconds:
                break  # the rest is younger
            self.drop(association, "handshake took too long")
        for association in list(self._living.values()):
            if now - association.last_heard <= self.settings.idle_seconds:
                break  # the rest was heard later
            self.drop(association, "idle")
        pause = min(self.settings.handshake_seconds, self.settings.idle_seconds) / 4
        self._sweeper = asyncio.get_running_loop().call_later(pause, self._sweep)
