"""One eIM and one database over CoAP and HTTPS, in ASN.1 and JSON (SGP.32 6.1 to 6.4)."""

from __future__ import annotations

import json

import httpx
import pytest
from eim_bindings import ASN1_TYPE, BINDINGS, HEADERS, JSON_TYPE, asking, b64, https_client
from eim_ipa import EID_NOT_FOUND, NO_PACKAGE, OTHER_EID, UNDEFINED, Ipa, Refusal, order
from euicc_peer import EID, spec
from microipa.asn1.tlv import parse, tlv
from microipa.eim import Eim, http
from microipa.saip import build
from microipa.smdpp import OrderState, Smdpp
from microipa.storage.database import StoreBusy
from microipa.trace import Trace
from smdpp_peer import ADDRESS

ASN1, JSON = "/gsma/rsp2/asn1", "/gsma/rsp2/esipa/"
POLL = tlv(0xBF4F, tlv(0x5A, bytes.fromhex(EID)))
OK = {"functionExecutionStatus": {"status": "Executed-Success"}}


@pytest.mark.parametrize(("transport", "binding"), BINDINGS)
async def test_6_a_device_works_its_whole_queue_off_by_any_way(transport, binding, pki, tmp_path, events, enrolled):
    smdpp = Smdpp(pki, tmp_path)
    routes: dict[str, tuple[str, int]] = {}
    trace = Trace()
    trace.listen(events.append)
    desk = Eim(pki, tmp_path, es9_routes=routes, trace=trace)
    desk.add_device(EID)
    download = desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(2)))), needs_proof=False)
    switch = desk.order_package(EID, [("enable", {"iccid": spec(2).iccid})])
    async with smdpp.serve() as port, asking(desk, pki, transport, binding) as ask:
        routes[ADDRESS] = ("127.0.0.1", port)
        await Ipa(ask, enrolled).work()
    assert [order(desk, number).state for number in (download, switch)] == ["done", "done"]
    [view] = smdpp.orders()
    assert view.state in (OrderState.INSTALLED, OrderState.DOWNLOADED)  # its notification may still be under way


@pytest.mark.parametrize(("transport", "binding"), BINDINGS)
async def test_6_refusals_have_the_same_meaning_by_any_way(transport, binding, pki, desk, enrolled):
    async with asking(desk, pki, transport, binding) as ask:
        for ipa, code in ((Ipa(ask, enrolled), NO_PACKAGE), (Ipa(ask, enrolled, OTHER_EID), EID_NOT_FOUND)):
            with pytest.raises(Refusal) as refusal:
                await ipa.get()
            assert refusal.value.code == code
        forged = tlv(0xBF51, tlv(0xA0, tlv(0x30, tlv(0x80, b"eim.microipa.example"), tlv(0x81, b"\1"),
                                           tlv(0x83, b"\1"), tlv(0x30)), tlv(0x5F37, bytes(64))))
        with pytest.raises(Refusal) as refusal:
            await Ipa(ask, enrolled).provide(forged)
        assert refusal.value.code == UNDEFINED
        with pytest.raises(Refusal) as refusal:
            await Ipa(ask, enrolled).call(0xBF39, tlv(0x81, bytes(16)), tlv(0x82, bytes(8)))
        assert refusal.value.code == 52  # invalidEimTransactionId


@pytest.mark.covers(
    *(
        f"EimConfigurationData.eimSupportedProtocol.{way}"
        for way in ("eimRetrieveHttps", "eimRetrieveCoaps", "eimInjectCoaps")
    )
)
def test_2_11_1_1_the_configuration_names_retrieval_by_both_protocols_and_injection_by_coap(desk):
    assert parse(desk.configuration())[0x87].value == bytes.fromhex("04D0")


# What HTTP adds ---------------------------------------------------------------------------------------------


@pytest.fixture
def web(desk: Eim) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(http.application(desk.handle)),
                             base_url="https://eim.microipa.example", trust_env=False)


def to_bytes(fields: object) -> bytes:
    return json.dumps(fields).encode()


async def test_6_1_the_server_proves_its_name_and_keeps_the_connection(desk, pki):
    async with desk.serve_https() as port, https_client(pki, port) as client:
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            await client.post(ASN1, content=POLL)
        for _ in range(2):
            response = await client.post(ASN1, content=POLL, extensions={"sni_hostname": pki.eim_fqdn})
            assert parse(response.content).raw == bytes.fromhex("BF4F03020101")
            assert response.headers.get("connection") != "close"


@pytest.mark.parametrize(("sent", "echoed"), [
    ("gsma/rsp/v2.1.0", "gsma/rsp/v2.1.0"), ("gsma/rsp/v1.3.0", "gsma/rsp/v1.3.0"), (None, "gsma/rsp/v2.1.0")])
async def test_6_1_x_admin_protocol_is_echoed_whatever_its_version(web, sent, echoed):
    headers = {"X-Admin-Protocol": sent} if sent else {}
    for path, content in ((ASN1, POLL), (JSON + "getEimPackage", to_bytes({"eidValue": EID}))):
        response = await web.post(path, content=content, headers=headers)
        assert (response.status_code, response.headers["X-Admin-Protocol"]) == (200, echoed)


@pytest.mark.parametrize(("path", "content", "headers", "status"), [
    (ASN1, POLL, {"Content-Type": JSON_TYPE}, 415),
    (JSON + "getEimPackage", b"{}", {"Content-Type": ASN1_TYPE}, 415),
    (ASN1, POLL, {"X-Admin-Protocol": "gsma/rsp/vivid"}, 400),
    (ASN1, b"\xbf\x4f\x7f", {}, 400),
    (ASN1, b"", {}, 400),
    (ASN1, b"\xbf\x36\x00", {}, 400),
    (ASN1, bytes(1 << 17), {}, 413),
    (JSON + "getEimPackage", b"BF4F", {}, 400),
    (JSON + "getEimPackage", b"[]", {}, 400),
    (JSON + "getEimPackage", to_bytes({"eidValue": 7}), {}, 400),
    (JSON + "getEimPackage", to_bytes({"eidValue": EID, "stateChangeCause": "fallback"}), {}, 400),
    (JSON + "getEimPackage", to_bytes({"eidValue": EID, "stateChangeCause": 1 << 80}), {}, 400),
    (JSON + "initiateAuthentication", to_bytes({"smdpAddress": "half of a character, \ud800"}), {}, 400),
    (JSON + "authenticateClient", to_bytes({"transactionId": "AB", "authenticateServerResponse": "?"}), {}, 400),
    (JSON + "authenticateClient", to_bytes({"transactionId": "AB", "authenticateServerResponse": "vzg="}), {}, 400),
    (JSON + "initiateAuthentication", to_bytes({"smdpAddress": ["x"]}), {}, 400),
    (JSON + "handleNotification", b"{}", {}, 400),
    (JSON + "cancelSession", to_bytes({"cancelSessionResponse": ""}), {}, 400),
    (JSON + "readMind", b"{}", {}, 404),
    ("/", b"", {}, 404),
])
async def test_6_1_what_is_no_esipa_message_ends_in_a_status_that_says_why(web, path, content, headers, status):
    response = await web.post(path, content=content, headers=headers)
    assert response.status_code == status
    assert response.text


async def test_6_1_only_post_is_served(web):
    assert (await web.get(ASN1)).status_code == 405


async def test_a_database_that_another_process_holds_is_service_unavailable():
    async def busy(message: bytes) -> bytes:
        raise StoreBusy("the eIM's database cannot be used now")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(http.application(busy)), base_url="https://eim") as web:
        assert (await web.post(ASN1, content=POLL, headers=HEADERS)).status_code == 503


# The JSON binding -------------------------------------------------------------------------------------------


async def test_6_4_1_5_a_poll_in_json(web, desk):
    desk.order_download(EID, f"LPA:1${ADDRESS}$MATCH", needs_proof=False)
    fields = {"eidValue": EID, "notifyStateChange": True, "stateChangeCause": 1, "rPlmn": b64(b"\x09\xf1\x07"), "x": 1}
    response = await web.post(JSON + "getEimPackage", content=to_bytes(fields))
    assert response.headers["Content-Type"] == JSON_TYPE
    answer = response.json()
    assert list(answer) == ["header", "ipaEuiccDataRequest"]
    assert answer["header"] == OK
    assert desk.device(EID).state_change == "fallback"


async def test_6_4_1_5_without_a_package_header_and_number_say_so(web):
    answer = (await web.post(JSON + "getEimPackage", content=to_bytes({"eidValue": EID}))).json()
    status = answer["header"]["functionExecutionStatus"]
    assert status == {"status": "Failed", "statusCodeData": {"subjectCode": "8.1.1", "reasonCode": "3.7"}}
    assert answer["eimPackageError"] == NO_PACKAGE


@pytest.mark.parametrize(("fields", "codes"), [
    ({}, ("8.1.1", "2.2")), ({"eidValue": "AB" * 16}, ("8.1.1", "2.1")), ({"eidValue": OTHER_EID}, ("8.1.1", "3.9"))])
async def test_6_4_1_5_an_eid_that_leads_nowhere_has_the_codes_of_the_standard(web, fields, codes):
    answer = (await web.post(JSON + "getEimPackage", content=to_bytes(fields))).json()
    data = answer["header"]["functionExecutionStatus"]["statusCodeData"]
    assert (data["subjectCode"], data["reasonCode"]) == codes


async def test_6_4_1_6_a_result_needs_no_outer_tag_and_its_acknowledgement_is_a_tlv(web, ipa, desk):
    number = desk.order_package(EID, [("listProfileInfo", {})])
    await ipa.introduce()
    result = ipa.execute(await ipa.get())
    answer = (await web.post(JSON + "provideEimPackageResult",
                             content=to_bytes({"eidValue": EID, "eimPackageResult": b64(result)}))).json()
    assert answer == {"header": OK, "eimAcknowledgements": b64(bytes.fromhex("BF5303800101"))}
    assert order(desk, number).state == "done"
    whole = to_bytes({"provideEimPackageResult": b64(tlv(0xBF50, tlv(0x5A, bytes.fromhex(EID)), result))})
    response = await web.post(JSON + "handleNotification", content=whole)  # as some IPAs hand it over
    assert (response.status_code, response.content) == (204, b"")
