"""The SM-DS: a card finds out which SM-DP+ has a profile for it (SGP.22 clauses 3.6, 5.8 and 5.9)."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import httpx
import pytest
from euicc_peer import Dp, Terminal, make_card, spec
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki
from microipa.saip import build
from microipa.smdpp import OrderState, Smdpp
from microipa.smds import Smds
from microipa.smds.service import MAX_EVENTS
from rsp_servers import Caller, calling
from rsp_servers import Refusal as Es12Refusal
from smdpp_peer import EID, OTHER_EID, Es9, Peer, Refusal, asgi_client, https_client
from test_smdpp_card import bound_package, fields, load

INVALID_CERTIFICATE = b"\x01"
DEVICE = tlv(0xA1, tlv(0x80, b"\x35\x29\x06\x11"), tlv(0xA1))


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def smds(pki, tmp_path) -> Smds:
    return Smds(pki, tmp_path)


@pytest.fixture
def card(pki, tmp_path) -> Terminal:
    return Terminal(make_card(tmp_path, pki, root_ds=pki.smds_address)).start()


@pytest.fixture
async def es12(pki, smds) -> AsyncIterator[Caller]:
    async with (
        smds.serve_servers() as port,
        calling(pki, port, "es12", pki.smds_address, pki.smdpp_tls, pki.smdpp_oid) as caller,
    ):
        yield caller


@pytest.fixture
async def es11(smds) -> AsyncIterator[Es9]:
    async with asgi_client(smds.app) as client:
        yield Es9(client)


def event(matching_id: str = "ROOM-101", **changes: object) -> dict[str, object]:
    fields = {"eid": EID, "eventId": matching_id, "rspServerAddress": "smdp.example", "forwardingIndicator": False}
    return fields | changes


async def discover(es11: Es9, card: Terminal, event_id: str | None = None) -> list[tuple[str, str]]:
    """ES11 as an IPA does it, with a card: (rspServerAddress, eventId) of what waits."""
    address = parse(card.es10("BF3C00"))[0x81].value.decode()
    answer = await es11.call(
        "initiateAuthentication",
        euiccChallenge=parse(card.es10("BF2E00"))[0x80].value,
        euiccInfo1=card.es10("BF2000"),
        smdpAddress=address,
    )
    context = tlv(0xA0, tlv(0x80, event_id.encode()) if event_id else b"", DEVICE)
    server = fields(answer, "serverSigned1", "serverSignature1", "euiccCiPKIdToBeUsed", "serverCertificate")
    proof = card.es10(tlv(0xBF38, server, context))
    found = await es11.call(
        "authenticateClient", transactionId=answer["transactionId"], authenticateServerResponse=proof
    )
    assert found["transactionId"] == answer["transactionId"]
    return [(one["rspServerAddress"], one["eventId"]) for one in found["eventEntries"]]


# ES11


async def test_3_6_2_a_card_finds_its_events_oldest_first_and_nobody_elses(es11, es12, card):
    assert await discover(es11, card) == []
    await es12.call("registerEvent", **event("FIRST"))
    await es12.call("registerEvent", **event("SECOND", rspServerAddress="other.example"))
    await es12.call("registerEvent", **event("THIRD", eid=OTHER_EID))
    assert await discover(es11, card) == [("smdp.example", "FIRST"), ("other.example", "SECOND")]
    assert await discover(es11, card, "SECOND") == [("other.example", "SECOND")]


async def test_3_6_2_from_the_event_to_the_installed_profile_over_https(pki, smds, card, tmp_path):
    async with smds.serve_servers() as es12_port, smds.serve() as es11_port:
        smdpp = Smdpp(pki, tmp_path, routes={pki.smds_address: ("127.0.0.1", es12_port)})
        ordered = smdpp.add_profile(build(spec(2)), eid=EID, smds_address=pki.smds_address)
        await smdpp.deliver()
        async with asgi_client(smdpp.app) as client, https_client(pki, es11_port) as devices:
            devices.headers["Host"] = pki.smds_address
            es11 = _At(devices, pki.smds_address)
            [(address, matching_id)] = await discover(es11, card)
            assert (address, matching_id) == (pki.smdpp_address, ordered)
            _, package = await bound_package(Es9(client), card, matching_id)
            await Es9(client).notify(load(card, package).raw)
            await smdpp.deliver()
            assert await discover(es11, card) == []
    assert smdpp.orders()[0].state == OrderState.INSTALLED


class _At(Es9):
    """ES9+ functions at another server than the SM-DP+."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        post = client.post

        async def named(*words, extensions, **more):
            return await post(*words, extensions={"sni_hostname": name}, **more)

        client.post = named
        super().__init__(client)


@pytest.mark.parametrize(
    ("codes", "wrong"),
    [
        ("8.9.1/3.8", {"smdpAddress": "smds.example.com"}),
        ("8.9.4/3.7", {"verify": bytes(20)}),
        ("8.9.2/3.1", {"sign": bytes(20)}),
        ("8.9.3/3.1", {"svn": b"\x01\x01\x00"}),
    ],
    ids=["address", "CI for verification", "CI for signing", "version"],
)
async def test_5_8_1_initiate_authentication_is_refused(pki, es11, codes, wrong):
    peer = Peer(pki)
    if "smdpAddress" not in wrong:
        wrong = {"smdpAddress": pki.smds_address, "euiccInfo1": peer.info1(**wrong)}
    with pytest.raises(Refusal) as refusal:
        await es11.initiate(peer, **wrong)
    assert refusal.value.codes == codes


async def test_5_8_2_an_unknown_event_or_session_is_refused(es11, es12, card):
    await es12.call("registerEvent", **event("OTHERS", eid=OTHER_EID))
    with pytest.raises(Refusal, match=r"8\.9\.5/3\.9"):
        await discover(es11, card, "OTHERS")
    with pytest.raises(Refusal, match=r"8\.10\.1/3\.9"):
        await es11.call("authenticateClient", transactionId="AB", authenticateServerResponse=b"\xbf\x38\x00")


async def test_5_8_2_a_card_that_cannot_sign_learns_nothing(pki, es11, es12, card, tmp_path):
    await es12.call("registerEvent", **event())
    answer = await es11.call(
        "initiateAuthentication",
        euiccChallenge=parse(card.es10("BF2E00"))[0x80].value,
        euiccInfo1=card.es10("BF2000"),
        smdpAddress=pki.smds_address,
    )
    server = fields(answer, "serverSigned1", "serverSignature1", "euiccCiPKIdToBeUsed", "serverCertificate")
    proof = bytearray(card.es10(tlv(0xBF38, server, tlv(0xA0, DEVICE))))
    proof[proof.index(bytes.fromhex("35290611"))] ^= 1
    with pytest.raises(Refusal, match=r"8\.1/6\.1"):
        await es11.call(
            "authenticateClient", transactionId=answer["transactionId"], authenticateServerResponse=bytes(proof)
        )


def test_5_7_13_a_card_authenticates_an_sm_ds_and_takes_no_profile_from_it(pki, card):
    dp = Dp(pki, card, address=pki.smds_address, auth=pki.smds_auth)
    assert 0xA0 in dp.authenticate()
    assert dp.prepare()[0xA1][0x02].value == INVALID_CERTIFICATE  # CERT.DPpb is another server's


@pytest.mark.parametrize("role", ["smds_tls", "operator_tls"])
def test_5_7_13_other_certificates_authenticate_nobody(pki, card, role):
    dp = Dp(pki, card, auth=getattr(pki, role))
    assert dp.authenticate()[0xA1][0x02].value == INVALID_CERTIFICATE


# ES12


async def test_5_9_1_an_event_is_registered_once_and_deleted_by_its_server(smds, es12):
    await es12.call("registerEvent", **event())
    await es12.call("registerEvent", **event())  # the answer was lost
    assert len(smds.events(EID)) == 1
    with pytest.raises(Es12Refusal, match=r"8\.9\.5/3\.3"):
        await es12.call("registerEvent", **event(rspServerAddress="other.example"))
    await es12.call("deleteEvent", eid=EID, eventId="ROOM-101")
    assert smds.events(EID) == []
    with pytest.raises(Es12Refusal, match=r"8\.9\.5/3\.9"):
        await es12.call("deleteEvent", eid=EID, eventId="ROOM-101")


async def test_5_9_2_an_event_is_nobody_elses(smds, es12):
    smds.register_event("2.999.99", EID, "ROOM-101", "smdp.example", False)
    with pytest.raises(Es12Refusal, match=r"8\.9\.5/3\.3"):
        await es12.call("registerEvent", **event())
    with pytest.raises(Es12Refusal, match=r"8\.9\.5/3\.9"):
        await es12.call("deleteEvent", eid=EID, eventId="ROOM-101")
    assert len(smds.events(EID)) == 1


async def test_5_9_es12_is_for_sm_dp_certificates_and_for_nobody_elses_name(pki, smds, es12):
    with pytest.raises(Es12Refusal, match=r"1\.1/1\.1"):
        await es12.call("registerEvent", requester="2.999.99", **event())
    async with (
        smds.serve_servers() as port,
        calling(pki, port, "es12", pki.smds_address, pki.eim_tls, pki.eim_oid) as eim,
    ):
        with pytest.raises(Es12Refusal, match=r"1\.1/1\.1"):
            await eim.call("registerEvent", **event())
    assert smds.events(EID) == []


async def test_5_9_1_one_card_has_so_many_events_and_no_more(es12, smds):
    for number in range(MAX_EVENTS):
        smds.register_event("2.999.10", EID, f"E{number}", "smdp.example", False)
    with pytest.raises(Es12Refusal, match=r"8\.9/4\.2"):
        await es12.call("registerEvent", **event())


@pytest.mark.parametrize("wrong", [{"eid": "8904"}, {"eventId": ""}, {"rspServerAddress": "a" * 256}, {"eventId": 1}])
async def test_5_9_1_a_malformed_event_is_400(pki, es12, wrong):
    header = {"functionRequesterIdentifier": pki.smdpp_oid, "functionCallIdentifier": "1"}
    assert (await es12.post("registerEvent", {"header": header} | event() | wrong)).status_code == 400


async def test_6_es12_is_for_holders_of_a_certificate_of_the_ci(pki, smds, es11, tmp_path):
    foreign = Pki.open(tmp_path / "foreign")
    async with smds.serve_servers() as port:
        for credential in (None, foreign.smdpp_tls):
            async with calling(pki, port, "es12", pki.smds_address, credential, pki.smdpp_oid) as stranger:
                with pytest.raises((httpx.TransportError, ssl.SSLError)):
                    await stranger.call("registerEvent", **event())
    assert (await es11.client.post("/gsma/rsp2/es12/registerEvent", content="{}")).status_code == 404


async def test_events_survive_a_restart(pki, smds, tmp_path):
    smds.register_event("2.999.10", EID, "ROOM-101", "smdp.example", False)
    assert Smds(pki, tmp_path).events(EID) == smds.events(EID) != []
