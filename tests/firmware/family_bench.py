"""The lab's modem of a family with a real card in it, and the driver of that family in the real MicroPython."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from microipa.lab import BOOTSTRAP_OPERATOR, OPERATOR, LabFolder, Preloaded
from microipa.modem import VirtualModem
from microipa.net import sockets
from microipa.radio import Link, Network

Run = Callable[..., Awaitable[str]]
EIM = "eim.microipa.example"
SLOW = {"slow-card", "slow-refresh"}
COMMON = """
import asyncio, sys
from ipa import compat
from ipa.modem import driver, power, ModemError, SocketError
from ipa.card.channel import ISD_R, Channel
from ipa.card.es10 import Es10
compat.log_sink = lambda line: None
uart = open(sys.argv[2], "r+b", 0)

async def receive(socket, buf):
    for _ in range(200):
        n = socket.readinto(buf)
        if n is not None:
            return bytes(buf[:n]) if n >= 0 else n
        await socket.wait(5000)

async def main():
    modem = driver(sys.argv[1])(uart)
    await modem.start()
{body}

asyncio.run(main())
"""


class Echo(asyncio.DatagramProtocol):
    """Gives back what it gets; what asks for it makes a hole in the coverage instead."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data == b"coverage":
            self._network.set_coverage(BOOTSTRAP_OPERATOR, False)
            asyncio.get_running_loop().call_later(0.3, self._network.set_coverage, BOOTSTRAP_OPERATOR, True)
        else:
            self.transport.sendto(data, addr)  # type: ignore[attr-defined]


class Bench:
    """A modem of a family in a folder that keeps its card, which has a spare profile. Anybody may switch the profiles
    of a card whose ``kind`` is "consumer"."""

    def __init__(self, folder: Path, family: str, quirks: tuple[str, ...] = (), kind: str = "iot",
                 apns: Collection[str] | None = None) -> None:
        self.folder = LabFolder(folder, create=True)
        self.family = family
        self.network = Network()
        self.spare = Preloaded("Spare", OPERATOR)
        card = self.folder.card(kind=kind, preloaded=[self.spare])
        for one in self.folder.subscribers():
            self.network.add_subscriber(one.imsi, bytes.fromhex(one.k), bytes.fromhex(one.opc), one.operator, apns)
        link = Link("short" if SLOW.intersection(quirks) else "none")  # "none" knows no waiting at all
        self.modem = VirtualModem(card, self.network, link, family=family, quirks=quirks)

    @asynccontextmanager
    async def on(self) -> AsyncIterator[Bench]:
        await self.modem.start()
        try:
            yield self
        finally:
            await self.modem.stop()

    async def run(self, micropython: Run, body: str) -> list[str]:
        indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
        return (await micropython(COMMON.replace("{body}", indented), self.family, self.modem.path)).splitlines()


def one_port_for_both() -> tuple[socket.socket, socket.socket]:
    """TCP and UDP at the same port of loopback."""
    while True:
        datagram = sockets.udp("127.0.0.1", 0)
        try:
            return sockets.tcp(*datagram.getsockname()), datagram
        except sockets.PortTaken:
            datagram.close()


@asynccontextmanager
async def echo(network: Network) -> AsyncIterator[None]:
    """UDP and TCP at eim.microipa.example, port 5684, give back what they get; "bye" also ends the stream."""
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        while data != b"bye" and (data := await reader.read(4096)):
            writer.write(data)
        writer.close()

    stream, datagram = one_port_for_both()
    server = await asyncio.start_server(serve, sock=stream)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Echo(network), sock=datagram)
    network.route(EIM, 5684, datagram.getsockname())
    try:
        yield
    finally:
        transport.close()
        server.close()
