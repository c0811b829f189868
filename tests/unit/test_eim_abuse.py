"""Whatever a peer sends, the eIM answers or refuses it by name, and its orders stay as they are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from eim_ipa import Ipa
from euicc_peer import EID, Terminal, make_card, spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from microipa.asn1.tlv import parse, parse_all, tlv
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.eim.esipa import EsipaRefused
from microipa.saip import build
from microipa.smdpp import Smdpp
from smdpp_peer import ADDRESS

FUNCTIONS = [0xBF39, 0xBF3A, 0xBF3B, 0xBF3D, 0xBF41, 0xBF4F, 0xBF50]
INNER = [0x02, 0x04, 0x0C, 0x30, 0x5A, 0x5F37, 0xBF27, 0xBF2F, 0xBF37, 0xBF38, 0xBF21, 0xBF51, 0xBF52, 0xBF54]
TAGS = [*INNER, *range(0x80, 0x89), *range(0xA0, 0xA9)]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def recorded(pki: Pki, folder: Path) -> list[bytes]:
    """Every ESipa message of a download, a switch and the notifications after it."""
    smdpp = Smdpp(pki, folder)
    messages: list[bytes] = []
    async with smdpp.serve() as port:
        desk = Eim(pki, folder, es9_routes={ADDRESS: ("127.0.0.1", port)})
        desk.add_device(EID)
        card = Terminal(make_card(folder, pki)).start()
        card.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))

        async def ask(message: bytes) -> bytes:
            messages.append(message)
            return await desk.handle(message)

        desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(2)))), needs_proof=False)
        desk.order_package(EID, [("listProfileInfo", {}), ("enable", {"iccid": spec(2).iccid})])
        ipa = Ipa(ask, card)
        await ipa.work()
        for pending in parse(card.es10("BF2B00"))[0xA0]:
            await ipa.notify(pending.raw)
    return messages


@pytest.fixture(scope="module")
def messages(pki, tmp_path_factory) -> list[bytes]:
    return asyncio.run(recorded(pki, tmp_path_factory.mktemp("recorded")))


@pytest.fixture(scope="module")
def busy(pki, tmp_path_factory) -> Eim:
    """An eIM whose device has a package under way and a download waiting."""
    folder = tmp_path_factory.mktemp("busy")
    desk = Eim(pki, folder, es9_routes={ADDRESS: ("127.0.0.1", 1)})
    desk.add_device(EID)
    card = Terminal(make_card(folder, pki)).start()
    card.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))
    desk.order_package(EID, [("listProfileInfo", {})])
    desk.order_download(EID, f"LPA:1${ADDRESS}$X", needs_proof=False)

    async def begin() -> None:
        ipa = Ipa(desk.handle, card)
        await ipa.introduce()
        await ipa.get()

    asyncio.run(begin())
    return desk


def held(desk: Eim, message: bytes) -> None:
    """``message`` gets an answer of its function or a named refusal, and no order becomes done by it."""
    try:
        answer = asyncio.run(desk.handle(message))
    except EsipaRefused:
        answer = b""
    if answer:
        assert parse(answer).tag == parse(message).tag
    done = [view for view in desk.orders(EID) if view.state == "done" and view.kind != "data"]
    assert done == []


@QUICK
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_answered_or_refused(busy, message):
    held(busy, message)


def nested() -> st.SearchStrategy[bytes]:
    leaf = st.builds(tlv, st.sampled_from(TAGS), st.one_of(st.binary(max_size=20), st.just(bytes.fromhex(EID))))
    return st.recursive(
        leaf, lambda inner: st.builds(lambda t, c: tlv(t, *c), st.sampled_from(TAGS), st.lists(inner, max_size=5))
    )


@QUICK
@given(st.sampled_from(FUNCTIONS), st.lists(nested(), max_size=4), st.booleans())
def test_tlvs_of_any_shape_are_answered_or_refused(busy, function, inner, with_eid):
    eid = tlv(0x5A, bytes.fromhex(EID)) if with_eid else b""
    held(busy, tlv(function, eid, *inner))


def mutated(data: st.DataObject, message: bytes) -> bytes:
    """``message`` with one bit flipped, cut short, or one of its elements left out, doubled or emptied."""
    how = data.draw(st.sampled_from(["flip", "cut", "drop", "double", "empty"]))
    if how == "flip":
        changed = bytearray(message)
        changed[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        return bytes(changed)
    if how == "cut":
        return message[: data.draw(st.integers(0, len(message) - 1))]
    return _without(data, message, how)


def _without(data: st.DataObject, raw: bytes, how: str) -> bytes:
    outer = parse(raw)
    if outer.tag & 0x20 == 0 and outer.tag < 0x100 or not outer.value:
        return raw
    children = [child.raw for child in parse_all(outer.value)]
    chosen = data.draw(st.integers(0, len(children) - 1))
    child = parse(children[chosen])
    constructed = child.raw[0] & 0x20 and child.value
    if constructed and data.draw(st.booleans()):
        children[chosen] = _without(data, child.raw, how)
    else:
        replacement = {"drop": b"", "double": child.raw * 2, "empty": tlv(child.tag)}
        children[chosen] = replacement[how]
    return tlv(outer.tag, *children)


@QUICK
@given(st.data())
def test_mutated_messages_of_a_real_session_are_answered_or_refused(busy, messages, data):
    held(busy, mutated(data, data.draw(st.sampled_from(messages))))


HUGE = b"\x7f" * 2000


def test_a_number_that_nothing_can_hold_is_refused(busy):
    poll = tlv(0xBF4F, tlv(0x5A, bytes.fromhex(EID)), tlv(0x80), tlv(0x81, HUGE))
    with pytest.raises(EsipaRefused, match="INTEGER 81 of 2000 bytes"):
        asyncio.run(busy.handle(poll))


def test_2_11_2_2_an_association_token_that_nothing_can_hold_is_refused(pki, tmp_path):
    desk = Eim(pki, tmp_path, es9_routes={})
    desk.add_device(EID)
    card = Terminal(make_card(tmp_path, pki)).start()
    card.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))
    desk.order_package(EID, [("listProfileInfo", {})])

    async def claim() -> None:
        ipa = Ipa(desk.handle, card)
        answer = parse(ipa.about(await ipa.get()))[0xA0]
        fields = [tlv(0x84, b"\x01" * 9), *(field.raw for field in answer if field.tag != 0x84)]
        await desk.handle(tlv(0xBF50, tlv(0x5A, bytes.fromhex(EID)), tlv(0xBF52, tlv(0xA0, *fields))))

    with pytest.raises(EsipaRefused, match="INTEGER 84 of 9 bytes"):
        asyncio.run(claim())
    assert desk.device(EID).association_token is None


def test_messages_of_a_session_with_another_eim_change_nothing_here(busy, messages):
    for message in messages:
        held(busy, message)
