"""Indirect download, the eIM in the middle, and notifications to the SM-DP+ (SGP.32 3.2.3.2, 5.7, 5.14)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from eim_ipa import UNDEFINED, Ipa, Refusal, alarms, order
from euicc_peer import EID, spec
from microipa import saip
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto.pki import Pki
from microipa.eim import Eim, forwarder, relay
from microipa.eim.esipa import EsipaRefused
from microipa.eim.orders import MAX_REFUSALS
from microipa.eim.store import Device
from microipa.net.https_server import serve_https
from microipa.saip import build
from microipa.smdpp import OrderState, Smdpp
from microipa.trace import Trace
from odd_certificates import issued
from smdpp_peer import ADDRESS, asgi_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Answer = dict[str, Any] | int | bytes
Tamper = Callable[[str, dict[str, Any]], Answer]
OTHER_EID = "89049032000000000000000000000163"


class Es9:
    """A real SM-DP+ behind a door at which ``tamper`` may change its answers: JSON, body, or HTTP status."""

    def __init__(self, smdpp: Smdpp) -> None:
        self._real = asgi_client(smdpp.app)
        self.tamper: Tamper = lambda function, answer: answer
        self.headers: dict[str, str] = {}
        self.calls: list[str] = []
        self.asked: dict[str, dict[str, str]] = {}
        self._news = asyncio.Condition()
        self.app = Starlette(routes=[Route("/gsma/rsp2/es9plus/{function}", self._post, methods=["POST"])])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for calls until ``condition`` holds."""
        async with asyncio.timeout(5), self._news:
            await self._news.wait_for(condition)

    async def _post(self, request: Request) -> Response:
        function = request.path_params["function"]
        self.calls.append(function)
        self.asked[function] = await request.json()
        answer = await self._real.post(request.url.path, content=await request.body())
        async with self._news:
            self._news.notify_all()
        changed = self.tamper(function, answer.json() if answer.content else {})
        if isinstance(changed, int):
            return Response(status_code=changed, headers=self.headers)
        return Response(changed) if isinstance(changed, bytes) else JSONResponse(changed)


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    """An SM-DP+ that does not answer is asked again without a pause."""
    monkeypatch.setattr(relay, "REPEATS_S", (0.0,))


@pytest.fixture
def smdpp(pki: Pki, tmp_path) -> Smdpp:
    return Smdpp(pki, tmp_path)


@pytest.fixture
async def es9(pki: Pki, smdpp: Smdpp) -> AsyncIterator[Es9]:
    door = Es9(smdpp)
    async with serve_https(door.app, pki.smdpp_tls) as port:
        door.port = port
        yield door


@pytest.fixture
def desk(pki, tmp_path, events, es9) -> Eim:
    trace = Trace()
    trace.listen(events.append)
    desk = Eim(pki, tmp_path, es9_routes={ADDRESS: ("127.0.0.1", es9.port)}, trace=trace)
    desk.add_device(EID)
    return desk


@pytest.fixture
def number(desk: Eim, smdpp: Smdpp) -> int:
    """An order to download profile 2."""
    return desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(2)))), needs_proof=False)


@pytest.fixture
async def trigger(ipa: Ipa, number: int) -> Tlv:
    await ipa.introduce()
    return await ipa.get()


async def code_of(call: Any) -> int:
    """The error code with which a function ends."""
    with pytest.raises(Refusal) as refusal:
        await call
    return refusal.value.code


def failure(subject: str, reason: str) -> dict[str, Any]:
    data = {"subjectCode": subject, "reasonCode": reason, "message": "so be it"}
    return {"header": {"functionExecutionStatus": {"status": "Failed", "statusCodeData": data}}}


def relayed(events) -> str:
    return next(event.fields["reason"] for event in reversed(events) if event.kind == "relay")


# The way through --------------------------------------------------------------------------------------------


@pytest.mark.covers(
    "esipa.InitiateAuthenticationResponseEsipa",
    "esipa.AuthenticateClientResponseEsipa",
    "esipa.GetBoundProfilePackageResponseEsipa",
    "esipa.HandleNotificationEsipa",
)
async def test_3_2_3_2_a_profile_goes_from_the_sm_dp_through_the_eim_into_the_card(
    desk, ipa, smdpp, number, es9
):
    async with desk.serve():
        await ipa.work()
        await es9.until(lambda: smdpp.orders()[0].state == OrderState.INSTALLED)
    assert [profile.iccid for profile in ipa.card.card.profiles()] == [spec(1).iccid, spec(2).iccid]
    view = order(desk, number)
    assert (view.state, view.result) == ("done", f"profile {spec(2).iccid} installed")
    assert view.details["iccid"] == spec(2).iccid
    assert parse(ipa.card.es10("BF2800"))[0xA0].value == b""  # nothing waits on the card


@pytest.mark.covers("package.profileDownloadTriggerRequest")
async def test_2_11_1_2_the_trigger_holds_the_activation_code_and_a_transaction(trigger, number, desk, ipa):
    assert trigger[0xA0][0x80].value.startswith(f"LPA:1${ADDRESS}$".encode())
    assert (await ipa.get()).raw == trigger.raw
    assert order(desk, number).eim_transaction_id == trigger[0x82].value.hex()


async def test_5_14_1_without_euicc_info1_it_is_cut_from_euicc_info2(ipa, trigger):
    assert (await ipa.initiate(trigger, info1=b""))[0x80].value


async def test_5_14_1_without_euicc_info1_and_2_nobody_is_asked(desk, ipa, trigger, es9):
    with desk._store.work() as db:
        db.get_one(Device, EID).euicc_info2 = None
    assert await code_of(ipa.initiate(trigger, info1=b"")) == UNDEFINED
    assert es9.calls == []


async def test_5_14_1_without_transaction_the_address_tells_the_order(ipa, trigger):
    assert (await ipa.initiate(trigger, transaction=b""))[0x80].value


async def test_5_14_3_a_request_that_comes_again_has_the_same_answer_and_the_sm_dp_is_asked_once(ipa, trigger, es9):
    requests, ask = [], ipa.ask

    async def keep(request: bytes) -> bytes:
        requests.append(request)
        return await ask(request)

    ipa.ask = keep
    await ipa.authenticate(await ipa.initiate(trigger), trigger)
    assert await ask(requests[-1]) == await ask(requests[-1])
    assert es9.calls.count("authenticateClient") == 1


async def test_5_14_1_a_device_may_begin_again(ipa, trigger, desk, number):
    await ipa.initiate(trigger)
    for _ in range(10):
        await ipa.initiate(trigger)
    await ipa.download(trigger)
    assert order(desk, number).state == "done"


async def test_the_view_of_the_device_gains_the_profile(desk, ipa, number):
    desk.order_package(EID, [("listProfileInfo", {})])
    second = desk.order_package(EID, [("enable", {"iccid": spec(2).iccid})])
    await ipa.work()
    assert order(desk, second).state == "done"
    states = {profile["iccid"]: profile["state"] for profile in desk.device(EID).profiles}
    assert states == {spec(1).iccid: "disabled", spec(2).iccid: "enabled"}


async def test_a_failed_installation_fails_the_order_in_the_cards_words(desk, ipa, smdpp, trigger, number):
    authenticated = await ipa.authenticate(await ipa.initiate(trigger), trigger)
    package = await ipa.bound_package(authenticated)
    result = ipa.load(package[:-1] + bytes([package[-1] ^ 1]))
    await ipa.notify(result)
    assert order(desk, number).result == "loadProfileElements: scp03tSecurityError"
    assert order(desk, number).details["errorReason"] == 8


@pytest.mark.covers("package.profileDownloadTriggerResult")
async def test_5_14_6_a_trigger_result_settles_the_download_like_a_notification(desk, ipa, trigger, number):
    authenticated = await ipa.authenticate(await ipa.initiate(trigger), trigger)
    result = ipa.load(await ipa.bound_package(authenticated))
    answer = tlv(0xBF54, trigger[0x82].raw, result)
    assert await ipa.provide(answer) == [1]
    assert order(desk, number).state == "done"
    settled = order(desk, number)
    await ipa.notify(result)
    assert order(desk, number) == settled


async def test_interop_a_trigger_result_without_eid_and_transaction_is_known_by_its_session(desk, ipa, trigger, number):
    authenticated = await ipa.authenticate(await ipa.initiate(trigger), trigger)
    result = ipa.load(await ipa.bound_package(authenticated))
    ipa.eid = b""
    assert await ipa.provide(tlv(0xBF54, result)) == [1]
    assert order(desk, number).state == "done"


@pytest.mark.covers("error.ProfileDownloadTriggerResult.undefinedError")
async def test_5_14_6_a_device_that_gives_up_says_why(desk, ipa, trigger, number):
    error = tlv(0x30, integer(0x80, UNDEFINED))
    assert await ipa.provide(tlv(0xBF54, trigger[0x82].raw, error)) == []
    assert order(desk, number).result == "the device gave up the download: undefinedError"


@pytest.mark.covers("esipa.CancelSessionResponseEsipa")
async def test_5_14_8_cancel_session_reaches_the_sm_dp_and_ends_the_order(desk, ipa, smdpp, trigger, number):
    started = await ipa.initiate(trigger)
    await ipa.bound_package(await ipa.authenticate(started, trigger))
    answer = parse(ipa.card.es10(tlv(0xBF41, started[0x80].raw, integer(0x81, 5))))
    assert (await ipa.call(0xBF41, started[0x80].raw, tlv(0xA1, answer.value))).value == b""
    assert order(desk, number).result == "the device cancelled: loadBppExecutionError"
    assert smdpp.orders()[0].state == OrderState.RELEASED


# What the eIM refuses itself --------------------------------------------------------------------------------


@pytest.mark.covers(
    "error.InitiateAuthenticationResponseEsipa.invalidEimTransactionId",
    "error.InitiateAuthenticationResponseEsipa.invalidDpAddress",
)
async def test_5_14_1_without_an_open_order_nobody_gets_to_an_sm_dp(ipa, trigger, es9):
    unknown = tlv(0x82, b"\x11" * 8)
    assert await code_of(ipa.initiate(trigger, transaction=unknown)) == 52
    other = tlv(0x83, b"evil.example")
    assert await code_of(ipa.initiate(trigger, transaction=b"", address=other)) == 1
    assert await code_of(ipa.initiate(trigger, address=other)) == 1
    assert await code_of(ipa.initiate(trigger, transaction=b"", address=b"")) == 1
    assert es9.calls == []


async def test_5_14_1_a_settled_order_opens_no_session(desk, ipa, trigger, number, es9):
    desk.cancel(number)
    assert await code_of(ipa.initiate(trigger)) == 52
    assert es9.calls == []


def signed1(answer: dict[str, Any], tag: int, value: bytes) -> dict[str, Any]:
    """The server's answer with another field in serverSigned1."""
    signed = parse(base64.b64decode(answer["serverSigned1"]))
    fields = [tlv(tag, value) if child.tag == tag else child.raw for child in signed]
    return answer | {"serverSigned1": base64.b64encode(tlv(0x30, *fields)).decode()}


@pytest.mark.covers(
    "error.InitiateAuthenticationResponseEsipa.smdpAddressMismatch",
    "error.InitiateAuthenticationResponseEsipa.invalidEimTransactionId",
    "error.InitiateAuthenticationResponseEsipa.undefinedError",
)
@pytest.mark.parametrize(
    ("tag", "value", "code", "reason"),
    [
        (0x83, b"evil.example", 50, "another SM-DP+"),
        (0x80, b"\x11" * 16, 52, "another transaction"),
        (0x81, b"\x11" * 16, UNDEFINED, "another challenge"),
    ],
    ids=["serverAddress", "transactionId", "euiccChallenge"],
)
async def test_5_14_1_server_signed1_must_answer_what_was_asked(
    desk, ipa, trigger, number, es9, events, tag, value, code, reason
):
    es9.tamper = lambda function, answer: signed1(answer, tag, value)
    assert await code_of(ipa.initiate(trigger)) == code
    assert reason in relayed(events)
    assert order(desk, number).state == "delivered"


async def test_5_14_1_a_session_of_one_download_is_not_given_to_another(desk, ipa, trigger, number, smdpp, es9):
    taken = (await ipa.initiate(trigger))[0x80].value
    desk.cancel(number)
    desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(3)))), needs_proof=False)
    other = await ipa.get()
    es9.tamper = lambda function, answer: signed1(answer, 0x80, taken) | {"transactionId": taken.hex()}
    assert await code_of(ipa.initiate(other)) == UNDEFINED
    es9.tamper = lambda function, answer: answer
    assert await ipa.initiate(other)


@pytest.mark.covers("error.InitiateAuthenticationResponseEsipa.smdpOidMismatch")
@pytest.mark.parametrize("name", ["smdpp_pb", "smdpp_tls", "eim_tls"])
async def test_5_14_1_the_certificate_must_be_a_dp_auth(ipa, trigger, es9, pki, name):
    other = base64.b64encode(getattr(pki, name).der).decode()
    es9.tamper = lambda function, answer: answer | {"serverCertificate": other}
    assert await code_of(ipa.initiate(trigger)) == 51


async def test_4_1_the_oid_of_the_activation_code_must_be_the_sm_dps(desk, ipa, smdpp, events):
    code = smdpp.activation_code(smdpp.add_profile(build(spec(2))))
    desk.order_download(EID, f"{code}$2.999.77", needs_proof=False)
    await ipa.introduce()
    assert await code_of(ipa.initiate(await ipa.get())) == 51
    assert "2.999.77" in relayed(events)


async def test_4_1_an_activation_code_may_name_the_right_oid(desk, ipa, smdpp, pki):
    code = smdpp.activation_code(smdpp.add_profile(build(spec(2))))
    number = desk.order_download(EID, f"{code}${pki.smdpp_oid}", needs_proof=False)
    await ipa.work()
    assert order(desk, number).state == "done"


@pytest.mark.covers(
    "error.AuthenticateClientResponseEsipa.invalidTransactionId",
    "error.GetBoundProfilePackageResponseEsipa.invalidTransactionId",
    "error.CancelSessionResponseEsipa.invalidTransactionId",
)
@pytest.mark.parametrize(
    ("tag", "parts", "code"),
    [(0xBF3B, "BF3802A000", 10), (0xBF3A, "BF2102A000", 95), (0xBF41, "A100", 1)],
    ids=["AuthenticateClient", "GetBoundProfilePackage", "CancelSession"],
)
async def test_5_14_a_transaction_of_no_session_is_refused_with_its_own_code(ipa, es9, tag, parts, code):
    session = tlv(0x80, b"\x11" * 16)
    assert await code_of(ipa.call(tag, session, bytes.fromhex(parts))) == code
    assert es9.calls == []


@pytest.mark.covers("error.AuthenticateClientResponseEsipa.eidMismatch")
async def test_5_14_3_another_cards_answer_is_an_eid_mismatch(ipa, trigger, es9, pki):
    started = await ipa.initiate(trigger)
    signed = tlv(0x30) + tlv(0x5F37, bytes(64))
    proof = tlv(0xBF38, tlv(0xA0, signed, pki.euicc(OTHER_EID).der, pki.eum.der))
    assert await code_of(ipa.call(0xBF3B, started[0x80].raw, proof)) == 7
    assert "authenticateClient" not in es9.calls


# What the SM-DP+ refuses ------------------------------------------------------------------------------------

INITIATE = [("8.8.1", "3.8", 1), ("8.8.3", "3.1", 2), ("8.8.2", "3.1", 3), ("8.8.4", "3.7", 3)]
AUTHENTICATE = [
    ("8.1.2", "6.1", 1),
    ("8.1.2", "6.3", 2),
    ("8.1.3", "6.1", 3),
    ("8.1.3", "6.3", 4),
    ("8.1", "6.1", 5),
    ("8.2.6", "3.8", 6),
    ("8.1.1", "3.8", 7),
    ("8.2.5", "4.3", 8),
    ("8.11.1", "3.9", 9),
    ("8.1", "4.8", 11),
]
PACKAGE = [
    ("8.1", "6.1", 1),
    ("8.2.7", "2.2", 2),
    ("8.2.7", "3.8", 3),
    ("8.2.7", "6.4", 4),
    ("8.2", "3.7", 5),
    ("8.8.5", "4.10", 6),
]
REFUSALS = [
    *(("initiateAuthentication", *codes) for codes in INITIATE),
    *(("authenticateClient", *codes) for codes in AUTHENTICATE),
    *(("getBoundProfilePackage", *codes) for codes in PACKAGE),
    *((name, "9.9", "9.9", UNDEFINED) for name in ("initiateAuthentication", "getBoundProfilePackage")),
]


@pytest.mark.covers(
    "error.InitiateAuthenticationResponseEsipa.1",
    "error.InitiateAuthenticationResponseEsipa.2",
    "error.InitiateAuthenticationResponseEsipa.3",
    "error.InitiateAuthenticationResponseEsipa.127",
    "error.AuthenticateClientResponseEsipa.1",
    "error.AuthenticateClientResponseEsipa.2",
    "error.AuthenticateClientResponseEsipa.3",
    "error.AuthenticateClientResponseEsipa.4",
    "error.AuthenticateClientResponseEsipa.5",
    "error.AuthenticateClientResponseEsipa.6",
    "error.AuthenticateClientResponseEsipa.7",
    "error.AuthenticateClientResponseEsipa.8",
    "error.AuthenticateClientResponseEsipa.9",
    "error.AuthenticateClientResponseEsipa.11",
    "error.GetBoundProfilePackageResponseEsipa.1",
    "error.GetBoundProfilePackageResponseEsipa.2",
    "error.GetBoundProfilePackageResponseEsipa.3",
    "error.GetBoundProfilePackageResponseEsipa.4",
    "error.GetBoundProfilePackageResponseEsipa.5",
    "error.GetBoundProfilePackageResponseEsipa.6",
    "error.GetBoundProfilePackageResponseEsipa.127",
)
@pytest.mark.parametrize(("name", "subject", "reason", "code"), REFUSALS)
async def test_6_3_2_a_refusal_of_the_sm_dp_becomes_the_code_of_the_function_and_ends_the_order(
    desk, ipa, trigger, number, es9, name, subject, reason, code
):
    es9.tamper = lambda function, answer: failure(subject, reason) if function == name else answer
    assert await code_of(ipa.download(trigger)) == code
    for _ in range(MAX_REFUSALS - 1 if name == "initiateAuthentication" else 0):  # of which no card signs anything
        assert order(desk, number).state == "delivered"
        assert await code_of(ipa.download(await ipa.get())) == code
    assert order(desk, number).state == "failed"
    assert f"{subject}/{reason} so be it" in order(desk, number).result


@pytest.mark.covers(
    "error.CancelSessionResponseEsipa.euiccSignatureInvalid", "error.CancelSessionResponseEsipa.undefinedError"
)
@pytest.mark.parametrize(("subject", "reason", "code"), [("8.1", "6.1", 2), ("9.9", "9.9", UNDEFINED)])
async def test_6_3_2_a_refused_cancellation_has_its_code_and_ends_the_order_all_the_same(
    desk, ipa, trigger, number, es9, subject, reason, code
):
    started = await ipa.initiate(trigger)
    await ipa.authenticate(started, trigger)
    answer = parse(ipa.card.es10(tlv(0xBF41, started[0x80].raw, integer(0x81, UNDEFINED))))
    es9.tamper = lambda function, real: failure(subject, reason)
    assert await code_of(ipa.call(0xBF41, started[0x80].raw, tlv(0xA1, answer.value))) == code
    assert order(desk, number).state == "failed"


async def test_words_of_an_sm_dp_that_no_file_or_terminal_takes_are_kept_as_escapes(desk, ipa, trigger, number, es9):
    refusal = json.dumps(failure("8.1", "6.1")).replace("so be it", "\\ud800\\u001b[2Jno").encode()
    es9.tamper = lambda function, answer: refusal
    assert await code_of(ipa.download(trigger)) == UNDEFINED
    assert order(desk, number).result.endswith(r"8.1/6.1 \ud800\x1b[2Jno")


async def test_6_3_2_a_lost_session_of_the_sm_dp_leaves_the_order_open(desk, ipa, trigger, number, es9):
    lost = failure("8.10.1", "3.9")
    es9.tamper = lambda function, answer: lost if function == "authenticateClient" else answer
    assert await code_of(ipa.download(trigger)) == 10
    assert order(desk, number).state == "delivered"
    es9.tamper = lambda function, answer: answer
    await ipa.download(await ipa.get())
    assert order(desk, number).state == "done"


async def test_an_unknown_matching_id_ends_the_order_in_the_sm_dps_words(desk, ipa):
    number = desk.order_download(EID, f"LPA:1${ADDRESS}$NOBODY", needs_proof=False)
    await ipa.introduce()
    assert await code_of(ipa.download(await ipa.get())) == 6
    assert "8.2.6/3.8" in order(desk, number).result


# A bad or absent SM-DP+ -------------------------------------------------------------------------------------

BROKEN = {
    "HTTP 500": 500,
    "HTTP 302": 302,
    "no JSON": b"<html>",
    "no object": b"[1]",
    "nested JSON": b"[" * 100_000,
    "no field": {},
    "no base64": {"transactionId": "11", "serverSigned1": "*", "serverCertificate": "*"},
    "base64 that is no ASCII": {"transactionId": "11", "serverSigned1": "zażółć", "serverCertificate": "zażółć"},
    "text that is no UTF-8": b'{"transactionId": "\xff"}',
    "too much": b'"' + b"x" * (5 << 20) + b'"',
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_6_5_what_is_no_answer_of_the_binding_leaves_the_order_open(
    desk, ipa, trigger, number, es9, answer
):
    es9.tamper = lambda function, real: answer
    assert await code_of(ipa.initiate(trigger)) == UNDEFINED
    assert order(desk, number).state == "delivered"
    es9.tamper = lambda function, real: real
    await ipa.download(trigger)
    assert order(desk, number).state == "done"


@pytest.mark.covers(
    "error.AuthenticateClientResponseEsipa.undefinedError",
    "error.GetBoundProfilePackageResponseEsipa.undefinedError",
)
@pytest.mark.parametrize(
    ("function", "field"),
    [("authenticateClient", "smdpSigned2"), ("getBoundProfilePackage", "boundProfilePackage")],
)
async def test_6_5_a_missing_field_later_leaves_the_order_open_too(
    desk, ipa, trigger, number, es9, function, field
):
    def without(name: str, answer: dict[str, Any]) -> Answer:
        return {key: value for key, value in answer.items() if name != function or key != field}

    es9.tamper = without
    assert await code_of(ipa.download(trigger)) == UNDEFINED
    assert order(desk, number).state == "delivered"


async def test_6_5_interop_octet_strings_wrapped_twice_are_unwrapped(desk, ipa, trigger, number, es9):
    def wrapped(function: str, answer: dict[str, Any]) -> Answer:
        for name in ("serverSignature1", "smdpSignature2"):
            if name in answer:
                answer[name] = base64.b64encode(tlv(0x5F37, base64.b64decode(answer[name]))).decode()
        return answer

    es9.tamper = wrapped
    await ipa.download(trigger)
    assert order(desk, number).state == "done"


async def test_an_sm_dp_that_is_not_there_leaves_the_order_open(pki, tmp_path, ipa, trigger, desk, number):
    lonely = Eim(pki, tmp_path, es9_routes={ADDRESS: ("127.0.0.1", 1)})
    assert await code_of(Ipa(lonely.handle, ipa.card).initiate(trigger)) == UNDEFINED
    assert order(desk, number).state == "delivered"


async def test_6_1_a_tls_server_of_another_ci_gets_nothing(pki, tmp_path, smdpp, ipa, trigger, events, desk):
    foreign = Pki.open(tmp_path / "foreign")
    async with serve_https(smdpp.app, foreign.smdpp_tls) as port:
        routed = Eim(pki, tmp_path, es9_routes={ADDRESS: ("127.0.0.1", port)})
        assert await code_of(Ipa(routed.handle, ipa.card).initiate(trigger)) == UNDEFINED
    assert smdpp.orders()[0].attempts == 0


async def test_6_1_a_tls_server_of_another_name_gets_nothing(pki, tmp_path, smdpp, ipa, trigger):
    async with serve_https(smdpp.app, pki.eim_tls) as port:
        routed = Eim(pki, tmp_path, es9_routes={ADDRESS: ("127.0.0.1", port)})
        assert await code_of(Ipa(routed.handle, ipa.card).initiate(trigger)) == UNDEFINED


# Notifications on their way ---------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(forwarder, "FIRST_PAUSE_S", 0.01)


async def installed(ipa: Ipa, trigger: Tlv) -> bytes:
    """Download to the end; the card's ProfileInstallationResult."""
    authenticated = await ipa.authenticate(await ipa.initiate(trigger), trigger)
    return ipa.load(await ipa.bound_package(authenticated))


@pytest.mark.usefixtures("impatient")
async def test_5_7_4_a_notification_the_sm_dp_did_not_take_is_kept_and_tried_again(desk, ipa, trigger, es9):
    answers = [500, 503, b""]

    def recovering(function: str, answer: dict[str, Any]) -> Answer:
        return answers.pop(0) if function == "handleNotification" else answer

    es9.tamper = recovering
    async with desk.serve():
        await ipa.notify(await installed(ipa, trigger))
        await es9.until(lambda: not answers)
    assert es9.calls.count("handleNotification") == 3


@pytest.mark.usefixtures("impatient")
async def test_5_7_4_a_notification_survives_a_restart_of_the_eim(
    pki, tmp_path, ipa, trigger, smdpp, es9
):
    await ipa.notify(await installed(ipa, trigger))  # nobody forwards: this eIM does not serve
    assert "handleNotification" not in es9.calls
    restarted = Eim(pki, tmp_path, es9_routes={ADDRESS: ("127.0.0.1", es9.port)})
    async with restarted.serve():
        await es9.until(lambda: smdpp.orders()[0].state == OrderState.INSTALLED)


async def test_5_7_4_a_notification_delivered_twice_is_passed_on_once(desk, ipa, trigger, es9):
    result = await installed(ipa, trigger)
    async with desk.serve():
        await ipa.notify(result)
        await ipa.notify(result)
        await es9.until(lambda: "handleNotification" in es9.calls)
        await ipa.notify(result)
    async with desk.serve():
        pass
    assert es9.calls.count("handleNotification") == 1


@pytest.mark.usefixtures("impatient")
async def test_5_7_4_what_the_sm_dp_refuses_is_not_offered_again(desk, ipa, trigger, es9):
    refused = asyncio.Event()

    def refusing(function: str, answer: dict[str, Any]) -> Answer:
        if function != "handleNotification":
            return answer
        refused.set()
        return failure("8.10.1", "3.9")

    es9.tamper = refusing
    async with desk.serve():
        await ipa.notify(await installed(ipa, trigger))
        await asyncio.wait_for(refused.wait(), 5)
    async with desk.serve():
        pass
    assert es9.calls.count("handleNotification") == 1


async def switched(ipa: Ipa, desk: Eim) -> list[bytes]:
    """Enable the downloaded profile; the notifications the card then keeps."""
    desk.order_package(EID, [("enable", {"iccid": spec(2).iccid})])
    await ipa.work()
    return [pending.raw for pending in parse(ipa.card.es10("BF2B00"))[0xA0] if pending.tag == 0x30]


async def test_3_7_notifications_of_a_switch_go_to_the_server_they_name(desk, ipa, number, events, es9):
    await ipa.work()
    pending = await switched(ipa, desk)
    assert pending
    async with desk.serve():
        for one in pending:
            await ipa.notify(one)
        await es9.until(lambda: es9.calls.count("handleNotification") == len(pending) + 1)
    assert alarms(events) == []


async def test_3_7_several_notifications_may_come_with_a_result_or_a_data_answer(desk, ipa, number):
    await ipa.work()
    pending = await switched(ipa, desk)
    desk.order_package(EID, [("listProfileInfo", {})])
    result = ipa.execute(await ipa.get())
    acknowledged = await ipa.provide(tlv(0x30, result, tlv(0xA0, *pending)))
    sequences = [parse(one)[0xBF2F][0x80].value[0] for one in pending]
    assert acknowledged[1:] == sequences
    ipa.remove(acknowledged)


async def test_3_7_a_forged_notification_is_refused_and_spoils_no_other(desk, ipa, number, events):
    await ipa.work()
    genuine = (await switched(ipa, desk))[0]
    forged = genuine[:-1] + bytes([genuine[-1] ^ 1])  # in the EUM certificate's signature
    with pytest.raises(EsipaRefused, match="certificate"):
        await ipa.notify(forged)
    assert desk.device(EID).alarms == []  # nobody knows whose it is
    desk.order_package(EID, [("listProfileInfo", {})])
    result = ipa.execute(await ipa.get())
    acknowledged = await ipa.provide(tlv(0x30, result, tlv(0xA0, forged, genuine)))
    assert len(acknowledged) == 2
    assert len(alarms(events)) == 2


async def test_5_7_4_the_result_of_a_session_of_somebody_else_is_refused(desk, ipa, trigger, pki, es9):
    result = parse(await installed(ipa, trigger))
    data = result[0xBF27]
    fields = [tlv(0x80, b"\x11" * 16) if child.tag == 0x80 else child.raw for child in data]
    foreign = tlv(0xBF27, *fields)
    signed = tlv(0xBF37, foreign, tlv(0x5F37, pki.euicc(EID).sign(foreign)))
    with pytest.raises(EsipaRefused, match="neither its session nor its eUICC is known"):
        await ipa.notify(signed)


async def test_5_14_7_a_result_under_handle_notification_is_taken_silently(desk, ipa, trigger, number):
    result = await installed(ipa, trigger)
    provided = tlv(0xBF50, ipa.eid, tlv(0xBF54, trigger[0x82].raw, result))
    assert await desk.handle(tlv(0xBF3D, provided)) == b""
    assert order(desk, number).state == "done"


async def test_3_7_each_notification_goes_to_the_sm_dp_that_it_names(pki, tmp_path, enrolled, es9, smdpp):
    """The installation result to where the profile came from, the rest to where its metadata wants it."""
    other = Es9(smdpp)
    async with serve_https(other.app, issued(pki.ci, "tls", host="other.example")) as port:
        routes = {ADDRESS: ("127.0.0.1", es9.port), "other.example": ("127.0.0.1", port)}
        desk = Eim(pki, tmp_path, es9_routes=routes)
        desk.add_device(EID)
        ipa = Ipa(desk.handle, enrolled)
        metadata = saip.metadata(spec(2), notification_address="other.example")
        matching_id = smdpp.add_profile(build(spec(2)), metadata=metadata)
        desk.order_download(EID, smdpp.activation_code(matching_id), needs_proof=False)
        async with desk.serve():
            await ipa.work()
            (installed,) = parse(ipa.card.es10("BF2B00"))[0xA0]
            await ipa.notify(installed.raw)
            await other.until(lambda: other.calls == ["handleNotification"])
            await es9.until(lambda: es9.calls[-1] == "handleNotification")
    assert es9.calls.count("handleNotification") == 1
    assert base64.b64decode(other.asked["handleNotification"]["pendingNotification"]) == installed.raw
    assert base64.b64decode(es9.asked["handleNotification"]["pendingNotification"])[:2] == b"\xbf\x37"
