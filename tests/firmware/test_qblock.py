"""ipa.net.qblock: bodies in bursts and lost blocks asked again, from the eIM and from a scripted peer (RFC 9177)."""

from __future__ import annotations

import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import Type
from board_run import Run
from coap_peer import PLAIN, SCRIPT, Reply, answer, peer, told
from microipa.crypto.pki import Pki
from microipa.eim.coap import serve
from microipa.eim.dtls_handshake import DtlsSettings

BODY = bytes(range(256)) * 92  # 23 blocks of 1,024 bytes
HANDSHAKE = 3  # datagrams each way
BURSTS = SCRIPT + """
async def main(trust, **how):
    datagram = Udp(int(sys.argv[1]), **how)
    link = Dtls(datagram, "eim.microipa.example", ("ca", trust))
    await link.connect(10000)
    talk = Coap(link)
    talk.q_block = True
    await posts(talk, 300)
    print("sent", datagram.sent - 3, "received", datagram.received - 3)
    link.close()
"""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


async def bursts(micropython: Run, pki: Pki, how: str = "", body: bytes = BODY) -> list[str]:
    async def handle(_: bytes) -> bytes:
        return body

    async with serve(handle, pki.eim_tls, port=0, settings=DtlsSettings()) as port:
        out = await micropython(BURSTS + f"asyncio.run(main({pki.ci.der!r}{how}))", port)
    return [line for line in out.splitlines() if not line.startswith("I ")]


async def test_rfc9177_23_blocks_come_in_three_bursts(micropython: Run, pki: Pki) -> None:
    assert await bursts(micropython, pki) == [told(BODY), "sent 3 received 23"]


@pytest.mark.parametrize("size", [1, 1024, 1025, 10240, 10241])
async def test_rfc9177_bodies_of_any_size(micropython: Run, pki: Pki, size: int) -> None:
    [body, counted] = await bursts(micropython, pki, body=BODY[:size])
    assert body == told(BODY[:size])
    assert counted == f"sent {2 if size > 10240 else 1} received {-(-size // 1024)}"


@pytest.mark.parametrize(("lost", "asked", "again"), [
    ({HANDSHAKE + 4, HANDSHAKE + 7}, 1, 2),
    ({HANDSHAKE + 9}, 1, 1),  # the last of a burst
    ({HANDSHAKE}, 1, 1),  # the acknowledgement itself
    ({HANDSHAKE + 22}, 1, 1),  # the last of all
], ids=["two", "last of a burst", "first", "last of all"])
async def test_rfc9177_only_lost_blocks_are_sent_again(
        micropython: Run, pki: Pki, lost: set[int], asked: int, again: int) -> None:
    assert await bursts(micropython, pki, f", lose_in={lost!r}") == [
        told(BODY), f"sent {3 + asked} received {23 + again}"]


async def test_rfc9177_a_question_that_gets_lost_is_sent_again(micropython: Run, pki: Pki) -> None:
    assert await bursts(micropython, pki, f", lose_out={{{HANDSHAKE + 1}}}") == [
        told(BODY), "sent 4 received 23"]


# A peer that says what a test wants


def block(request: Message, number: int, last: int, etag: bytes = b"\1", kind: Type = Type.NON, size: int = 64,
          short: int = 0) -> Message:
    """Block number of a body with blocks of 64 bytes, each filled with its number."""
    made = answer(request, Code.CHANGED, bytes([number]) * (size - short), kind,
                  None if kind == Type.ACK else 1000 + number, etag=etag)
    value = number << 4 | (8 if number < last else 0) | 2
    made.opt.add_option(OptionNumber.Q_BLOCK2.create_option(value=value.to_bytes(1, "big")))
    return made


def wanted(request: Message) -> list[int]:
    return [int.from_bytes(option.value, "big") for option in request.opt.get_option(OptionNumber.Q_BLOCK2) or ()]


async def against(micropython: Run, reply: Reply) -> tuple[list[str], list[Message]]:
    script = PLAIN.replace("Coap(Plain", "asking(Plain").replace("asyncio.run", """
def asking(link):
    talk = Coap(link)
    talk.q_block = True
    return talk
asyncio.run""", 1)
    async with peer(reply) as (port, heard):
        return (await micropython(script, port, 12)).splitlines(), heard


def whole(last: int) -> str:
    return told(b"".join(bytes([number]) * 64 for number in range(last + 1)))


async def test_blocks_that_overtake_each_other_are_put_in_order(micropython: Run) -> None:
    order = [3, 1, 0, 2, 2, 5, 4]  # 0 is the acknowledgement, one comes twice

    def reply(request: Message) -> list[Message]:
        return [block(request, n, 5, kind=Type.NON if n else Type.ACK) for n in order]

    out, heard = await against(micropython, reply)
    assert out == [whole(5)]
    assert [wanted(request) for request in heard] == [[0x0E]]


async def test_the_numbers_of_all_lost_blocks_stand_in_one_question(micropython: Run) -> None:
    def reply(request: Message) -> list[Message]:
        numbers = [0, 2, 5] if request.payload else [value >> 4 for value in wanted(request)]
        return [block(request, n, 5, kind=Type.NON if place else Type.ACK) for place, n in enumerate(numbers)]

    out, heard = await against(micropython, reply)
    assert out == [whole(5)]
    assert [[value >> 4 for value in wanted(request)] for request in heard] == [[0], [1, 3, 4]]
    assert not any(value & 8 for value in wanted(heard[1]))


async def test_an_eim_that_refuses_the_option_is_asked_without_it(micropython: Run) -> None:
    def reply(request: Message) -> list[Message]:
        if wanted(request):
            return [answer(request, Code.BAD_OPTION)]
        return [answer(request, payload=b"plain")]

    out, heard = await against(micropython, reply)
    assert out == [told(b"plain")]
    assert [bool(wanted(request)) for request in heard] == [True, False]


async def test_an_eim_that_ignores_the_option_answers_in_plain_blocks(micropython: Run) -> None:
    def reply(request: Message) -> list[Message]:
        number = request.opt.block2.block_number if request.opt.block2 else 0
        return [answer(request, payload=bytes([number]) * 64, block2=(number, number < 2, 2))]

    out, heard = await against(micropython, reply)
    assert out == [whole(2)]
    assert [wanted(request) for request in heard] == [[0x0E], [], []]


def bad(*blocks: tuple[int, dict[str, object]]) -> Reply:
    return lambda request: [
        block(request, n, **{"last": 5, "kind": Type.NON if n else Type.ACK, **how}) for n, how in blocks]


BAD: dict[str, tuple[Reply, str]] = {
    "another body": (bad((0, {}), (1, {"etag": b"\2"})), "CoapMalformed a block of another body"),
    "a block that is not full": (bad((0, {}), (1, {"short": 1})), "CoapMalformed 63 bytes in block 1 of 64"),
    "a block beyond the burst": (bad((0, {}), (11, {"last": 14})), "CoapMalformed 64 bytes in block 11 of 64"),
    "the block behind the burst": (bad((0, {}), (10, {"last": 14})), "CoapMalformed 64 bytes in block 10 of 64"),
    "two last blocks": (bad((0, {}), (3, {"last": 3}), (2, {"last": 2})), "CoapMalformed block 2 is the last of 4"),
    "nothing new, over and over": (bad((0, {}), (0, {})), "CoapTimeout block 1 never comes"),
    "no body any more": (
        lambda request: [block(request, 0, 5, kind=Type.ACK)] if request.payload
        else [answer(request, Code.REQUEST_ENTITY_INCOMPLETE)], "CoapRefused 4.08"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_answer_ends_in_a_named_error(micropython: Run, what: str) -> None:
    reply, error = BAD[what]
    assert (await against(micropython, reply))[0] == [error]


async def test_a_burst_that_nobody_asked_for_is_refused(micropython: Run) -> None:
    async with peer(lambda request: [block(request, 0, 5, kind=Type.ACK)]) as (port, _):
        assert (await micropython(PLAIN, port, 12)).splitlines() == ["CoapMalformed a burst that nobody asked for"]


async def test_a_peer_that_sends_nothing_new_is_asked_five_times(micropython: Run) -> None:
    _, heard = await against(micropython, bad((0, {}), (0, {})))
    assert len(heard) == 1 + 5
