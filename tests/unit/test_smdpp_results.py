"""Installation results in words (SGP.22 clause 2.5.6, EUICCResponse of the TCA specification)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from microipa.asn1 import rsp, saip
from microipa.asn1.tlv import TlvError, parse, tlv
from microipa.smdpp.answers import oid_text
from microipa.smdpp.results import read_pending_notification
from smdpp_peer import oid_tlv

OID = "2.23.146.1.2.1.4"


def pir(final_result: tuple[str, dict]) -> bytes:
    return rsp.encode(
        "ProfileInstallationResult",
        {
            "profileInstallationResultData": {
                "transactionId": b"\x01",
                "notificationMetadata": {
                    "seqNumber": 200,
                    "profileManagementOperation": (b"\x80", 1),
                    "notificationAddress": "smdpp.example",
                    "iccid": bytes.fromhex("989400000000000000f1"),
                },
                "smdpOid": OID,
                "finalResult": final_result,
            },
            "euiccSignPIR": bytes(64),
        },
    )


def words(command: int, reason: int, sima: bytes | None = None) -> str:
    error = {"bppCommandId": command, "errorReason": reason}
    return read_pending_notification(
        pir(("errorResult", error | ({"simaResponse": sima} if sima is not None else {})))
    ).words


def test_success():
    result = read_pending_notification(
        pir(("successResult", {"aid": bytes(16), "simaResponse": bytes.fromhex("3007a0053003800100")}))
    )
    assert (result.words, result.error_reason, result.smdp_oid) == ("installed", None, OID)
    assert result.notification.seq_number == 200
    assert result.notification.iccid == "8949000000000000001"  # 19 digits, padded with F on the card


def test_a_failure_names_reason_and_command():
    assert words(0, 2) == "invalidSignature in initialiseSecureChannel"
    assert words(3, 42) == "error 42 in storeMetadata2"


def test_the_profile_interpreter_says_which_element_it_did_not_like():
    response = saip.encode(
        "EUICCResponse",
        {
            "peStatus": [{"status": 0}, {"status": 4, "identification": 17}],
            "profileInstallationAborted": None,
            "statusMessage": "EF full",
        },
    )
    assert words(5, 12, response) == (
        "installFailedDueToPEProcessingError in loadProfileElements: "
        "not-enough-memory at element 17, 'EF full'"
    )


@pytest.mark.parametrize("response", [b"", b"\xff", b"\x30\x00", b"\x30\x02\xa0\x01"])
def test_a_report_that_cannot_be_read_is_shown_as_it_is(response):
    assert response.hex() in words(5, 12, response)


@pytest.mark.parametrize("der", [b"", b"\xbf\x37\x00", b"\x30\x00", b"\xbf\x2f\x00"])
def test_what_is_no_notification_is_refused(der):
    with pytest.raises(TlvError):
        read_pending_notification(der)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_by_name(der):
    with pytest.raises(TlvError):
        read_pending_notification(der)


@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 2**60), max_size=3))
def test_object_identifiers_are_read_back(first, second, rest):
    dotted = ".".join(map(str, (first, second, *rest)))
    assert oid_text(parse(oid_tlv(dotted))) == dotted


@pytest.mark.parametrize("value", [b"", b"\x80", b"\x2a\x86", bytes(33)])
def test_an_object_identifier_without_an_end_is_refused(value):
    with pytest.raises(TlvError):
        oid_text(parse(tlv(0x06, value)))
