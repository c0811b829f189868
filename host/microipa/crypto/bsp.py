"""BSP: how a bound profile package is enciphered and chained to one card (SGP.22 clause 2.5.4, SCP03t).

Every segment is a TLV: 86 and 87 are enciphered and carry a MAC, 88 is clear with a MAC. Both ends keep the
same counter and MAC chaining value, so that no segment can be changed, dropped, repeated or moved.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF

from microipa.asn1.tlv import Tlv, TlvError, length_bytes, parse, tag_bytes
from microipa.common.errors import MicroipaError

MAX_SEGMENT = 1020  # bytes of one TLV, header and MAC included
MAX_PLAIN = 1007  # bytes that fit in one enciphered segment
MAC_BYTES = 8
BLOCK = 16


class BspError(MicroipaError):
    """A segment that was not made for this session, or not at this place in it."""


class Bsp:
    """One direction of one session: the same object only protects or only opens segments, in order."""

    def __init__(self, mcv: bytes, s_enc: bytes, s_mac: bytes) -> None:
        """``mcv`` initial MAC chaining value, ``s_enc`` and ``s_mac`` AES keys: 16 bytes each."""
        for name, value in (("initial MAC chaining value", mcv), ("S-ENC", s_enc), ("S-MAC", s_mac)):
            if len(value) != BLOCK:
                raise BspError(f"{name} has {len(value)} bytes, BSP wants {BLOCK}")
        self._mcv = mcv
        self._s_enc = s_enc
        self._s_mac = s_mac
        self._counter = 1

    @classmethod
    def from_secret(
        cls, z: bytes, host_id: bytes, eid: bytes, key_type: int = 0x88, key_length: int = 0x10
    ) -> Bsp:
        """Derive the session keys from the agreed secret (annex G): X9.63 KDF over SHA-256.

        ``z`` is the 32 bytes of ec.ecdh, ``eid`` the 16 bytes of the card's EID.
        """
        shared_info = bytes([key_type, key_length, len(host_id)]) + host_id + bytes([len(eid)]) + eid
        keys = X963KDF(SHA256(), 3 * BLOCK, shared_info).derive(z)
        return cls(keys[:BLOCK], keys[BLOCK : 2 * BLOCK], keys[2 * BLOCK :])

    def encrypt(self, tag: int, plain: bytes) -> bytes:
        """One enciphered segment (86 or 87). ``plain`` has at most MAX_PLAIN bytes."""
        if len(plain) > MAX_PLAIN:
            raise BspError(f"{len(plain)} bytes do not fit in one segment, at most {MAX_PLAIN} do")
        padded = plain + b"\x80" + bytes(-(len(plain) + 1) % BLOCK)
        encryptor = self._cbc().encryptor()
        return self._protect(tag, encryptor.update(padded) + encryptor.finalize())

    def mac(self, tag: int, plain: bytes) -> bytes:
        """One clear segment with a MAC (88)."""
        if len(plain) > MAX_PLAIN:
            raise BspError(f"{len(plain)} bytes do not fit in one segment, at most {MAX_PLAIN} do")
        return self._protect(tag, plain)

    def open_encrypted(self, segment: bytes) -> bytes:
        """The plain bytes of an enciphered segment. Raises BspError; the state is then as before."""
        data, chaining = self._check(segment)
        if not data or len(data) % BLOCK:
            raise BspError(f"enciphered data of {len(data)} bytes is not a whole number of AES blocks")
        decryptor = self._cbc().decryptor()
        padded = decryptor.update(data) + decryptor.finalize()
        plain = padded.rstrip(b"\x00")
        if not plain.endswith(b"\x80") or len(padded) - len(plain) >= BLOCK:
            raise BspError("the padding of the deciphered segment is not 80 00…")
        self._advance(chaining)
        return plain[:-1]

    def open_mac(self, segment: bytes) -> bytes:
        """The bytes of a clear segment. Raises BspError; the state is then as before."""
        data, chaining = self._check(segment)
        self._advance(chaining)
        return data

    def _protect(self, tag: int, data: bytes) -> bytes:
        head = tag_bytes(tag) + length_bytes(len(data) + MAC_BYTES)
        chaining = self._cmac(head + data)
        self._advance(chaining)
        return head + data + chaining[:MAC_BYTES]

    def _check(self, segment: bytes) -> tuple[bytes, bytes]:
        try:
            tlv: Tlv = parse(segment)
        except TlvError as error:
            raise BspError(f"a segment is not one TLV: {error}") from error
        if len(tlv.value) < MAC_BYTES:
            raise BspError(f"segment {tlv.tag:02X} has {len(tlv.value)} bytes, too few for a MAC")
        data, received = tlv.value[:-MAC_BYTES], tlv.value[-MAC_BYTES:]
        # Over the header as received: a peer may write a length in a longer form than needed.
        chaining = self._cmac(segment[: tlv.header] + data)
        if not hmac.compare_digest(chaining[:MAC_BYTES], received):
            raise BspError(f"the MAC of segment {tlv.tag:02X} number {self._counter} is wrong")
        return data, chaining

    def _advance(self, chaining: bytes) -> None:
        self._mcv = chaining
        self._counter += 1  # every segment counts, the clear ones too

    def _cmac(self, data: bytes) -> bytes:
        cmac = CMAC(algorithms.AES(self._s_mac))
        cmac.update(self._mcv + data)
        return cmac.finalize()

    def _cbc(self) -> Cipher[modes.CBC]:
        # The initial value is the enciphered counter, one block under the raw cipher by definition.
        encryptor = Cipher(algorithms.AES(self._s_enc), modes.ECB()).encryptor()  # noqa: S305
        icv = encryptor.update(self._counter.to_bytes(BLOCK, "big")) + encryptor.finalize()
        return Cipher(algorithms.AES(self._s_enc), modes.CBC(icv))
