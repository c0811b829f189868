"""The eIM hands packages to a device that did not ask, over the association it keeps open (SGP.32 3.1.1.2, 5.14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import eim_ipa
import pytest
from aiocoap.numbers.codes import Code
from eim_coap import connected
from eim_ipa import OTHER_EID, Ipa, Refusal, order
from euicc_peer import EID
from microipa.asn1 import sgp32
from microipa.asn1.tlv import integer, parse, tlv
from microipa.eim import Eim, UnknownDevice, Unreachable

LIST = [("listProfileInfo", {})]
RECEIVED = tlv(0xBF4E, b"\x05\x00")


class Listener:
    """An IPA that listens; ``heard`` are the tags of what came, ``says`` may answer in its place, or it forges."""

    def __init__(self, ipa: Ipa) -> None:
        self.ipa = ipa
        self.heard: list[int] = []
        self.requests: list[bytes] = []
        self.says: bytes | Code | None = None
        self.forges = False
        self.port = 0
        self.acknowledged = asyncio.Event()

    def answer(self, request: bytes) -> bytes | Code:
        (package,) = parse(request)
        self.heard.append(package.tag)
        self.requests.append(request)
        if self.says is not None:
            return self.says
        if package.tag == 0xBF53:
            self.acknowledged.set()
            self.ipa.remove([seq.value[0] for seq in package])
            return RECEIVED
        result = self.ipa.execute(package) if package.tag == 0xBF51 else self.ipa.about(package)
        if self.forges:
            result = result[:-1] + bytes([result[-1] ^ 1])
        return tlv(0xBF4E, result)


@pytest.fixture
async def listener(desk: Eim, ipa: Ipa, pki, monkeypatch) -> AsyncIterator[Listener]:
    """A device that has polled until nothing was left, and listens."""
    monkeypatch.setattr(eim_ipa, "CAPABILITIES", bytes.fromhex("8002064081020450"))
    listener = Listener(ipa)
    desk.order_package(EID, LIST)
    async with desk.serve() as port, connected(port, pki.ci.certificate, listener.answer) as coap:
        listener.port = port
        ipa.ask = coap.post
        await ipa.work()
        yield listener


@pytest.mark.covers("esipa.TransferEimPackageRequest", "esipa.TransferEimPackageResponse")
async def test_3_1_1_2_what_waits_is_handed_over_settled_and_acknowledged(desk, listener):
    numbers = [desk.order_package(EID, LIST), desk.order_data(EID, ["euiccInfo2"])]
    assert await desk.inject(EID)
    assert listener.heard == [0xBF51, 0xBF53, 0xBF52]
    assert [order(desk, number).state for number in numbers] == ["done", "done"]
    assert listener.ipa.stored() == b""
    assert all(sgp32.decode("TransferEimPackageRequest", request) for request in listener.requests)


async def test_3_1_1_2_a_serving_eim_hands_over_new_orders_by_itself(desk, listener):
    number = desk.order_package(EID, LIST)
    await asyncio.wait_for(listener.acknowledged.wait(), 20)
    assert order(desk, number).state == "done"
    assert listener.heard == [0xBF51, 0xBF53]


async def test_3_1_1_2_packages_too_large_for_a_datagram_travel_in_blocks(desk, listener):
    configuration = sgp32.decode("EimConfigurationData", desk.configuration("certificate"))
    eims = [("addEim", configuration | {"eimId": f"eim{n}.example", "eimFqdn": "x" * 200}) for n in range(2)]
    number = desk.order_package(EID, [*eims, ("listEim", {})])
    assert await desk.inject(EID)
    assert len(listener.requests[0]) > 1024
    assert order(desk, number).state == "done"


@pytest.mark.covers("package.eimPackageReceived")
async def test_3_1_1_2_a_package_that_is_received_is_not_sent_again_and_its_result_may_come_later(desk, listener):
    number = desk.order_package(EID, LIST)
    listener.says = RECEIVED
    assert not await desk.inject(EID)
    assert not await desk.inject(EID)
    assert listener.heard == [0xBF51]
    assert order(desk, number).state == "delivered"
    result = listener.ipa.execute(parse(listener.requests[0])[0xBF51])
    listener.says = None
    listener.ipa.remove(await listener.ipa.provide(result))
    assert order(desk, number).state == "done"
    assert await desk.inject(EID)


@pytest.mark.covers(
    "error.TransferEimPackageResponse.invalidPackageFormat",
    "error.TransferEimPackageResponse.unknownPackage",
    "error.TransferEimPackageResponse.undefinedError",
)
@pytest.mark.parametrize(
    ("code", "word"), [(1, "invalidPackageFormat"), (2, "unknownPackage"), (127, "undefinedError")]
)
async def test_3_1_1_2_an_error_fails_the_order_by_its_name(desk, listener, code, word):
    number = desk.order_package(EID, LIST)
    listener.says = tlv(0xBF4E, integer(0x02, code))
    assert await desk.inject(EID)
    assert order(desk, number).result == f"the IPA could not handle the package: {word}"


async def test_a_result_that_does_not_verify_leaves_the_order_open_raises_an_alarm_and_ends_the_hand_over(
    desk, listener
):
    number = desk.order_package(EID, LIST)
    listener.forges = True
    assert not await desk.inject(EID)
    assert listener.heard == [0xBF51]
    assert order(desk, number).state == "delivered"
    assert "signature" in desk.device(EID).alarms[-1]


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (b"", "answers TransferEimPackage with nothing"),
        (b"\xff", "answers TransferEimPackage with ff"),
        (tlv(0xBF50, b"\x05\x00"), "answers TransferEimPackage with bf50020500"),
        (tlv(0xBF4E, b"\x05\x00\x05\x00"), "answers TransferEimPackage with bf4e0405000500"),
        (tlv(0xBF4E, tlv(0xBF36)), "malformed message: BF36 is not an eIM package result"),
        (tlv(0xBF4E, tlv(0xBF51, b"\xa0")), "malformed message: no length after tag A0"),
        (Code.NOT_FOUND, "does not accept packages: 4.04 Not Found"),
    ],
    ids=["nothing", "no TLV", "another function", "two answers", "another tag", "cut short", "4.04"],
)
async def test_a_device_that_talks_nonsense_is_left_to_its_next_poll_and_the_order_stays(
    desk, listener, says, reason
):
    number = desk.order_package(EID, LIST)
    listener.says = says
    with pytest.raises(Unreachable, match=reason):
        await desk.inject(EID)
    assert order(desk, number).state == "delivered"
    with pytest.raises(Unreachable, match="next poll"):
        await desk.inject(EID)
    listener.says = None
    await listener.ipa.work()
    assert order(desk, number).state == "done"


async def test_a_device_that_came_back_with_another_association_is_reached_there(desk, listener, pki):
    fresh = Listener(listener.ipa)
    async with desk.serve() as port, connected(port, pki.ci.certificate, fresh.answer) as coap:
        listener.ipa.ask = coap.post
        await listener.ipa.work()
        desk.order_package(EID, LIST)
        assert await desk.inject(EID)
    assert (fresh.heard[0], listener.heard) == (0xBF51, [])


@pytest.mark.covers("IpaCapabilities.ipaSupportedProtocols.ipaInjectCoaps")
async def test_only_a_device_that_listens_and_says_so_is_sent_anything(desk, ipa, pki):
    with pytest.raises(UnknownDevice, match=OTHER_EID):
        await desk.inject(OTHER_EID)
    number = desk.order_package(EID, LIST)
    with pytest.raises(Unreachable, match="does not report ipaInjectCoaps"):
        await desk.inject(EID)
    assert order(desk, number).state == "queued"


async def test_a_device_without_association_gets_its_orders_at_its_next_poll(desk, ipa, monkeypatch):
    monkeypatch.setattr(eim_ipa, "CAPABILITIES", bytes.fromhex("8002064081020450"))
    number = desk.order_package(EID, LIST)
    await ipa.introduce()
    with pytest.raises(Unreachable, match="next poll"):
        await desk.inject(EID)
    await ipa.work()
    assert order(desk, number).state == "done"


@pytest.mark.covers("package.eimPackageReceivedWithCid")
@pytest.mark.parametrize("identity", ["transaction", "eid", "none"])
async def test_v1_3_a_received_package_with_a_correlation_is_one(desk, listener, identity):
    desk.order_package(EID, LIST)
    given = {"transaction": tlv(0x80, b"\x11" * 8), "eid": tlv(0x5A, bytes.fromhex(EID)), "none": b""}[identity]
    listener.says = tlv(0xBF4E, tlv(0xBF60, given))
    assert not await desk.inject(EID)
    assert not await desk.inject(EID)
    assert listener.heard == [0xBF51]


@pytest.mark.covers("package.eimPackageErrorWithCid")
async def test_v1_3_an_error_with_a_correlation_is_told_by_its_name(desk, listener):
    number = desk.order_package(EID, LIST)
    listener.says = tlv(0xBF4E, tlv(0xBF61, tlv(0x5A, bytes.fromhex(EID)), integer(0x02, 2)))
    assert await desk.inject(EID)
    assert order(desk, number).result == "the IPA could not handle the package: unknownPackage"
    assert order(desk, number).state == "failed"


async def test_a_stranger_who_polls_with_the_eid_does_not_take_injection_over(desk, listener, pki):
    thief = Listener(listener.ipa)
    async with connected(listener.port, pki.ci.certificate, thief.answer) as coap:
        stranger = Ipa(coap.post, listener.ipa.card)
        with pytest.raises(Refusal):
            await stranger.get()
        number = desk.order_package(EID, LIST)
        assert await desk.inject(EID)
    assert (thief.heard, listener.heard[0]) == ([], 0xBF51)
    assert order(desk, number).state == "done"


async def test_a_newer_association_is_asked_when_the_proven_one_takes_no_packages(desk, listener, pki):
    fresh = Listener(listener.ipa)
    async with connected(listener.port, pki.ci.certificate, fresh.answer) as coap:
        with pytest.raises(Refusal):
            await Ipa(coap.post, listener.ipa.card).get()
        number = desk.order_package(EID, LIST)
        listener.says = Code.NOT_FOUND
        with pytest.raises(Unreachable):
            await desk.inject(EID)
        assert await desk.inject(EID)
    assert fresh.heard[0] == 0xBF51
    assert order(desk, number).state == "done"
