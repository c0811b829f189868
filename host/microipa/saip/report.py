"""What a card's profile interpreter says of a package: EUICCResponse, the simaResponse of results (TCA clause 8.11)."""

from __future__ import annotations

from microipa.asn1.schema import saip
from microipa.asn1.tlv import Tlv, TlvError, number, parse


def words(response: bytes) -> str:
    """The elements that were not liked, and why; hex for what cannot be read.

    EUICCResponse is 30{A0{30{80 status, 81 identification?, 82 additional?, 83 offset?}*}, 81 aborted?, 82 message?}.
    """
    try:
        report = parse(response)
        statuses = [_status(status) for status in report[0xA0] if number(status[0x80])]
        message = report.get(0x82)
    except TlvError:
        return f"simaResponse {response.hex()}"
    if message:
        statuses.append(ascii(message.value.decode("utf-8", "replace")))
    return ", ".join(statuses)


def _status(status: Tlv) -> str:
    code, element, offset = number(status[0x80]), status.get(0x81), status.get(0x83)
    name = saip.kind("PEStatus").members[0].kind.names.get(code, f"status {code}")
    place = f" at element {number(element)}" if element else ""
    return f"{name}{place}{f', offset {number(offset)}' if offset else ''}"
