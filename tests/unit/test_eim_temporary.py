"""Temporary is not final: an SM-DP+ that cannot answer now ends no order and burns no activation code."""

# ruff: noqa: F811  the fixtures of another file

from __future__ import annotations

import asyncio
import base64
import codecs
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from eim_ipa import NO_PACKAGE, UNDEFINED, Ipa, Refusal, order
from euicc_peer import EID, spec
from microipa.asn1.schema import saip
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto.tls import server_context
from microipa.eim import Eim, orders, reasons, relay
from microipa.saip import build
from microipa.smdpp import OrderState
from smdpp_peer import ADDRESS
from test_eim_relay import code_of, desk, es9, failure, number, smdpp, trigger  # noqa: F401

FUNCTIONS = ("initiateAuthentication", "authenticateClient", "getBoundProfilePackage")
INVALID_TRANSACTION = {"authenticateClient": 10, "getBoundProfilePackage": 95}


@pytest.fixture(autouse=True)
def hurried(monkeypatch) -> None:
    """No pauses, but where a test wants one."""
    monkeypatch.setattr(relay, "REPEATS_S", (0.0, 0.0))
    monkeypatch.setattr(orders, "FIRST_PAUSE_S", 0.0)


async def foreign_download(ipa: Ipa, trigger: Tlv) -> int | None:
    """An IPA of another maker: at an error it cancels on both sides and reports undefinedError. Its error code."""
    session = None
    try:
        started = await ipa.initiate(trigger)
        authenticated = await ipa.authenticate(started, trigger)
        session = started[0x80]
        await ipa.notify(ipa.load(await ipa.bound_package(authenticated)))
    except Refusal as refusal:
        if session:
            answer = parse(ipa.card.es10(tlv(0xBF41, session.raw, integer(0x81, UNDEFINED))))
            assert (await ipa.call(0xBF41, session.raw, tlv(0xA1, answer.value))).value == b""
        report = tlv(0xBF54, trigger[0x82].raw, tlv(0x30, integer(0x80, UNDEFINED)))
        assert await ipa.provide(report) == []
        return refusal.code
    return None


def refusing(function: str, answer: object) -> Callable:
    return lambda name, real: answer if name == function else real


# Which failures leave an order open --------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_3_2_3_2_a_server_error_cancels_nothing_and_the_trigger_is_offered_again(
    desk, ipa, trigger, number, es9, smdpp, function, status
):
    es9.tamper = refusing(function, status)
    assert await foreign_download(ipa, trigger) == UNDEFINED
    view = order(desk, number)
    assert view.state == "delivered"
    assert f"{ADDRESS} answers {function} with HTTP {status}" in view.result
    assert "cancelSession" not in es9.calls
    es9.tamper = lambda name, real: real
    assert (await ipa.get()).raw == trigger.raw
    assert await foreign_download(ipa, trigger) is None
    assert order(desk, number).state == "done"


@pytest.mark.parametrize("function", FUNCTIONS[1:])
async def test_3_2_3_2_a_session_that_the_sm_dp_has_lost_cancels_nothing(desk, ipa, trigger, number, es9, function):
    es9.tamper = refusing(function, failure("8.10.1", "3.9"))
    assert await foreign_download(ipa, trigger) == INVALID_TRANSACTION[function]
    assert "8.10.1/3.9 so be it" in order(desk, number).result
    es9.tamper = lambda name, real: real
    assert await foreign_download(ipa, await ipa.get()) is None
    assert order(desk, number).state == "done"


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("reason", ["5.1", "5.2"])
async def test_a_transport_error_behind_the_sm_dp_is_temporary(desk, ipa, trigger, number, es9, function, reason):
    es9.tamper = refusing(function, failure("1.6", reason))
    assert await foreign_download(ipa, trigger) == UNDEFINED
    assert order(desk, number).state == "delivered"


@asynccontextmanager
async def closing_server(pki, answer: bytes) -> AsyncIterator[int]:
    """An SM-DP+ that reads a request, sends ``answer`` and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(pki.smdpp_tls, ()))
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", b"HTTP/1.1 2"])
async def test_a_server_that_closes_in_mid_answer_leaves_the_order_open(pki, tmp_path, ipa, trigger, answer):
    async with closing_server(pki, answer) as port:
        desk = Eim(pki, tmp_path, es9_routes={ADDRESS: ("127.0.0.1", port)})
        assert await code_of(Ipa(desk.handle, ipa.card).initiate(trigger)) == UNDEFINED
    (view,) = [view for view in desk.orders() if view.kind == "download"]
    assert view.state == "delivered"
    assert f"{ADDRESS} did not answer initiateAuthentication" in view.result


async def test_a_server_that_is_away_is_told_in_words(pki, tmp_path, ipa, trigger):
    desk = Eim(pki, tmp_path, es9_routes={ADDRESS: ("127.0.0.1", 1)})
    await code_of(Ipa(desk.handle, ipa.card).initiate(trigger))
    (view,) = [view for view in desk.orders() if view.kind == "download"]
    assert f"did not reach {ADDRESS}: Connection refused" in view.result


async def test_an_address_with_an_impossible_port_is_a_named_error(desk, ipa):
    number = desk.order_download(EID, "LPA:1$smdpp.example:99999$A", needs_proof=False)
    await ipa.introduce()
    assert await code_of(ipa.initiate(await ipa.get())) == UNDEFINED
    assert "is no server's address" in order(desk, number).result


# The eIM repeats what can be repeated -------------------------------------------------------------------------


async def test_one_server_error_at_the_beginning_is_not_seen_by_the_device(ipa, trigger, es9):
    answers = [500]
    es9.tamper = lambda name, real: answers.pop() if answers else real
    await ipa.initiate(trigger)
    assert es9.calls == ["initiateAuthentication"] * 2


async def test_a_server_too_busy_to_answer_is_asked_again_in_the_session(ipa, trigger, es9):
    answers = [503, 429]
    es9.tamper = lambda name, real: answers.pop() if answers and name == "authenticateClient" else real
    await ipa.download(trigger)
    assert es9.calls.count("authenticateClient") == 3


async def test_what_an_sm_dp_may_have_executed_is_not_repeated(ipa, trigger, es9):
    es9.tamper = refusing("authenticateClient", 500)
    assert await code_of(ipa.download(trigger)) == UNDEFINED
    assert es9.calls.count("authenticateClient") == 1


async def test_a_device_may_repeat_a_message_in_its_session(desk, ipa, trigger, number, es9):
    started = await ipa.initiate(trigger)
    authenticated = await ipa.authenticate(started, trigger)
    answers = [b"<html>"]
    es9.tamper = lambda name, real: answers.pop() if answers else real
    assert await code_of(ipa.bound_package(authenticated)) == UNDEFINED
    answer = parse(ipa.card.es10(tlv(0xBF41, started[0x80].raw, integer(0x81, UNDEFINED))))
    assert (await ipa.call(0xBF41, started[0x80].raw, tlv(0xA1, answer.value))).value == b""
    assert order(desk, number).state == "delivered"


# A pause, a limit and an end ----------------------------------------------------------------------------------


async def test_after_a_second_failure_the_device_gets_nothing_until_the_pause_is_over(
    desk, ipa, trigger, number, es9, monkeypatch
):
    monkeypatch.setattr(orders, "FIRST_PAUSE_S", 60.0)
    after = desk.order_package(EID, [("enable", {"iccid": spec(2).iccid})])
    es9.tamper = refusing("authenticateClient", 500)
    await foreign_download(ipa, trigger)
    await foreign_download(ipa, await ipa.get())
    with pytest.raises(Refusal) as nothing:
        await ipa.get()
    assert nothing.value.code == NO_PACKAGE
    assert order(desk, number).state == "delivered"
    assert order(desk, after).state == "queued"  # what waits for the profile does not overtake it
    assert "attempt 2 of 36" in order(desk, number).result


async def test_a_server_may_ask_for_a_pause(desk, ipa, trigger, es9):
    es9.tamper = refusing("initiateAuthentication", 503)
    es9.headers = {"Retry-After": "120"}
    await foreign_download(ipa, trigger)
    assert es9.calls == ["initiateAuthentication"]
    with pytest.raises(Refusal):
        await ipa.get()


async def test_attempts_have_a_limit_and_the_order_ends_with_the_true_reason(
    desk, ipa, trigger, number, es9, monkeypatch
):
    monkeypatch.setattr(orders, "MOST_INTERRUPTIONS", 3)
    es9.tamper = refusing("getBoundProfilePackage", 500)
    for _ in range(3):
        assert order(desk, number).state == "delivered"
        await foreign_download(ipa, await ipa.get())
    view = order(desk, number)
    assert view.state == "failed"
    assert view.result == f"{ADDRESS} answers getBoundProfilePackage with HTTP 500; given up after 3 attempts"
    assert "cancelSession" not in es9.calls


async def test_an_interrupted_order_expires(desk, ipa, smdpp, es9, monkeypatch):
    code = smdpp.activation_code(smdpp.add_profile(build(spec(2))))
    number = desk.order_download(EID, code, expires=datetime.now(UTC) + timedelta(hours=1), needs_proof=False)
    await ipa.introduce()
    es9.tamper = refusing("initiateAuthentication", 500)
    await foreign_download(ipa, await ipa.get())
    late = datetime.now(UTC).timestamp() + 7200
    monkeypatch.setattr("microipa.eim.store.time.time", lambda: late)
    view = order(desk, number)
    assert view.state == "expired"
    assert "HTTP 500" in view.result


async def test_an_interrupted_download_comes_again_though_the_clock_was_ahead(desk, ipa, trigger, es9, monkeypatch):
    right = time.time
    es9.tamper = refusing("initiateAuthentication", 500)
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: right() + 365 * 86_400)
        await foreign_download(ipa, trigger)
    assert (await ipa.get()).raw == trigger.raw


# What a device says itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [1, 2], ids=["postponed", "timeout"])
async def test_3_2_3_2_a_postponed_session_keeps_order_and_activation_code(desk, ipa, trigger, number, smdpp, reason):
    started = await ipa.initiate(trigger)
    await ipa.bound_package(await ipa.authenticate(started, trigger))
    answer = parse(ipa.card.es10(tlv(0xBF41, started[0x80].raw, integer(0x81, reason))))
    await ipa.call(0xBF41, started[0x80].raw, tlv(0xA1, answer.value))
    assert order(desk, number).state == "delivered"
    assert smdpp.orders()[0].state == OrderState.RELEASED
    await ipa.download(await ipa.get())
    assert order(desk, number).state == "done"


async def test_a_cancellation_that_does_not_reach_the_sm_dp_ends_the_order_all_the_same(
    desk, ipa, trigger, number, es9
):
    started = await ipa.initiate(trigger)
    await ipa.authenticate(started, trigger)
    answer = parse(ipa.card.es10(tlv(0xBF41, started[0x80].raw, integer(0x81, 3))))
    es9.tamper = refusing("cancelSession", 500)
    assert await code_of(ipa.call(0xBF41, started[0x80].raw, tlv(0xA1, answer.value))) == UNDEFINED
    view = order(desk, number)
    assert view.state == "failed"
    assert view.result.startswith("the device cancelled: pprNotAllowed; the SM-DP+ did not accept it: ")


REFUSED = failure("8.8.5", "4.10")
NULLS = {"header": {"functionExecutionStatus": {"status": "Failed", "statusCodeData": {"subjectCode": "8.1"}}}}
SAID = {
    "": b"",
    "the eUICC refused the SM-DP+: ciPKUnknown": tlv(0xBF38, tlv(0xA1, tlv(0x80, b"\x01"), integer(0x02, 7))),
    "the eUICC refused the download: invalidSignature": tlv(0xBF21, tlv(0xA1, tlv(0x80, b"\x01"), integer(0x02, 2))),
    "the server refused authenticateClient: matchingIdRefused": tlv(0xBF3B, integer(0x82, 6)),
    "the server refused the download: 8.8.5/4.10 so be it": json.dumps(REFUSED).encode(),
    "the server refused the download: 8.1/": codecs.BOM_UTF8 + json.dumps(NULLS).encode(),
    "initiateAuthentication did not reach smdp.example": b"initiateAuthentication did not reach smdp.example",
    "no \\x1b[2J": b"no \x1b[2J",
    "fffefd": b"\xff\xfe\xfd",
}


@pytest.mark.parametrize(("text", "response"), SAID.items())
def test_error_response_is_told_in_words(text, response):
    assert reasons.said(response) == text


async def test_2_11_2_3_a_direct_download_that_failed_says_why(desk, ipa, trigger, number):
    response = tlv(0x04, b"authenticateClient did not reach smdpp.example: no route")
    await ipa.provide(tlv(0xBF54, trigger[0x82].raw, tlv(0x30, integer(0x80, UNDEFINED), response)))
    assert order(desk, number).result == (
        "the device gave up the download: undefinedError; authenticateClient did not reach smdpp.example: no route"
    )


async def test_a_server_that_is_not_the_one_of_the_order_is_named_in_its_result(desk, ipa, trigger, number, es9):
    def another(function, answer):
        signed = parse(base64.b64decode(answer["serverSigned1"]))
        fields = [tlv(0x83, b"evil.example") if one.tag == 0x83 else one.raw for one in signed]
        return answer | {"serverSigned1": base64.b64encode(tlv(0x30, *fields)).decode()}

    es9.tamper = another
    await foreign_download(ipa, trigger)
    assert "serverSigned1 names another SM-DP+" in order(desk, number).result


async def test_the_profile_interpreters_report_is_told_in_words(desk, ipa, trigger, number, pki):
    authenticated = await ipa.authenticate(await ipa.initiate(trigger), trigger)
    package = await ipa.bound_package(authenticated)
    genuine = parse(ipa.load(package[:-1] + bytes([package[-1] ^ 1])))[0xBF27]
    sima = saip.encode("EUICCResponse", {"peStatus": [{"status": 4, "identification": 17}]})
    failed = tlv(0xA2, tlv(0xA1, integer(0x80, 5), integer(0x81, 12), tlv(0x82, sima)))
    data = tlv(0xBF27, *(failed if child.tag == 0xA2 else child.raw for child in genuine))
    await ipa.notify(tlv(0xBF37, data, tlv(0x5F37, pki.euicc(EID).sign(data))))
    assert order(desk, number).result == (
        "loadProfileElements: installFailedDueToPEProcessingError: not-enough-memory at element 17"
    )


# ES9+ JSON as servers write it --------------------------------------------------------------------------------


def with_nulls(function: str, answer: dict) -> dict:
    status = {"status": "Executed-Success", "statusCodeData": None}
    return {"transactionId": None} | answer | {"header": {"functionExecutionStatus": status}, "rpmPackage": None}


async def test_6_5_members_that_are_null_are_absent(desk, ipa, trigger, number, es9):
    es9.tamper = with_nulls
    await ipa.download(trigger)
    assert order(desk, number).state == "done"


HEADERS = [None, {}, {"functionExecutionStatus": None}, {"functionExecutionStatus": {"status": None}}]


@pytest.mark.parametrize("header", HEADERS)
async def test_6_5_a_status_that_is_null_is_no_refusal(desk, ipa, trigger, number, es9, header):
    es9.tamper = lambda function, answer: answer | {"header": header}
    await ipa.download(trigger)
    assert order(desk, number).state == "done"


async def test_6_5_a_refusal_with_null_members_has_its_codes(desk, ipa, trigger, number, es9):
    refusal = failure("8.2.6", "3.8")
    refusal["header"]["functionExecutionStatus"]["statusCodeData"] |= {"message": None, "subjectIdentifier": None}
    es9.tamper = refusing("authenticateClient", refusal)
    assert await code_of(ipa.download(trigger)) == 6
    assert order(desk, number).result.endswith("8.2.6/3.8")


async def test_6_5_a_byte_order_mark_may_come_first(desk, ipa, trigger, number, es9):
    es9.tamper = lambda function, answer: codecs.BOM_UTF8 + (json.dumps(answer).encode() if answer else b"")
    await ipa.download(trigger)
    assert order(desk, number).state == "done"


async def test_6_5_base64_that_is_no_ascii_is_a_named_error(desk, ipa, trigger, number, es9):
    es9.tamper = lambda function, answer: answer | {"serverSigned1": "zażółć"}
    assert await code_of(ipa.initiate(trigger)) == UNDEFINED
    assert "serverSigned1 in the answer" in order(desk, number).result
