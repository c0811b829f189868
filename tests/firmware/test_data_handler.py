"""What the assistant leaves to its eIM in a download, and how it ends one that the eIM ended (SGP.32 3.2.3.2)."""

from __future__ import annotations

from typing import Any

import pytest
from board_run import Run
from microipa.asn1 import rsp, sgp32
from microipa.asn1.tlv import parse, tlv
from scenes import Scene, play
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


# euiccInfo1, which an eIM may have: step 3 of 3.2.3.2

ABOUT = parse(rsp.encode("EUICCInfo1", INFO_1))
SVN, VERIFICATION, SIGNING = (field.raw for field in ABOUT)
NO_SERVER = sgp32.encode("InitiateAuthenticationResponseEsipa", ("initiateAuthenticationErrorEsipa", 1))
UNDEFINED = sgp32.encode("InitiateAuthenticationResponseEsipa", ("initiateAuthenticationErrorEsipa", 127))


async def asked_then_triggered(
        micropython: Run, tag: str, field: bytes, *to_initiate: bytes, triggers: int = 1) -> Scene:
    """The eIM asks for ``tag``, and then has downloads to the point where the SM-DP+ is asked and unknown."""
    asked = tlv(0xBF52, tlv(0x5C, bytes.fromhex(tag))).hex()
    trigger = sgp32.encode("ProfileDownloadTriggerRequest", TRIGGER).hex()
    card = [(parse(field).raw[:2], field), *CARD[:2] * triggers]
    answers = [EMPTY, *to_initiate, EMPTY]
    if triggers > 1:
        answers = [EMPTY, *to_initiate[:2], EMPTY, *to_initiate[2:], EMPTY]
    call = f"in_turn('{asked}', {', '.join([repr(trigger)] * triggers)})"
    scene = await play(micropython, call, card, answers)
    assert scene.left == []
    return scene


def told(scene: Scene) -> list[bytes | None]:
    """euiccInfo1 of each InitiateAuthentication."""
    requests = [parse(message) for message in scene.to("eim") if message.startswith(b"\xbf\x39")]
    return [field and field.raw for field in (request.get(0xBF20) for request in requests)]


@pytest.mark.parametrize(("tag", "field", "said"), [
    ("bf20", ABOUT.raw, None),
    ("bf22", tlv(0xBF22, tlv(0x81, b"\3\3\1"), SVN, tlv(0x83, b"\1"), VERIFICATION, SIGNING), None),
    # from before the card was updated
    ("bf22", tlv(0xBF22, tlv(0x82, b"\2\2\2"), VERIFICATION, SIGNING), ABOUT.raw),
    ("bf3c", tlv(0xBF3C, tlv(0x80, b"dp.example")), ABOUT.raw),
], ids=["euiccInfo1", "euiccInfo2", "of another version", "something else"])
async def test_3_2_3_2_an_eim_that_asked_for_euicc_info1_is_not_told_it_again(
        micropython: Run, tag: str, field: bytes, said: bytes | None) -> None:
    asked = "81" if tag == "bf3c" else tag
    assert told(await asked_then_triggered(micropython, asked, field, NO_SERVER, *[NO_SERVER] * (not said))) == (
        [said] if said else [None, ABOUT.raw])


async def test_3_2_3_2_an_eim_that_has_lost_euicc_info1_is_told_it_and_from_then_on_each_time(
        micropython: Run) -> None:
    scene = await asked_then_triggered(
        micropython, "bf20", ABOUT.raw, UNDEFINED, NO_SERVER, NO_SERVER, triggers=2)
    assert told(scene) == [None, ABOUT.raw, ABOUT.raw]
    assert any("euiccInfo1 follows" in line for line in scene.log)
