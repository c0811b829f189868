"""Packet data: contexts with an address, and connections: real sockets behind the radio link."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from microipa.common import addresses
from microipa.common.errors import MicroipaError
from microipa.modem.dtls import DtlsClient, HandshakeFailed
from microipa.modem.registration import Registration
from microipa.modem.tcp import ConnectFailed, Stream
from microipa.radio.link import Link
from microipa.radio.network import Address, Network, PdnRefused
from microipa.radio.rrc import Assistance

DATAGRAMS_WAITING = 16
"""Datagrams a connection keeps for a slow reader; more are lost."""

Service = Literal["UDP", "TCP"]

_DNS_QUERY, _DNS_ANSWER = 46, 62  # bytes of a question for a name of this lab's length, and of its A record


class NoNetwork(MicroipaError):
    """There is no registration, or no active context, for this."""


class NameUnknown(MicroipaError):
    """DNS has no such name."""


class ConnectionInUse(MicroipaError):
    """The connection id is taken."""


class NotConnected(MicroipaError):
    """The connection id is free, or its context went away."""


OPEN_FAILURES = (ConnectionInUse, NoNetwork, NameUnknown, ConnectFailed)
"""What PacketData.open raises: each family has a number or a word for it."""


@dataclass
class Context:
    """A PDP context. ``address`` is set while it is active; ``broken`` once the network took it away,
    until it is deactivated."""

    apn: str = ""
    address: str = ""
    broken: bool = False

    @property
    def active(self) -> bool:
        return bool(self.address) and not self.broken


@dataclass
class Connection:
    """An open socket of the modem. ``flow`` names it in the trace: protocol, address and port of both ends.
    ``announced`` says that the reader knows of what waits, ``ended`` that the peer of a stream has closed it.
    ``assistance`` goes with the next datagram. ``dtls`` secures datagrams in the modem itself.
    """

    id: int
    context: int
    remote: Address
    push: bool
    routed: bool
    service: Service = "UDP"
    flow: str = ""
    transport: asyncio.DatagramTransport | Stream | None = None
    dtls: DtlsClient | None = None
    waiting: deque[bytes] = field(default_factory=deque)
    announced: bool = False
    ended: bool = False
    assistance: Assistance = Assistance.NONE
    sent: int = 0
    received: int = 0
    read: int = 0

    def take(self, size: int, *, keep_rest: bool = False) -> bytes:
        """Read what waits: one datagram, or bytes of a stream. The rest of a longer datagram is lost, or kept."""
        if self.service == "UDP":
            datagram = self.waiting.popleft()
            if keep_rest and len(datagram) > size:
                self.waiting.appendleft(datagram[size:])
                datagram = datagram[:size]
            self.read += len(datagram)
            return datagram[:size]
        taken = bytearray()
        while self.waiting and len(taken) < size:
            piece = self.waiting.popleft()
            room = size - len(taken)
            taken += piece[:room]
            if len(piece) > room:
                self.waiting.appendleft(piece[room:])
        self.read += len(taken)
        if isinstance(self.transport, Stream):
            self.transport.taken(len(taken))
        return bytes(taken)


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._receive(data)

    def error_received(self, exc: Exception) -> None:
        """ICMP port unreachable: the server is down; a radio device would just hear nothing."""


class PacketData:
    """The contexts and connections of one modem."""

    def __init__(self, network: Network, link: Link, registration: Registration,
                 on_data: Callable[[Connection], None], on_closed: Callable[[Connection], None],
                 on_taken: Callable[[], None], hangs_at: float = 0) -> None:
        """``on_data`` is called for what has come to wait in a connection, ``on_closed`` when the peer of a
        stream has closed it. ``on_taken`` when the network takes the contexts away. The
        ``hangs_at``-th connection is never open and never refused."""
        self._on_taken = on_taken
        self._hangs_at = hangs_at
        self._opens = 0
        self._ports = itertools.cycle(range(49152, 65536))  # of the device (RFC 6335 8.1.2)
        self._network = network
        self._link = link
        self._registration = registration
        self._on_data = on_data
        self._on_closed = on_closed
        self.contexts: dict[int, Context] = {}
        self.connections: dict[int, Connection] = {}
        self.refusal = ""
        """Why the network opened the last context not, "" when it did."""
        self._leaving: set[asyncio.DatagramTransport] = set()  # of closed connections, until the last has left
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()  # those that still say goodbye included

    def context(self, cid: int) -> Context:
        return self.contexts.setdefault(cid, Context())

    async def activate(self, cid: int) -> None:
        """Ask the network for an address. Raises NoNetwork and PdnRefused."""
        context = self.context(cid)
        if context.active:
            return
        attachment = self._registration.attachment
        if attachment is None or context.broken:
            raise NoNetwork("not registered, or the broken context was not deactivated")
        await asyncio.sleep(self._link.settings.wait_s(2 * self._link.settings.delay_s))
        if self._registration.attachment is not attachment:
            raise NoNetwork("lost the network while it was activating")
        try:
            context.address = self._network.open_pdn(attachment, context.apn)
        except PdnRefused as refusal:
            self.refusal = str(refusal)
            raise
        self.refusal = ""

    def deactivate(self, cid: int) -> None:
        """Give the address back and forget the connections that used it."""
        context = self.context(cid)
        context.address, context.broken = "", False
        for connection in [c for c in self.connections.values() if c.context == cid]:
            self.close(connection.id)

    def lose(self) -> list[int]:
        """The network is gone: active contexts break. Their ids."""
        lost = [cid for cid, context in self.contexts.items() if context.active]
        for cid in lost:
            self.contexts[cid].broken = True
        for connection in self.connections.values():
            if connection.context in lost:
                _cut(connection)
        return lost

    async def open(self, cid: int, connection_id: int, host: str, port: int, push: bool,
                   service: Service = "UDP") -> None:
        """Resolve a name and open a connection to it.

        Raises ConnectionInUse, NoNetwork, NameUnknown and, for TCP, ConnectFailed.
        """
        if connection_id in self.connections:
            raise ConnectionInUse(f"connection {connection_id} is open")
        attachment = self._registration.attachment
        if not self.context(cid).active or attachment is None:
            raise NoNetwork(f"context {cid} is not active")
        if not _is_address(host):
            await self._link.exchange(_DNS_QUERY, _DNS_ANSWER)
            if not self._network.knows(attachment, host):
                raise NameUnknown(f"no address for {host!r}")
        self._opens += 1
        if self._opens == self._hangs_at:
            await asyncio.Event().wait()
        target = self._network.resolve(host, port)
        flow = f"{service.lower()} {self.context(cid).address}:{next(self._ports)} {addresses.join(host, port)}"
        connection = Connection(connection_id, cid, (host, port), push, target is not None, service, flow)
        connection.transport = await self._transport(connection, target)
        if not self.context(cid).active or connection_id in self.connections:
            _cut(connection)
            raise NoNetwork(f"context {cid} went away")
        self.connections[connection_id] = connection

    async def secure(self, connection_id: int, ca_pem: bytes, host: str, compares_name: bool = True) -> None:
        """Do a DTLS handshake on an open connection; on failure it is closed. See DtlsClient.

        Raises NotConnected and HandshakeFailed.
        """
        connection = self.connection(connection_id)
        try:
            connection.dtls = DtlsClient(lambda data: self._leave(connection, data), ca_pem, host,
                                         compares_name)
            await connection.dtls.handshake()
        except HandshakeFailed:
            self.close(connection_id)
            raise

    async def _transport(self, connection: Connection, target: Address | None
                         ) -> asyncio.DatagramTransport | Stream:
        """The real socket of a connection. Raises ConnectFailed."""
        if connection.service == "UDP":
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Inbox(lambda data: self._arrive(connection, data)),
                local_addr=("127.0.0.1", 0), remote_addr=target)
            return transport
        if target is None:
            raise ConnectFailed(f"nobody listens at {connection.remote}")
        stream = Stream(self._link, lambda data: self._keep(connection, data),
                        lambda: self._closed(connection), connection.flow)
        await stream.connect(*target)
        self._streams.add(stream)
        return stream

    def send(self, connection_id: int, payload: bytes, assistance: Assistance = Assistance.NONE) -> None:
        """Send one datagram, or bytes of a stream, over the air. Raises NotConnected."""
        connection = self.connection(connection_id)
        if connection.transport is None:
            raise NotConnected(f"the context of connection {connection_id} is gone")
        attachment = self._registration.attachment
        if attachment and not self._network.carries(attachment):
            self._on_taken()
        connection.sent += len(payload)
        if connection.dtls:
            connection.dtls.send(payload)
        else:
            self._leave(connection, payload, assistance)

    def _leave(self, connection: Connection, payload: bytes, assistance: Assistance = Assistance.NONE) -> None:
        transport = connection.transport
        if isinstance(transport, Stream):
            transport.send(payload)
            return

        def leave(data: bytes) -> None:
            # To an address nobody has, datagrams go without an answer.
            if transport and connection.routed and not transport.is_closing():
                transport.sendto(data)

        self._link.send("up", payload, leave, assistance, {"flow": connection.flow})

    def connection(self, connection_id: int) -> Connection:
        """Raises NotConnected."""
        if connection_id not in self.connections:
            raise NotConnected(f"connection {connection_id} is not open")
        return self.connections[connection_id]

    def close(self, connection_id: int) -> None:
        """Close a connection; none of that number is all right."""
        connection = self.connections.pop(connection_id, None)
        if connection and connection.dtls:
            connection.dtls.stop()
        transport = connection.transport if connection else None
        if isinstance(transport, Stream):
            transport.close()
        elif transport:
            self._leaving.add(transport)
            self._link.after_last("up", partial(self._left, transport))

    def _left(self, transport: asyncio.DatagramTransport) -> None:
        """What a closed connection had sent has left through its socket."""
        self._leaving.discard(transport)
        transport.close()

    def sleep(self) -> None:
        """The modem's processor loses its power, and the contexts stay with the network: connections are gone."""
        for connection in self.connections.values():
            _cut(connection)
        self.connections.clear()

    def clear(self, *, keep_apns: bool = False) -> None:
        """Power is off: nothing stays, but what contexts were defined as, in some modems."""
        for connection in self.connections.values():
            _cut(connection)
        for stream in self._streams:
            stream.abort()
        for transport in self._leaving:
            transport.abort()
        self._leaving.clear()
        self.connections.clear()
        self.contexts = {cid: Context(known.apn) for cid, known in self.contexts.items()} if keep_apns else {}

    def _arrive(self, connection: Connection, data: bytes) -> None:
        if connection.transport in self._leaving:
            return
        self._link.send("down", data, lambda arrived: self._open_up(connection, arrived),
                        about={"flow": connection.flow})

    def _open_up(self, connection: Connection, data: bytes) -> None:
        for message in [data] if connection.dtls is None else connection.dtls.receive(data):
            self._keep(connection, message)

    def _keep(self, connection: Connection, data: bytes) -> None:
        if self.connections.get(connection.id) is not connection or connection.transport is None:
            return
        if connection.service == "TCP" or len(connection.waiting) < DATAGRAMS_WAITING:
            connection.received += len(data)
            connection.waiting.append(data)
            self._on_data(connection)

    def _closed(self, connection: Connection) -> None:
        connection.ended = True
        if self.connections.get(connection.id) is connection and connection.transport:
            self._on_closed(connection)


def _cut(connection: Connection) -> None:
    """The radio is gone: nobody is told."""
    if connection.dtls:
        connection.dtls.stop()
    transport, connection.transport = connection.transport, None
    if transport:
        transport.abort()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
