"""ipa.net.esipa_json under MicroPython: what its functions say and take is what those of esipa.py do (SGP.32 6.4)."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from board_run import Run
from microipa.asn1.tlv import tlv

EID = "89049032123451234512345678901235"
TID, TX = "000102030405060708090A0B0C0D0E0F", "A1A2A3A4A5A6A7A8"
OK = {"functionExecutionStatus": {"status": "Executed-Success"}}
SIGNATURE = tlv(0x5F37, bytes(range(64)))
SIGNED, CERTIFICATE, KEY = tlv(0x30, bytes(50)), tlv(0x30, bytes(500)), tlv(0x04, bytes(20))
CONTEXT = tlv(0xA0, tlv(0xA1, bytes(9)))
TRIGGER = tlv(0xBF54, tlv(0x82, bytes.fromhex(TX)))
PACKAGE = tlv(0xBF36, bytes(range(256)) * 20)

SCRIPT = """
import hashlib
from ipa import tlv
from ipa.net.coap_message import CoapRefused
from ipa.net.esipa_json import EsipaJson
from rooms import Link, failing, run
EID, TX, TID = [bytes.fromhex(text) for text in ("{EID}", "{TX}", "{TID}")]
async def main():
    link = Link((None, {answer}))
    esipa = EsipaJson(link)
    print(await failing(body(esipa)))
    esipa.close()
    function, request = link.requests[0]
    print(function)
    print(str(request, "utf-8"))
    assert link.done()
async def body(esipa):
    {body}
run(main())
"""


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answer(**fields: Any) -> bytes:
    """The JSON of an answer: bytes become base64."""
    return json.dumps({"header": OK, **{name: b64(value) if isinstance(value, bytes) else value
                                        for name, value in fields.items()}}).encode()


def failed(subject: str, reason: str, **more: Any) -> bytes:
    status = {"status": "Failed", "statusCodeData": {"subjectCode": subject, "reasonCode": reason}}
    return json.dumps({"header": {"functionExecutionStatus": status}, **more}).encode()


async def said(micropython: Run, body: str, reply: bytes | str) -> tuple[str, str, dict[str, Any]]:
    """What ``body`` came to, and the function and the JSON it sent, when the eIM gives ``reply``."""
    script = SCRIPT
    told = reply if isinstance(reply, str) else repr(reply)
    for name, value in {"EID": EID, "TX": TX, "TID": TID, "answer": told, "body": body}.items():
        script = script.replace("{" + name + "}", value)
    outcome, function, request = (await micropython(script)).splitlines()
    return outcome, function, json.loads(request)


GET = """package = await esipa.get_eim_package(EID, b'\\x09\\xf1\\x07')
    return package and "{:X} {}".format(package.tag, bytes(await package.read()).hex())"""


@pytest.mark.covers("esipa.GetEimPackageRequest", "esipa.GetEimPackageResponse")
@pytest.mark.parametrize("extra", [{}, {"eimPackageError": 0}])  # some servers say "no error" first
async def test_6_4_1_5_a_package_comes_as_a_stream(micropython: Run, extra: dict[str, int]) -> None:
    outcome, function, request = await said(micropython, GET, answer(**extra, profileDownloadTriggerRequest=TRIGGER))
    assert outcome == f"no error but BF54 8208{TX.lower()}"
    assert (function, request) == ("getEimPackage", {"eidValue": EID, "rPlmn": b64(b"\x09\xf1\x07")})


@pytest.mark.covers(*(f"cause.{code}" for code in (0, 1, 2, 3, 4, 5, 6, 127)))
async def test_6_4_1_5_a_change_the_eim_did_not_order_is_told_with_its_cause(micropython: Run) -> None:
    for cause in (0, 127):
        get = GET.replace("xf1\\x07'", "xf1\\x07', " + str(cause))
        _, _, request = await said(micropython, get, answer(profileDownloadTriggerRequest=TRIGGER))
        assert request == {
            "eidValue": EID, "notifyStateChange": True, "stateChangeCause": cause, "rPlmn": b64(b"\x09\xf1\x07")}


@pytest.mark.parametrize(("reply", "outcome"), [
    (failed("8.1.1", "3.7", eimPackageError=1), "no error but None"),
    (answer(eimPackageError=1), "no error but None"),
    (failed("8.1.1", "3.9"), "EsipaRefused getEimPackage: the eIM refused with 8.1.1/3.9"),
    (answer(eimPackageError=127), "EsipaRefused getEimPackage: the eIM refused with 127"),
    (answer(), "EsipaMalformed getEimPackage: no package in the answer"),
    (b"", "JsonError JSON ends early"),
    (b"[]", "JsonError no JSON object where one was due"),
    (answer(euiccPackageRequest="?"), "JsonError base64 of 1 characters"),
    (answer(euiccPackageRequest=""), "TlvCut stream ends inside a TLV at offset 0"),
    ("CoapRefused(0x80)", "EsipaRefused getEimPackage: the eIM refused with 4.00"),
])
async def test_answers_to_get_eim_package_good_and_bad(micropython: Run, reply: bytes | str, outcome: str) -> None:
    assert (await said(micropython, GET, reply))[0] == outcome


PROVIDE = "return await esipa.provide_eim_package_result(EID, *[b'\\xbf\\x52', b'\\x82\\x02\\x00', bytes(512)])"


@pytest.mark.covers("esipa.ProvideEimPackageResult", "esipa.ProvideEimPackageResultResponse")
@pytest.mark.parametrize(("reply", "outcome"), [
    (answer(eimAcknowledgements=bytes.fromhex("BF5307800107800200C8")), "no error but [7, 200]"),
    (answer(), "no error but []"),
    (b"", "no error but []"),
    (failed("8.1.1", "3.9"), "EsipaRefused provideEimPackageResult: the eIM refused with 8.1.1/3.9"),
    (answer(eimAcknowledgements=b"\x30\x00"),
     "EsipaMalformed provideEimPackageResult: eimAcknowledgements is no BF53"),
])
async def test_6_4_1_6_a_result_of_many_parts_is_one_string(micropython: Run, reply: bytes, outcome: str) -> None:
    got, function, request = await said(micropython, PROVIDE, reply)
    assert got == outcome
    assert (function, request) == (
        "provideEimPackageResult", {"eidValue": EID, "eimPackageResult": b64(tlv(0xBF52, bytes(512)))})


@pytest.mark.covers("esipa.HandleNotificationEsipa")
async def test_6_4_1_7_a_notification_has_no_answer(micropython: Run) -> None:
    got = await said(micropython, "return await esipa.handle_notification(b'\\xbf\\x37\\x00')", b"")
    assert got == ("no error but None", "handleNotification", {"pendingNotification": b64(b"\xbf\x37\0")})


INITIATE = 'return bytes(await esipa.initiate_authentication(TID, "smdp.example", b"\\xbf\\x20\\x00", TX)).hex()'


@pytest.mark.covers("esipa.InitiateAuthenticationRequestEsipa", "esipa.InitiateAuthenticationResponseEsipa")
@pytest.mark.parametrize("key", ["euiccCiPKIdentifierToBeUsed", "euiccCiPKIdToBeUsed"])
async def test_6_4_1_1_initiate_authentication(micropython: Run, key: str) -> None:
    fields = {"serverCertificate": CERTIFICATE, key: KEY, "serverSignature1": SIGNATURE, "serverSigned1": SIGNED}
    got, function, request = await said(micropython, INITIATE, answer(transactionId=TID, **fields, matchingId="M"))
    assert got == "no error but " + (SIGNED + SIGNATURE + KEY + CERTIFICATE + b"\x0c\x01M").hex()
    assert (function, request) == ("initiateAuthentication", {
        "euiccChallenge": b64(bytes.fromhex(TID)), "smdpAddress": "smdp.example", "euiccInfo1": b64(b"\xbf\x20\0"),
        "eimTransactionId": TX.lower()})


async def test_6_4_1_1_the_eim_may_make_ctx_params1(micropython: Run) -> None:
    body = 'return bytes(await esipa.initiate_authentication(TID, transaction=TX)).hex()'
    got, _, request = await said(micropython, body, answer(ctxParams1=CONTEXT))
    assert got == "no error but " + tlv(0xA2, CONTEXT).hex()
    assert list(request) == ["euiccChallenge", "eimTransactionId"]


@pytest.mark.covers("esipa.AuthenticateClientRequestEsipa", "esipa.AuthenticateClientResponseEsipa")
async def test_6_4_1_2_authenticate_client(micropython: Run) -> None:
    body = "return bytes(await esipa.authenticate_client(TID, b'\\xbf\\x38\\x00')).hex()"
    offer = {"smdpSigned2": SIGNED, "smdpSignature2": SIGNATURE, "smdpCertificate": CERTIFICATE}
    got, function, request = await said(micropython, body, answer(transactionId=TID.lower(), **offer))
    assert got == "no error but " + (SIGNED + SIGNATURE + CERTIFICATE).hex()
    assert (function, request) == ("authenticateClient", {
        "transactionId": TID.lower(), "authenticateServerResponse": b64(b"\xbf\x38\0")})
    got, _, _ = await said(micropython, body, answer(transactionId=TX, **offer))
    assert got == "EsipaMalformed authenticateClient: answers another transaction"


@pytest.mark.covers("esipa.GetBoundProfilePackageRequestEsipa", "esipa.GetBoundProfilePackageResponseEsipa")
async def test_6_4_1_3_a_bound_profile_package_is_never_whole(micropython: Run) -> None:
    body = """reader, length = await esipa.get_bound_profile_package(TID, b"\\xbf\\x21\\x00")
    digest, piece = hashlib.sha256(), memoryview(bytearray(100))
    while length:
        n = await reader.readinto(piece[: min(100, length)])
        digest.update(piece[:n])
        length -= n
    return digest.digest().hex()"""
    got, function, request = await said(micropython, body, answer(transactionId=TID, boundProfilePackage=PACKAGE))
    assert got == "no error but " + hashlib.sha256(PACKAGE[5:]).hexdigest()
    assert (function, request) == ("getBoundProfilePackage", {
        "transactionId": TID.lower(), "prepareDownloadResponse": b64(b"\xbf\x21\0")})


@pytest.mark.covers("esipa.CancelSessionRequestEsipa", "esipa.CancelSessionResponseEsipa")
@pytest.mark.parametrize(("reply", "outcome"), [
    (answer(), "no error but None"),
    (failed("8.10.1", "3.9"), "EsipaRefused cancelSession: the eIM refused with 8.10.1/3.9")])
async def test_6_4_1_8_cancel_session(micropython: Run, reply: bytes, outcome: str) -> None:
    got, function, request = await said(
        micropython, "return await esipa.cancel_session(TID, b'\\x81\\x01\\x05')", reply)
    assert got == outcome
    assert (function, request) == ("cancelSession", {
        "transactionId": TID.lower(), "cancelSessionResponse": b64(tlv(0xBF41, b"\x81\x01\x05"))})
