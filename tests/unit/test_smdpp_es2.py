"""ES2+: an operator orders, confirms, releases, cancels and is told (SGP.22 clauses 3.1.1, 3.1.2 and 5.3)."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from euicc_peer import build, spec
from microipa.asn1.tlv import parse
from microipa.crypto.pki import Pki
from microipa.smdpp import OrderInvalid, OrderState, Smdpp
from microipa.smdpp.results import INTERRUPTED
from microipa.smds import Smds
from rsp_servers import Caller, Listener, Refusal, calling
from smdpp_peer import ADDRESS, EID, OTHER_EID, Es9, Peer, asgi_client, unbase64
from smdpp_peer import Refusal as Es9Refusal

FIRST, SECOND = spec(2).iccid, spec(3).iccid


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def listener(pki) -> Listener:
    return Listener(pki)


@pytest.fixture
def smds(pki, tmp_path) -> Smds:
    return Smds(pki, tmp_path)


@pytest.fixture
async def smdpp(pki, tmp_path, listener, smds) -> AsyncIterator[Smdpp]:
    """With two profiles in stock, an operator that listens and an SM-DS."""
    async with listener.serve() as told, smds.serve_servers() as es12:
        routes = {pki.operator_address: ("127.0.0.1", told), pki.smds_address: ("127.0.0.1", es12)}
        smdpp = Smdpp(pki, tmp_path, routes=routes)
        smdpp.add_operator(pki.operator_oid, pki.operator_address)
        for number in (2, 3):
            smdpp.stock(build(spec(number)), profile_type="meter")
        yield smdpp


@pytest.fixture
async def operator(pki, smdpp) -> AsyncIterator[Caller]:
    async with (
        smdpp.serve_operators() as port,
        calling(pki, port, "es2plus", ADDRESS, pki.operator_tls, pki.operator_oid) as caller,
    ):
        yield caller


@pytest.fixture
async def es9(smdpp) -> AsyncIterator[Es9]:
    async with asgi_client(smdpp.app) as client:
        yield Es9(client)


def states(smdpp: Smdpp) -> list[OrderState]:
    return [order.state for order in smdpp.orders()]


async def ordered(operator: Caller, **fields) -> str:
    """An order of the first profile, released; its matchingId."""
    await operator.call("downloadOrder", iccid=FIRST)
    return (await operator.call("confirmOrder", iccid=FIRST, releaseFlag=True, **fields))["matchingId"]


async def codes(operator: Caller, function: str, **fields) -> str:
    with pytest.raises(Refusal) as refusal:
        await operator.call(function, **fields)
    return refusal.value.codes


# the life of an order


async def test_3_1_1_reserved_confirmed_released_downloaded_installed(smdpp, operator, es9, pki):
    assert await operator.call("downloadOrder", profileType="meter") == {"iccid": FIRST}
    assert states(smdpp) == ["allocated", "available"]
    confirmed = await operator.call("confirmOrder", iccid=FIRST, releaseFlag=False)
    assert confirmed.keys() == {"matchingId", "smdpAddress"}
    assert confirmed["smdpAddress"] == ADDRESS
    assert states(smdpp)[0] == OrderState.CONFIRMED
    with pytest.raises(Es9Refusal, match=r"8\.2/1\.2"):
        await es9.authenticate(Peer(pki), confirmed["matchingId"])
    assert await operator.call("releaseProfile", iccid=FIRST) == {}
    peer = Peer(pki)
    assert peer.open_package(await es9.download(peer, confirmed["matchingId"]))[2] == build(spec(2))
    assert states(smdpp)[0] == OrderState.DOWNLOADED
    await es9.notify(peer.installation_result())
    assert states(smdpp) == ["installed", "available"]


async def test_5_3_1_an_iccid_may_be_padded_and_a_type_named_with_it(operator):
    assert await operator.call("downloadOrder", iccid=FIRST[:19] + "F", profileType="meter") == {"iccid": FIRST}


async def test_3_1_1_an_order_for_one_eid_is_refused_to_another(smdpp, operator, es9, pki):
    await operator.call("downloadOrder", iccid=FIRST, eid=EID)
    assert states(smdpp)[0] == OrderState.LINKED
    confirmed = await operator.call("confirmOrder", iccid=FIRST, releaseFlag=True, matchingId="ROOM-101")
    assert confirmed == {"eid": EID, "matchingId": "ROOM-101", "smdpAddress": ADDRESS}
    with pytest.raises(Es9Refusal, match=r"8\.1\.1/3\.8"):
        await es9.authenticate(Peer(pki, OTHER_EID), "ROOM-101")
    assert await es9.download(Peer(pki), "ROOM-101")


async def test_3_1_1_a_default_sm_dp_order_is_found_by_its_eid_alone(smdpp, operator, es9, pki):
    assert await ordered(operator, eid=EID, matchingId="") == ""
    with pytest.raises(Es9Refusal, match=r"8\.1\.1/3\.8"):
        await es9.authenticate(Peer(pki, OTHER_EID), None)
    assert await es9.download(Peer(pki), None)


async def test_5_3_2_the_confirmation_code_is_what_the_user_must_give(operator, es9, pki):
    matching_id, peer = await ordered(operator, confirmationCode="4711"), Peer(pki)
    answer = await es9.authenticate(peer, matching_id)
    assert parse(unbase64(answer["smdpSigned2"]))[0x01].value == b"\xff"
    assert await es9.package(peer, answer, "4711")


@pytest.mark.parametrize(("final", "state"), [("Available", "available"), ("Unavailable", "unavailable")])
async def test_5_3_3_a_cancelled_profile_goes_back_into_stock_or_is_gone(smdpp, operator, es9, pki, final, state):
    matching_id, peer = await ordered(operator, eid=EID, confirmationCode="4711"), Peer(pki)
    answer = await es9.authenticate(peer, matching_id)
    await operator.call("cancelOrder", iccid=FIRST, eid=EID, matchingId=matching_id, finalProfileStatusIndicator=final)
    assert states(smdpp)[0] == state
    with pytest.raises(Es9Refusal, match=r"8\.10\.1/3\.9"):  # the session that had begun is over
        await es9.package(peer, answer, "4711")
    if final == "Available":
        again = await ordered(operator)
        assert again != matching_id
        assert await es9.download(peer, again)  # no code, no EID any more


async def test_5_3_3_after_an_error_the_operator_may_take_the_profile_back(smdpp, operator, es9, pki):
    peer = Peer(pki)
    await es9.download(peer, await ordered(operator))
    await es9.notify(peer.installation_result((5, 12, b"")))
    assert states(smdpp)[0] == OrderState.ERROR
    await operator.call("cancelOrder", iccid=FIRST, finalProfileStatusIndicator="Available")
    assert states(smdpp)[0] == OrderState.AVAILABLE


async def test_3_1_6_a_profile_that_was_installed_after_all_is_not_given_out_again(smdpp, operator, es9, pki):
    matching_id, peer = await ordered(operator), Peer(pki)
    await es9.download(peer, matching_id)
    lost = peer.installation_result()  # on its way for long
    await es9.authenticate(peer, matching_id)  # the IPA tries again, in vain
    await operator.call("cancelOrder", iccid=FIRST, finalProfileStatusIndicator="Available")
    await es9.notify(lost)
    assert states(smdpp)[0] == OrderState.INSTALLED
    assert await codes(operator, "downloadOrder", iccid=FIRST) == "8.2.1/3.3"


async def test_orders_survive_a_restart(smdpp, operator, pki, tmp_path):
    matching_id = await ordered(operator)
    async with asgi_client(Smdpp(pki, tmp_path).app) as client:
        assert await Es9(client).download(Peer(pki), matching_id)


# refusals


async def test_5_3_1_download_order_is_refused(smdpp, operator):
    assert await codes(operator, "downloadOrder") == "8.2.1/2.3"
    assert await codes(operator, "downloadOrder", iccid="8988211000000099999") == "8.2.1/3.9"
    assert await codes(operator, "downloadOrder", profileType="phone") == "8.2.5/3.9"
    assert await codes(operator, "downloadOrder", iccid=FIRST, profileType="phone") == "8.2.5/3.8"
    for _ in range(2):
        await operator.call("downloadOrder", profileType="meter")
    assert await codes(operator, "downloadOrder", profileType="meter") == "8.2.5/3.7"
    assert await codes(operator, "downloadOrder", iccid=FIRST) == "8.2.1/3.3"


async def test_5_3_2_confirm_order_is_refused(smdpp, operator):
    confirm = {"iccid": FIRST, "releaseFlag": False}
    assert await codes(operator, "confirmOrder", **confirm) == "8.2.1/3.3"  # in stock, not ordered
    await operator.call("downloadOrder", iccid=FIRST)
    assert await codes(operator, "confirmOrder", **confirm, matchingId="") == "8.1.1/2.2"
    assert await codes(operator, "confirmOrder", **confirm, smdsAddress="smds.example") == "8.1.1/2.2"
    default = {"matchingId": "", "eid": EID, "smdsAddress": "smds.example"}
    assert await codes(operator, "confirmOrder", **confirm, **default) == "8.2.6/2.2"
    assert await codes(operator, "confirmOrder", **confirm, matchingId="a b") == "8.2.6/2.1"
    await operator.call("confirmOrder", **confirm, matchingId="ROOM-101")
    await operator.call("downloadOrder", iccid=SECOND, eid=EID)
    taken = {"iccid": SECOND, "releaseFlag": True, "matchingId": "ROOM-101"}
    assert await codes(operator, "confirmOrder", **taken) == "8.2.6/3.3"
    other = {"iccid": SECOND, "releaseFlag": True, "eid": OTHER_EID}
    assert await codes(operator, "confirmOrder", **other) == "8.1.1/3.10"
    await operator.call("releaseProfile", iccid=FIRST)
    assert await codes(operator, "confirmOrder", **confirm) == "8.2.1/3.3"


async def test_5_3_4_release_profile_is_refused_before_it_is_confirmed(operator):
    await operator.call("downloadOrder", iccid=FIRST)
    assert await codes(operator, "releaseProfile", iccid=FIRST) == "8.2.1/3.3"


async def test_5_3_3_cancel_order_is_refused(operator, es9, pki):
    matching_id = await ordered(operator, eid=EID)
    cancel = {"iccid": FIRST, "finalProfileStatusIndicator": "Available"}
    assert await codes(operator, "cancelOrder", **cancel, eid=OTHER_EID) == "8.1.1/3.10"
    assert await codes(operator, "cancelOrder", **cancel) == "8.1.1/3.10"  # the order is linked to an EID
    assert await codes(operator, "cancelOrder", **cancel, eid=EID, matchingId="OTHER") == "8.2.6/3.10"
    await es9.download(Peer(pki), matching_id)
    assert await codes(operator, "cancelOrder", **cancel, eid=EID) == "8.2.1/3.3"  # the card may have it


async def test_5_3_3_an_order_for_any_eUICC_is_not_cancelled_for_one(operator):
    await ordered(operator)
    cancel = {"iccid": FIRST, "finalProfileStatusIndicator": "Available"}
    assert await codes(operator, "cancelOrder", **cancel, eid=EID) == "8.1.1/3.10"


async def test_6_an_operator_is_who_its_certificate_says_and_known_here(smdpp, operator, pki):
    assert await codes(operator, "downloadOrder", iccid=FIRST, requester="2.999.99") == "1.1/1.1"
    async with (
        smdpp.serve_operators() as port,
        calling(pki, port, "es2plus", ADDRESS, pki.smdpp_tls, pki.smdpp_oid) as stranger,
    ):
        assert await codes(stranger, "downloadOrder", iccid=FIRST) == "1.1/1.2"
        await operator.call("downloadOrder", iccid=FIRST)
        smdpp.add_operator(pki.smdpp_oid)
        assert await codes(stranger, "releaseProfile", iccid=FIRST) == "8.2.1/1.2"


async def test_6_nobody_orders_without_a_certificate_or_at_the_door_of_devices(smdpp, pki, es9):
    async with smdpp.serve_operators() as port, calling(pki, port, "es2plus", ADDRESS, None, "2.999.12") as nobody:
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            await nobody.call("downloadOrder", iccid=FIRST)
    assert (await es9.client.post("/gsma/rsp2/es2plus/downloadOrder", content="{}")).status_code == 404


@pytest.mark.parametrize(
    ("function", "fields", "words"),
    [
        ("downloadOrder", {}, "header is missing"),
        ("downloadOrder", {"header": {"functionRequesterIdentifier": "2.999.12"}}, "functionCallIdentifier is missing"),
        ("downloadOrder", {"eid": "8904"}, "has not 32 digits"),
        ("downloadOrder", {"iccid": "89"}, "is not an ICCID"),
        ("confirmOrder", {"iccid": FIRST}, "releaseFlag is missing"),
        ("confirmOrder", {"iccid": FIRST, "releaseFlag": "yes"}, "neither true nor false"),
        ("cancelOrder", {"iccid": FIRST, "finalProfileStatusIndicator": "Lost"}, "none of Available, Unavailable"),
    ],
)
async def test_6_5_a_malformed_request_is_400_with_a_reason(operator, pki, function, fields, words):
    header = {"functionRequesterIdentifier": pki.operator_oid, "functionCallIdentifier": "1"}
    incomplete = words.startswith(("header", "functionC"))
    response = await operator.post(function, fields if incomplete else {"header": header} | fields)
    assert response.status_code == 400
    assert words in response.json()["message"]


# SM-DS events


async def test_3_6_1_a_released_order_is_an_event_until_it_is_installed(smdpp, operator, smds, es9, pki):
    event = {"eid": EID, "smdsAddress": pki.smds_address}
    await operator.call("downloadOrder", iccid=FIRST)
    matching_id = (await operator.call("confirmOrder", iccid=FIRST, releaseFlag=False, **event))["matchingId"]
    assert smds.events(EID) == []
    await operator.call("releaseProfile", iccid=FIRST)
    assert [(one.event_id, one.rsp_server_address) for one in smds.events(EID)] == [(matching_id, ADDRESS)]
    peer = Peer(pki)
    await es9.download(peer, matching_id)
    await smdpp.deliver()
    assert smds.events(EID)  # the download may be interrupted
    await es9.notify(peer.installation_result())
    await smdpp.deliver()
    assert smds.events(EID) == []


async def test_3_6_1_a_cancelled_order_is_no_event_any_more(smdpp, operator, smds, pki):
    await ordered(operator, eid=EID, smdsAddress=pki.smds_address)
    await operator.call("cancelOrder", iccid=FIRST, eid=EID, finalProfileStatusIndicator="Available")
    await smdpp.deliver()
    assert smds.events(EID) == []


async def test_5_3_2_an_sm_ds_that_is_not_there_or_refuses_keeps_the_order_from_being_released(
    smdpp, operator, smds, pki
):
    await operator.call("downloadOrder", iccid=FIRST, eid=EID)
    confirm = {"iccid": FIRST, "releaseFlag": True, "matchingId": "ROOM-101"}
    assert await codes(operator, "confirmOrder", **confirm, smdsAddress="127.0.0.1:1") == "8.9/5.1"
    smds.register_event("2.999.99", EID, "ROOM-101", "smdp.example", False)
    assert await codes(operator, "confirmOrder", **confirm, smdsAddress=pki.smds_address) == "8.9/4.2"
    assert states(smdpp)[0] == OrderState.CONFIRMED
    smds.delete_event("2.999.99", EID, "ROOM-101")
    assert (await operator.call("confirmOrder", **confirm, smdsAddress=pki.smds_address))["matchingId"] == "ROOM-101"
    assert states(smdpp)[0] == OrderState.RELEASED


async def test_3_6_1_an_order_of_the_desk_is_registered_by_the_server_that_runs(smdpp, smds, pki, tmp_path):
    package = build(spec(4))
    matching_id = Smdpp(pki, tmp_path).add_profile(package, eid=EID, smds_address=pki.smds_address)
    assert smds.events(EID) == []
    await smdpp.deliver()
    assert [one.event_id for one in smds.events(EID)] == [matching_id]
    smdpp.cancel(matching_id)
    await smdpp.deliver()
    assert smds.events(EID) == []


# progress


async def test_5_3_5_the_operator_hears_of_each_step(smdpp, operator, listener, es9, pki):
    matching_id, peer = await ordered(operator, eid=EID), Peer(pki)
    await es9.download(peer, matching_id)
    result = peer.installation_result()
    await es9.notify(result)
    await es9.notify(result)  # told once
    await smdpp.deliver()
    assert listener.steps() == [(1, "ok"), (3, "ok"), (4, "ok")]
    assert listener.callers == {pki.smdpp_oid}
    told = listener.told[-1]
    assert told["header"]["functionRequesterIdentifier"] == pki.smdpp_oid
    assert (told["eid"], told["iccid"], told["profileType"]) == (EID, FIRST, "meter")
    assert datetime.now(UTC) - datetime.fromisoformat(told["timestamp"]) < timedelta(minutes=1)
    assert base64.b64decode(told["resultData"]) == result
    assert len({one["header"]["functionCallIdentifier"] for one in listener.told}) == 3


async def test_5_3_5_and_of_each_failure(smdpp, operator, listener, es9, pki):
    matching_id, peer = await ordered(operator, confirmationCode="4711"), Peer(pki)
    with pytest.raises(Es9Refusal):
        await es9.authenticate(peer, matching_id, info2=Peer.info2(free=1))
    answer = await es9.authenticate(peer, matching_id)
    with pytest.raises(Es9Refusal):
        await es9.package(peer, answer, "0815")
    await es9.package(peer, answer, "4711")
    await es9.notify(peer.installation_result((5, INTERRUPTED, b"")))
    answer = await es9.authenticate(peer, matching_id)
    await es9.cancel(peer, peer.cancel_session(3))
    await smdpp.deliver()
    steps = [(1, "8.1/4.8"), (1, "ok"), (2, "8.2.7/3.8"), (3, "ok"), (4, "8.2.10/4.2"), (1, "ok"), (3, "8.10/4.2")]
    assert listener.steps() == steps


async def test_5_3_5_an_interrupted_download_is_told_from_its_beginning_again(smdpp, operator, listener, es9, pki):
    matching_id, peer = await ordered(operator), Peer(pki)
    first = await es9.download(peer, matching_id)
    second = await es9.download(peer, matching_id)
    assert parse(first)[0xA3].raw == parse(second)[0xA3].raw  # the same keys, bound for another session
    await es9.notify(peer.installation_result())
    await smdpp.deliver()
    assert listener.steps() == [(1, "ok"), (3, "ok"), (1, "ok"), (3, "ok"), (4, "ok")]


async def test_5_3_5_what_the_operator_does_not_take_is_kept_in_order_across_a_restart(
    smdpp, operator, listener, es9, pki, tmp_path, monkeypatch
):
    matching_id = await ordered(operator)
    listener.status = 503
    await es9.download(Peer(pki), matching_id)
    await smdpp.deliver()
    assert listener.told == []
    listener.status = 204
    later = datetime.now(UTC) + timedelta(minutes=1)
    monkeypatch.setattr("microipa.smdpp.outbox.utc_now", lambda: later)
    restarted = Smdpp(pki, tmp_path, routes=smdpp.routes)
    await restarted.deliver()
    assert listener.steps() == [(1, "ok"), (3, "ok")]


async def test_5_3_5_two_servers_on_one_database_do_not_stumble_over_each_other(
    smdpp, operator, listener, es9, pki, tmp_path
):
    await es9.download(Peer(pki), await ordered(operator))
    await asyncio.gather(smdpp.deliver(), Smdpp(pki, tmp_path, routes=smdpp.routes).deliver())
    assert sorted(set(listener.steps())) == [(1, "ok"), (3, "ok")]


async def test_5_3_5_after_a_week_nobody_waits_any_more(smdpp, operator, listener, es9, pki, monkeypatch):
    await es9.authenticate(Peer(pki), await ordered(operator))
    listener.status = 503
    later = datetime.now(UTC) + timedelta(days=8)
    monkeypatch.setattr("microipa.smdpp.outbox.utc_now", lambda: later)
    await smdpp.deliver()
    listener.status = 204
    await smdpp.deliver()
    assert listener.told == []


async def test_5_3_5_an_operator_moves_and_is_not_forgotten_when_it_is_named_again(
    smdpp, operator, listener, es9, pki
):
    smdpp.add_operator(pki.operator_oid, "elsewhere.example")
    smdpp.add_operator(pki.operator_oid, pki.operator_address)
    smdpp.add_operator(pki.operator_oid)  # as a lab does whenever it is opened
    await es9.authenticate(Peer(pki), await ordered(operator))
    await smdpp.deliver()
    assert listener.steps() == [(1, "ok")]


async def test_5_3_5_an_order_of_the_desk_has_nobody_to_tell(smdpp, listener, es9, pki):
    await es9.download(Peer(pki), smdpp.add_profile(build(spec(4))))
    await smdpp.deliver()
    assert listener.told == []


# the desk


def test_a_profile_is_in_stock_once(smdpp):
    with pytest.raises(OrderInvalid, match="already in stock or ordered"):
        smdpp.stock(build(spec(2)))


def test_an_order_says_all_that_it_is(smdpp, pki):
    end = datetime(2031, 1, 2, tzinfo=UTC)
    smdpp.add_profile(build(spec(4)), eid=EID, confirmation_code="1", expires=end, smds_address=pki.smds_address)
    view = smdpp.orders()[-1]
    assert (view.eid, view.confirmation_code, view.expires, view.smds_address) == (EID, True, end, pki.smds_address)


@pytest.mark.parametrize(
    "wrong", [{"matching_id": ""}, {"smds_address": "s"}, {"matching_id": "", "eid": EID, "smds_address": "s"}]
)
def test_3_1_1_an_order_that_a_card_finds_by_itself_needs_what_it_is_found_by(smdpp, wrong):
    with pytest.raises(OrderInvalid):
        smdpp.add_profile(build(spec(4)), **wrong)


async def test_an_expired_order_ends_and_is_no_event_any_more(smdpp, smds, es9, pki):
    past = datetime.now(UTC) - timedelta(seconds=1)
    matching_id = smdpp.add_profile(build(spec(4)), eid=EID, smds_address=pki.smds_address, expires=past)
    await smdpp.deliver()
    assert smds.events(EID)
    with pytest.raises(Es9Refusal, match=r"8\.8\.5/4\.10"):
        await es9.authenticate(Peer(pki), matching_id)
    await smdpp.deliver()
    assert smdpp.orders()[-1].state == OrderState.ERROR
    assert smds.events(EID) == []


def test_a_cancelled_order_is_over_and_an_unknown_one_named(smdpp):
    matching_id = smdpp.add_profile(build(spec(4)))
    smdpp.cancel(matching_id)
    assert smdpp.orders()[-1].state == OrderState.UNAVAILABLE
    with pytest.raises(OrderInvalid, match="no order with matchingId or ICCID 'X'"):
        smdpp.cancel("X")
