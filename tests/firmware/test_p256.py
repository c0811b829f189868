"""ipa.card.p256 under MicroPython against the `cryptography` library, in both directions (FIPS 186-5)."""

from __future__ import annotations

import hashlib
import re

from board_run import Run
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from microipa.crypto import ec

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
ROOT_OF_B = pow(B, (PRIME + 1) // 4, PRIME)
VERIFY = """
import asyncio
from ipa.card import p256
async def main():
    for key, signature, message in {cases}:
        print(await p256.verify(p256.point(bytes.fromhex(key)), bytes.fromhex(signature), bytes.fromhex(message)))
asyncio.run(main())
"""
SIGN = """
import asyncio
import time
from ipa.card import p256
async def main():
    secret = p256.new_secret()
    key = await p256.public_key(secret)
    print(key.hex())
    for message in {messages}:
        print((await p256.sign(secret, message[:1], message[1:])).hex())
    began = time.ticks_ms()
    await p256.verify(p256.point(key), bytes(31) + b"1" + bytes(31) + b"1", b"")
    print(time.ticks_diff(time.ticks_ms(), began), "ms")
asyncio.run(main())
"""
POINTS = """
from ipa.card import p256
for spki in {keys}:
    try:
        print(p256.point(spki)[0] > 0)
    except p256.BadKey as error:
        print(error)
"""


def spki(key: curves.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def test_a_signature_of_another_library_is_verified_and_nothing_else_is(micropython: Run) -> None:
    key, message = ec.generate_key(), b"an eUICC package"
    good = ec.sign(key, message)
    r, s = good[:32], good[32:]
    negated = (ORDER - int.from_bytes(s, "big")).to_bytes(32, "big")
    smallest = curves.derive_private_key(1, curves.SECP256R1())  # its public key is the base point
    last = curves.derive_private_key(ORDER - 1, curves.SECP256R1())  # and its negative
    cases = [
        (spki(key), good, message, True),
        (spki(key), r + negated, message, True),  # ECDSA lets it stand
        (spki(smallest), ec.sign(smallest, message), message, True),
        (spki(last), ec.sign(last, message), message, True),
        (spki(key), good, message + b".", False),
        (spki(ec.generate_key()), good, message, False),
        (spki(key), s + r, message, False),
        (spki(key), r + bytes(32), message, False),
        (spki(key), bytes(32) + s, message, False),
        (spki(key), r + ORDER.to_bytes(32, "big"), message, False),
        (spki(key), bytes([good[0] ^ 1]) + good[1:], message, False),
        (spki(key), good[:63], message, False),
        (spki(key), b"", message, False),
    ]
    out = await micropython(VERIFY.replace("{cases}", repr([[one.hex() for one in case[:3]] for case in cases])))
    assert out.split() == [str(case[3]) for case in cases]


async def test_what_the_device_signs_another_library_verifies(micropython: Run) -> None:
    messages = [b"x", bytes(1000), b"same", b"same"]
    key, *signatures, cost = (await micropython(SIGN.replace("{messages}", repr(messages)))).splitlines()
    public = load_der_public_key(bytes.fromhex(key))
    assert isinstance(public, curves.EllipticCurvePublicKey)
    for message, signature in zip(messages, signatures, strict=True):
        ec.verify(public, bytes.fromhex(signature), message)
    assert len(set(signatures)) == 4  # no nonce twice
    assert re.fullmatch(r"\d+ ms", cost)


async def test_a_key_is_a_point_of_the_curve_in_its_one_form(micropython: Run) -> None:
    good = spki(ec.generate_key())
    other = spki(curves.generate_private_key(curves.BrainpoolP256R1()))
    keys = [good, good[:-1] + bytes([good[-1] ^ 1]), good[:-64] + bytes(64), good[:-1], other, good + b"\0"]
    out = await micropython(POINTS.replace("{keys}", repr(keys)))
    form, curve = "not an uncompressed key on P-256", "not a point of P-256"
    assert out.splitlines() == ["True", curve, curve, form, form, form]


async def test_sec1_3_2_2_1_a_coordinate_is_below_the_prime(micropython: Run) -> None:
    """The point with x = 0 is on the curve; with the prime in its place it would be a second form of the same key."""
    prefix = spki(ec.generate_key())[:-64]
    y = ROOT_OF_B.to_bytes(32, "big")
    keys = [prefix + bytes(32) + y, prefix + PRIME.to_bytes(32, "big") + y]
    script = POINTS.replace("[0] > 0", "[0] == 0")
    out = await micropython(script.replace("{keys}", repr(keys)))
    assert out.splitlines() == ["True", "not a point of P-256"]


async def test_fips186_5_a_signature_has_one_form_and_no_zero_in_it(micropython: Run) -> None:
    """With s beyond the order another signature of the same message would be taken; s is 1 here, so that it fits."""
    k, message = 0x1234567890ABCDEF, b"an eUICC package"
    x = curves.derive_private_key(k, curves.SECP256R1()).public_key().public_numbers().x % ORDER
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    key = curves.derive_private_key((k - digest) * pow(x, -1, ORDER) % ORDER, curves.SECP256R1())
    r, zero = x.to_bytes(32, "big"), bytes(32)
    forms = [(r, 1), (r, 1 + ORDER), (r, 0), (zero, 1), (ORDER.to_bytes(32, "big"), 1), (r, ORDER)]
    cases = [(spki(key).hex(), (first + second.to_bytes(32, "big")).hex(), message.hex()) for first, second in forms]
    out = await micropython(VERIFY.replace("{cases}", repr(cases)))
    assert out.split() == ["True"] + ["False"] * 5
