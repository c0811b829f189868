"""The four transports and bindings of an eIM (SGP.32 6): CoAP or HTTPS, ASN.1 or JSON; what an Ipa's ``ask`` may be."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
from aiocoap import Message
from aiocoap.numbers.codes import POST
from cryptography.hazmat.primitives.serialization import Encoding
from eim_coap import connected
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.eim.esipa import EsipaRefused

Ask = Callable[[bytes], Awaitable[bytes]]
BINDINGS = [("coap", "asn1"), ("coap", "json"), ("https", "asn1"), ("https", "json")]
HEADERS = {"User-Agent": "gsma-rsp-ipad", "X-Admin-Protocol": "gsma/rsp/v2.1.0"}
ASN1_TYPE, JSON_TYPE = "application/x-gsma-rsp-asn1", "application/json;charset=UTF-8"

# What each function is called, its request's members by tag, its answer's by name: the tests' own copy of 6.4.1.
NAMES = {
    0xBF39: "initiateAuthentication",
    0xBF3B: "authenticateClient",
    0xBF3A: "getBoundProfilePackage",
    0xBF41: "cancelSession",
    0xBF3D: "handleNotification",
    0xBF4F: "getEimPackage",
    0xBF50: "provideEimPackageResult",
}
ASKED: dict[int, dict[int, tuple[str, str]]] = {
    0xBF39: {0x81: ("euiccChallenge", "value"), 0x83: ("smdpAddress", "text"), 0xBF20: ("euiccInfo1", "tlv"),
             0x82: ("eimTransactionId", "hex")},
    0xBF3B: {0x80: ("transactionId", "hex"), 0xBF38: ("authenticateServerResponse", "tlv")},
    0xBF3A: {0x80: ("transactionId", "hex"), 0xBF21: ("prepareDownloadResponse", "tlv")},
    0xBF41: {0x80: ("transactionId", "hex"), 0xA1: ("cancelSessionResponse", "cancel")},
    0xBF3D: {0xA0: ("pendingNotification", "value"), 0xBF50: ("provideEimPackageResult", "tlv")},
    0xBF4F: {0x5A: ("eidValue", "hex"), 0x80: ("notifyStateChange", "flag"), 0x81: ("stateChangeCause", "number"),
             0x82: ("rPlmn", "value")},
}
TOLD = ["transactionId", "serverSigned1", "serverSignature1", "euiccCiPKIdentifierToBeUsed", "serverCertificate",
        "matchingId", "ctxParams1", "profileMetadata", "smdpSigned2", "smdpSignature2", "smdpCertificate", "hashCc",
        "boundProfilePackage", "euiccPackageRequest", "ipaEuiccDataRequest", "profileDownloadTriggerRequest",
        "eimAcknowledgements"]
ERRORS = {  # subject and reason as numbers of the ASN.1 binding, those that mean the same everywhere
    "8.1.1/3.7": 1, "8.1.1/3.9": 2, "8.1.1/2.1": 3, "8.1.1/2.2": 4, "1.6/4.2": 127,
    "8.8.1/3.10": 50, "8.8/3.10": 51, "8.31.2/3.10": 52, "8.2.8/1.2": 50, "8.2.9/3.11": 50,
}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _member(how: str, field: Tlv) -> Any:
    match how:
        case "hex":
            return field.value.hex()
        case "text":
            return field.value.decode()
        case "flag":
            return True
        case "number":
            return field.value[0]
        case "value":
            return b64(field.value)
        case "cancel":
            return b64(tlv(0xBF41, field.value))
    return b64(field.raw)


def to_json(request: bytes) -> tuple[str, bytes]:
    """The function and the body that say the same as a message of the ASN.1 binding."""
    message = parse(request)
    body = {}
    for field in message:
        if message.tag == 0xBF50:
            name, how = ("eidValue", "hex") if field.tag == 0x5A else ("eimPackageResult", "tlv")
        else:
            name, how = ASKED[message.tag][field.tag]
        body[name] = _member(how, field)
    return NAMES[message.tag], json.dumps(body).encode()


def from_json(tag: int, body: bytes) -> bytes:
    """The message of the ASN.1 binding that an answer means."""
    if not body:
        return b""
    answer = json.loads(body)
    status = answer["header"]["functionExecutionStatus"]
    if status["status"] == "Failed":
        code = ERRORS["{subjectCode}/{reasonCode}".format(**status["statusCodeData"])]
        return tlv(tag, integer({0xBF4F: 0x02, 0xBF50: 0x02, 0xBF3B: 0x82}.get(tag, 0x81), code))
    assert status["status"] == "Executed-Success"
    parts = []
    for name in answer:
        if name == "header":
            continue
        assert name in TOLD
        if name == "transactionId":
            parts.append(tlv(0x80, bytes.fromhex(answer[name])))
        elif name == "matchingId":
            parts.append(tlv(0x0C, answer[name].encode()))
        elif name == "ctxParams1":
            parts.append(tlv(0xA2, base64.b64decode(answer[name])))
        else:
            parts.append(base64.b64decode(answer[name]))
    if tag in (0xBF4F, 0xBF50):
        return tlv(tag, *(parts or [tlv(0x30)]))
    return tlv(tag, tlv(0xA0, *parts))


def https_client(pki: Pki, port: int) -> httpx.AsyncClient:
    trust = ssl.create_default_context(cadata=pki.ci.certificate.public_bytes(Encoding.PEM).decode())
    return httpx.AsyncClient(verify=trust, base_url=f"https://127.0.0.1:{port}", trust_env=False, headers=HEADERS)


@contextlib.asynccontextmanager
async def asking(desk: Eim, pki: Pki, transport: str, binding: str) -> AsyncIterator[Ask]:
    """``ask`` over real sockets. Raises EsipaRefused for 4.00 and 400."""
    async with contextlib.AsyncExitStack() as open_:
        if transport == "coap":
            coap = await open_.enter_async_context(connected(await open_.enter_async_context(desk.serve()),
                                                             pki.ci.certificate))

            async def post(path: list[str], content: bytes, kind: str) -> bytes:
                request = Message(code=POST, payload=content, uri_path=path)
                request.remote = coap.remote
                response = await coap.context.request(request).response
                if not response.code.is_successful():
                    raise EsipaRefused(response.payload.decode())
                return response.payload
        else:
            client = await open_.enter_async_context(
                https_client(pki, await open_.enter_async_context(desk.serve_https())))

            async def post(path: list[str], content: bytes, kind: str) -> bytes:
                response = await client.post("/" + "/".join(path), content=content, headers={"Content-Type": kind},
                                             extensions={"sni_hostname": pki.eim_fqdn})
                if response.status_code == 400:
                    raise EsipaRefused(response.text)
                assert response.status_code == (200 if response.content else 204)
                assert response.headers.get("Content-Type") == (kind if response.content else None)
                return response.content

        async def ask(request: bytes) -> bytes:
            if binding == "asn1":
                return await post(["gsma", "rsp2", "asn1"], request, ASN1_TYPE)
            function, body = to_json(request)
            return from_json(parse(request).tag, await post(["gsma", "rsp2", "esipa", function], body, JSON_TYPE))

        yield ask
