"""ipa.net.coap against aiocoap's messages: blocks, separate responses, and what a bad peer may send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import Type
from board_run import Run
from coap_peer import SCRIPT, Reply, against, answer, peer, told
from hypothesis import given
from hypothesis import strategies as st
from microipa.crypto.pki import Pki
from microipa.eim.coap import serve
from microipa.eim.dtls_handshake import DtlsSettings

OVER_DTLS = SCRIPT + """
async def main(trust, sizes, **how):
    link = Dtls(Udp(int(sys.argv[1]), **how), "eim.microipa.example", ("ca", trust))
    await link.connect(10000)
    await posts(Coap(link), *sizes)
    print("datagrams", link._datagram.sent)
    link.close()
"""

@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


def request_body(size: int) -> bytes:
    return bytes(size // 3) + b"x" * (size - size // 3)


async def over_dtls(
        micropython: Run, pki: Pki, sizes: list[int], delay: float = 0, how: str = "") -> list[str]:
    """Post bodies to the eIM's real server, which answers each with its bytes twice, backwards."""
    async def handle(request: bytes) -> bytes:
        if delay:
            await asyncio.sleep(delay)
        return request[::-1] * 2

    async with serve(handle, pki.eim_tls, port=0, settings=DtlsSettings()) as port:
        script = OVER_DTLS + f"asyncio.run(main({pki.ci.der!r}, {sizes!r}{how}))"
        return (await micropython(script, port)).splitlines()


async def test_rfc7959_bodies_of_any_size_go_both_ways(micropython: Run, pki: Pki) -> None:
    sizes = [1, 1023, 1024, 1025, 3072, 5000]
    out = await over_dtls(micropython, pki, sizes)
    assert out[:-1] == [told(request_body(size)[::-1] * 2) for size in sizes]


async def test_rfc7252_5_2_2_a_late_answer_comes_separately(micropython: Run, pki: Pki) -> None:
    out = await over_dtls(micropython, pki, [2000], delay=0.7)  # more than the eIM's EMPTY_ACK_DELAY
    assert out[0] == told(request_body(2000)[::-1] * 2)


@pytest.mark.parametrize("how", [", lose_out=(4,)", ", lose_in=(5,)"])
async def test_rfc7252_4_2_a_lost_message_is_sent_again_and_executed_once(
        micropython: Run, pki: Pki, how: str) -> None:
    out = await over_dtls(micropython, pki, [3000], how=how)
    assert out[0] == told(request_body(3000)[::-1] * 2)


async def test_sgp32_6_2_the_request_is_a_confirmable_post_to_the_resource(micropython: Run) -> None:
    out, heard = await against(micropython, lambda request: [answer(request, payload=b"yes")], 12)
    assert out == [told(b"yes")]
    assert (heard[0].code, heard[0].mtype, heard[0].payload) == (Code.POST, Type.CON, request_body(12))
    assert heard[0].opt.uri_path == ("gsma", "rsp2", "asn1")
    assert [int(option.number) for option in heard[0].opt.option_list()] == [11, 11, 11]


async def test_rfc9175_3_blocks_of_one_body_carry_one_tag_and_another_body_another(micropython: Run) -> None:
    def reply(request: Message) -> list[Message]:
        block = request.opt.block1
        return [answer(request, Code.CONTINUE if block.more else Code.CHANGED, block1=block)]

    _, heard = await against(micropython, reply, 2500, 2500)
    tags = [request.opt.request_tag for request in heard]
    assert len(set(tags[:3])) == 1
    assert len(set(tags)) == 2


async def test_rfc7959_2_3_the_server_may_want_smaller_blocks(micropython: Run) -> None:
    def reply(request: Message) -> list[Message]:
        number, more, _ = request.opt.block1
        return [answer(request, Code.CONTINUE if more else Code.CHANGED, block1=(number, more, 4))]

    out, heard = await against(micropython, reply, 2048)
    assert out == [told(b"")]
    assert [tuple(request.opt.block1) for request in heard] == [(0, True, 6), (4, True, 4), (5, True, 4),
                                                                (6, True, 4), (7, False, 4)]
    assert b"".join(request.payload for request in heard) == request_body(2048)


async def test_rfc7959_2_9_3_too_large_with_a_smaller_size_begins_again(micropython: Run) -> None:
    def reply(request: Message) -> list[Message]:
        number, more, size = request.opt.block1
        if size > 5:
            return [answer(request, Code.REQUEST_ENTITY_TOO_LARGE, block1=(0, False, 5))]
        return [answer(request, Code.CONTINUE if more else Code.CHANGED, block1=(number, more, size))]

    out, heard = await against(micropython, reply, 1500)
    assert out == [told(b"")]
    assert b"".join(request.payload for request in heard[1:]) == request_body(1500)


async def test_rfc7252_4_2_a_repeated_separate_response_is_acknowledged_again(micropython: Run) -> None:
    waiting: list[Message] = []

    def reply(request: Message) -> list[Message]:
        if request.code == Code.EMPTY:
            return []
        if waiting:  # the second request: first repeat the answer to the first
            return [waiting[0], answer(request, payload=b"two")]
        late = answer(request, payload=b"one", kind=Type.CON, mid=999)
        waiting.append(late)
        return [Message(code=Code.EMPTY, _mtype=Type.ACK, _mid=request.mid), late]

    out, heard = await against(micropython, reply, 5, 6)
    assert out == [told(b"one"), told(b"two")]
    acknowledged = [message.mid for message in heard if message.mtype == Type.ACK]
    assert acknowledged == [999, 999]


async def test_what_nobody_asked_for_is_reset_and_the_exchange_goes_on(micropython: Run) -> None:
    def reply(request: Message) -> list[Message]:
        if request.code == Code.EMPTY:
            return []
        stray = answer(request, payload=b"old", kind=Type.CON, mid=77)
        stray.token = b"\x00\x00\x01"
        ping = Message(code=Code.EMPTY, _mtype=Type.CON, _mid=78)
        foreign = answer(request, payload=b"foreign", mid=(request.mid + 1) & 0xFFFF)
        return [stray, ping, foreign, answer(request, payload=b"mine")]

    out, heard = await against(micropython, reply, 5)
    assert out == [told(b"mine")]
    assert [message.mid for message in heard if message.mtype == Type.RST] == [77, 78]


def blocks(*moves: Callable[[Message], Message]) -> Reply:
    """Answer the n-th request with the n-th move."""
    left = list(moves)
    return lambda request: [left.pop(0)(request)]


FIRST = bytes(64)
BAD: dict[str, tuple[Reply, str]] = {
    "a reset": (blocks(lambda r: Message(code=Code.EMPTY, _mtype=Type.RST, _mid=r.mid)),
                "CoapMalformed the eIM reset the exchange"),
    "an error": (blocks(lambda r: answer(r, Code.BAD_REQUEST, b"length of BF4F cut short")),
                 "CoapRefused 4.00 length of BF4F cut short"),
    "a block out of order": (
        blocks(lambda r: answer(r, payload=FIRST, block2=(0, True, 2)),
               lambda r: answer(r, payload=FIRST, block2=(2, True, 2))),
        "CoapMalformed block 2 of 64 bytes at byte 64"),
    "an answer that begins in the middle": (
        blocks(lambda r: answer(r, payload=FIRST, block2=(1, True, 2))),
        "CoapMalformed block 1 of 64 bytes at byte 0"),
    "a block that is not full": (
        blocks(lambda r: answer(r, payload=FIRST[:-1], block2=(0, True, 2))),
        "CoapMalformed 63 bytes in block 0 of 64"),
    "another representation in the middle": (
        blocks(lambda r: answer(r, payload=FIRST, block2=(0, True, 2), etag=b"a"),
               lambda r: answer(r, payload=FIRST, block2=(1, False, 2), etag=b"b")),
        "CoapMalformed block 1 of 64 bytes at byte 64"),
    "an error in the middle": (
        blocks(lambda r: answer(r, payload=FIRST, block2=(0, True, 2)),
               lambda r: answer(r, Code.REQUEST_ENTITY_INCOMPLETE)),
        "CoapRefused 4.08"),
    "a critical option that is unknown": (
        blocks(lambda r: answer(r, if_match=[b"x"])), "CoapMalformed critical option 1 is unknown"),
    "no CoAP": (lambda _: [b"\x00\x01"], "CoapMalformed no CoAP message"),  # type: ignore[list-item]
    "a token that never ends": (lambda r: [b"\x6f\x44" + r.mid.to_bytes(2, "big")],  # type: ignore[list-item]
                                "CoapMalformed token longer than the message"),
    "an option that lies": (
        lambda r: [b"\x62\x44" + r.mid.to_bytes(2, "big") + r.token + b"\x4dxx"],  # type: ignore[list-item]
        "CoapMalformed option longer than the message"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_answer_ends_in_a_named_error(micropython: Run, what: str) -> None:
    reply, error = BAD[what]
    assert (await against(micropython, reply, 5))[0] == [error]


async def test_rfc7252_5_5_2_a_diagnosis_that_is_no_text_or_cut_inside_a_letter_is_a_refusal_like_any_other(
        micropython: Run) -> None:
    for payload, words in ((b"\xbf\x50\xff\xfe", "?P??"), (("x" + "é" * 60).encode(), "x" + "?" * 79)):
        out, _ = await against(micropython, lambda request, said=payload: [
            answer(request, Code.INTERNAL_SERVER_ERROR, said)], 9)
        assert out == [f"CoapRefused 5.00 {words}"]


async def test_rfc7252_4_2_a_reset_of_another_message_ends_nothing(micropython: Run) -> None:
    out, _ = await against(micropython, lambda request: [
        Message(code=Code.EMPTY, _mtype=Type.RST, _mid=request.mid ^ 1), answer(request, payload=b"yes")], 5)
    assert out == [told(b"yes")]


async def test_rfc7959_2_3_an_answer_before_the_last_block_of_the_request_is_none(micropython: Run) -> None:
    out, heard = await against(micropython, lambda request: [answer(request, payload=b"yes")], 2048)
    assert out == ["CoapMalformed answered before the request was complete"]
    assert len(heard) == 1


async def test_rfc7252_5_2_2_an_answer_that_was_announced_and_does_not_come_is_named(micropython: Run) -> None:
    script = SCRIPT + """
class Promising:
    rtt_ms = None
    sent = []
    async def send(self, buf):
        self.sent.append(bytes(buf))
    async def recv(self, buf, ms):
        if len(self.sent) > 1:
            return 0
        self.sent.append(None)
        buf[:4] = b"\\x60\\0" + self.sent[0][2:4]
        return 4
asyncio.run(posts(Coap(Promising()), 5))
"""
    assert (await micropython(script)).splitlines()[-1] == "CoapTimeout acknowledged, and then no answer"


async def test_rfc7252_4_2_a_request_is_repeated_as_it_was_whatever_came_in_between(micropython: Run) -> None:
    script = SCRIPT + """
class Chatty:
    rtt_ms = None
    sent = []
    heard = 0
    async def send(self, buf):
        self.sent.append(bytes(buf))
    async def recv(self, buf, ms):
        self.heard += 1
        if not self.heard & 1:
            return 0  # the time is over
        buf[:200] = b"\\x50\\x44\\x99\\x99\\xff" + bytes(195)  # an answer to nothing that was asked
        return 200
link = Coap(Chatty())
link.doubtful = True
asyncio.run(posts(link, 300))
print(len(Chatty.sent), len(set(Chatty.sent)), len(Chatty.sent[0]) > 300)
"""
    assert (await micropython(script)).splitlines()[-2:] == ["CoapTimeout nobody answers", "2 1 True"]


async def test_rfc7252_4_2_silence_ends_after_nine_transmissions_for_four_sizes(micropython: Run) -> None:
    script = SCRIPT + """
class Deaf:
    rtt_ms = None
    sent = []
    async def send(self, buf):
        self.sent.append(bytes(buf))
    async def recv(self, buf, ms):
        return 0  # the time is over
asyncio.run(posts(Coap(Deaf()), 5))
print([Deaf.sent.count(once) for once in sorted(set(Deaf.sent), key=Deaf.sent.index)])
"""
    out = (await micropython(script)).splitlines()
    assert out[-2:] == ["CoapTimeout nobody answers", "[3, 2, 2, 2]"]


# A path that takes no large datagrams

NARROW = SCRIPT + """
from ipa.net import coap
waits = []

class Narrow(Plain):
    "Loses what is larger than `up` and `down`, and does not wait for it."
    room = 1163
    def __init__(self, datagram, up, down):
        super().__init__(datagram)
        self.up, self.down = up, down
    async def send(self, buf):
        if len(buf) <= self.up:
            self.datagram.write(buf)
            self.hope = 100
        else:
            self.hope = 0
    async def recv(self, buf, ms):
        for _ in range(self.hope):
            n = self.datagram.readinto(buf)
            if n is not None:
                if n > self.down:
                    return 0
                return n
            await self.datagram.wait(5)
        return 0

async def main(up, down, sizes, associations=1):
    talk = Coap()
    udp = Udp(int(sys.argv[1]))
    for _ in range(associations):
        link = Narrow(udp, up, down)
        talk.begin(link, 1024)
        await posts(talk, *sizes)
    print("sent", udp.sent)
"""


async def narrow(micropython: Run, up: int, down: int, sizes: list[int], associations: int = 1,
                 answers: int = 100) -> tuple[list[str], list[Message], list[int]]:
    """Post bodies over such a path; what the device printed, what came, and how large were whole requests."""
    whole: list[int] = []
    blocks: list[bytes] = []

    def reply(request: Message) -> list[Message]:
        block1, block2 = request.opt.block1, request.opt.block2
        if block1 and block1.block_number == 0:
            blocks.clear()
        if block1 and block1.more:
            blocks.append(request.payload)
            return [answer(request, Code.CONTINUE, block1=block1)]
        if not block2 or not block2.block_number:
            whole.append(sum(map(len, blocks)) + len(request.payload))
            blocks.clear()
        number, size = (block2.block_number, block2.size) if block2 else (0, 1024)
        body = bytes(answers)
        more = (number + 1) * size < len(body)
        told = {"block2": (number, more, size.bit_length() - 5)} if more or number else {}
        return [answer(request, payload=body[number * size : (number + 1) * size], block1=block1, **told)]

    async with peer(reply) as (port, heard):
        script = NARROW + f"asyncio.run(main({up}, {down}, {sizes!r}, {associations}))"
        return (await micropython(script, port)).splitlines(), heard, whole


async def test_blocks_of_a_request_become_smaller_when_the_path_does_not_take_them(micropython: Run) -> None:
    out, heard, whole = await narrow(micropython, 600, 1200, [3000, 3000])
    assert [line for line in out if line.startswith("100 ")] == [told(bytes(100))] * 2
    assert sum("blocks of 512 bytes" in line for line in out) == 1  # the second body knows it already
    assert whole == [3000, 3000]
    assert {request.opt.block1.size for request in heard} == {512}


async def test_a_request_in_one_piece_is_parted_when_the_path_does_not_take_it(micropython: Run) -> None:
    out, _, whole = await narrow(micropython, 600, 1200, [900])
    assert told(bytes(100)) in out
    assert whole == [900]


async def test_blocks_of_an_answer_become_smaller_when_they_do_not_come(micropython: Run) -> None:
    out, heard, _ = await narrow(micropython, 1200, 300, [20, 20], answers=1000)
    assert out.count(told(bytes(1000))) == 2
    asked = [request.opt.block2.size if request.opt.block2 else None for request in heard]
    assert asked == [None] * 3 + [512] * 2 + [256] * (4 + 4)
    assert len({request.token for request in heard[:6]}) == 1  # one question, so that the eIM knows it again
    assert len({request.mid for request in heard[2:6]}) == 3


async def test_what_two_associations_could_not_do_is_not_tried_in_the_third(micropython: Run) -> None:
    _, heard, _ = await narrow(micropython, 1200, 600, [20], associations=4, answers=1000)
    asked = [request.opt.block2.size if request.opt.block2 else 1024 for request in heard]
    first = [1024] * 3 + [512] * 2
    assert asked == first + first + [512] * 4


async def test_a_modem_that_sends_little_at_once_gets_small_blocks_without_a_try(micropython: Run) -> None:
    script = NARROW.replace("room = 1163", "room = 987") + "asyncio.run(main(987, 1200, [2000]))"
    sizes: list[int] = []

    def reply(request: Message) -> list[Message]:
        sizes.append(len(request.payload))
        return [answer(request, Code.CONTINUE if request.opt.block1.more else Code.CHANGED, block1=request.opt.block1)]

    async with peer(reply) as (port, _):
        await micropython(script, port)
    assert sizes == [512, 512, 512, 464]


def test_arbitrary_datagrams_end_in_coap_malformed_or_a_message(tmp_path: Path) -> None:
    import sys

    from microipa.common.paths import firmware
    sys.path.insert(0, str(firmware()))
    try:
        from ipa.net import coap
    finally:
        sys.path.remove(str(firmware()))

    @given(st.binary(max_size=80))
    def parse(data: bytes) -> None:
        with contextlib.suppress(coap.CoapMalformed):
            coap.parse(memoryview(data))

    parse()
