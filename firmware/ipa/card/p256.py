"""ECDSA over P-256 with SHA-256 (FIPS 186-5), for what no card does for us. MicroPython has none built in.

Signatures are r||s, 64 octets. A verification takes a thousand multiplications of points' coordinates, seconds
on a small board: every function lets other coroutines run in between. Signing does the same steps whatever the
key is, but the integers under it take their time by value: keep it from those who can measure a device closely.
"""

import os
from hashlib import sha256

from ipa import tlv
from ipa.compat import const, sleep_ms

_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_BITS = const(256)
_BREATHE_EVERY = const(8)  # bits, about 50 ms on an ESP32
_INFINITY = (1, 1, 0)  # Jacobian coordinates: x = X/Z^2, y = Y/Z^3

# SubjectPublicKeyInfo of an uncompressed point on P-256 (RFC 5480), up to the coordinates.
_SPKI = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04"


class BadKey(Exception):
    """Not a public key on P-256."""


def point(spki):
    """The point (x, y) of a SubjectPublicKeyInfo in DER. Raises BadKey."""
    start = len(_SPKI)
    if len(spki) != start + 64 or bytes(spki[:start]) != _SPKI:
        raise BadKey("not an uncompressed key on P-256")
    x, y = _integer(spki[start : start + 32]), _integer(spki[start + 32 :])
    if x >= _P or y >= _P or (y * y - (x * x * x - 3 * x + _B)) % _P:
        raise BadKey("not a point of P-256")
    return x, y


def certified_key(certificate):
    """The SubjectPublicKeyInfo in a Certificate, DER. Raises BadKey."""
    for _, _, raw in tlv.items(tlv.find(certificate, 0x30, 0x30)):
        if bytes(raw[: len(_SPKI)]) == _SPKI:
            return raw
    raise BadKey("a certificate without a key on P-256")


async def verify(key, signature, *parts):
    """Is it the signature of the parts, one after the other, by the holder of this point?"""
    if len(signature) != 64:
        return False
    r, s = _integer(signature[:32]), _integer(signature[32:])
    if not (0 < r < _N and 0 < s < _N):
        return False
    w = pow(s, _N - 2, _N)
    u1, u2 = _digest(parts) * w % _N, r * w % _N
    both = _affine(_add((key[0], key[1], 1), _G))
    total = _INFINITY
    for bit in range(_BITS - 1, -1, -1):
        total = _double(total)
        term = (None, _G, key, both)[(u1 >> bit & 1) | (u2 >> bit & 1) << 1]
        if term is not None:
            total = _add(total, term)
        if bit % _BREATHE_EVERY == 0:
            await sleep_ms(0)
    found = _affine(total)
    return found is not None and found[0] % _N == r


async def sign(secret, *parts):
    """The signature over the parts with a key of new_secret()."""
    private = _integer(secret)
    digest = _digest(parts)
    while True:
        # From key, message and fresh randomness: no weak generator alone makes two nonces meet.
        nonce = _digest((secret, digest.to_bytes(32, "big"), os.urandom(32)))
        if not 0 < nonce < _N:
            continue
        r = _affine(await _times(nonce))[0] % _N
        s = pow(nonce, _N - 2, _N) * (digest + r * private) % _N
        if r and s:
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def new_secret():
    """32 random octets that are a private key."""
    while True:
        secret = os.urandom(32)
        if 0 < _integer(secret) < _N:
            return secret


async def public_key(secret):
    """The SubjectPublicKeyInfo that belongs to a private key."""
    x, y = _affine(await _times(_integer(secret)))
    return _SPKI + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _integer(octets):
    return int.from_bytes(bytes(octets), "big")


def _digest(parts):
    digest = sha256()
    for part in parts:
        digest.update(part)
    return _integer(digest.digest())


async def _times(factor):
    """factor times the base point, an addition for every bit."""
    total = _INFINITY
    for bit in range(_BITS - 1, -1, -1):
        total = _double(total)
        total = (total, _add(total, _G))[factor >> bit & 1]
        if bit % _BREATHE_EVERY == 0:
            await sleep_ms(0)
    return total


def _double(a):
    x, y, z = a
    if not z:
        return a
    delta, gamma = z * z % _P, y * y % _P
    beta = x * gamma % _P
    alpha = 3 * (x - delta) * (x + delta) % _P
    x3 = (alpha * alpha - 8 * beta) % _P
    return x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % _P, 2 * y * z % _P


def _add(a, b):
    """A Jacobian point and an affine one."""
    x, y, z = a
    if not z:
        return b[0], b[1], 1
    square = z * z % _P
    h = (b[0] * square - x) % _P
    r = (b[1] * square * z - y) % _P
    if not h:
        return _INFINITY if r else _double(a)
    hh = h * h % _P
    hhh, v = h * hh % _P, x * hh % _P
    x3 = (r * r - hhh - 2 * v) % _P
    return x3, (r * (v - x3) - y * hhh) % _P, z * h % _P


def _affine(a):
    x, y, z = a
    if not z:
        return None
    inverse = pow(z, _P - 2, _P)
    square = inverse * inverse % _P
    return x * square % _P, y * square * inverse % _P
