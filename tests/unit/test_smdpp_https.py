"""ES9+ on the wire: TLS, headers, bodies, and requests that make no sense (SGP.22 clauses 6.2 and 6.5)."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from functools import partial

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from microipa import saip
from microipa.common.errors import MicroipaError
from microipa.crypto.pki import Pki
from microipa.net.https_server import MAX_BODY
from microipa.net.sockets import PortTaken
from microipa.smdpp import Smdpp
from microipa.smdpp.es9_http import es9_functions
from microipa.smdpp.json_binding import encode_answer
from smdpp_peer import ADDRESS, Es9, Peer, asgi_client, https_client

SNI = {"sni_hostname": ADDRESS}


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def smdpp(pki, tmp_path_factory) -> Smdpp:
    return Smdpp(pki, tmp_path_factory.mktemp("smdpp"))


@pytest.fixture(scope="module")
def profile() -> bytes:
    return saip.build(
        saip.ProfileSpec(iccid="8949000000000000000", imsi="901700000000001", k=bytes(16), opc=bytes(16))
    )


async def post(smdpp: Smdpp, function: str, content: bytes | str, **headers: str) -> httpx.Response:
    async with asgi_client(smdpp.app) as client:
        return await client.post(f"/gsma/rsp2/es9plus/{function}", content=content, headers=headers)


async def test_a_whole_download_over_https(smdpp, pki, profile):
    matching_id, peer = smdpp.add_profile(profile), Peer(pki)
    async with smdpp.serve() as port, https_client(pki, port) as client:
        es9 = Es9(client)
        package = await es9.download(peer, matching_id)
        await es9.notify(peer.installation_result())
    assert peer.open_package(package)[2] == profile
    assert next(o for o in smdpp.orders() if o.matching_id == matching_id).state == "installed"


async def test_6_1_the_server_proves_its_name_under_the_ci(smdpp, pki, tmp_path):
    async with smdpp.serve() as port:
        async with https_client(Pki.open(tmp_path), port) as stranger:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await Es9(stranger).initiate(Peer(pki))
        async with https_client(pki, port) as client:
            with pytest.raises(httpx.ConnectError, match="certificate is not valid for"):
                await client.post("/", extensions={"sni_hostname": "smdpp.example.com"})


async def test_6_1_tls_older_than_1_2_is_not_spoken(smdpp, pki):
    async with smdpp.serve() as port:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        trust.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            trust.minimum_version, trust.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
        async with httpx.AsyncClient(verify=trust, trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.post(f"https://127.0.0.1:{port}/", extensions=SNI)


async def test_a_port_that_is_taken_is_said(smdpp):
    async with smdpp.serve() as port:
        with pytest.raises(PortTaken, match=str(port)):
            async with smdpp.serve(port):
                pass


async def test_a_chunked_request_is_read(smdpp, pki):
    peer = Peer(pki)

    async def chunks():
        body = {"euiccChallenge": "AA==", "euiccInfo1": "", "smdpAddress": ADDRESS}
        for letter in json.dumps(body):
            yield letter.encode()

    async with smdpp.serve() as port, https_client(pki, port) as client:
        response = await client.post(
            "/gsma/rsp2/es9plus/initiateAuthentication", content=chunks(), extensions=SNI
        )
    assert response.status_code == 400
    assert response.json()["message"] == "euiccChallenge has 1 bytes, not 16"
    assert peer.challenge


@pytest.mark.parametrize("version", ["v2.1.0", "v2.5.0", "v1.3.0", "v3"])
async def test_6_2_x_admin_protocol_is_echoed(smdpp, version):
    response = await post(smdpp, "cancelSession", "{}", **{"X-Admin-Protocol": f"gsma/rsp/{version}"})
    assert response.headers["X-Admin-Protocol"] == f"gsma/rsp/{version}"


async def test_6_2_another_admin_protocol_is_refused(smdpp):
    response = await post(smdpp, "cancelSession", "{}", **{"X-Admin-Protocol": "soap/v1"})
    assert (response.status_code, response.json()["error"]) == (400, "RequestRefused")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "a JSON list"),
        ("[" * 60_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("1" * 5000, "not JSON"),
        ("{}", "transactionId is missing"),
        ('{"transactionId": 1}', "transactionId is missing or not a string"),
        ('{"transactionId": "xy"}', "not hexadecimal"),
        ('{"transactionId": "\\ud800"}', "without a UTF-8 form"),
        ('{"transactionId": ""}', "has 0 bytes"),
        ('{"transactionId": "' + "00" * 17 + '"}', "has 17 bytes"),
        ('{"transactionId": "00", "cancelSessionResponse": "€"}', "not base64"),
        ('{"transactionId": "00", "cancelSessionResponse": "AAA"}', "not base64"),
    ],
)
async def test_6_5_a_malformed_request_is_400_with_a_reason(smdpp, content, words):
    response = await post(smdpp, "cancelSession", content)
    assert response.status_code == 400
    assert response.json()["error"] == "MalformedRequest"
    assert words in response.json()["message"]


async def test_6_5_base64_that_is_no_tlv_is_400_with_its_offset(smdpp):
    response = await post(smdpp, "handleNotification", '{"pendingNotification": "vzcFvycA"}')
    assert (response.status_code, response.json()["error"]) == (400, "TlvError")
    assert "offset" in response.json()["message"]


async def test_a_body_without_end_is_413(smdpp):
    assert (await post(smdpp, "cancelSession", bytes(MAX_BODY + 1))).status_code == 413


async def test_other_functions_and_methods_are_404_and_405(smdpp):
    assert (await post(smdpp, "deleteEverything", "{}")).status_code == 404
    async with asgi_client(smdpp.app) as client:
        assert (await client.get("/gsma/rsp2/es9plus/cancelSession")).status_code == 405


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(st.data(), JSON)
async def test_random_json_never_makes_a_500(smdpp, data, message):
    function = data.draw(st.sampled_from(sorted(es9_functions(smdpp.es9))))
    assert (await post(smdpp, function, json.dumps(message))).status_code == 400


Messages = dict[str, tuple[Callable[[bytes], object], bytes]]


@pytest.fixture(scope="module")
def genuine(pki, tmp_path_factory, profile) -> Messages:
    """An honest message of each kind, each the next one its session waits for, and who takes it."""
    smdpp, peers = Smdpp(pki, tmp_path_factory.mktemp("genuine")), [Peer(pki) for _ in range(3)]
    call = smdpp.es9

    def begin(peer: Peer) -> tuple[bytes, bytes]:
        answer = json.loads(
            encode_answer(call.initiate_authentication(peer.challenge, peer.info1(), ADDRESS))
        )
        return bytes.fromhex(answer["transactionId"]), peer.authenticate_server(
            answer, smdpp.add_profile(profile)
        )

    def ready(peer: Peer) -> tuple[bytes, bytes]:
        transaction_id, response = begin(peer)
        offer = json.loads(encode_answer(call.authenticate_client(transaction_id, response)))
        return transaction_id, peer.prepare_download(offer)

    (first, proof), (second, prepared), (third, last) = begin(peers[0]), ready(peers[1]), ready(peers[2])
    call.get_bound_profile_package(third, last)
    return {
        "BF38": (partial(call.authenticate_client, first), proof),
        "BF21": (partial(call.get_bound_profile_package, second), prepared),
        "BF41": (partial(call.cancel_session, second), peers[1].cancel_session(0)),
        "BF37": (call.handle_notification, peers[2].installation_result((5, 12, b"\x30\x00"))),
        "30": (call.handle_notification, peers[2].notification(b"\x06\x40")),
    }


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["BF38", "BF21", "BF41", "BF37", "30"]), st.data())
def test_a_damaged_message_is_always_refused_by_name(genuine, kind, data):
    take, message = genuine[kind]
    start = data.draw(st.integers(0, len(message) - 1))
    end = data.draw(st.integers(start, min(len(message), start + 4)))
    damaged = message[:start] + data.draw(st.binary(max_size=4)) + message[end:]
    if kind == "BF37":
        # Of an unknown transaction it is acknowledged, there is nothing it could change.
        assume(damaged[6:24] == message[6:24])
    assume(damaged != message)
    with pytest.raises(MicroipaError):
        take(damaged)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["BF38", "BF21", "BF41", "BF37", "30"]), st.binary(max_size=60))
def test_random_bytes_are_always_refused_by_name(genuine, kind, junk):
    with pytest.raises(MicroipaError):
        genuine[kind][0](junk)
