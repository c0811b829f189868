"""The bound profile package: a profile package for one card and one session (SGP.22 clause 2.5.4)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurve, generate_private_key

from microipa.asn1.tlv import integer, tlv
from microipa.crypto.bsp import MAX_PLAIN, Bsp
from microipa.crypto.ec import ecdh, point
from microipa.crypto.pki import Credential
from microipa.smdpp.sessions import TRANSACTION_ID_BYTES

INSTALL_BOUND_PROFILE_PACKAGE = 1  # remoteOpId
KEY_TYPE_AES = 0x88
KEY_LENGTH = 0x10
SIGNATURE_BYTES = 64
HOST_ID = b"microipa"  # goes into the key derivation on both sides, 1 to 16 bytes of our choice


@dataclass(frozen=True)
class Protected:
    """What of a bound profile package outlives its session: both one-time public keys (65 bytes) and
    everything that is protected under them, A0 to A3. A card that lost its download offers its key again and
    gets the same once more."""

    euicc_otpk: bytes
    smdp_otpk: bytes
    parts: bytes


def protect(
    package: bytes, metadata: bytes, *, eid: str, euicc_otpk: bytes, curve: EllipticCurve, ppk: bool
) -> Protected:
    """Encipher a profile for one card.

    ``package`` is the unprotected profile package, ``metadata`` the StoreMetadataRequest BF25, ``euicc_otpk``
    the card's one-time public key (65 bytes) on ``curve``. With ``ppk`` the profile itself is enciphered
    under keys of its own, which ReplaceSessionKeys brings to the card (clause 2.5.4.2).
    Raises PointInvalid when ``euicc_otpk`` is no point of the curve.
    """
    one_time_key = generate_private_key(curve)
    secret = ecdh(one_time_key, euicc_otpk)
    bsp = Bsp.from_secret(secret, HOST_ID, bytes.fromhex(eid), KEY_TYPE_AES, KEY_LENGTH)
    parts = [
        tlv(0xA0, bsp.encrypt(0x87, tlv(0xBF24))),
        tlv(0xA1, *(bsp.mac(0x88, piece) for piece in _pieces(metadata))),
    ]
    if ppk:
        keys = [secrets.token_bytes(16) for _ in range(3)]  # initial MAC chaining value, S-ENC, S-MAC
        replace = tlv(0xBF26, *(tlv(0x80 + i, key) for i, key in enumerate(keys)))
        parts.append(tlv(0xA2, bsp.encrypt(0x87, replace)))
        bsp = Bsp(*keys)
    parts.append(tlv(0xA3, *(bsp.encrypt(0x86, piece) for piece in _pieces(package))))
    return Protected(euicc_otpk, point(one_time_key.public_key()), b"".join(parts))


def bind(protected: Protected, transaction_id: bytes, signer: Credential) -> bytes:
    """The BoundProfilePackage BF36 for a session, DER. ``signer`` is CERT.DPpb."""
    return tlv(0xBF36, _secure_channel(transaction_id, protected, signer.sign), protected.parts)


def bound_size(package: bytes, metadata: bytes) -> int:
    """How many bytes a BoundProfilePackage with session keys has, whatever card and session it is for."""
    curve = SECP256R1()
    otpk = point(generate_private_key(curve).public_key())
    protected = protect(package, metadata, eid="0" * 32, euicc_otpk=otpk, curve=curve, ppk=False)
    channel = _secure_channel(bytes(TRANSACTION_ID_BYTES), protected, lambda _: bytes(SIGNATURE_BYTES))
    return len(tlv(0xBF36, channel, protected.parts))


def _secure_channel(transaction_id: bytes, protected: Protected, sign: Callable[[bytes], bytes]) -> bytes:
    """InitialiseSecureChannel BF23. The signature covers the card's key too, which is not sent back to it."""
    key_data = tlv(0xA6, tlv(0x80, bytes([KEY_TYPE_AES])), tlv(0x81, bytes([KEY_LENGTH])), tlv(0x84, HOST_ID))
    fields = (
        integer(0x82, INSTALL_BOUND_PROFILE_PACKAGE)
        + tlv(0x80, transaction_id)
        + key_data
        + tlv(0x5F49, protected.smdp_otpk)
    )
    signature = sign(fields + tlv(0x5F49, protected.euicc_otpk))
    return tlv(0xBF23, fields, tlv(0x5F37, signature))


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), MAX_PLAIN):
        yield data[start : start + MAX_PLAIN]
