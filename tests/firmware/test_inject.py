"""ipa.steps.inject and ipa.net.coap_server under MicroPython: packages nobody asked for (SGP.32 3.1.1.2, RFC 7959)."""

from __future__ import annotations

import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import Type
from board_run import Run
from microipa.asn1 import sgp32
from microipa.asn1.tlv import tlv
from scenes import SIGNATURE, TX, Scene, acknowledge, epe, epr, play, provide, remove

PACKAGE = tlv(0xBF51, tlv(0x30, bytes(300)), tlv(0x5F37, SIGNATURE))
LIST_PROFILES = bytes.fromhex("bf2d02a000")
RECEIVED = bytes.fromhex("bf4e020500")


async def transfer(micropython: Run, content: bytes, card=(), eim=()) -> Scene:
    return await play(micropython, f"transfer('{content.hex()}')", card, eim)


def error(code: int) -> bytes:
    return tlv(0xBF4E, tlv(0x02, bytes([code])))


# What a request comes to ------------------------------------------------------------------------------------


@pytest.mark.covers("esipa.TransferEimPackageRequest", "esipa.TransferEimPackageResponse")
@pytest.mark.parametrize("result", [epr(7, LIST_PROFILES), epe(3)], ids=["result", "error"])
async def test_3_1_1_2_an_eucc_package_is_answered_with_the_cards_result_which_stays_on_the_card(
        micropython: Run, result: bytes) -> None:
    scene = await transfer(micropython, tlv(0xBF4E, PACKAGE), [(PACKAGE, result)])
    assert scene.said == [("card", PACKAGE), ("answer", tlv(0xBF4E, result))]
    assert sgp32.decode("TransferEimPackageResponse", tlv(0xBF4E, result))[0] == "euiccPackageResult"


async def test_3_1_1_2_an_acknowledgement_removes_what_it_names(micropython: Run) -> None:
    content = tlv(0xBF4E, tlv(0xBF53, tlv(0x80, b"\7"), tlv(0x80, b"\x09")))
    ordered = tlv(0xBF4E, PACKAGE)
    scene = await play(micropython, f"transfers('{ordered.hex()}', '{content.hex()}')",
                       [(PACKAGE, epr(7, LIST_PROFILES)), remove(7)], [])
    assert scene.said[2:] == [("card", remove(7)[0]), ("answer", RECEIVED)]
    assert "notify: 9 is not this eIM's to acknowledge" in scene.log


async def test_3_1_1_2_what_another_eim_ordered_is_not_this_ones_to_acknowledge(micropython: Run) -> None:
    content, ordered = tlv(0xBF4E, tlv(0xBF53, tlv(0x80, b"\7"))), tlv(0xBF4E, PACKAGE)
    other = epr(7, LIST_PROFILES).replace(b"eim.example", b"eim.another")
    scene = await play(micropython, f"transfers('{ordered.hex()}', '{content.hex()}')", [(PACKAGE, other)], [])
    assert scene.to("card") == [PACKAGE]


async def test_3_1_1_2_a_data_request_is_answered_with_the_data(micropython: Run) -> None:
    content = tlv(0xBF4E, tlv(0xBF52, tlv(0x5C, b"\xa8"), tlv(0x83, TX)))
    scene = await transfer(micropython, content)
    assert scene.said == [
        ("answer", tlv(0xBF4E, tlv(0xBF52, tlv(0xA0, tlv(0x87, TX), bytes.fromhex("a8088002064081020640")))))]


@pytest.mark.covers("package.eimPackageReceived")
@pytest.mark.parametrize("results", ["830100", "840100"], ids=["enable", "disable"])
async def test_3_1_1_2_a_switch_is_confirmed_and_its_result_left_to_the_new_profile(
        micropython: Run, results: str) -> None:
    scene = await transfer(micropython, tlv(0xBF4E, PACKAGE), [(PACKAGE, epr(7, bytes.fromhex(results)))])
    assert scene.outcome == "no error but True"
    assert scene.said == [("card", PACKAGE), ("answer", RECEIVED)]


@pytest.mark.covers("package.eimPackageReceived")
async def test_3_1_1_2_a_download_is_confirmed_first_and_its_end_reported_as_after_a_poll(micropython: Run) -> None:
    trigger = tlv(0xBF54, tlv(0xA0, tlv(0x80, b"no activation code")), tlv(0x82, TX))
    empty = bytes.fromhex("bf50023000")
    scene = await transfer(micropython, tlv(0xBF4E, trigger), eim=[empty])
    refusal = provide(tlv(0xA0, tlv(0x80, TX), tlv(0x02, b"\1")))
    assert scene.said == [("answer", RECEIVED), ("eim", refusal)]


@pytest.mark.parametrize("there", [True, False])
async def test_3_1_1_2_a_repeat_of_a_trigger_whose_download_has_ended_is_answered_and_not_carried_out_again(
        micropython: Run, there: bool) -> None:
    trigger = tlv(0xBF4E, tlv(0xBF54, tlv(0xA0, tlv(0x81)), tlv(0x82, TX)))
    call = f"(session.journal.set(ended=[['eim.example', '{TX.hex()}', 5]]), transfer('{trigger.hex()}'))[1]"
    kept = tlv(0xBF37, tlv(0xBF27, tlv(0xBF2F, tlv(0x80, b"\5"))), tlv(0x5F37, SIGNATURE))
    card = [(tlv(0xBF2B, tlv(0xA0, tlv(0x80, b"\5"))), tlv(0xBF2B, tlv(0xA0, kept if there else b""))), remove(5)]
    scene = await play(micropython, call, card[: 1 + there], [acknowledge(5)])
    gone = tlv(0x30, tlv(0x80, b"\x7f"), tlv(0x04, b"carried out before, and the result has been taken"))
    assert scene.said[0] == ("answer", RECEIVED)
    assert scene.to("eim") == [provide(tlv(0xBF54, tlv(0x82, TX), kept if there else gone))]
    assert not scene.left


async def test_3_1_1_2_the_transaction_of_another_eim_is_another_trigger(micropython: Run) -> None:
    trigger = tlv(0xBF4E, tlv(0xBF54, tlv(0xA0, tlv(0x81)), tlv(0x82, TX)))
    call = f"(session.journal.set(ended=[['eim.another', '{TX.hex()}', 5]]), transfer('{trigger.hex()}'))[1]"
    scene = await play(micropython, call, [], [bytes.fromhex("bf50023000")])
    assert scene.to("card") == [bytes.fromhex("bf3c00")]  # the default SM-DP+ is asked for


@pytest.mark.covers("error.TransferEimPackageResponse.invalidPackageFormat")
@pytest.mark.parametrize("content", [
    b"",
    b"\xbf",
    tlv(0xBF4E),
    tlv(0xBF4F, PACKAGE),
    tlv(0xBF4E, tlv(0xBF52, tlv(0x5C))[:-1]),
    tlv(0xBF4E, PACKAGE + b"\0"),
    tlv(0xBF4E, PACKAGE, PACKAGE),
    tlv(0xBF4E, tlv(0xBF52, tlv(0x83, TX))),
    tlv(0xBF4E, tlv(0xBF52, bytes(600))),
    tlv(0xBF4E, tlv(0xBF53, b"\x80")),
    tlv(0xBF4E, tlv(0xBF53, b"\x80\x00")),
], ids=["nothing", "half a tag", "empty", "another function", "cut short", "a byte behind it", "two packages",
        "no tag list", "too long", "broken inside", "no number"])
async def test_3_1_1_2_what_is_no_package_has_an_invalid_format_and_does_not_reach_the_card(
        micropython: Run, content: bytes) -> None:
    scene = await transfer(micropython, content)
    assert scene.said == [("answer", error(1))]


@pytest.mark.covers("error.TransferEimPackageResponse.unknownPackage")
async def test_3_1_1_2_a_package_of_another_kind_is_unknown(micropython: Run) -> None:
    scene = await transfer(micropython, tlv(0xBF4E, tlv(0xBF60, b"\0")))
    assert scene.said == [("answer", error(2))]


# CoAP the other way round -----------------------------------------------------------------------------------

SERVER = """
import asyncio
from ipa import compat
from ipa.net.coap import Coap
from ipa.net.coap_message import CoapError
from ipa.net.coap_server import Server

class Dtls:
    rtt_ms = None
    def __init__(self, incoming):
        self._incoming = incoming

    async def send(self, buf):
        print("sent", bytes(buf).hex())

    async def recv(self, buf, ms):
        if not self._incoming:
            return 0
        message = bytes.fromhex(self._incoming.pop(0))
        buf[: len(message)] = message
        return len(message)

coap = Coap()
coap.dtls = Dtls({incoming})
"""

ECHO = SERVER + """
async def main():
    server = Server(coap)
    buf = bytearray(200)
    while True:
        request = await server.request(1000)
        if request is None:
            return
        body = b""
        while True:
            n = await request.readinto(memoryview(buf))
            if not n:
                break
            body += bytes(buf[:n])
        print("body", body.hex())
        await server.answer(body[: len(body) // 2], body[len(body) // 2 :], b"!")

try:
    asyncio.run(main())
except CoapError as error:
    print(type(error).__name__, error)
"""


def message(mid: int, payload: bytes = b"", code: Code = Code.POST, kind: Type = Type.CON,
            path: tuple[str, ...] = ("gsma", "rsp2", "asn1"), **options: object) -> bytes:
    made = Message(code=code, payload=payload, _mtype=kind, _mid=mid, _token=bytes([mid]) if code else b"")
    if code == Code.POST:
        made.opt.uri_path = path
    for name, value in options.items():
        setattr(made.opt, name, value)
    raw: bytes = made.encode()
    return raw


async def echo(micropython: Run, *incoming: bytes) -> tuple[list[Message], list[str]]:
    """What a server that answers each body with itself and a mark sends, and what else it says."""
    script = ECHO.replace("{incoming}", repr([one.hex() for one in incoming]))
    lines = (await micropython(script)).splitlines()
    sent = [Message.decode(bytes.fromhex(line[5:])) for line in lines if line.startswith("sent ")]
    return sent, [line for line in lines if not line.startswith("sent ")]


async def test_rfc7252_5_2_1_a_request_is_answered_in_its_acknowledgement(micropython: Run) -> None:
    (sent,), (body,) = await echo(micropython, message(7, b"hello"))
    assert (sent.code, sent.mtype, sent.mid, sent.token, sent.payload) == (
        Code.CHANGED, Type.ACK, 7, b"\7", b"hello!")
    assert body == "body " + b"hello".hex()


async def test_rfc7252_4_2_a_repeated_request_gets_the_same_answer_and_is_acted_on_once(micropython: Run) -> None:
    sent, bodies = await echo(micropython, message(7, b"hello"), message(7, b"hello"), message(8, b"more"))
    assert [one.mid for one in sent] == [7, 7, 8]
    assert [one.payload for one in sent] == [b"hello!", b"hello!", b"more!"]
    assert len(bodies) == 2


async def test_rfc7959_bodies_travel_in_blocks_both_ways(micropython: Run) -> None:
    whole = bytes(range(256)) * 10
    parts = [whole[n : n + 1024] for n in range(0, len(whole), 1024)]
    asked = [message(n, part, block1=(n, n < 2, 6)) for n, part in enumerate(parts)]
    fetched = [message(10 + n, block2=(n, False, 6)) for n in (1, 2)]
    sent, (body,) = await echo(micropython, *asked, *fetched)
    assert body == "body " + whole.hex()
    assert [one.code for one in sent] == [Code.CONTINUE, Code.CONTINUE, *[Code.CHANGED] * 3]
    assert [tuple(one.opt.block1) for one in sent[:3]] == [(0, True, 6), (1, True, 6), (2, False, 6)]
    assert [tuple(one.opt.block2) for one in sent[2:]] == [(0, True, 6), (1, True, 6), (2, False, 6)]
    assert b"".join(one.payload for one in sent[2:]) == whole + b"!"


async def test_rfc7959_2_3_an_answer_comes_in_blocks_that_the_modem_can_send(micropython: Run) -> None:
    """A SARA takes 1,024 bytes at once, with all that DTLS adds."""
    whole = bytes(range(256)) * 6
    asked = [message(0, whole[:1024], block1=(0, True, 6)), message(1, whole[1024:], block1=(1, False, 6))]
    fetched = [message(10 + n, block2=(n, False, 5)) for n in (1, 2)] + [message(20, block2=(1, False, 6))]
    script = ECHO.replace("asyncio.run", "coap.dtls.room = 987\n    coap.begin(coap.dtls, 1024)\n    asyncio.run")
    script = script.replace("{incoming}", repr([one.hex() for one in asked + fetched]))
    lines = [line[5:] for line in (await micropython(script)).splitlines() if line.startswith("sent ")]
    sent = [Message.decode(bytes.fromhex(line)) for line in lines][1:]
    assert [tuple(one.opt.block2) for one in sent] == [(n, n < 3, 5) for n in range(3)] + [(2, True, 5)]
    assert b"".join(one.payload for one in sent[:3]) == whole[: 3 * 512]


async def test_what_is_no_request_to_the_resource_is_answered_and_the_next_one_heard(micropython: Run) -> None:
    sent, bodies = await echo(
        micropython,
        b"\x00\x01",
        message(1, code=Code.EMPTY),
        message(2, code=Code.GET),
        message(3, b"x", path=("gsma", "rsp2")),
        message(4, b"x", if_match=[b"x"]),
        message(5, b"x", block1=(3, True, 6)),
        message(6, block2=(4, False, 6)),
        message(7, b"x", code=Code.CHANGED),
        message(8, b"x", kind=Type.NON),
        message(9, b"hello", uri_host="device", uri_port=5684),
    )
    incomplete = Code.REQUEST_ENTITY_INCOMPLETE
    assert [(one.mid, one.code) for one in sent] == [
        (1, Code.EMPTY), (2, Code.METHOD_NOT_ALLOWED), (3, Code.NOT_FOUND), (4, Code.EMPTY), (5, incomplete),
        (6, incomplete), (7, Code.EMPTY), (9, Code.CHANGED)]
    assert [one.mid for one in sent if one.mtype == Type.RST] == [1, 4, 7]
    assert bodies == ["body " + b"hello".hex()]


@pytest.mark.parametrize(("second", "ends"), [
    (message(2, b"x" * 16, block1=(2, True, 0)), "CoapMalformed the eIM leaves its request unfinished"),
    (message(2, b"hello"), "CoapMalformed the eIM leaves its request unfinished"),
    (b"", "CoapTimeout the eIM does not send the rest of its request"),
], ids=["a gap", "another request", "silence"])
async def test_rfc7959_2_9_2_a_request_that_is_not_finished_ends_in_a_named_error(
        micropython: Run, second: bytes, ends: str) -> None:
    incoming = [message(1, b"x" * 16, block1=(0, True, 0))] + ([second] if second else [])
    sent, said = await echo(micropython, *incoming)
    assert said == [ends]
    assert [one.code for one in sent] == [Code.CONTINUE] + [Code.REQUEST_ENTITY_INCOMPLETE] * bool(second)


# Listening --------------------------------------------------------------------------------------------------

LISTEN = SERVER + """
from ipa.card.es10 import Es10
from ipa.card.channel import CardError, Channel
from ipa.steps import Session, inject
from rooms import Carrier, failing

def card(command):
    print("card", command.hex())
    return {card}

session = Session(bytes(16), b"eim", Es10(Channel(Carrier(card))), None, b"", None)
print("outcome", asyncio.run(failing(inject.listen(session, coap, 5000, {most}))))
"""


async def listen(micropython: Run, card: object, most: int, *contents: bytes) -> tuple[list[Message], list[str]]:
    incoming = [message(n, content).hex() for n, content in enumerate(contents)]
    script = LISTEN
    for name, value in {"incoming": incoming, "card": card, "most": most}.items():
        script = script.replace("{" + name + "}", repr(value))
    lines = (await micropython(script, heapsize="192K")).splitlines()
    sent = [Message.decode(bytes.fromhex(line[5:])) for line in lines if line.startswith("sent ")]
    return sent, [line for line in lines if not line.startswith("sent ")]


async def test_an_eim_that_sends_for_ever_is_heard_only_so_often_and_the_log_says_so(micropython: Run) -> None:
    sent, said = await listen(micropython, epr(7, LIST_PROFILES), 3, *[tlv(0xBF4E, PACKAGE)] * 5)
    assert len(sent) == 3
    assert len([line for line in said if line.startswith("card bf51")]) == 3
    assert said[-1] == "outcome no error but (False, None)"
    assert "inject: 3 packages are enough for one poll" in said[-2]


async def test_after_a_switch_nothing_more_is_heard(micropython: Run) -> None:
    sent, said = await listen(
        micropython, epr(7, bytes.fromhex("830100")), 3, *[tlv(0xBF4E, PACKAGE)] * 2)
    assert [one.payload for one in sent] == [RECEIVED]
    assert said[-1] == "outcome no error but (True, None)"


@pytest.mark.covers("error.TransferEimPackageResponse.undefinedError")
async def test_3_1_1_2_a_card_that_does_not_take_a_package_is_told_to_the_eim_and_the_next_is_heard(
        micropython: Run) -> None:
    sent, said = await listen(micropython, 0x6F00, 3, *[tlv(0xBF4E, PACKAGE)] * 2)
    assert [one.payload for one in sent] == [error(127)] * 2
    assert said[-1] == "outcome no error but (False, None)"


async def test_3_1_1_2_an_acknowledgement_may_come_for_what_the_card_has_forgotten(micropython: Run) -> None:
    gone = bytes.fromhex("bf3003800101")
    sent, _ = await listen(micropython, gone, 3, tlv(0xBF4E, tlv(0xBF53, tlv(0x80, b"\7"))))
    assert [one.payload for one in sent] == [RECEIVED]
