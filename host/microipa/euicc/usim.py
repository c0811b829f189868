"""AUTHENTICATE of the USIM: the network proves itself, the card answers and keeps count (TS 33.102)."""

from __future__ import annotations

import hmac

from microipa.crypto.aka import Functions
from microipa.euicc.status import AUTHENTICATION_FAILED, StatusWord

SUCCESS, SYNCHRONISATION_FAILURE = 0xDB, 0xDC
IND_BITS = 5  # annex C.3.2: SQN = SEQ || IND, 32 values of SEQ are remembered
ARRAY = 1 << IND_BITS
RESYNC_AMF = bytes(2)


def authenticate(aka: Functions, seq: list[int], delta: int, rand: bytes, autn: bytes) -> bytes:
    """Check AUTN and answer as EF data (TS 31.102 clause 7.1.2.1).

    ``rand`` and ``autn`` have 16 bytes. ``seq`` holds the last SEQ accepted for each of the 32 IND and is
    updated; ``delta`` is how far SEQ may jump ahead (annex C.2.1). Returns DB with RES, CK, IK, or DC with
    AUTS when SQN is not acceptable. Raises StatusWord 9862 when the MAC is wrong, that is when the network
    does not know the key.
    """
    sqn = _xor(autn[:6], aka.f5(rand))
    if not hmac.compare_digest(aka.f1(rand, sqn, autn[6:8]), autn[8:]):
        raise StatusWord(AUTHENTICATION_FAILED)
    value = int.from_bytes(sqn, "big")
    new, index = value >> IND_BITS, value & ARRAY - 1
    highest = max(seq)
    if new <= seq[index] or new - highest > delta:
        own = (highest << IND_BITS | seq.index(highest)).to_bytes(6, "big")
        auts = _xor(own, aka.f5_star(rand)) + aka.f1_star(rand, own, RESYNC_AMF)
        return bytes([SYNCHRONISATION_FAILURE, len(auts)]) + auts
    seq[index] = new
    answer = bytes([SUCCESS])
    for part in (aka.f2(rand), aka.f3(rand), aka.f4(rand)):
        answer += bytes([len(part)]) + part
    return answer


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
