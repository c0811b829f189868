"""ES9+ in its ASN.1 binding: a download, and each error number (SGP.22 clause 6.6)."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from microipa import saip
from microipa.asn1 import rsp
from microipa.asn1.tlv import Tlv, TlvError, integer, parse, tlv
from microipa.crypto.pki import Pki
from microipa.smdpp import OrderState, Refused, Smdpp
from microipa.smdpp.asn1_binding import ERRORS, decode_request, encode_refusal
from microipa.smdpp.es9_http import ASN1_PATH, ASN1_TYPE
from smdpp_peer import ADDRESS, Peer, asgi_client

OK = 0xA0


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def smdpp(pki, tmp_path) -> Smdpp:
    return Smdpp(pki, tmp_path)


@pytest.fixture
def peer(pki) -> Peer:
    return Peer(pki)


@pytest.fixture(scope="module")
def profile() -> bytes:
    return saip.build(
        saip.ProfileSpec(iccid="8949000000000000000", imsi="901700000000001", k=bytes(16), opc=bytes(16))
    )


@pytest.fixture
async def client(smdpp):
    async with asgi_client(smdpp.app) as client:
        yield client


async def post(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    headers = {"Content-Type": ASN1_TYPE, "X-Admin-Protocol": "gsma/rsp/v2.1.0"}
    response = await client.post(ASN1_PATH, content=body, headers=headers)
    assert response.headers["X-Admin-Protocol"] == "gsma/rsp/v2.1.0"
    return response


async def call(client: httpx.AsyncClient, tag: int, *fields: bytes) -> Tlv:
    """The alternative inside the answer; the whole answer is what the ASN.1 module says."""
    response = await post(client, tlv(0xA2, tlv(tag, *fields)))
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == ASN1_TYPE
    assert rsp.decode("RemoteProfileProvisioningResponse", response.content)
    answer = parse(response.content)[tag]
    [choice] = answer.children()
    return choice


async def initiate(client: httpx.AsyncClient, peer: Peer, address: str = ADDRESS) -> Tlv:
    return await call(client, 0xBF39, tlv(0x81, peer.challenge), tlv(0x83, address.encode()), peer.info1())


def as_json(answer: Tlv, *names: str) -> dict[str, Any]:
    """The fields of an answer as the peer knows them from JSON."""
    tid, *fields = answer.children()
    found = {name: base64.b64encode(field.raw).decode() for name, field in zip(names, fields, strict=True)}
    return {"transactionId": tid.value.hex().upper(), **found}


SERVER = ("serverSigned1", "serverSignature1", "euiccCiPKIdToBeUsed", "serverCertificate")
OFFER = ("profileMetadata", "smdpSigned2", "smdpSignature2", "smdpCertificate")


async def authenticate(client: httpx.AsyncClient, peer: Peer, matching_id: str, **wrong: Any) -> Tlv:
    answer = as_json(await initiate(client, peer), *SERVER)
    proof = peer.authenticate_server(answer, matching_id, **wrong)
    return await call(client, 0xBF3B, tlv(0x80, peer.transaction_id), proof)


async def package(client: httpx.AsyncClient, peer: Peer, offer: Tlv, code: str | None = None) -> Tlv:
    ready = peer.prepare_download(as_json(offer, *OFFER), code)
    return await call(client, 0xBF3A, tlv(0x80, peer.transaction_id), ready)


@pytest.mark.parametrize("a0", [True, False], ids=["A0", "no A0"])
async def test_6_6_a_whole_download(smdpp, client, peer, profile, a0):
    matching_id = smdpp.add_profile(profile)
    answer = await package(client, peer, await authenticate(client, peer, matching_id))
    assert answer.tag == OK
    assert peer.open_package(answer[0xBF36].raw)[2] == profile
    result = peer.installation_result()
    response = await post(client, tlv(0xA2, tlv(0xBF3D, tlv(0xA0, result) if a0 else result)))
    assert (response.status_code, response.content) == (204, b"")
    assert smdpp.orders()[0].state == OrderState.INSTALLED


@pytest.mark.parametrize("wrapped", [False, True], ids=["A1", "A1 with BF41 inside"])
async def test_6_6_cancel_session_with_and_without_its_own_tag(smdpp, client, peer, profile, wrapped):
    await authenticate(client, peer, smdpp.add_profile(profile))
    response = peer.cancel_session(3)
    choice = tlv(0xA1, response if wrapped else parse(response).value)
    answer = await call(client, 0xBF41, tlv(0x80, peer.transaction_id), choice)
    assert (answer.tag, answer.value) == (OK, b"")
    assert smdpp.orders()[0].state == OrderState.ERROR


def number(answer: Tlv) -> int:
    assert answer.tag == 0x81
    return answer.value[0]


async def test_6_6_errors_are_numbers(smdpp, client, peer, profile):
    matching_id = smdpp.add_profile(profile, confirmation_code="4711")
    assert number(await initiate(client, peer, "smdp.example")) == 1
    assert number(await authenticate(client, peer, "NO-SUCH-ORDER")) == 6
    assert number(await authenticate(client, peer, matching_id, challenge=bytes(16))) == 5
    assert number(await authenticate(client, peer, matching_id, info2=Peer.info2(free=1))) == 11
    offer = await authenticate(client, peer, matching_id)
    answers = [await package(client, peer, offer, code) for code in (None, "0", "1", "2")]
    assert [number(answer) for answer in answers] == [2, 3, 3, 4]
    unknown = await call(client, 0xBF3A, tlv(0x80, b"\x01"), peer.prepare_download(as_json(offer, *OFFER)))
    assert number(unknown) == 95
    cancelled = await call(
        client, 0xBF41, tlv(0x80, b"\x01"), tlv(0xA1, parse(peer.cancel_session(1)).value)
    )
    assert number(cancelled) == 1


def test_6_6_every_pair_of_codes_has_its_number_and_the_rest_is_undefined():
    for function, errors in ERRORS.items():
        for (subject, reason), expected in [*errors.items(), (("9", "9"), 127)]:
            answer = encode_refusal(function, Refused(subject, reason, ""))
            assert rsp.decode("RemoteProfileProvisioningResponse", answer)
            assert parse(answer).children()[0].children()[0].raw == integer(0x81, expected)


async def test_6_6_a_refused_notification_is_no_success(client, peer, tmp_path):
    stranger = Peer(Pki.open(tmp_path / "foreign"))
    response = await post(client, tlv(0xA2, tlv(0xBF3D, tlv(0xA0, stranger.notification(b"\x06\x40")))))
    assert (response.status_code, response.json()["error"]) == (400, "Refused")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "nothing where a tag should be"),
        (b"\xa3\x00", "not a RemoteProfileProvisioningRequest"),
        (b"\xa2\x00", "0 alternatives"),
        (tlv(0xA2, tlv(0xBF42)), "not a request of ES9+"),
        (tlv(0xA2, tlv(0xBF39)), "no 81 inside BF39"),
        (tlv(0xA2, tlv(0xBF39, tlv(0x81), tlv(0x83, b"\xff"), tlv(0xBF20))), "not UTF-8"),
        (tlv(0xA2, tlv(0xBF3B, tlv(0x80, b"\x01"))), "no BF38 inside BF3B"),
        (tlv(0xA2, tlv(0xBF41, tlv(0x80, b"\x01"), tlv(0xA1))), "0 alternatives inside A1"),
    ],
)
async def test_6_6_what_is_no_request_is_400_with_a_reason(client, body, words):
    with pytest.raises(TlvError):
        decode_request(body)
    response = await post(client, body)
    assert (response.status_code, response.json()["error"]) == (400, "TlvError")
    assert words in response.json()["message"]
