"""The server's side of a DTLS 1.2 handshake: OpenSSL over memory buffers, timed for slow radio."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags

from microipa.crypto.pki import Credential
from microipa.eim.dtls_hello import ClientHello
from microipa.eim.dtls_records import (
    CHANGE_CIPHER_SPEC,
    DTLS_1_2,
    HANDSHAKE,
    SUITES,
    Records,
    Secrets,
    records,
)
from microipa.trace.key_log import KeyLog

CIPHERS = ":".join(SUITES).encode()


@dataclass(frozen=True)
class DtlsSettings:
    """Limits of the endpoint; sizes in bytes of UDP payload, times in seconds."""

    mtu: int = 1200
    """No datagram is larger, unless one record alone is."""
    small_mtu: int = 548
    """A handshake that gets no further goes on with these: every IPv4 network takes 576 bytes (RFC 791)."""
    smallest_mtu: int = 256
    """And one that does not get through with those either goes on with these: some NB-IoT paths take 300 bytes."""
    min_retransmit: float = 2.0
    """OpenSSL repeats a flight after 1 s; over NB-IoT the answer is still on its way then."""
    handshake_seconds: float = 150.0
    idle_seconds: float = 3600.0
    """Some devices keep an association from one poll to the next."""
    max_half_open: int = 4096
    """Handshakes under way, some 67 kB each."""
    max_associations: int = 20_000
    """Beyond them the one goes that was silent longest."""


class Handshake:
    """One handshake under way. ``transmit`` takes datagrams, ``give_up`` the reason for which it has failed."""

    def __init__(
        self,
        context: SSL.Context,
        settings: DtlsSettings,
        hello: ClientHello,
        cookie: bytes,
        transmit: Callable[[bytes], None],
        give_up: Callable[[str], None],
    ) -> None:
        """Raises SSL.Error."""
        self._settings, self._transmit, self._give_up = settings, transmit, give_up
        self._loop = asyncio.get_running_loop()
        self._sent: dict[bytes, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._number_offset = hello.record_sequence
        self._next_number = hello.record_sequence
        self._mtu, self._timeouts, self._finished = settings.mtu, 0, b""
        self._ssl = SSL.Connection(context, None)
        self._ssl.set_app_data(cookie)
        self._ssl.set_ciphertext_mtu(self._mtu)
        self._ssl.set_accept_state()
        self._ssl.bio_write(hello.first())
        self._advance()
        self._take_output()  # OpenSSL's HelloVerifyRequest: the peer has had ours

    def feed(self, datagram: bytes) -> tuple[bool, bytes]:
        """Go on with what a peer sent. Returns whether the handshake is finished, and the rest of the datagram.

        Raises SSL.Error when the handshake has failed.
        """
        fed = b""
        for record in records(datagram):  # what follows the first under the new keys is for the association
            fed += record
            if record[3:5] != bytes(2):
                break
        self._ssl.bio_write(fed or datagram)
        try:
            done = self._advance()
        finally:
            self._flush()
        return done, datagram[len(fed) :]

    def early(self) -> list[bytes]:
        """Messages that came before the end of the handshake did."""
        messages = []
        try:
            while True:
                messages.append(self._ssl.recv(1 << 14))
        except SSL.Error:
            return messages

    def records(self) -> Records:
        """The protection both sides have agreed on; OpenSSL is not needed any more."""
        agreed = self._ssl.master_key(), self._ssl.client_random(), self._ssl.server_random()
        return Records(Secrets(str(self._ssl.get_cipher_name()), *map(bytes, filter(None, agreed))), self._finished)

    def client(self) -> x509.Certificate | None:
        """The certificate the peer has shown."""
        shown = self._ssl.get_peer_certificate()
        return shown.to_cryptography() if shown else None

    def change_cipher_spec(self) -> bytes:
        """The record that goes before Finished, under a number that was not used yet."""
        number = bytes(2) + self._next_number.to_bytes(6, "big")
        return bytes([CHANGE_CIPHER_SPEC]) + DTLS_1_2 + number + b"\0\1\1"

    def stop(self) -> None:
        """Repeat nothing any more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _advance(self) -> bool:
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            return False
        return True

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
                self._next_number = max(self._next_number, number + 1)
                record = record[:5] + number.to_bytes(6, "big") + record[11:]
            else:
                self._finished = record
            if datagram and len(datagram) + len(record) > self._mtu:
                self._transmit(datagram)
                datagram = b""
            datagram += record
        if datagram:
            self._transmit(datagram)
        self._schedule()

    def _too_early(self, record: bytes) -> bool:
        """A clear handshake message repeated sooner than an NB-IoT peer could have answered it."""
        if record[0] != HANDSHAKE:
            return False
        which = record[17:22]  # message_seq and fragment_offset
        now = self._loop.time()
        if now - self._sent.get(which, float("-inf")) < self._settings.min_retransmit:
            return True
        self._sent[which] = now
        return False

    def _schedule(self) -> None:
        self.stop()
        seconds = None if self._finished else self._ssl.DTLSv1_get_timeout()
        if seconds is not None:
            self._timer = self._loop.call_later(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        self._timeouts += 1
        if self._timeouts == 2:  # the first repeat is kept back, so this flight was sent once
            self._mtu = min(self._mtu, self._settings.small_mtu)
        elif self._timeouts > 2:
            self._mtu = min(self._mtu, self._settings.smallest_mtu)
        try:
            self._ssl.set_ciphertext_mtu(self._mtu)
            self._ssl.DTLSv1_handle_timeout()
            self._flush()
        except SSL.Error as error:
            self._give_up(f"handshake given up: {error}")


def server_context(
    credential: Credential, clients: Sequence[x509.Certificate] = (), key_log: KeyLog | None = None
) -> SSL.Context:
    """One certificate and no chain: an IPA trusts that certificate, its key or its issuer.

    With ``clients``, issuers of certificates, only a client with a certificate under one of them is served.
    ``key_log`` gets the secrets of its associations.
    """
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.set_cipher_list(CIPHERS)
    context.set_tmp_ecdh(ec.SECP256R1())
    context.use_certificate(credential.certificate)
    context.use_privatekey(credential.private_key)
    context.check_privatekey()
    if clients:
        store = context.get_cert_store()
        assert store is not None
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
        for issuer in clients:
            store.add_cert(X509.from_cryptography(issuer))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    if key_log:
        context.set_keylog_callback(lambda _, line: key_log.add(line))
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
