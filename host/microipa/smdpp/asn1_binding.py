"""The ASN.1 binding of ES9+ (SGP.22 clause 6.6): one TLV in, one TLV out, errors as numbers."""

from __future__ import annotations

from typing import Any

from microipa.asn1.tlv import Tlv, TlvError, integer, parse, tlv
from microipa.smdpp.authentication import InitiateAuthenticationOk
from microipa.smdpp.es9 import AuthenticateClientOk, GetBoundProfilePackageOk
from microipa.smdpp.refusal import Refused

REMOTE_PROFILE_PROVISIONING = 0xA2
TRANSACTION_ID = 0x80
UNDEFINED_ERROR = 127

TAGS = {
    0xBF39: "initiateAuthentication",
    0xBF3B: "authenticateClient",
    0xBF3A: "getBoundProfilePackage",
    0xBF3D: "handleNotification",
    0xBF41: "cancelSession",
}
_TAG_OF = {function: tag for tag, function in TAGS.items()}

# What the codes of a refusal become; where several causes share a pair of codes, so do they a number.
ERRORS: dict[str, dict[tuple[str, str], int]] = {
    "initiateAuthentication": {
        ("8.8.1", "3.8"): 1,
        ("8.8.3", "3.1"): 2,
        ("8.8.2", "3.1"): 3,
        ("8.8.4", "3.7"): 3,
    },
    "authenticateClient": {
        ("8.1.2", "6.1"): 1,
        ("8.1.2", "6.3"): 2,
        ("8.1.3", "6.1"): 3,
        ("8.1.3", "6.3"): 4,
        ("8.1", "6.1"): 5,
        ("8.2.6", "3.8"): 6,
        ("8.1.1", "3.8"): 7,
        ("8.2.5", "4.3"): 8,
        ("8.11.1", "3.9"): 9,
        ("8.11.1", "6.1"): 9,
        ("8.11.1", "6.3"): 9,
        ("8.10.1", "3.9"): 10,
        ("8.1", "4.8"): 11,
    },
    "getBoundProfilePackage": {
        ("8.1", "6.1"): 1,
        ("8.2.7", "2.2"): 2,
        ("8.2.7", "3.8"): 3,
        ("8.2.7", "6.4"): 4,
        ("8.8.5", "4.10"): 6,
        ("8.10.1", "3.9"): 95,
    },
    "cancelSession": {("8.10.1", "3.9"): 1, ("8.1", "6.1"): 2},
}


def decode_request(body: bytes) -> tuple[str, dict[str, Any]]:
    """The function and its arguments. Raises TlvError."""
    outer = parse(body)
    if outer.tag != REMOTE_PROFILE_PROVISIONING:
        raise TlvError(f"{outer.tag:02X} is not a RemoteProfileProvisioningRequest, A2 is", 0)
    message = _only_child(outer)
    function = TAGS.get(message.tag)
    if function is None:
        raise TlvError(f"{message.tag:02X} is not a request of ES9+", message.offset)
    return function, _arguments(function, message)


def _arguments(function: str, message: Tlv) -> dict[str, Any]:
    if function == "initiateAuthentication":
        return {
            "euicc_challenge": message[0x81].value,
            "smdp_address": _text(message[0x83]),
            "euicc_info1": message[0xBF20].raw,
        }
    if function == "handleNotification":
        # Some peers leave out the A0 that a tagged CHOICE has (X.680 31.2.7).
        return {"pending_notification": _only_child(message.get(0xA0) or message).raw}
    arguments: dict[str, Any] = {"transaction_id": message[TRANSACTION_ID].value}
    if function == "authenticateClient":
        arguments["authenticate_server_response"] = message[0xBF38].raw
    elif function == "getBoundProfilePackage":
        arguments["prepare_download_response"] = message[0xBF21].raw
    else:
        arguments["cancel_session_response"] = _cancel_session_response(message[0xA1])
    return arguments


def _cancel_session_response(choice: Tlv) -> bytes:
    """The card's BF41. An automatic tag has taken the place of its own (X.680 31.2.7); some peers keep both."""
    inner = _only_child(choice)
    return inner.raw if inner.tag == 0xBF41 else tlv(0xBF41, choice.value)


def encode_answer(function: str, answer: object | None) -> bytes:
    """The answer to a function that was executed; handleNotification has none."""
    return tlv(REMOTE_PROFILE_PROVISIONING, tlv(_TAG_OF[function], tlv(0xA0, *_fields(answer))))


def _fields(answer: object | None) -> tuple[bytes, ...]:
    match answer:
        case InitiateAuthenticationOk():
            return (
                tlv(TRANSACTION_ID, answer.transaction_id),
                answer.server_signed1,
                answer.server_signature1,
                answer.euicc_ci_pk_id_to_be_used,
                answer.server_certificate,
            )
        case AuthenticateClientOk():
            return (
                tlv(TRANSACTION_ID, answer.transaction_id),
                answer.profile_metadata,
                answer.smdp_signed2,
                answer.smdp_signature2,
                answer.smdp_certificate,
            )
        case GetBoundProfilePackageOk():
            return (tlv(TRANSACTION_ID, answer.transaction_id), answer.bound_profile_package)
    return ()


def encode_refusal(function: str, refusal: Refused) -> bytes:
    """The error alternative of the function's answer; handleNotification has none."""
    codes = refusal.subject_code, refusal.reason_code
    number = ERRORS[function].get(codes, UNDEFINED_ERROR)
    return tlv(REMOTE_PROFILE_PROVISIONING, tlv(_TAG_OF[function], integer(0x81, number)))


def _only_child(outer: Tlv) -> Tlv:
    children = outer.children()
    if len(children) != 1:
        raise TlvError(f"{len(children)} alternatives inside {outer.tag:02X}", outer.offset)
    return children[0]


def _text(field: Tlv) -> str:
    try:
        return field.value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TlvError(f"{field.tag:02X} is not UTF-8", field.contents + error.start) from None
