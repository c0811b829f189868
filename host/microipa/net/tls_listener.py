"""TLS connections of a server: accepted, counted and thrown out, so that a flood does not keep honest peers away."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

log = logging.getLogger(__name__)

HANDSHAKE_S = 60.0  # over NB-IoT its flights take up to 10 s each
OUT_OF_FILES_S = 0.1  # pause when the system has no file descriptor left


class Peer(Protocol):
    """What speaks over one connection."""

    heard: float  # when something came last, in time of the loop

    @property
    def busy(self) -> bool:
        """Its request has arrived whole and is not answered yet."""

    def drop(self) -> None:
        """Close the connection without another word."""


class Connection:
    """One accepted connection; without ``peer`` its handshake is going on."""

    def __init__(self, address: str, opened: float) -> None:
        self.source = _source(address)
        self.opened = opened
        self.peer: Peer | None = None
        self.handshake: asyncio.Task[None] | None = None

    @property
    def silent_since(self) -> float:
        return self.peer.heard if self.peer else self.opened

    @property
    def busy(self) -> bool:
        return self.peer is not None and self.peer.busy

    def drop(self) -> None:
        if self.peer:
            self.peer.drop()
        elif self.handshake:
            self.handshake.cancel()


class TlsListener:
    """Accepts on ``listener``. When ``limit`` connections are open, a new one takes the place of another: of the
    source address that has most, the one that has been silent longest; where the answers to all of them are due, the
    newest, unless the new one is of that address too.

    ``serve(connection)`` makes the protocol that speaks over a connection, whose handshake is done; the protocol
    tells ``closed(connection)`` when it is over.
    """

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext,
        serve: Callable[[Connection], asyncio.Protocol],
        limit: int,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._tls = tls
        self._serve = serve
        self._limit = limit
        self._open: set[Connection] = set()

    async def run(self) -> None:
        """Accept until cancelled; then give up the handshakes that are going on and close the listener."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    accepted, address = await loop.sock_accept(self._listener)
                except OSError as error:
                    log.warning("cannot accept a connection: %s", error)
                    self._make_room()
                    await asyncio.sleep(OUT_OF_FILES_S)
                    continue
                if len(self._open) < self._limit or self._make_room(_source(address[0])):
                    self._begin(accepted, address[0])
                else:
                    accepted.close()
        finally:
            self._listener.close()
            for connection in list(self._open):
                if connection.peer is None:
                    connection.drop()

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)

    def _make_room(self, newcomer: str = "") -> bool:
        """Throw one connection out. False where the newcomer's source has most, and each waits for its answer."""
        shares = Counter(connection.source for connection in self._open)
        shares[newcomer] += 1
        most = max(shares.values())
        of_busiest = [connection for connection in self._open if shares[connection.source] == most]
        idle = [connection for connection in of_busiest if not connection.busy]
        if idle:
            victim = min(idle, key=lambda one: one.silent_since)
        elif shares[newcomer] < most:
            victim = max(of_busiest, key=lambda one: one.silent_since)
        else:
            return False
        self.closed(victim)
        victim.drop()
        return True

    def _begin(self, accepted: socket.socket, address: str) -> None:
        # asyncio does it only for sockets that were made with the number of the protocol.
        with suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(address, asyncio.get_running_loop().time())
        self._open.add(connection)
        connection.handshake = asyncio.create_task(self._shake_hands(accepted, connection))

    async def _shake_hands(self, accepted: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: self._serve(connection), accepted, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S
            )
        except OSError as error:  # ssl.SSLError and what asyncio raises for a time that is up are among them
            log.debug("handshake with %s failed: %s", connection.source, error)
        finally:
            connection.handshake = None
            if connection.peer is None:
                self.closed(connection)


def _source(address: str) -> str:
    """Whose a connection is: one IPv4 address, or one IPv6 network of 64 bits, which a single host may own."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
