"""A load balancer before the servers of a fleet: UDP and TCP, each source at one server as long as that is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from microipa.load.server import Server

LOOPBACK = "127.0.0.1"
Address = tuple[str, int]


@dataclass(frozen=True)
class Balanced:
    """Where devices find the servers, as ``Server.ports`` has it."""

    ports: dict[str, int]


class Way(asyncio.DatagramProtocol):
    """From one source to its server and back."""

    def __init__(self, balancer: UdpBalancer, source: Address, server: Server) -> None:
        self._balancer, self._source, self.server = balancer, source, server
        self._waiting: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport
        for datagram in self._waiting:
            transport.sendto(datagram)

    def send(self, datagram: bytes) -> None:
        if self._transport:
            self._transport.sendto(datagram)
        else:
            self._waiting.append(datagram)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._balancer.back(data, self._source)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there any more: the next datagram of this source goes to another server."""
        self._balancer.gone(self._source, self)

    def close(self) -> None:
        if self._transport:
            self._transport.close()


class UdpBalancer(asyncio.DatagramProtocol):
    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self.ways: dict[Address, Way] = {}
        self._gone: list[Server] = []
        self._opening: set[asyncio.Task[Any]] = set()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if (way := self.ways.get(addr)) is None:
            there = [server for server in self._servers if server not in self._gone] or list(self._servers)
            way = self.ways[addr] = Way(self, addr, there[len(self.ways) % len(there)])
            server = LOOPBACK, way.server.ports["coaps"]
            opening = asyncio.get_running_loop().create_datagram_endpoint(lambda: way, remote_addr=server)
            self._opening.add(task := asyncio.ensure_future(opening))
            task.add_done_callback(self._opening.discard)
        way.send(data)

    def back(self, data: bytes, source: Address) -> None:
        self._transport.sendto(data, source)

    def gone(self, source: Address, way: Way) -> None:
        if self.ways.get(source) is way:
            del self.ways[source]
            self._gone.append(way.server)
            way.close()

    def close(self) -> None:
        self._transport.close()
        for way in self.ways.values():
            way.close()


class TcpBalancer:
    """``connections`` counts those of each server."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self.connections = [0] * len(servers)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = sum(self.connections)
        with contextlib.closing(writer):
            for turn in range(len(self._servers)):
                number = (first + turn) % len(self._servers)
                with contextlib.suppress(ConnectionError):
                    there = await asyncio.open_connection(LOOPBACK, self._servers[number].ports["https"])
                    self.connections[number] += 1
                    with contextlib.closing(there[1]), contextlib.suppress(ConnectionError):
                        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
                    return


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(1 << 16):
        sink.write(data)
        await sink.drain()
    sink.close()


@contextlib.asynccontextmanager
async def balancing(*servers: Server) -> AsyncIterator[tuple[Balanced, UdpBalancer, TcpBalancer]]:
    """One address for all of them."""
    loop = asyncio.get_running_loop()
    transport, udp = await loop.create_datagram_endpoint(lambda: UdpBalancer(servers), local_addr=(LOOPBACK, 0))
    tcp = TcpBalancer(servers)
    listening = await asyncio.start_server(tcp, LOOPBACK, 0)
    ports = {"coaps": transport.get_extra_info("sockname")[1], "https": listening.sockets[0].getsockname()[1]}
    try:
        yield Balanced(ports), udp, tcp
    finally:
        udp.close()
        listening.close()
