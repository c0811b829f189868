"""tools/tether.py in the real MicroPython, whose stdin and stdout are a terminal with the bench's end behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from microipa.board.micropython import DEFAULT_HEAP, environment, find_micropython, heap_bytes
from microipa.board.process import Process
from microipa.common import paths
from microipa.crypto.pki import Pki
from microipa.eim.dtls import DtlsServer
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.hil.tether import Tether

HOST, PORT = "eim.microipa.example", 5684
SMALLEST_STDIN = 259  # bytes: that of the ESP32 port
SCRIPT = """
import asyncio
import tether
from ipa import compat
from ipa.modem import ModemError
from ipa.net import NetError
from ipa.net.dtls import Dtls

class Modem:
    on = True
    def registered(self):
        return self.on

modem = Modem()

async def run():
    try:
        await main()
    except (NetError, ModemError) as error:
        print(type(error).__name__, error)
    print("done")

async def datagrams(count):
    link = await tether.udp(modem, "eim.microipa.example", 5684)
    buf = bytearray(1500)
    link.write(b"hello")
    for _ in range(count):
        await link.wait(20000)
        n = link.readinto(buf)
        print("got", n, bytes(buf[:min(n or 0, 20)]))
    link.close()
"""
HANDSHAKE = """
async def main():
    link = Dtls(await tether.udp(modem, "eim.microipa.example", 5684), "eim.microipa.example", {trust})
    print("an application that does not end its line", end="")
    await link.connect(20000)
    compat.log(compat.INFO, "between the datagrams")
    buf = bytearray(1200)
    for message in (b"ping", bytes(range(250)) * 4):
        await link.send(message)
        n = await link.recv(buf, 10000)
        print("answered", bytes(buf[:n]) == bytes(reversed(message)))
    link.close()
"""


class Board:
    """A script in MicroPython at the end of a cable: what it says, line by line, and what is typed to it."""

    def __init__(self, script: str, flash: Path, folder: Path) -> None:
        self.lines: list[str] = []
        self.listener: Callable[[str], object] = lambda line: None
        self._end = asyncio.Event()
        self._news = asyncio.Event()
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        (folder / "script.py").write_text(SCRIPT + script + "\nasyncio.run(run())\n")
        command = [*find_micropython(), "-X", f"heapsize={heap_bytes(DEFAULT_HEAP)}", "script.py"]
        self._process = Process(command, folder, environment([flash, paths.tools()]), self._said,
                                lambda _: self._end.set())

    def type(self, data: bytes) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._process.write, data)

    async def heard(self, words: str) -> None:
        """Until it has said this."""
        while not any(words in line for line in self.lines):
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 60)

    async def end(self) -> str:
        """What it has said, when its script has ended."""
        await asyncio.wait_for(self._end.wait(), 60)
        assert "done" in self.lines, self.lines
        return "\n".join(self.lines)

    def kill(self) -> None:
        if not self._end.is_set():
            self._process.kill()

    def _said(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.lines.append(line.decode().strip("\r"))
            self.listener(self.lines[-1])
        self._news.set()


class Bench:
    """The bench's end of the cable. It watches that no line is typed before the last was read."""

    def __init__(self, board: Board, address: tuple[str, int] | None, junk: bytes = b"") -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[tuple[str, int]] = []
        self.unread, self.most = 0, 0
        self.log: list[str] = []
        self._board, self._address, self._junk = board, address, junk
        self._tether = Tether(self._way, self._type, lambda part, kind, **fields: self.events.append(fields))
        board.listener = self._heard
        self.close = self._tether.close

    def _way(self, host: str, port: int) -> tuple[str, int] | None:
        self.asked.append((host, port))
        return self._address

    def _heard(self, line: str) -> None:
        self.unread -= line.startswith("~t") and line[3:] == "+"
        if not self._tether.takes(line):
            self.log.append(line)

    def _type(self, data: bytes) -> None:
        self.unread += 1
        self.most = max(self.most, self.unread * len(data))
        self._board.type(self._junk + data)


@pytest.fixture
async def board(flash: Path, tmp_path: Path) -> AsyncIterator[Callable[[str], Board]]:
    with contextlib.ExitStack() as stack:

        def start(script: str) -> Board:
            one = Board(script, flash, tmp_path)
            stack.callback(one.kill)
            return one

        yield start


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def port(pki: Pki) -> AsyncIterator[int]:
    """Where a server listens that answers each message backwards."""
    endpoint = DtlsServer(pki.eim_tls, lambda association, message: association.send(message[::-1]),
                          lambda _: None, DtlsSettings())
    yield await endpoint.start("127.0.0.1", 0)
    endpoint.stop()


JUNK = b"import this\r\n" + b"~tA0." + b"A" * 6000 + b"\n~tZ0.QUFB\n\x02\x00\xff\n~t\n\n"


@pytest.mark.parametrize("junk", [b"", JUNK], ids=["a quiet terminal", "a cat on the keyboard"])
async def test_sgp32_6_2_dtls_and_its_messages_pass_through_the_serial_port(
    board: Callable[[str], Board], pki: Pki, port: int, junk: bytes
) -> None:
    running = board(HANDSHAKE.format(trust=("pin", pki.eim_tls.spki)))
    bench = Bench(running, ("127.0.0.1", port), junk)
    try:
        said = await running.end()
    finally:
        bench.close()
    assert said.count("answered True") == 2
    assert set(bench.asked) == {(HOST, PORT)}
    assert "an application that does not end its line" in bench.log
    assert any("between the datagrams" in line for line in bench.log)
    assert not any(line.startswith("~t") for line in bench.log)
    assert 0 < bench.most < SMALLEST_STDIN
    ways = [event["direction"] for event in bench.events if "direction" in event]
    assert ways.count("up") >= 5
    assert ways.count("down") >= 5


async def test_a_bench_whose_port_comes_after_the_board_hears_of_the_link_all_the_same(
    board: Callable[[str], Board], pki: Pki, port: int
) -> None:
    running = board(HANDSHAKE.format(trust=("pin", pki.eim_tls.spki)))
    await running.heard("~tA=")
    bench = Bench(running, ("127.0.0.1", port))
    try:
        said = await running.end()
    finally:
        bench.close()
    assert said.count("answered True") == 2
    assert set(bench.asked) == {(HOST, PORT)}


async def test_what_is_no_eim_of_the_place_is_refused_at_once(board: Callable[[str], Board], pki: Pki) -> None:
    running = board(HANDSHAKE.format(trust=("pin", pki.eim_tls.spki)))
    bench = Bench(running, None)
    said = await running.end()
    assert "DtlsError DTLS: [Errno 107] ENOTCONN" in said
    assert [event["text"] for event in bench.events] == [
        f"tether: {HOST} port {PORT} is not an eIM of this place, no datagram is sent there"]


async def test_datagrams_in_pieces_come_whole_or_not_at_all(board: Callable[[str], Board]) -> None:
    running = board("main = lambda: datagrams(3)")
    await running.heard("~tA? eim.microipa.example 5684")
    piece = b"QUFB" * 40
    running.type(b"".join([
        b"~tA0+QUFB\n~tA2.QUFB\n",  # one is missing
        b"~tA0+QUFB\n~tA0.Zmlyc3Q=\n",  # the first again: another datagram
        b"~tA0.QUF\n~tA0.====\n",  # no base64
        *(b"~tA%c%b%b\n" % (0x30 + number, b"." if number == 13 else b"+", piece) for number in range(14)),  # too long
        b"~tA0+" + piece + b"\n~tA1.c2Vjb25k\n",
        b"~tB0.QUFB\n~tA0.dGhpcmQ=\n",  # of another link
    ]))
    said = await running.end()
    assert [line for line in running.lines if line.startswith("got")] == [
        "got 5 b'first'", f"got 126 {b'A' * 20!r}", "got 5 b'third'"]
    assert "~tA!" in said


async def test_a_link_that_is_opened_anew_forgets_what_was_typed_before(board: Callable[[str], Board]) -> None:
    running = board("""
async def main():
    print("ready")
    for _ in tether._stdin.ipoll(20000):  # until something is there
        pass
    await datagrams(1)
    await datagrams(1)
""")
    await running.heard("ready")
    running.type(b"~tA0.QUFB\n")
    for letter, word in ((b"A", b"Zmlyc3Q="), (b"B", b"c2Vjb25k")):
        await running.heard(f"~t{letter.decode()}?")
        running.type(b"~t%b0.%b\n" % (letter, word))
    await running.end()
    assert [line for line in running.lines if line.startswith("got")] == ["got 5 b'first'", "got 6 b'second'"]


async def test_a_device_that_no_network_has_let_in_has_no_datagrams(board: Callable[[str], Board]) -> None:
    running = board("""
async def main():
    link = await tether.udp(modem, "eim.microipa.example", 5684)
    link.write(b"on the air")
    modem.on = False
    link.write(b"in the tunnel")
    link.close()
    await tether.udp(modem, "eim.microipa.example", 5684)
""")
    said = await running.end()
    assert "~tA=b24gdGhlIGFpcg==" in said
    assert said.count("~tA=") == 1
    assert "SocketError tether: the modem has no network" in said


@pytest.mark.parametrize("family", ["bg95", "nrf91", "sara-r5"])
async def test_the_driver_of_every_modem_is_tethered_and_its_own_dtls_refused(
    board: Callable[[str], Board], family: str
) -> None:
    running = board(f"""
async def main():
    from ipa.modem import driver
    kind = driver({family!r})
    print("tethered", kind.udp is tether.udp)
    await kind.dtls(modem, "eim.microipa.example", 5684, b"")
""")
    said = await running.end()
    assert "tether: datagrams go over this serial port, not over the modem" in said
    assert "tethered True" in said
    assert "SocketError tether: it carries what the board's own DTLS makes" in said
