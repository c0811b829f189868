"""GET IDENTITY of the USIM: the subscription's identity, concealed for its home network (TS 31.102 clause 7.5).

Schemes: null, ECIES profile A (X25519) and profile B (P-256) of TS 33.501 annex C.3.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from microipa.asn1.tlv import Tlv, TlvError, parse, tlv
from microipa.euicc.filesystem import Node
from microipa.euicc.status import CONDITIONS, StatusWord

DF_SAIP, SUCI_CALC_INFO_USIM = 0x5FD0, 0x4F01
DF_5GS, ROUTING_INDICATOR = 0x5FC0, 0x4F0A
IMSI, ADMINISTRATIVE_DATA = 0x6F07, 0x6FAD
NO_ROUTING = bytes.fromhex("F0FF")
SUCI_OF_IMSI = 0x01  # SUPI format 0, type of identity SUCI (TS 24.501 9.11.3.4)
NULL_SCHEME, PROFILE_A, PROFILE_B = 0, 1, 2
MAC_BYTES = 8

Agreement = tuple[bytes, bytes]
"""The ephemeral public key as it is sent, and Z."""


def get_identity(adf: Node) -> bytes:
    """A1 with the SUCI, from the files of the USIM ``adf``. Raises StatusWord 6985 where they do not say how."""
    try:
        imsi = _content(adf, IMSI)
        digits = _digits(imsi[1 : 1 + imsi[0]])[1:]  # the first nibble is parity
        mnc_length = _content(adf, ADMINISTRATIVE_DATA)[3] & 0x0F
        scheme, key_id, key = _scheme(_content(adf, DF_SAIP, SUCI_CALC_INFO_USIM))
        msin = _bcd(digits[3 + mnc_length :])
        concealed = {NULL_SCHEME: lambda: msin, PROFILE_A: lambda: conceal(msin, profile_a(key)),
                     PROFILE_B: lambda: conceal(msin, profile_b(key))}[scheme]()
    except (TlvError, ValueError, IndexError, KeyError):
        raise StatusWord(CONDITIONS) from None
    mnc = digits[3 : 3 + mnc_length].ljust(3, "f")
    network = _bcd(digits[:3] + mnc[2] + mnc[:2])
    return tlv(0xA1, bytes([SUCI_OF_IMSI]), network, _routing(adf), bytes([scheme, key_id]), concealed)


def conceal(plain: bytes, agreement: Agreement) -> bytes:
    """The scheme output: ephemeral key, ciphertext, MAC (TS 33.501 C.3.2)."""
    sent, z = agreement
    keys = X963KDF(SHA256(), 64, sent).derive(z)
    cipher = Cipher(AES(keys[:16]), CTR(keys[16:32])).encryptor()
    hidden = cipher.update(plain) + cipher.finalize()
    mac = HMAC(keys[32:], SHA256())
    mac.update(hidden)
    return sent + hidden + mac.finalize()[:MAC_BYTES]


def profile_a(network_key: bytes, generate: Callable[[], X25519PrivateKey] = X25519PrivateKey.generate) -> Agreement:
    """Raises ValueError for what is no key of 32 bytes."""
    own = generate()
    return own.public_key().public_bytes_raw(), own.exchange(X25519PublicKey.from_public_bytes(network_key))


def profile_b(
    network_key: bytes,
    generate: Callable[[], ec.EllipticCurvePrivateKey] = lambda: ec.generate_private_key(ec.SECP256R1()),
) -> Agreement:
    """Raises ValueError for what is no point of P-256."""
    own, peer = generate(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), network_key)
    sent = own.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return sent, own.exchange(ec.ECDH(), peer)


def _scheme(calculation: bytes) -> tuple[int, int, bytes]:
    """The scheme of highest priority that this card knows, the network's name for the key, and the key."""
    listed, after = _first(calculation)
    pairs = _first(after)[0].children() if after[:1] == b"\xa1" else []
    for scheme, index in zip(listed.value[::2], listed.value[1::2], strict=False):
        if scheme == NULL_SCHEME:
            return NULL_SCHEME, 0, b""
        if scheme in (PROFILE_A, PROFILE_B) and 0 < index <= len(pairs) // 2:
            return scheme, pairs[2 * index - 2].value[0], pairs[2 * index - 1].value
    raise ValueError("no scheme that this card knows")


def _first(octets: bytes) -> tuple[Tlv, bytes]:
    """The first TLV, and what comes after it, which may be the filling of the file."""
    size = 2 + octets[1] if octets[1] < 0x80 else 3 + octets[2]
    return parse(octets[:size]), octets[size:]


def _routing(adf: Node) -> bytes:
    try:
        return _content(adf, DF_5GS, ROUTING_INDICATOR)[:2]
    except KeyError:
        return NO_ROUTING


def _content(node: Node, *path: int) -> bytes:
    """Raises KeyError."""
    for fid in path:
        child = node.child(fid)
        if child is None:
            raise KeyError(fid)
        node = child
    return node.body


def _digits(octets: bytes) -> str:
    """Nibble-swapped BCD up to its filler."""
    return "".join(f"{octet & 0x0F:x}{octet >> 4:x}" for octet in octets).rstrip("f")


def _bcd(digits: str) -> bytes:
    digits += "f" * (len(digits) % 2)
    return bytes(int(digits[place + 1] + digits[place], 16) for place in range(0, len(digits), 2))
