"""The SM-DP+ and the lab's software eUICC, two implementations that check each other (SGP.22 3.1.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from euicc_peer import EID, Terminal, iccid, make_card, spec
from microipa.asn1.tlv import Tlv, parse, tlv
from microipa.crypto.pki import Pki
from microipa.saip import build
from microipa.smdpp import OrderState, Smdpp
from smdpp_peer import ADDRESS, Es9, asgi_client, unbase64

LOAD_BPP_ERROR = 5


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def card(pki, tmp_path) -> Terminal:
    return Terminal(make_card(tmp_path, pki)).start()


@pytest.fixture(params=[False, True], ids=["session keys", "profile protection keys"])
def smdpp(pki, tmp_path, request) -> Smdpp:
    return Smdpp(pki, tmp_path, ppk=request.param)


def store_data_chains(package: bytes) -> Iterator[bytes]:
    """How an IPA cuts a bound profile package: one chain a part (SGP.22 clause 2.5.5)."""
    outer = parse(package)
    channel, *parts = outer.children()
    yield package[: outer.header] + channel.raw
    for part in parts:
        if part.tag in (0xA0, 0xA2):
            yield part.raw
        else:
            yield part.raw[: part.header]
            yield from (segment.raw for segment in part)


async def bound_package(
    es9: Es9, card: Terminal, matching_id: str, address: str = ADDRESS
) -> tuple[str, bytes]:
    """Mutual authentication and preparation; the transaction id and BF36."""
    answer = await es9.call(
        "initiateAuthentication",
        euiccChallenge=parse(card.es10("BF2E00"))[0x80].value,
        euiccInfo1=card.es10("BF2000"),
        smdpAddress=address,
    )
    transaction_id: str = answer["transactionId"]
    device = tlv(0xA1, tlv(0x80, b"\x35\x29\x06\x11"), tlv(0xA1))
    context = tlv(0xA0, tlv(0x80, matching_id.encode()), device)
    server = fields(answer, "serverSigned1", "serverSignature1", "euiccCiPKIdToBeUsed", "serverCertificate")
    proof = card.es10(tlv(0xBF38, server, context))
    answer = await es9.call(
        "authenticateClient", transactionId=transaction_id, authenticateServerResponse=proof
    )
    ready = card.es10(tlv(0xBF21, fields(answer, "smdpSigned2", "smdpSignature2", "smdpCertificate")))
    answer = await es9.call(
        "getBoundProfilePackage", transactionId=transaction_id, prepareDownloadResponse=ready
    )
    return transaction_id, unbase64(answer["boundProfilePackage"])


def fields(answer: dict[str, Any], *names: str) -> bytes:
    return b"".join(unbase64(answer[name]) for name in names)


def load(card: Terminal, package: bytes) -> Tlv:
    """The card's ProfileInstallationResult."""
    for chain in store_data_chains(package):
        if result := card.es10(chain):
            return parse(result)
    raise AssertionError("the card has not said how it ended")


@pytest.mark.parametrize("filler", [0, 10_000])
async def test_3_1_3_the_card_installs_and_the_server_believes_it(smdpp, card, filler):
    matching_id = smdpp.add_profile(build(spec(2, filler=filler)))
    async with asgi_client(smdpp.app) as client:
        _, package = await bound_package(Es9(client), card, matching_id)
        result = load(card, package)
        await Es9(client).notify(result.raw)
    assert [profile.iccid for profile in card.card.profiles()] == [spec(1).iccid, spec(2).iccid]
    (order,) = smdpp.orders()
    assert (order.state, order.eid, order.result) == (OrderState.INSTALLED, EID, "installed")


async def test_2_5_6_a_flipped_bit_ends_in_a_failure_both_sides_name(smdpp, card):
    matching_id = smdpp.add_profile(build(spec(2)))
    async with asgi_client(smdpp.app) as client:
        _, package = await bound_package(Es9(client), card, matching_id)
        await Es9(client).notify(load(card, package[:-1] + bytes([package[-1] ^ 1])).raw)
    assert [profile.iccid for profile in card.card.profiles()] == [spec(1).iccid]
    (order,) = smdpp.orders()
    assert (order.state, order.result) == (OrderState.ERROR, "scp03tSecurityError in loadProfileElements")


async def test_2_5_6_a_profile_the_card_has_already_is_told_in_words(smdpp, card):
    matching_id = smdpp.add_profile(build(spec(1)))
    async with asgi_client(smdpp.app) as client:
        _, package = await bound_package(Es9(client), card, matching_id)
        await Es9(client).notify(load(card, package).raw)
    result = smdpp.orders()[0].result
    assert result == "installFailedDueToIccidAlreadyExistsOnEuicc in storeMetadata"


async def test_3_1_3_after_a_power_cut_the_same_matching_id_serves_again(smdpp, card):
    matching_id = smdpp.add_profile(build(spec(2)))
    async with asgi_client(smdpp.app) as client:
        _, package = await bound_package(Es9(client), card, matching_id)
        assert card.es10(next(store_data_chains(package))) == b""
        card.reset()
        _, again = await bound_package(Es9(client), card, matching_id)
        assert parse(again)[0xA3].raw == parse(package)[0xA3].raw  # the card kept its one-time key
        await Es9(client).notify(load(card, again).raw)
    assert smdpp.orders()[0].state == OrderState.INSTALLED
    assert iccid(2) in again


async def test_5_6_5_the_server_accepts_how_the_card_cancels(smdpp, card):
    matching_id = smdpp.add_profile(build(spec(2)))
    async with asgi_client(smdpp.app) as client:
        transaction_id, _ = await bound_package(Es9(client), card, matching_id)
        cancel = tlv(0xBF41, tlv(0x80, bytes.fromhex(transaction_id)), tlv(0x81, bytes([LOAD_BPP_ERROR])))
        await Es9(client).call(
            "cancelSession", transactionId=transaction_id, cancelSessionResponse=card.es10(cancel)
        )
    (order,) = smdpp.orders()
    assert (order.state, order.result) == (
        OrderState.RELEASED,
        "cancelled by the eUICC: loadBppExecutionError",
    )
