"""DTLS 1.2 records (RFC 6347 4.1) under AES-GCM (RFC 5288), as an association needs them once its handshake is done.

An OpenSSL connection keeps 70 kB for as long as it lives, most of it buffers of the handshake. So the endpoint
takes the keys over when the handshake is finished, and lets OpenSSL's object go: what is left has some 3 kB.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256, sha384

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23  # RFC 6347 4.1, record content types
DTLS_1_2 = b"\xfe\xfd"
RECORD_HEADER = 13
EXPLICIT_NONCE, TAG = 8, 16  # RFC 5288 3
WINDOW = 64  # records that may arrive out of order, RFC 6347 4.1.2.6
LAST_SEQUENCE = (1 << 48) - 1
CLOSE_NOTIFY, FATAL = b"\x01\x00", b"\x02"  # RFC 5246 7.2
SUITES = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": (16, sha256),
    "ECDHE-ECDSA-AES256-GCM-SHA384": (32, sha384),
}
"""What the endpoint offers: length of the keys, hash of the key derivation."""


def records(stream: bytes) -> Iterator[bytes]:
    """Cut what OpenSSL wrote, or a datagram, into its records; a damaged rest is left out."""
    position = 0
    while position + RECORD_HEADER <= len(stream):
        end = position + RECORD_HEADER + int.from_bytes(stream[position + 11 : position + 13], "big")
        if end > len(stream):
            return
        yield stream[position:end]
        position = end


def renumbered(record: bytes) -> bytes:
    """A clear record under the next number."""
    return record[:5] + (int.from_bytes(record[5:11], "big") + 1).to_bytes(6, "big") + record[11:]


@dataclass(frozen=True)
class Secrets:
    """What two sides have agreed on in their handshake."""

    suite: str
    """OpenSSL's name, one of SUITES."""
    master: bytes
    client_random: bytes
    server_random: bytes

    def keys(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Write keys of client and server, then the salts of both (RFC 5246 6.3, RFC 5288 3)."""
        size, digest = SUITES[self.suite]
        seed = b"key expansion" + self.server_random + self.client_random
        block, step = b"", seed
        while len(block) < 2 * size + 8:
            step = hmac.digest(self.master, step, digest)
            block += hmac.digest(self.master, step + seed, digest)
        ends = (0, size, 2 * size, 2 * size + 4, 2 * size + 8)
        client, server, client_salt, server_salt = (block[a:b] for a, b in zip(ends, ends[1:], strict=False))
        return client, server, client_salt, server_salt


class Records:
    """Both directions of an association after its handshake, as its server sees them.

    ``finished`` is the record with the server's Finished, as OpenSSL wrote it: the first under the new keys.
    """

    __slots__ = ("_finished", "_newest", "_nonce", "_read", "_read_salt", "_seen", "_sequence", "_write", "_write_salt")

    def __init__(self, secrets: Secrets, finished: bytes) -> None:
        read, write, self._read_salt, self._write_salt = secrets.keys()
        self._read, self._write = AESGCM(read), AESGCM(write)
        self._sequence = int.from_bytes(finished[5:11], "big") + 1
        # OpenSSL began its nonces at random: going on from there none is used twice.
        self._nonce = int.from_bytes(finished[RECORD_HEADER : RECORD_HEADER + EXPLICIT_NONCE], "big")
        self._finished = _opened(self._write, self._write_salt, finished)
        self._newest, self._seen = 0, 1  # the client's Finished, number 0, has been read

    def protect(self, kind: int, content: bytes) -> bytes:
        """The next record of content type ``kind``. Raises OverflowError when no number is left."""
        if self._sequence > LAST_SEQUENCE:
            raise OverflowError("the association has no record number left")
        number = b"\0\1" + self._sequence.to_bytes(6, "big")
        self._sequence += 1
        self._nonce = (self._nonce + 1) & (1 << 64) - 1
        nonce = self._nonce.to_bytes(EXPLICIT_NONCE, "big")
        head = bytes([kind]) + DTLS_1_2
        data = number + head + len(content).to_bytes(2, "big")
        sealed = self._write.encrypt(self._write_salt + nonce, content, data)
        return head + number + (EXPLICIT_NONCE + len(sealed)).to_bytes(2, "big") + nonce + sealed

    def open(self, record: bytes) -> bytes | None:
        """The content of a record; None for one that is forged, damaged, old or here already (RFC 6347 4.1.2.7)."""
        number = int.from_bytes(record[5:11], "big")
        ahead = number - self._newest
        if record[3:5] != b"\0\1" or ahead <= -WINDOW or (ahead <= 0 and self._seen >> -ahead & 1):
            return None
        try:
            content = _opened(self._read, self._read_salt, record)
        except InvalidTag:
            return None
        if ahead > 0:
            self._newest, self._seen = number, (self._seen << min(ahead, WINDOW) | 1) & (1 << WINDOW) - 1
        else:
            self._seen |= 1 << -ahead
        return content

    def finished_again(self) -> bytes:
        """The server's Finished for a client that has not had it."""
        return self.protect(HANDSHAKE, self._finished)


def _opened(key: AESGCM, salt: bytes, record: bytes) -> bytes:
    """Raises InvalidTag."""
    nonce, sealed = record[RECORD_HEADER : RECORD_HEADER + EXPLICIT_NONCE], record[RECORD_HEADER + EXPLICIT_NONCE :]
    length = len(sealed) - TAG
    if len(nonce) < EXPLICIT_NONCE or length < 0:
        raise InvalidTag
    data = record[3:11] + record[:3] + length.to_bytes(2, "big")
    return key.decrypt(salt + nonce, sealed, data)
