"""Authentication and key agreement: the functions, by Milenage or by the algorithm of test networks (TS 33.102)."""

from __future__ import annotations

from typing import Protocol

from microipa.crypto.milenage import Milenage


class Functions(Protocol):
    """f1 to f5* of TS 33.102, whatever algorithm is behind them."""

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes: ...
    def f1_star(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes: ...
    def f2(self, rand: bytes) -> bytes: ...
    def f3(self, rand: bytes) -> bytes: ...
    def f4(self, rand: bytes) -> bytes: ...
    def f5(self, rand: bytes) -> bytes: ...
    def f5_star(self, rand: bytes) -> bytes: ...


class XorAlgorithm:
    """The XOR algorithm of TS 34.108 clause 8.1.2, for networks in test equipment."""

    def __init__(self, k: bytes) -> None:
        self._k = k

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        return _xor(self.f2(rand)[:8], sqn + amf)

    f1_star = f1

    def f2(self, rand: bytes) -> bytes:
        return _xor(self._k, rand)

    def f3(self, rand: bytes) -> bytes:
        out = self.f2(rand)
        return out[1:] + out[:1]

    def f4(self, rand: bytes) -> bytes:
        out = self.f2(rand)
        return out[2:] + out[:2]

    def f5(self, rand: bytes) -> bytes:
        return self.f2(rand)[3:9]

    f5_star = f5


def functions(algorithm: str, k: bytes, opc: bytes) -> Functions:
    """Those of an algorithm, called as in a profile package: milenage or usim-test-algorithm."""
    return Milenage(k, opc) if algorithm == "milenage" else XorAlgorithm(k)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
