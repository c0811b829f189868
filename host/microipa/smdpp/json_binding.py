"""The JSON binding of ES9+ (SGP.22 clause 6.5): names, base64 and hexadecimal."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from microipa.smdpp.refusal import MalformedRequest, Refused

MAX_TRANSACTION_ID_BYTES = 16


def _text(name: str, value: str) -> str:
    return value


def _base64(name: str, value: str) -> bytes:
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(f"{name} is not base64: {error}") from error


def _hex(name: str, value: str) -> bytes:
    """Upper or lower case: as bytes, transaction ids compare equal."""
    try:
        octets = bytes.fromhex(value)
    except ValueError as error:
        raise MalformedRequest(f"{name} is not hexadecimal") from error
    if not 1 <= len(octets) <= MAX_TRANSACTION_ID_BYTES:
        raise MalformedRequest(
            f"{name} has {len(octets)} bytes, at most {MAX_TRANSACTION_ID_BYTES} are allowed"
        )
    return octets


Decoder = Callable[[str, str], Any]
# function -> its fields: JSON name, argument name, how to decode
FUNCTIONS: Mapping[str, tuple[tuple[str, str, Decoder], ...]] = {
    "initiateAuthentication": (
        ("euiccChallenge", "euicc_challenge", _base64),
        ("euiccInfo1", "euicc_info1", _base64),
        ("smdpAddress", "smdp_address", _text),
    ),
    "authenticateClient": (
        ("transactionId", "transaction_id", _hex),
        ("authenticateServerResponse", "authenticate_server_response", _base64),
    ),
    "getBoundProfilePackage": (
        ("transactionId", "transaction_id", _hex),
        ("prepareDownloadResponse", "prepare_download_response", _base64),
    ),
    "handleNotification": (("pendingNotification", "pending_notification", _base64),),
    "cancelSession": (
        ("transactionId", "transaction_id", _hex),
        ("cancelSessionResponse", "cancel_session_response", _base64),
    ),
}


def decode_request(function: str, body: bytes) -> dict[str, Any]:
    """The arguments of ``function``. Unknown fields are ignored. Raises MalformedRequest."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise MalformedRequest(f"the body is a JSON {type(message).__name__}, not an object")
    arguments = {}
    for name, argument, decode in FUNCTIONS[function]:
        value = message.get(name)
        if not isinstance(value, str):
            raise MalformedRequest(f"{name} is missing or not a string")
        arguments[argument] = decode(name, value)
    return arguments


def encode_answer(answer: object | None) -> bytes:
    """Header and fields of a function that was executed. None has no fields of its own."""
    message: dict[str, Any] = {"header": {"functionExecutionStatus": {"status": "Executed-Success"}}}
    for field in fields(answer) if answer else ():  # type: ignore[arg-type]
        value: bytes = getattr(answer, field.name)
        is_id = field.name == "transaction_id"
        message[_camel(field.name)] = value.hex().upper() if is_id else base64.b64encode(value).decode()
    return json.dumps(message).encode()


def encode_refusal(refusal: Refused) -> bytes:
    """Header of a function that was refused."""
    status = {
        "status": "Failed",
        "statusCodeData": {
            "subjectCode": refusal.subject_code,
            "reasonCode": refusal.reason_code,
            "message": refusal.message,
        },
    }
    return json.dumps({"header": {"functionExecutionStatus": status}}).encode()


def _camel(name: str) -> str:
    """euicc_ci_pk_id_to_be_used → euiccCiPKIdToBeUsed, as the standard spells it."""
    first, *rest = name.split("_")
    return first + "".join("PK" if word == "pk" else word.title() for word in rest)
