"""Certificates in a modem that secures datagrams itself: how they are written, and what tells one from another."""

from binascii import b2a_base64, hexlify
from hashlib import sha256

from ipa.compat import const

_LINE = const(48)  # bytes, 64 letters (RFC 7468)


def pem(certificate):
    """A DER certificate as a modem wants to be given it."""
    view = memoryview(certificate)
    lines = [b"-----BEGIN CERTIFICATE-----\n"]
    for i in range(0, len(view), _LINE):
        lines.append(b2a_base64(view[i : i + _LINE]))
    lines.append(b"-----END CERTIFICATE-----\n")
    return b"".join(lines)


def digest(data):
    """SHA-256 in upper-case hexadecimal."""
    return hexlify(sha256(data).digest()).upper()
