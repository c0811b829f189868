"""A modem of the lab on its own: with the lab's card, a network that knows it, and an echo on its internet."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from microipa.lab import LabFolder
from microipa.modem.virtual import VirtualModem
from microipa.radio import Link, Network

ECHO = ("echo.microipa.example", 7)


class _Echo(asyncio.DatagramProtocol):
    _transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def bench(family: str, quirks: Iterable[str] = ()) -> AsyncIterator[VirtualModem]:
    """A modem with power. Raises UnknownFamily and UnknownQuirk."""
    with tempfile.TemporaryDirectory() as place:
        folder = LabFolder(Path(place), create=True)
        card, network = folder.card(), Network()
        for one in folder.subscribers():
            network.add_subscriber(one.imsi, bytes.fromhex(one.k), bytes.fromhex(one.opc), one.operator)
        modem = VirtualModem(card, network, Link("none"), family=family, quirks=quirks)
        echo, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
        network.route(*ECHO, echo.get_extra_info("sockname"))
        await modem.start()
        try:
            yield modem
        finally:
            await modem.stop()
            echo.close()
