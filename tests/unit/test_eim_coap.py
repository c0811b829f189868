"""ESipa over CoAP and DTLS: blocks, limits and bad peers (SGP.32 6.2, RFC 7252, RFC 7959, RFC 9175)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import Type
from eim_client import DtlsClient
from eim_coap import Bare, connected
from eim_ipa import Ipa, order
from euicc_peer import EID, spec
from microipa.asn1.tlv import integer, tlv
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.eim.coap import serve
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.eim.esipa import EsipaRefused
from microipa.saip import build
from microipa.smdpp import Smdpp
from microipa.storage.database import StoreBusy
from smdpp_peer import ADDRESS

POLL = tlv(0xBF4F, tlv(0x5A, bytes.fromhex(EID)))
NOTHING = tlv(0xBF4F, integer(0x02, 1))


@contextlib.asynccontextmanager
async def bare(port: int, pki: Pki) -> AsyncIterator[Bare]:
    client = await DtlsClient(port, pki.ci.certificate).connect()
    try:
        yield Bare(client)
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def answering(pki: Pki, handle) -> AsyncIterator[Bare]:
    """A server around ``handle`` instead of an eIM, and a client of it."""
    async with (
        serve(handle, pki.eim_tls, port=0, settings=DtlsSettings()) as port,
        bare(port, pki) as peer,
    ):
        yield peer


@pytest.fixture
async def peer(desk: Eim, pki: Pki) -> AsyncIterator[Bare]:
    """A client of ``desk`` that sends message by message."""
    async with desk.serve() as port, bare(port, pki) as peer:
        yield peer


async def test_6_2_a_poll_is_a_post_answered_by_2_04(desk, pki):
    async with desk.serve() as port, connected(port, pki.ci.certificate) as coap:
        assert await coap.post(POLL) == NOTHING
        assert coap.last.code == Code.CHANGED


async def test_6_2_a_download_and_a_switch_travel_in_blocks_both_ways(pki, tmp_path, enrolled):
    smdpp = Smdpp(pki, tmp_path)
    async with smdpp.serve() as https:
        desk = Eim(pki, tmp_path, es9_routes={ADDRESS: ("127.0.0.1", https)})
        code = smdpp.activation_code(smdpp.add_profile(build(spec(2, filler=10_000))))
        desk.order_download(EID, code, needs_proof=False)
        desk.order_package(EID, [("enable", {"iccid": spec(2).iccid})])
        async with desk.serve() as port, connected(port, pki.ci.certificate) as coap:
            await Ipa(coap.post, enrolled).work()
    assert [view.state for view in desk.orders()] == ["done", "done", "done"]
    assert [profile.state for profile in enrolled.card.profiles()] == ["disabled", "enabled"]


async def test_6_2_a_request_may_name_a_port_without_a_host(peer):
    answer = await peer.exchange(POLL, uri_port=5684)
    assert answer.code == Code.CHANGED


async def test_6_2_two_devices_are_served_at_once(desk, pki, enrolled):
    async with (
        desk.serve() as port,
        connected(port, pki.ci.certificate) as one,
        connected(port, pki.ci.certificate) as two,
    ):
        assert await asyncio.gather(one.post(POLL), two.post(POLL)) == [NOTHING, NOTHING]


async def test_6_2_one_device_may_come_back_with_a_new_association(desk, pki, ipa):
    number = desk.order_package(EID, [("listProfileInfo", {})])
    async with desk.serve() as port:
        async with connected(port, pki.ci.certificate) as coap:
            ipa.ask = coap.post
            await ipa.introduce()
            package = await ipa.get()
        async with connected(port, pki.ci.certificate) as coap:
            ipa.ask = coap.post
            assert (await ipa.get()).raw == package.raw
            await ipa.carry_out(package)
    assert order(desk, number).state == "done"


# What cannot be understood ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xbf", b"\xbf\x4f\x05\x5a", POLL + b"\0", b"\xbf\x4f\x80\x00\x00", tlv(0xBF4F, b"\x5a")],
    ids=["nothing", "half a tag", "cut short", "more than one", "indefinite length", "broken inside"],
)
async def test_malformed_tlv_is_answered_by_4_00_with_the_reason_and_the_server_stays_up(peer, payload):
    answer = await peer.exchange(payload)
    assert answer.code == Code.BAD_REQUEST
    assert b"offset" in answer.payload
    assert (await peer.exchange(POLL)).payload == NOTHING


@pytest.mark.parametrize("tag", [0xBF51, 0xBF4E, 0xBF36, 0x30], ids=lambda tag: f"{tag:X}")
async def test_6_3_what_is_no_message_to_an_eim_is_answered_by_4_00(peer, tag):
    answer = await peer.exchange(tlv(tag))
    assert answer.code == Code.BAD_REQUEST
    assert f"{tag:02X}".encode() in answer.payload


async def test_6_2_other_paths_and_methods_are_refused(peer):
    assert (await peer.exchange(POLL, uri_path=("gsma", "rsp2"))).code == Code.NOT_FOUND
    assert (await peer.exchange(code=Code.GET)).code == Code.METHOD_NOT_ALLOWED


async def test_7252_3_what_is_no_coap_is_ignored(peer):
    for nonsense in (b"\xff", b"\x00" * 3, b"\x40\x02\x77\x77\xff", b"\x49" + bytes(20)):
        peer.client.send(nonsense)
    peer.send(POLL)
    while (await peer.receive()).payload != NOTHING:  # the third may be answered by a reset
        pass


async def test_a_handler_that_breaks_is_answered_by_5_00_and_the_server_stays_up(pki):
    async def handle(request: bytes) -> bytes:
        return bytes(1 // len(request))

    async with answering(pki, handle) as peer:
        assert (await peer.exchange(b"")).code == Code.INTERNAL_SERVER_ERROR
        assert (await peer.exchange(b"1")).code == Code.CHANGED


async def test_a_database_that_is_busy_is_answered_by_5_03(pki):
    async def handle(request: bytes) -> bytes:
        raise StoreBusy("another process has it")

    async with answering(pki, handle) as peer:
        answer = await peer.exchange(POLL)
    assert (answer.code, answer.payload) == (Code.SERVICE_UNAVAILABLE, b"another process has it")


async def test_a_long_reason_fits_one_message(pki):
    async def handle(request: bytes) -> bytes:
        raise EsipaRefused("x" * 5000)

    async with answering(pki, handle) as peer:
        answer = await peer.exchange(POLL)
    assert (answer.code, answer.opt.block2) == (Code.BAD_REQUEST, None)


# Requests in blocks -----------------------------------------------------------------------------------------

SZX = 6  # blocks of 1024 bytes


def block(number: int, more: bool) -> tuple[int, bool, int]:
    return (number, more, SZX)


async def echo(request: bytes) -> bytes:
    return request[-4:] + str(len(request)).encode()


async def test_7959_2_5_a_request_in_blocks_is_put_together(pki):
    async with answering(pki, echo) as peer:
        for number in range(3):
            answer = await peer.exchange(bytes([number]) * 1024, block1=block(number, True))
            assert (answer.code, answer.opt.block1[:2]) == (Code.CONTINUE, (number, True))
        answer = await peer.exchange(b"last", block1=block(3, False))
    assert (answer.code, answer.payload) == (Code.CHANGED, b"last3076")
    assert answer.opt.block1[:2] == (3, False)


async def test_7959_2_9_2_a_gap_between_blocks_is_answered_by_4_08(pki):
    async with answering(pki, echo) as peer:
        await peer.exchange(bytes(1024), block1=block(0, True))
        assert (await peer.exchange(b"x", block1=block(2, False))).code == Code.REQUEST_ENTITY_INCOMPLETE
        await peer.exchange(bytes(1024), block1=block(0, True))
        assert (await peer.exchange(b"rest", block1=block(1, False))).payload == b"rest1028"


async def test_7959_2_9_2_a_block_of_nothing_is_answered_by_4_08(pki):
    async with answering(pki, echo) as peer:
        assert (await peer.exchange(b"x", block1=block(1, False))).code == Code.REQUEST_ENTITY_INCOMPLETE


async def test_9175_3_blocks_with_another_request_tag_are_another_request(pki):
    async with answering(pki, echo) as peer:
        await peer.exchange(bytes(1024), block1=block(0, True), request_tag=[b"old"])
        await peer.exchange(bytes(1024), block1=block(0, True), request_tag=[b"new"])
        stale = await peer.exchange(b"old!", block1=block(1, False), request_tag=[b"old"])
        assert stale.code == Code.REQUEST_ENTITY_INCOMPLETE
        answer = await peer.exchange(b"new!", block1=block(1, False), request_tag=[b"new"])
    assert answer.payload == b"new!1028"


async def test_7252_9_1_blocks_of_one_association_do_not_mix_with_anothers(desk, pki):
    async with (
        serve(echo, pki.eim_tls, port=0, settings=DtlsSettings()) as port,
        bare(port, pki) as one,
        bare(port, pki) as two,
    ):
        await one.exchange(bytes(1024), block1=block(0, True))
        foreign = await two.exchange(b"mine", block1=block(1, False))
        assert foreign.code == Code.REQUEST_ENTITY_INCOMPLETE
        assert (await one.exchange(b"mine", block1=block(1, False))).payload == b"mine1028"


async def test_a_request_beyond_65_kb_is_answered_by_4_13(pki):
    async with answering(pki, echo) as peer:
        for number in range(64):
            assert (await peer.exchange(bytes(1024), block1=block(number, True))).code == Code.CONTINUE
        answer = await peer.exchange(b"x", block1=block(64, False))
        assert answer.code == Code.REQUEST_ENTITY_TOO_LARGE
        await peer.exchange(bytes(1024), block1=block(0, True))
        assert (await peer.exchange(b"good", block1=block(1, False))).payload == b"good1028"


async def test_a_request_that_says_it_begins_beyond_65_kb_is_answered_by_4_13(pki):
    async with answering(pki, echo) as peer:
        answer = await peer.exchange(bytes(1024), block1=block(1 << 15, True))
    assert answer.code == Code.REQUEST_ENTITY_TOO_LARGE


# Responses in blocks ----------------------------------------------------------------------------------------


async def large(request: bytes) -> bytes:
    return request * 3000


async def test_7959_2_4_a_large_answer_is_fetched_block_by_block(pki):
    async with answering(pki, large) as peer:
        first = await peer.exchange(b"a")
        assert (first.opt.block2[:2], len(first.payload)) == ((0, True), 1024)
        second = await peer.exchange(block2=block(1, False))
        third = await peer.exchange(block2=block(2, False))
    assert first.payload + second.payload + third.payload == b"a" * 3000
    assert not third.opt.block2.more


async def test_7959_2_4_the_peer_may_ask_for_smaller_blocks(pki):
    async with answering(pki, large) as peer:
        first = await peer.exchange(b"a", block2=(0, False, 4))
        last = await peer.exchange(block2=(11, False, 4))
    assert len(first.payload) == 256
    assert (len(last.payload), last.opt.block2.more) == (3000 - 11 * 256, False)


async def test_7959_2_4_blocks_of_nothing_are_answered_by_4_08(pki):
    async with answering(pki, large) as peer:
        assert (await peer.exchange(block2=block(1, False))).code == Code.REQUEST_ENTITY_INCOMPLETE


async def test_9175_3_blocks_of_the_answer_need_not_repeat_the_request_tag(pki):
    async with answering(pki, large) as peer:
        await peer.exchange(b"b", request_tag=[b"tag"])
        assert (await peer.exchange(block2=block(1, False))).payload == b"b" * 1024


async def test_a_new_request_replaces_the_answer_before(pki):
    async with answering(pki, large) as peer:
        await peer.exchange(b"a")
        await peer.exchange(b"b")
        assert (await peer.exchange(block2=block(1, False))).payload == b"b" * 1024


# Time -------------------------------------------------------------------------------------------------------


async def test_7252_5_2_2_an_answer_that_takes_long_comes_separately(pki):
    ready = asyncio.Event()

    async def handle(request: bytes) -> bytes:
        await ready.wait()
        return b"at last"

    async with answering(pki, handle) as peer:
        acknowledged = await peer.exchange(b"?")
        assert (acknowledged.mtype, acknowledged.code) == (Type.ACK, Code.EMPTY)
        ready.set()
        answer = await peer.receive()
    assert (answer.mtype, answer.payload) == (Type.CON, b"at last")


async def test_7252_4_2_a_repeated_request_is_executed_once(pki):
    executed = []

    async def handle(request: bytes) -> bytes:
        executed.append(request)
        return b"ok"

    async with answering(pki, handle) as peer:
        first = await peer.exchange(b"once")
        peer._mid -= 1
        again = await peer.exchange(b"once")
    assert (first.payload, again.payload, executed) == (b"ok", b"ok", [b"once"])


async def test_too_many_requests_at_once_are_answered_by_5_03(pki, monkeypatch):
    monkeypatch.setattr("microipa.eim.coap.MOST_AT_ONCE", 1)
    ready = asyncio.Event()

    async def handle(request: bytes) -> bytes:
        await ready.wait()
        return b"first"

    async with answering(pki, handle) as peer:
        peer.send(b"1")
        assert (await peer.exchange(b"2")).code == Code.SERVICE_UNAVAILABLE
        ready.set()
        assert (await peer.receive()).payload == b"first"


async def test_requests_of_one_host_that_wait_for_answers_leave_places_for_others(pki, monkeypatch):
    monkeypatch.setattr("microipa.eim.coap.MOST_AT_ONCE", 4)

    async def handle(request: bytes) -> bytes:
        if request == b"wait":
            await asyncio.Event().wait()
        return b"ok"

    async with serve(handle, pki.eim_tls, port=0, settings=DtlsSettings()) as port:
        flood = [Bare(await DtlsClient(port, pki.ci.certificate, local_host="127.0.0.2").connect()) for _ in range(4)]
        for one in flood:
            one.send(b"wait")
        answers = Counter([(await one.receive()).code for one in flood])
        assert answers == {Code.EMPTY: 3, Code.SERVICE_UNAVAILABLE: 1}
        honest = Bare(await DtlsClient(port, pki.ci.certificate).connect())
        assert (await honest.exchange(b"poll")).payload == b"ok"


async def test_a_question_repeated_for_smaller_blocks_is_not_executed_again(pki):
    """A device whose path does not take the answer says it again, in a new message with the old token."""
    heard: list[bytes] = []

    async def handle(request: bytes) -> bytes:
        heard.append(request)
        return request * 100

    async with answering(pki, handle) as peer:
        await peer.exchange(b"once", token=b"\7")
        first = await peer.exchange(b"once", token=b"\7", block2=(0, False, 4))
        assert (len(first.payload), first.opt.block2) == (256, (0, True, 4))
        second = await peer.exchange(token=b"\x08", block2=(1, False, 4))
        assert first.payload + second.payload == b"once" * 100
        assert heard == [b"once"]
        await peer.exchange(b"once", token=b"\x09", block2=(0, False, 4))
        assert len(heard) == 2


async def test_the_last_block_of_a_question_may_be_repeated_for_smaller_blocks(pki):
    heard: list[bytes] = []

    async def handle(request: bytes) -> bytes:
        heard.append(request)
        return request[::-1]

    body = bytes(1024) + b"end"
    async with answering(pki, handle) as peer:
        how = {"request_tag": [b"ab"]}
        await peer.exchange(body[:1024], block1=(0, True, 6), **how)
        await peer.exchange(body[1024:], block1=(1, False, 6), token=b"\7", **how)
        again = await peer.exchange(body[1024:], block1=(1, False, 6), token=b"\7", block2=(0, False, 5), **how)
        assert (again.code, again.payload) == (Code.CHANGED, body[::-1][:512])
        assert heard == [body]
