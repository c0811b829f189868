"""What makes one subscription: the facts a profile package is built from."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from microipa.asn1.tlv import tlv
from microipa.saip.values import SaipError, check_iccid, check_imsi, text_to_bytes

MAX_FILLER = 500_000
_APN = re.compile(r"(?!.{64})(?:[A-Za-z0-9-]{1,62}(?:\.[A-Za-z0-9-]{1,62})*)?")  # TS 23.003 9.1.1
_NETWORK_ACCESS_NAME = 0x47


@dataclass(frozen=True)
class ProfileSpec:
    """``iccid`` 18 to 20 digits (the check digit of 19 must be right), ``imsi`` 6 to 15 digits with an MNC of
    ``mnc_digits``, ``k`` and ``opc`` 16 bytes for Milenage, ``acc`` access control class 0 to 15 (by default
    the IMSI's last digit, TS 22.011), ``notification_address`` FQDN of the SM-DP+ that wants to know of
    changes, ``filler`` bytes of extra file content.

    ``apn``: the network access name in the header's connectivity parameters, which the card gives to the device
    (SGP.32 5.9.24); None: none.

    ``template``: iot, iot-minimal or ts48-like. ``files``: content of EFs by name or path, instead of the
    template's; no bytes make the file with the content that the standard gives it.
    """

    iccid: str
    imsi: str
    k: bytes = field(repr=False)
    opc: bytes = field(repr=False)
    name: str = "microipa"
    service_provider: str = "microipa"
    acc: int | None = None
    notification_address: str | None = None
    filler: int = 0
    mnc_digits: int = 2
    template: str = "iot"
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    apn: str | None = None

    def check(self) -> None:
        """Raises SaipError naming the bad input."""
        check_iccid(self.iccid)
        check_imsi(self.imsi)
        for name, key in (("k", self.k), ("opc", self.opc)):
            if len(key) != 16:
                raise SaipError(name, None, f"has {len(key)} bytes, Milenage wants 16")
        if self.acc is not None and not 0 <= self.acc <= 15:
            raise SaipError("acc", None, f"{self.acc} is no access control class, 0 to 15 are")
        if self.mnc_digits not in (2, 3):
            raise SaipError("mnc_digits", None, f"{self.mnc_digits} digits, an MNC has 2 or 3")
        if not 1 <= len(self.name) <= 64:
            raise SaipError("name", None, f"has {len(self.name)} characters, 1 to 64 are allowed")
        if len(text_to_bytes(self.service_provider)) > 16:
            raise SaipError("service_provider", None, f"{self.service_provider!r} does not fit in 16 bytes")
        if self.apn is not None and not _APN.fullmatch(self.apn):
            raise SaipError("apn", None, f"{self.apn!r} is none: labels of letters, digits and - with . between them")
        if not 0 <= self.filler <= MAX_FILLER:
            raise SaipError("filler", None, f"{self.filler} bytes, 0 to {MAX_FILLER} are allowed")

    @property
    def connectivity_parameters(self) -> bytes | None:
        """The network access name of TS 102 223 8.70, its labels as TS 23.003 9.1 has them."""
        if self.apn is None:
            return None
        labels = [label.encode() for label in self.apn.split(".") if label]
        return tlv(_NETWORK_ACCESS_NAME, b"".join(bytes([len(label)]) + label for label in labels))

    @property
    def access_classes(self) -> bytes:
        """The two bytes of EF.ACC."""
        return (1 << (self.acc if self.acc is not None else int(self.imsi[-1]))).to_bytes(2, "big")

    @property
    def home(self) -> tuple[str, str]:
        """MCC and MNC."""
        return self.imsi[:3], self.imsi[3 : 3 + self.mnc_digits]

    def secret(self, label: str, length: int) -> bytes:
        """A secret nobody gave, from K: different in each profile, the same whenever it is built."""
        return hmac.digest(self.k, f"microipa {label}".encode(), "sha256")[:length]

    def code(self, label: str) -> bytes:
        """Eight digits for a PIN or PUK that nobody gave."""
        return f"{int.from_bytes(self.secret(label, 8), 'big') % 10**8:08}".encode()
