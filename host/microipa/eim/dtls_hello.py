"""The first exchange of a DTLS handshake, answered without keeping state (RFC 6347 4.2.1).

OpenSSL's own listener sends ServerHello under a record number that mbedTLS's anti-replay window may already have
seen. So the server answers the first ClientHello itself, and begins an association only for a peer that returned
the cookie.
"""

from __future__ import annotations

from dataclasses import dataclass

from microipa.eim.dtls_records import HANDSHAKE, RECORD_HEADER

CLIENT_HELLO, HELLO_VERIFY_REQUEST = 1, 3  # RFC 6347 4.2.2, handshake types
DTLS_1_0 = b"\xfe\xff"  # the version every HelloVerifyRequest bears, RFC 6347 4.2.1
HANDSHAKE_HEADER = 12
SHORTEST_HELLO = 36  # version, random, and the lengths of session identifier and cookie


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
