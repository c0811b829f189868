"""ECDSA and key agreement as SGP.22 clause 2.6 has them: SHA-256, raw r||s signatures, full points."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from microipa.common.errors import MicroipaError

P256 = ec.SECP256R1()
SIGNATURE_BYTES = 64


class SignatureInvalid(MicroipaError):
    """The signature was not made with this key over these bytes."""


class PointInvalid(MicroipaError):
    """Bytes that are not a point of the curve in uncompressed form."""


def generate_key(curve: ec.EllipticCurve = P256) -> ec.EllipticCurvePrivateKey:
    """A new key pair."""
    return ec.generate_private_key(curve)


def sign(private_key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """ECDSA with SHA-256 over ``data``: r||s, 64 bytes, as 5F37 carries it."""
    r, s = decode_dss_signature(private_key.sign(data, ec.ECDSA(SHA256())))
    half = SIGNATURE_BYTES // 2
    return r.to_bytes(half, "big") + s.to_bytes(half, "big")


def verify(public_key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    """Check r||s over ``data``. Some software cards send DER instead, which is accepted too.

    Raises SignatureInvalid.
    """
    if len(signature) == SIGNATURE_BYTES:
        half = SIGNATURE_BYTES // 2
        signature = encode_dss_signature(
            int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        )
    try:
        public_key.verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise SignatureInvalid(
            f"the signature over these {len(data)} bytes was not made with the expected key"
        ) from None


def point(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """The public key as 04||X||Y, 65 bytes (5F49)."""
    return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def load_point(data: bytes, curve: ec.EllipticCurve = P256) -> ec.EllipticCurvePublicKey:
    """The public key that 04||X||Y stands for. Raises PointInvalid when it is not on ``curve``."""
    if len(data) != 65 or data[0] != 0x04:
        raise PointInvalid(f"a public key is 65 bytes beginning with 04, not {len(data)}: {data[:4].hex()}…")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, data)
    except ValueError:
        raise PointInvalid(f"{data[:8].hex()}… is not a point of {curve.name}") from None


def ecdh(private_key: ec.EllipticCurvePrivateKey, peer_point: bytes) -> bytes:
    """Z, the x coordinate both sides arrive at: 32 bytes. Raises PointInvalid for a bad ``peer_point``."""
    return private_key.exchange(ec.ECDH(), load_point(peer_point, private_key.curve))
