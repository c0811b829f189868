"""Why a device gave a download up, in words: errorResponse of a ProfileDownloadTriggerResult (SGP.32 2.11.2.3).

Devices fill it with what had been answered to them: a card's BF38, BF21 or BF41; an SM-DP+'s refusal in the ASN.1
or the JSON binding of ES9+ (the board of this project passes the JSON on); or a sentence of their own.
"""

from __future__ import annotations

import codecs

from microipa.asn1.tlv import Tlv, TlvError, number, parse
from microipa.common.outside_text import visible
from microipa.eim import esipa, words
from microipa.eim.relayed import AUTHENTICATE, GET_PACKAGE, INITIATE
from microipa.net.rsp_client import Answer, RspRefused, RspUnavailable

LONGEST = 400
SHOWN_OCTETS = 64
CARD = {
    0xBF38: ("the eUICC refused the SM-DP+", "AuthenticateErrorCode"),
    0xBF21: ("the eUICC refused the download", "DownloadErrorCode"),
}
SERVER = {
    esipa.INITIATE_AUTHENTICATION: INITIATE,
    esipa.AUTHENTICATE_CLIENT: AUTHENTICATE,
    esipa.GET_BOUND_PROFILE_PACKAGE: GET_PACKAGE,
}


def said(error_response: bytes) -> str:
    """The reason it holds; what nobody can read is shown as hex."""
    try:
        message = parse(error_response)
        if text := _card(message) or _server(message):
            return text
    except TlvError:
        pass
    try:
        text = error_response.removeprefix(codecs.BOM_UTF8).decode().strip()
    except UnicodeDecodeError:
        return error_response[:SHOWN_OCTETS].hex()
    try:
        Answer.read("the download", error_response)
    except RspRefused as refusal:
        return str(refusal)
    except RspUnavailable:
        pass  # no JSON, but words
    return visible(text)[:LONGEST]


def _card(message: Tlv) -> str | None:
    failed = message.get(0xA1) if message.tag in CARD else None
    if failed is None:
        return None
    what, names = CARD[message.tag]
    return f"{what}: {words.name(names, number(failed[0x02]))}"


def _server(message: Tlv) -> str | None:
    function = SERVER.get(message.tag)
    error = message.get(function.error_tag) if function else None
    if function is None or error is None:
        return None
    return f"the server refused {function.name}: {words.name(function.errors, number(error))}"
