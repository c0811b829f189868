"""TCP as the radio sees it: handshake, segments, acknowledgements, and repeats on a link that loses some.

The far end is a real TCP connection on loopback; only what lies between the modem and the internet is played.
There is no congestion control: one flow on a link of known rate does not need it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from microipa.common import addresses
from microipa.common.errors import MicroipaError
from microipa.radio.link import IP_UDP_HEADERS, Direction, Link

IP_TCP_HEADERS = 40
"""Bytes of an IPv4 header (RFC 791) and a TCP header (RFC 9293), both without options."""
RECEIVE_ROOM = 16 * 1024
"""Bytes a modem keeps for a slow reader; then its window is closed."""

_BEYOND_UDP = bytes(IP_TCP_HEADERS - IP_UDP_HEADERS)  # the link adds the headers of UDP by itself
_WINDOW = 10  # segments on their way
_DELAYED_ACK_S = 0.2
_PATIENCE_S = 1.0  # beyond the computed round trip, before a segment is sent again
_LEAST_WAIT_S = 0.05  # on the real clock
_MOST_REPEATS = 8


class ConnectFailed(MicroipaError):
    """Nobody accepts connections there."""


class Pipe:
    """One direction of a connection: bytes in order, b"" as their end, however the link treats segments."""

    def __init__(self, link: Link, way: Direction, deliver: Callable[[bytes], None],
                 fail: Callable[[], None], flow: str = "") -> None:
        """``deliver`` gets what arrives, ``fail`` is called when a segment was repeated too often. ``flow`` is whose
        segments these are in the trace."""
        self._flow = flow
        self.other: Pipe | None = None
        """The other direction."""
        self.written = self.taken = 1  # sequence numbers (RFC 9293) of what is sent, and has arrived, next
        self._begins: dict[int, int] = {}  # those of the segments
        self._link = link
        self._way: Direction = way
        self._back: Direction = "down" if way == "up" else "up"
        self._deliver = deliver
        self._fail = fail
        self._waiting: deque[bytes] = deque()
        self._flying: dict[int, bytes] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._sent = 0  # segments; their number is their place
        self._early: dict[int, bytes] = {}
        self._arrived = 0
        self._unacknowledged = 0
        self._ack_timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        """Send bytes after those before; none of them are the end."""
        size = self._link.settings.mtu - IP_TCP_HEADERS
        self._waiting += [data[i : i + size] for i in range(0, len(data), size)] or [b""]
        self._pump()

    def stop(self) -> None:
        """Forget everything, at once."""
        for timer in (*self._timers.values(), *([self._ack_timer] if self._ack_timer else [])):
            timer.cancel()
        self._timers.clear()
        self._flying.clear()
        self._waiting.clear()
        self._early.clear()
        self._deliver = lambda data: None

    def _pump(self) -> None:
        while self._waiting and len(self._flying) < _WINDOW:
            self._flying[self._sent] = segment = self._waiting.popleft()
            self._begins[self._sent] = self.written
            self.written += len(segment) or 1  # FIN counts
            self._send(self._sent, 0)
            self._sent += 1

    def _send(self, number: int, repeats: int) -> None:
        if repeats > _MOST_REPEATS:
            self._fail()
            return
        segment = self._flying[number]
        about = self._about(self._begins[number], self.other.taken if self.other else 1, segment)
        self._link.send(self._way, _BEYOND_UDP + segment, lambda data: self._arrive(number, segment), about=about)
        self._timers[number] = asyncio.get_running_loop().call_later(
            self._patience() * 2**repeats, self._send, number, repeats + 1)

    def _about(self, seq: int, ack: int, segment: bytes | None) -> dict[str, Any]:
        """What the trace says of a segment; None is a bare acknowledgement."""
        flags = "A" if segment is None else "PA" if segment else "FA"
        return {"payload": segment or b"", "flow": self._flow, "seq": seq, "ack": ack, "flags": flags}

    def _patience(self) -> float:
        """Seconds on the real clock until an answer can be missed: all in the air must get through first."""
        settings = self._link.settings
        in_the_air = sum(len(segment) + IP_TCP_HEADERS for segment in self._flying.values())
        rate = min(settings.rate_up, settings.rate_down)
        seconds = 2 * settings.delay_s + 8 * in_the_air / rate + _DELAYED_ACK_S + _PATIENCE_S
        return max(_LEAST_WAIT_S, settings.wait_s(seconds))

    def _arrive(self, number: int, segment: bytes) -> None:
        in_order = number == self._arrived
        if number >= self._arrived:
            self._early[number] = segment
        while (ready := self._early.pop(self._arrived, None)) is not None:
            self._arrived += 1
            self.taken += len(ready) or 1
            self._unacknowledged += 1
            self._deliver(ready)
        if not in_order or self._unacknowledged > 1:
            self._acknowledge()
        elif self._ack_timer is None:
            wait = self._link.settings.wait_s(_DELAYED_ACK_S)
            self._ack_timer = asyncio.get_running_loop().call_later(wait, self._acknowledge)

    def _acknowledge(self) -> None:
        if self._ack_timer:
            self._ack_timer.cancel()
            self._ack_timer = None
        self._unacknowledged = 0
        arrived = self._arrived
        about = self._about(self.other.written if self.other else 1, self.taken, None)
        self._link.send(self._back, _BEYOND_UDP, lambda data: self._acknowledged(arrived), about=about)

    def _acknowledged(self, arrived: int) -> None:
        for number in [number for number in self._flying if number < arrived]:
            del self._flying[number], self._begins[number]
            self._timers.pop(number).cancel()
        self._pump()


class Stream(asyncio.Protocol):
    """A connection of the modem: a pipe each way, and the real connection behind them."""

    def __init__(self, link: Link, on_data: Callable[[bytes], None], on_closed: Callable[[], None],
                 flow: str = "") -> None:
        """``on_data`` gets bytes as they come over the air; ``on_closed`` is called once, after the last. ``flow`` is
        whose bytes they are in the trace."""
        self._link = link
        self._flow = flow
        self._on_data = on_data
        self._on_closed = on_closed
        self._up = Pipe(link, "up", self._leave, self.abort, flow)
        self._down = Pipe(link, "down", self._come, self.abort, flow)
        self._up.other, self._down.other = self._down, self._up
        self._transport: asyncio.Transport | None = None
        self._unread = 0
        self._ended = False

    async def connect(self, host: str, port: int) -> None:
        """SYN, SYN-ACK, ACK. Raises ConnectFailed."""
        syn = {"flow": self._flow, "seq": 0, "ack": 0, "flags": "S"}
        await self._link.exchange(len(_BEYOND_UDP), len(_BEYOND_UDP), syn, {**syn, "ack": 1, "flags": "SA"})
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except OSError as error:
            raise ConnectFailed(f"no connection to {addresses.join(host, port)}: {error.strerror}") from error
        about = {"payload": b"", "flow": self._flow, "seq": 1, "ack": 1, "flags": "A"}
        self._link.send("up", _BEYOND_UDP, lambda data: None, about=about)

    def send(self, payload: bytes) -> None:
        """Send bytes over the air."""
        self._up.write(payload)

    def taken(self, size: int) -> None:
        """The reader took so many bytes: there is room for more."""
        self._unread -= size
        if self._transport and self._unread < RECEIVE_ROOM:
            self._transport.resume_reading()

    def close(self) -> None:
        """Say goodbye; what was sent before still arrives."""
        self._on_data = lambda data: None
        self._on_closed = lambda: None
        self._up.write(b"")

    def abort(self) -> None:
        """The radio is gone: nothing more goes either way."""
        self._up.stop()
        self._down.stop()
        self._leave(b"")
        if not self._ended:
            self._come(b"")

    # from the real connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        if self._transport and self._unread >= RECEIVE_ROOM:
            self._transport.pause_reading()
        self._down.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._down.write(b"")

    # from the pipes

    def _leave(self, data: bytes) -> None:
        if self._transport is None:
            return
        if data:
            self._transport.write(data)
        else:
            self._transport.close()

    def _come(self, data: bytes) -> None:
        if data:
            self._on_data(data)
        elif not self._ended:
            self._ended = True
            self._on_closed()
