"""Single values in words and digits, for people and for JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microipa.asn1.reader import Node
from microipa.asn1.schema import rsp
from microipa.asn1.tlv import TlvError, parse_all
from microipa.common.activation_codes import short, shortened_codes
from microipa.common.outside_text import visible

_SHOWN = 32  # octets of a long value that a line of text shows
_OBJECT_NAMES = {
    "1.2.840.10045.2.1": "ecPublicKey",
    "1.2.840.10045.3.1.7": "P-256",
    "1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
}


def say(node: Node) -> str:
    """One line for a value without components."""
    match node.kind.base:
        case "INTEGER" if node.kind.names:
            return f"{node.kind.names.get(node.value, 'not a value of the standard')} ({node.value})"
        case "BIT STRING" if node.kind.names:
            return ", ".join(bit_names(node)) or "none"
        case "BIT STRING":
            return _shortened(node.value[0])
        case "BOOLEAN":
            return "yes" if node.value else "no"
        case "NULL":
            return "present"
        case "UTF8String" if node.name in ("activationCode", "matchingId"):
            return short(visible(node.value)) if node.name == "matchingId" else shortened_codes(visible(node.value))
        case "UTF8String":
            return visible(node.value)
        case "OBJECT IDENTIFIER":
            name = _OBJECT_NAMES.get(node.value)
            return f"{node.value} ({name})" if name else str(node.value)
        case "HIDDEN":
            return f"{len(node.value)} octets (hidden)"
        case "OCTET STRING" | "ANY" | "SEQUENCE":
            return _special(node) or certificate_words(node) or _shortened(_octets(node))
        case _:
            return str(node.value)


def plain(node: Node) -> Any:
    """The same for JSON: numbers, truth values, text; hex for what is binary and has no better form."""
    match node.kind.base:
        case "INTEGER" if node.kind.names:
            return {"code": node.value, "name": node.kind.names.get(node.value)}
        case "BIT STRING" if node.kind.names:
            return bit_names(node)
        case "BIT STRING":
            return str(node.value[0].hex())
        case "NULL":
            return True
        case "HIDDEN":
            return say(node)
        case "OCTET STRING" if node.name != "extCardResource":
            return _special(node) or node.value.hex()
        case "OCTET STRING" | "ANY" | "SEQUENCE":
            return _octets(node).hex()
        case _:
            return node.value


def is_certificate(node: Node) -> bool:
    return node.kind.type_name in ("Certificate", "CertificateFields")


def bit_names(node: Node) -> list[str]:
    """The names of the bits that are set."""
    octets, count = node.value
    bits = (place for place in range(count) if octets[place // 8] & 0x80 >> place % 8)
    return [node.kind.names.get(place, f"bit {place}") for place in bits]


def _octets(node: Node) -> bytes:
    if isinstance(node.value, dict):
        return rsp.encode("CertificateFields", node.value)
    return bytes(node.value)


def _shortened(octets: bytes) -> str:
    if len(octets) <= _SHOWN:
        return octets.hex() or "empty"
    return f"{octets[:_SHOWN].hex()}… ({len(octets)} octets)"


def _special(node: Node) -> str | None:
    """Digits, versions and tags among the OCTET STRINGs; None for a value that is not what it should be."""
    if node.kind.base != "OCTET STRING":
        return None
    form = _FORMS.get(node.kind.type_name) or _FORMS.get(node.name)
    return form(node.value) if form else None


def certificate_words(node: Node) -> str | None:
    """Whose certificate this is, from whom and for how long; None for what is not a certificate."""
    if not is_certificate(node):
        return None
    try:
        from cryptography import x509  # takes long to load

        certificate = x509.load_der_x509_certificate(_octets(node))
        subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
        dates = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
        return f"{subject}, issued by {issuer}, serial {certificate.serial_number:x}, valid {dates}"
    except ValueError:
        return None


def swapped_digits(octets: bytes) -> str:
    """Digits of nibble-swapped BCD, without filler."""
    return "".join(f"{octet & 15:X}{octet >> 4:X}" for octet in octets).rstrip("F")


def _digits(octets: bytes) -> str | None:
    """The EID, and the ICCID in the header of a profile package."""
    digits = octets.hex().rstrip("f")
    return digits if digits.isdecimal() else None


def _swapped(octets: bytes) -> str | None:
    """The ICCID as printed on a card, from the form of EF.ICCID; the type allocation code."""
    digits = swapped_digits(octets)
    return digits if digits.isdecimal() else None


def _imei(octets: bytes) -> str | None:
    """TBCD (TS 29.002), but the last digit stands in the high half of its octet (SGP.22 4.2)."""
    digits = swapped_digits(octets[:7]) + f"{octets[-1] >> 4:X}"
    return digits if digits.isdecimal() else None


def plmn(octets: bytes) -> str | None:
    """MCC-MNC of TS 24.008 10.5.1.13: three octets hold the digits MCC2 MCC1, MNC3 MCC3, MNC2 MNC1."""
    a, b, c = (f"{octet:02X}" for octet in octets)
    mcc, mnc = a[1] + a[0] + b[1], (c[1] + c[0] + b[0]).rstrip("F")
    return f"{mcc}-{mnc}" if (mcc + mnc).isdecimal() else None


def _version(octets: bytes) -> str:
    return ".".join(map(str, octets))


def _tags(octets: bytes) -> str | None:
    """The tags of a tag list, one after the other."""
    tags, position = [], 0
    while position < len(octets):
        end = position + 1
        if octets[position] & 0x1F == 0x1F:
            while end < len(octets) and octets[end] & 0x80:
                end += 1
            end += 1
        tags.append(octets[position:end].hex().upper())
        position = end
    return " ".join(tags) if position == len(octets) else None


def _card_resource(octets: bytes) -> str | None:
    """Extended card resources (TS 102 226 8.2.1.7.2)."""
    labels = {0x81: "applications", 0x82: "octets of non-volatile memory", 0x83: "octets of volatile memory"}
    try:
        return ", ".join(f"{int.from_bytes(tlv.value, 'big')} {labels[tlv.tag]}" for tlv in parse_all(octets))
    except (TlvError, KeyError):
        return None


_FORMS: dict[str, Callable[[bytes], str | None]] = {
    "Iccid": _swapped,
    "iccid": _digits,
    "eidValue": _digits,
    "VersionType": _version,
    "tac": _swapped,
    "imei": _imei,
    "mccMnc": plmn,
    "rPLMN": plmn,
    "tagList": _tags,
    "extCardResource": _card_resource,
}
