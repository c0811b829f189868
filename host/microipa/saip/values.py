"""Numbers that people write as digits and cards store as nibbles; the one error of this package."""

from __future__ import annotations

from microipa.common.errors import MicroipaError

ICCID_BYTES = 10
CHECKED_ICCID = 19  # ITU-T E.118: 18 digits and a check digit; 18 and 20 digits occur and carry none
GSM_IS_ASCII = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 !\"#%&'()*+,-./:;<=>?"
)


class SaipError(MicroipaError):
    """A profile package, or a wish for one, that cannot be.

    ``element`` names the profile element or the input, ``offset`` counts bytes from the start of the package
    (None when there is no package yet), ``reason`` says what is wrong and what would be right.
    """

    def __init__(self, element: str, offset: int | None, reason: str) -> None:
        place = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{element}{place}: {reason}")
        self.element = element
        self.offset = offset
        self.reason = reason


def luhn_digit(digits: str) -> str:
    """The check digit that follows ``digits`` (ITU-T E.118 annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 - place % 2)
        total += value // 10 + value % 10
    return str(-total % 10)


def normal_iccid(iccid: str) -> str:
    """18 to 20 digits, whether given with or without F, spaces, or with swapped nibbles. Raises SaipError."""
    digits = "".join(iccid.split()).upper()
    if len(digits) == 2 * ICCID_BYTES and digits.startswith("98"):
        digits = _swap(digits)  # every ICCID begins with 89: this one was copied from an EF.ICCID
    digits = digits.rstrip("F")
    if not (digits.isascii() and digits.isdigit()):
        raise SaipError("iccid", None, f"{iccid!r} has characters that are no digits")
    if not 18 <= len(digits) <= 20:
        raise SaipError("iccid", None, f"{iccid!r} has {len(digits)} digits, an ICCID has 18 to 20")
    return digits


def check_iccid(iccid: str) -> str:
    """``normal_iccid``, and the check digit of a 19-digit one must be right. Raises SaipError."""
    digits = normal_iccid(iccid)
    if not digits.startswith("89"):
        raise SaipError("iccid", None, f"{digits} begins with {digits[:2]}, an ICCID begins with 89")
    if len(digits) == CHECKED_ICCID:
        right = luhn_digit(digits[:-1])
        if digits[-1] != right:
            raise SaipError(
                "iccid", None, f"{digits} ends in check digit {digits[-1]}, it should be {digits[:-1]}{right}"
            )
    return digits


def iccid_to_bytes(iccid: str) -> bytes:
    """The 10 bytes of EF.ICCID and of 5A: nibbles swapped, F at the end. Raises SaipError."""
    return bytes.fromhex(_swap(normal_iccid(iccid).ljust(2 * ICCID_BYTES, "F")))


def iccid_from_bytes(data: bytes) -> str:
    """The digits of an EF.ICCID. Some operators use letters A to E as well; they are kept."""
    return _swap(data.hex().upper()).rstrip("F")


def iccid_from_header(field: bytes) -> str:
    """The digits in a ProfileHeader, which has them in reading order."""
    return field.hex().upper().rstrip("F")


def check_imsi(imsi: str) -> str:
    """6 to 15 digits. Raises SaipError."""
    if not (imsi.isascii() and imsi.isdigit() and 6 <= len(imsi) <= 15):
        raise SaipError("imsi", None, f"{imsi!r} is not 6 to 15 digits (MCC, MNC, MSIN)")
    return imsi


def imsi_to_bytes(imsi: str) -> bytes:
    """EF.IMSI, 9 bytes (TS 31.102 clause 4.2.2). Raises SaipError."""
    digits = check_imsi(imsi)
    nibbles = ("9" if len(digits) % 2 else "1") + digits + ("" if len(digits) % 2 else "F")
    body = bytes.fromhex(_swap(nibbles))
    return bytes([len(body)]) + body.ljust(8, b"\xff")


def imsi_from_bytes(data: bytes) -> str:
    """The digits in an EF.IMSI. Raises SaipError when it holds none."""
    body = data[1 : 1 + data[0]] if data else b""
    digits = _swap(body.hex().upper())[1:].rstrip("F")
    if not digits.isdigit():
        raise SaipError("EF.IMSI", None, f"{data.hex()} is no IMSI")
    return digits


def plmn_to_bytes(mcc: str, mnc: str) -> bytes:
    """Three bytes as in TS 24.008 clause 10.5.1.3."""
    return bytes.fromhex(mcc[1] + mcc[0] + mnc[2:].rjust(1, "F") + mcc[2] + mnc[1] + mnc[0])


def plmn_from_bytes(data: bytes) -> str:
    """"901-70" from three bytes, "" for an empty entry."""
    nibbles = _swap(data.hex().upper())
    mcc, mnc = nibbles[:3], nibbles[4:] + nibbles[3].replace("F", "")
    return f"{mcc}-{mnc}" if (mcc + mnc).isdigit() else ""


def text_to_bytes(text: str) -> bytes:
    """An alpha identifier: the GSM alphabet where it equals ASCII, else UCS2 (TS 102 221 annex A)."""
    plain = text.encode("ascii", "replace")
    return plain if text.isascii() and GSM_IS_ASCII.issuperset(plain) else b"\x80" + text.encode("utf-16-be")


def text_from_bytes(data: bytes) -> str:
    """What ``text_to_bytes`` made, padding dropped; other codings come out with replacement characters."""
    if data[:1] == b"\x80":
        return data[1 : 1 + (len(data) - 1) // 2 * 2].decode("utf-16-be", "replace").rstrip("\uffff")
    return data.split(b"\xff")[0].replace(b"\x11", b"_").decode("ascii", "replace")


def _swap(nibbles: str) -> str:
    return "".join(nibbles[i + 1] + nibbles[i] for i in range(0, len(nibbles) - 1, 2))
