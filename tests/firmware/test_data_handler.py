"""What the assistant leaves to its eIM in a download, and how it ends one that the eIM ended (SGP.32 3.2.3.2)."""

from __future__ import annotations

from typing import Any

import pytest
from board_run import Run
from microipa.asn1 import rsp, sgp32
from microipa.asn1.tlv import parse, tlv
from scenes import play
from test_same_bytes import (
    AUTHENTICATED,
    CANCELLED,
    CERTIFICATE,
    CHALLENGE,
    CI,
    EMPTY,
    INFO_1,
    PREPARED,
    SERVER,
    SIGNATURE,
    SIGNED_2,
    TID,
    TX,
    package,
)

TRIGGER = {"eimTransactionId": TX}
CARD = [
    (b"\xbf\x2e", rsp.encode("GetEuiccChallengeResponse", {"euiccChallenge": CHALLENGE})),
    (b"\xbf\x20", rsp.encode("EUICCInfo1", INFO_1)),
    (b"\xbf\x38", sgp32.encode("AuthenticateServerResponse", AUTHENTICATED)),
    (b"\xbf\x21", sgp32.encode("PrepareDownloadResponse", PREPARED)),
    (b"\xbf\x41", sgp32.encode("CancelSessionResponse", CANCELLED)),
]
OFFER = ("authenticateClientOkDPEsipa", {
    "smdpSigned2": SIGNED_2, "smdpSignature2": SIGNATURE, "smdpCertificate": CERTIFICATE, "hashCc": bytes(32)})
CONTEXT = tlv(0xA0, tlv(0x80, b"MADE BY THE EIM"), tlv(0xA1, tlv(0x80, bytes(4)), tlv(0xA1)))


def started(extra: bytes = b"") -> bytes:
    fields = {**SERVER, "transactionId": TID, "euiccCiPKIdentifierToBeUsed": CI}
    answer = sgp32.encode("InitiateAuthenticationResponseEsipa", ("initiateAuthenticationOkEsipa", fields))
    return tlv(0xBF39, tlv(0xA0, parse(answer)[0xA0].value, extra))


def answers(*later: tuple[str, Any], extra: bytes = b"") -> list[bytes]:
    """Of the eIM: to InitiateAuthentication, then these, then to CancelSession and the report."""
    names = ("AuthenticateClientResponseEsipa", "GetBoundProfilePackageResponseEsipa")
    return [started(extra), *(sgp32.encode(name, value) for name, value in zip(names, later, strict=False)),
            sgp32.encode("CancelSessionResponseEsipa", ("cancelSessionOk", {})), EMPTY]


@pytest.mark.covers("error.AuthenticateClientResponseEsipa.pprNotAllowed",
                    "error.GetBoundProfilePackageResponseEsipa.metadataMismatch")
@pytest.mark.parametrize(("later", "reason"), [
    ([("authenticateClientErrorEsipa", 50)], 3),  # pprNotAllowed
    ([OFFER, ("getBoundProfilePackageErrorEsipa", 50)], 4),  # metadataMismatch
], ids=["pprNotAllowed", "metadataMismatch"])
async def test_what_the_eim_does_not_let_pass_is_cancelled_on_both_sides_with_its_reason(
        micropython: Run, later: list[tuple[str, Any]], reason: int) -> None:
    card = [pair for pair in CARD if pair[0] != b"\xbf\x21" or len(later) > 1]
    scene = await play(micropython, package("ProfileDownloadTriggerRequest", TRIGGER), card, answers(*later))
    assert scene.left == []
    told = sgp32.decode("CancelSessionRequest", scene.to("card")[-1])
    assert (told["transactionId"], told["reason"]) == (TID, reason)
    cancelled, report = scene.to("eim")[-2:]
    assert parse(cancelled).tag == 0xBF41
    assert parse(report)[0xBF54][0x30][0x80].value == b"\x7f"


async def test_3_2_3_2_without_activation_code_and_metadata_the_download_goes_on(micropython: Run) -> None:
    """Up to the package, which the eIM refuses: the trigger had only a transaction, the offer no BF25."""
    refused = ("getBoundProfilePackageErrorEsipa", 127)
    scene = await play(micropython, package("ProfileDownloadTriggerRequest", TRIGGER), CARD, answers(OFFER, refused))
    asked = parse(scene.to("eim")[0])
    assert [field.tag for field in asked] == [0x81, 0xBF20, 0x82]  # no smdpAddress
    assert parse(scene.to("eim")[2]).tag == 0xBF3A


async def test_5_14_1_ctx_params1_of_the_eim_goes_to_the_card_as_it_is(micropython: Run) -> None:
    error = ("authenticateClientErrorEsipa", 50)
    card = [pair for pair in CARD if pair[0] != b"\xbf\x21"]
    scene = await play(micropython, package("ProfileDownloadTriggerRequest", TRIGGER), card,
                       answers(error, extra=tlv(0xA2, CONTEXT)))
    [command] = [message for message in scene.to("card") if message.startswith(b"\xbf\x38")]
    assert command.endswith(CONTEXT)
