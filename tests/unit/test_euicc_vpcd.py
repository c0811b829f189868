"""The card in a virtual PC/SC reader, played here by a loopback socket: a terminal of another maker on our card."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cli_runner import Microipa
from euicc_peer import EID, ISDR, Terminal, make_card
from microipa.euicc import vpcd
from microipa.lab import LabFolder

OFF, ON, RESET, ATR = b"\x00", b"\x01", b"\x02", b"\x04"


class Reader:
    """vpcd's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def tell(self, message: bytes) -> None:
        self._writer.write(len(message).to_bytes(2, "big") + message)

    async def ask(self, message: bytes) -> bytes:
        self.tell(message)
        length = int.from_bytes(await self._reader.readexactly(2), "big")
        return await self._reader.readexactly(length)


async def play(card, script: Callable[[Reader], Awaitable[None]]) -> None:
    """Let the card go into a reader that does ``script`` and goes away."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                await script(Reader(reader, writer))
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)
            raise
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        await vpcd.serve(card, "127.0.0.1", server.sockets[0].getsockname()[1])
    await done


@pytest.fixture
def card(pki, tmp_path):
    return make_card(tmp_path, pki)


def test_a_card_that_another_process_has_in_its_reader_is_not_served(microipa: Microipa, tmp_path: Path) -> None:
    card = LabFolder(tmp_path, create=True).card()
    script = "import sys; from pathlib import Path; from microipa.euicc import Euicc\n" \
             "with Euicc.open(Path(sys.argv[1])).in_reader(): print('in', flush=True), sys.stdin.read()"
    nvm = tmp_path / "card.nvm"
    other = subprocess.Popen([sys.executable, "-c", script, nvm], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        assert other.stdout
        assert other.stdout.readline() == b"in\n"
        for words in (["card", "serve", "--vpcd", "127.0.0.1:1"], ["lab", "up"], ["demo"]):
            err = microipa(*words, "--lab", tmp_path).err
            assert err == f"microipa: the card {nvm} is in use by process {other.pid}: stop it first\n"
        assert not (tmp_path / "trace.jsonl").exists()  # that of a running lab is not begun anew
        other.kill()
    with card.in_reader():  # a holder that was killed holds nothing
        pass


async def test_the_atr_is_told_when_asked_for_and_nothing_else_is(card):
    async def script(reader: Reader) -> None:
        reader.tell(ON)
        atr = await reader.ask(ATR)  # an answer to ON would come first
        assert atr[0] == 0x3B
        reader.tell(RESET)
        assert await reader.ask(ATR) == atr

    await play(card, script)


async def test_apdus_reach_the_isd_r(card):
    async def script(reader: Reader) -> None:
        reader.tell(ON)
        assert await reader.ask(bytes.fromhex("80AA000005A903840101")) == b"\x90\x00"
        assert await reader.ask(bytes.fromhex("0070000001")) == b"\x01\x90\x00"
        assert (await reader.ask(b"\x01\xa4\x04\x00\x10" + ISDR + b"\x00"))[0] == 0x61
        answer = await reader.ask(bytes.fromhex("81E2910006BF3E035C015A"))
        data = await reader.ask(bytes([0x81, 0xC0, 0, 0, answer[1]]))
        assert data == bytes.fromhex("BF3E125A10" + EID + "9000")

    await play(card, script)


async def test_a_reset_closes_channels_and_power_off_stays_off_until_on(card):
    async def script(reader: Reader) -> None:
        reader.tell(ON)
        assert await reader.ask(bytes.fromhex("0070000001")) == b"\x01\x90\x00"
        reader.tell(RESET)
        assert await reader.ask(bytes.fromhex("01A40004023F00")) == b"\x68\x81"
        reader.tell(OFF)
        assert await reader.ask(bytes.fromhex("00A40004023F00")) == b"\x6f\x00"
        reader.tell(ON)
        assert (await reader.ask(bytes.fromhex("00A40004023F00")))[0] == 0x61

    await play(card, script)
    assert Terminal(card).start()  # pulled out, it goes on in any other terminal


@pytest.mark.parametrize(("sent", "words"), [(b"\x00\x05\x00\xa4", "after 2 bytes of 5"), (b"\x00\x00", "empty")])
async def test_a_reader_that_breaks_the_rules_is_named(card, sent, words):
    async def script(reader: Reader) -> None:
        reader._writer.write(sent)

    with pytest.raises(vpcd.NoReader, match=words):
        await play(card, script)


def test_card_serve_puts_the_labs_card_in_until_the_reader_goes_away(microipa: Microipa, tmp_path):
    told: list[bytes] = []

    def read_atr(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"\x00\x01" + ON + b"\x00\x01" + ATR)
            told.append(connection.recv(64))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=read_atr, args=[listener])
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        status, out, _ = microipa("card", "serve", "--lab", tmp_path, "--vpcd", address)
        thread.join()
    assert status == 0
    assert out.startswith(f"card {EID} is in the reader at {address}")
    assert told[0][2:] == LabFolder(tmp_path).card().atr


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:1", "no vpcd at 127.0.0.1:1"), ("here", "is not HOST:PORT"), ("127.0.0.1:0", "is not HOST:PORT")],
)
def test_card_serve_without_a_reader_is_one_sentence(microipa: Microipa, tmp_path, address, words):
    status, _, err = microipa("card", "serve", "--lab", tmp_path, "--vpcd", address)
    assert (status, len(err.splitlines())) == (1, 1)
    assert words in err


async def test_a_reader_that_writes_length_and_message_apart_does_not_wait_for_an_acknowledgement(card) -> None:
    """Nagle's algorithm holds the second write back until the first is acknowledged, which Linux delays by 40 ms."""
    turns = 40

    async def script(reader: Reader) -> None:
        line = reader._writer.get_extra_info("socket")
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        reader.tell(ON)
        command = bytes.fromhex("00A40004023F00")
        began = asyncio.get_running_loop().time()
        for _ in range(turns):
            os.write(line.fileno(), len(command).to_bytes(2, "big"))
            os.write(line.fileno(), command)
            length = int.from_bytes(await reader._reader.readexactly(2), "big")
            await reader._reader.readexactly(length)
        assert asyncio.get_running_loop().time() - began < turns * 0.02

    await play(card, script)
