"""The eIM's answers in bursts of blocks, message by message (RFC 9177, Q-Block2)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import Type
from eim_client import DtlsClient
from eim_coap import Bare
from microipa.crypto.pki import Pki
from microipa.eim import coap
from microipa.eim.dtls_handshake import DtlsSettings

BODY = bytes(range(256)) * 100  # 25 blocks of 1,024 bytes
SIZE = 1024


class Asker(Bare):
    """Asks with Q-Block2 options: (number, more) of 1,024 bytes."""

    def ask(self, *wanted: tuple[int, bool], payload: bytes = b"", szx: int = 6, **options: object) -> None:
        self._mid += 1
        message = Message(code=Code.POST, payload=payload, _mid=self._mid, _mtype=Type.CON)
        message.token = self._mid.to_bytes(2, "big")
        message.opt.uri_path = ("gsma", "rsp2", "asn1")
        for number, more in wanted:
            value = (number << 4 | more << 3 | szx).to_bytes(2, "big").lstrip(b"\0")
            message.opt.add_option(OptionNumber.Q_BLOCK2.create_option(value=value))
        for name, value in options.items():
            setattr(message.opt, name, value)
        message.remote = None
        self.client.send(message.encode())

    async def blocks(self, count: int) -> list[tuple[int, bool, Message]]:
        """The next messages: number, more and the whole."""
        return [_block(await self.receive()) for _ in range(count)]


def _block(message: Message) -> tuple[int, bool, Message]:
    [option] = message.opt.get_option(OptionNumber.Q_BLOCK2)
    value = int.from_bytes(option.value, "big")
    return value >> 4, bool(value & 8), message


@contextlib.asynccontextmanager
async def asker(pki: Pki, answer: bytes = BODY) -> AsyncIterator[tuple[Asker, list[bytes]]]:
    heard: list[bytes] = []

    async def handle(request: bytes) -> bytes:
        heard.append(request)
        return answer

    async with coap.serve(handle, pki.eim_tls, port=0, settings=DtlsSettings()) as port:
        client = await DtlsClient(port, pki.ci.certificate).connect()
        try:
            yield Asker(client), heard
        finally:
            await client.close()


async def silent(asker: Asker) -> bool:
    try:
        await asker.client.receive(0.3)
    except TimeoutError:
        return True
    return False


async def test_rfc9177_4_4_a_burst_is_the_acknowledgement_and_nine_more(pki: Pki) -> None:
    async with asker(pki) as (device, heard):
        device.ask((0, True), payload=b"give")
        burst = await device.blocks(10)
        assert [(number, more) for number, more, _ in burst] == [(number, True) for number in range(10)]
        assert [message.mtype for _, _, message in burst] == [Type.ACK] + [Type.NON] * 9
        assert len({message.token for _, _, message in burst}) == 1
        assert len({message.mid for _, _, message in burst}) == 10
        assert {message.opt.size2 for _, _, message in burst} == {len(BODY)}
        assert len({message.opt.etag for _, _, message in burst}) == 1
        assert await silent(device)  # until it asks
        device.ask((10, True))
        burst += await device.blocks(10)
        device.ask((20, True))
        burst += await device.blocks(5)
        assert not burst[-1][1]
        assert b"".join(message.payload for _, _, message in burst) == BODY
        assert heard == [b"give"]


async def test_rfc9177_4_4_single_blocks_are_sent_again(pki: Pki) -> None:
    async with asker(pki) as (device, heard):
        device.ask((0, True), payload=b"give")
        await device.blocks(10)
        device.ask((3, False), (7, False))
        again = await device.blocks(2)
        assert [number for number, _, _ in again] == [3, 7]
        assert [message.payload for _, _, message in again] == [BODY[n * SIZE : (n + 1) * SIZE] for n in (3, 7)]
        assert await silent(device)
        assert len(heard) == 1


async def test_rfc9177_an_answer_of_one_block_has_no_q_block2(pki: Pki) -> None:
    async with asker(pki, b"short") as (device, _):
        device.ask((0, True), payload=b"give")
        message = await device.receive()
        assert (message.mtype, message.payload) == (Type.ACK, b"short")
        assert not message.opt.get_option(OptionNumber.Q_BLOCK2)


async def test_rfc9177_a_device_may_ask_whether_the_server_can(pki: Pki) -> None:
    async with asker(pki) as (device, _):
        device.ask((0, False), payload=b"give")
        [(number, more, _)] = await device.blocks(1)
        assert (number, more) == (0, True)
        assert await silent(device)


async def test_rfc9177_the_device_chooses_the_size(pki: Pki) -> None:
    async with asker(pki) as (device, _):
        device.ask((0, True), payload=b"give", szx=3)
        burst = await device.blocks(10)
        assert b"".join(message.payload for _, _, message in burst) == BODY[: 10 * 128]


async def test_a_new_answer_takes_the_place_of_the_last(pki: Pki) -> None:
    async with asker(pki) as (device, _):
        device.ask((0, True), payload=b"one")
        first = await device.blocks(10)
        device.ask((0, True), payload=b"two")
        second = await device.blocks(10)
        assert first[0][2].opt.etag != second[0][2].opt.etag


@pytest.mark.parametrize(("wanted", "options", "code"), [
    ([(0, True)], {"block2": (0, False, 6)}, Code.BAD_OPTION),
    ([(0, True)], {"block1": (0, False, 6)}, Code.BAD_OPTION),
    ([(5, True)], {}, Code.REQUEST_ENTITY_INCOMPLETE),
])
async def test_a_question_that_makes_no_sense_is_refused(pki: Pki, wanted, options, code) -> None:
    async with asker(pki) as (device, heard):
        device.ask(*wanted, payload=b"" if code == Code.REQUEST_ENTITY_INCOMPLETE else b"give", **options)
        assert (await device.receive()).code == code
        assert not heard


async def test_blocks_beyond_the_end_are_refused(pki: Pki) -> None:
    async with asker(pki) as (device, _):
        device.ask((0, True), payload=b"give")
        await device.blocks(10)
        device.ask((25, True))
        assert (await device.receive()).code == Code.BAD_OPTION
        device.ask(*[(number, False) for number in range(24)])
        assert len(await device.blocks(10)) == 10  # and no more than a burst
        assert await silent(device)
