"""The JSON binding of RSP functions (SGP.22 clause 6.5): names, base64 and hexadecimal."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from microipa.smdpp.refusal import MalformedRequest, Refused

MAX_TRANSACTION_ID_BYTES = 16


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedRequest(f"{name} is missing or not a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can hold half a character
        raise MalformedRequest(f"{name} is a string without a UTF-8 form") from error
    return value


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise MalformedRequest(f"{name} is missing or neither true nor false")
    return value


def octets(name: str, value: Any) -> bytes:
    """From base64."""
    try:
        return base64.b64decode("".join(text(name, value).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(f"{name} is not base64: {error}") from error


def transaction_id(name: str, value: Any) -> bytes:
    """From hexadecimal in upper or lower case: as bytes, transaction ids compare equal."""
    try:
        found = bytes.fromhex(text(name, value))
    except ValueError as error:
        raise MalformedRequest(f"{name} is not hexadecimal") from error
    if not 1 <= len(found) <= MAX_TRANSACTION_ID_BYTES:
        raise MalformedRequest(f"{name} has {len(found)} bytes, at most {MAX_TRANSACTION_ID_BYTES} are allowed")
    return found


def requester(name: str, value: Any) -> str:
    """functionRequesterIdentifier, from the header of a function between servers (clause 6.5.1.3)."""
    if not isinstance(value, dict):
        raise MalformedRequest(f"{name} is missing or not an object")
    text("functionCallIdentifier", value.get("functionCallIdentifier"))
    return text("functionRequesterIdentifier", value.get("functionRequesterIdentifier"))


@dataclass(frozen=True)
class Field:
    """A field of a request: its JSON name, the argument it becomes, and what decodes it."""

    name: str
    argument: str
    decode: Callable[[str, Any], Any]
    optional: bool = False


def decode_request(wanted: Sequence[Field], body: bytes) -> dict[str, Any]:
    """The arguments of a function. Unknown fields are ignored. Raises MalformedRequest."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise MalformedRequest(f"the body is a JSON {type(message).__name__}, not an object")
    return {
        field.argument: field.decode(field.name, message.get(field.name))
        for field in wanted
        if not (field.optional and message.get(field.name) is None)
    }


def encode_answer(answer: object | None) -> bytes:
    """Header and fields of a function that was executed. None has no fields of its own."""
    message: dict[str, Any] = {"header": {"functionExecutionStatus": {"status": "Executed-Success"}}}
    for field in fields(answer) if answer else ():  # type: ignore[arg-type]
        value = getattr(answer, field.name)
        if field.name == "transaction_id":
            value = value.hex().upper()
        elif isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        if value is not None:
            message[_camel(field.name)] = value
    return json.dumps(message).encode()


def encode_refusal(refusal: Refused) -> bytes:
    """Header of a function that was refused."""
    return json.dumps({"header": {"functionExecutionStatus": failed(refusal)}}).encode()


def failed(refusal: Refused) -> dict[str, Any]:
    """The status of a function, or of a step of a download, that was refused."""
    return {
        "status": "Failed",
        "statusCodeData": {
            "subjectCode": refusal.subject_code,
            "reasonCode": refusal.reason_code,
            "message": refusal.message,
        },
    }


def header(requester: str, call: str) -> dict[str, str]:
    """Of a request between servers (clause 6.5.1.3)."""
    return {"functionRequesterIdentifier": requester, "functionCallIdentifier": call}


def _camel(name: str) -> str:
    """euicc_ci_pk_id_to_be_used → euiccCiPKIdToBeUsed, as the standard spells it."""
    first, *rest = name.split("_")
    return first + "".join("PK" if word == "pk" else word.title() for word in rest)
