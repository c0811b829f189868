"""Milenage, the example algorithm set of 3GPP TS 35.206 that most operators use as it is."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from microipa.common.errors import MicroipaError

BLOCK = 16


class MilenageError(MicroipaError):
    """An input of the wrong length. Key material is never part of the message."""


def opc(k: bytes, op: bytes) -> bytes:
    """OPc, 16 bytes, from the subscriber key K and the operator constant OP (clause 3)."""
    _check("OP", op, BLOCK)
    return _xor(op, _aes(k, op))


class Milenage:
    """f1 to f5* for one subscriber. ``k`` and ``opc`` are 16 bytes each. Raises MilenageError."""

    def __init__(self, k: bytes, opc: bytes) -> None:
        _check("K", k, BLOCK)
        _check("OPc", opc, BLOCK)
        self._k = k
        self._opc = opc

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """MAC-A, 8 bytes, from RAND (16), SQN (6) and AMF (2)."""
        return self._out1(rand, sqn, amf)[:8]

    def f1_star(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """MAC-S, 8 bytes, for re-synchronisation."""
        return self._out1(rand, sqn, amf)[8:]

    def f2(self, rand: bytes) -> bytes:
        """RES, 8 bytes."""
        return self._out(rand, 0, 1)[8:]

    def f3(self, rand: bytes) -> bytes:
        """CK, 16 bytes."""
        return self._out(rand, 4, 2)

    def f4(self, rand: bytes) -> bytes:
        """IK, 16 bytes."""
        return self._out(rand, 8, 4)

    def f5(self, rand: bytes) -> bytes:
        """AK, 6 bytes."""
        return self._out(rand, 0, 1)[:6]

    def f5_star(self, rand: bytes) -> bytes:
        """AK for re-synchronisation, 6 bytes."""
        return self._out(rand, 12, 8)[:6]

    def _temp(self, rand: bytes) -> bytes:
        _check("RAND", rand, BLOCK)
        return _aes(self._k, _xor(rand, self._opc))

    def _out1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        _check("SQN", sqn, 6)
        _check("AMF", amf, 2)
        in1 = (sqn + amf) * 2
        rotated = _rotate(_xor(in1, self._opc), 8)  # r1 = 64 bits, c1 = 0
        return _xor(_aes(self._k, _xor(self._temp(rand), rotated)), self._opc)

    def _out(self, rand: bytes, rotation: int, constant: int) -> bytes:
        rotated = _rotate(_xor(self._temp(rand), self._opc), rotation)
        c = bytes(BLOCK - 1) + bytes([constant])
        return _xor(_aes(self._k, _xor(rotated, c)), self._opc)


def _check(name: str, value: bytes, length: int) -> None:
    if len(value) != length:
        raise MilenageError(f"{name} has {len(value)} bytes, Milenage wants {length}")


def _aes(key: bytes, block: bytes) -> bytes:
    _check("K", key, BLOCK)
    # One block under the raw cipher is what TS 35.206 defines; nothing longer is ever encrypted here.
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(block) + encryptor.finalize()


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def _rotate(block: bytes, count: int) -> bytes:
    """Towards the most significant byte, by ``count`` bytes."""
    return block[count:] + block[:count]
