"""A radio link for datagrams: it takes its time, loses some, and writes the bill.

Which clock? The board is the real MicroPython with the real timers of Mbed TLS, and the modem's sockets are
real UDP sockets: none of them can be put on a faked clock. So the link waits on the real one, and
``speedup`` divides every wait (delay, serialisation, cell search, boot) by the same number: order is kept,
proportions are kept. What is *counted* — airtime, energy — is always the figure of the true radio.

The preset "nbiot" runs in real time, "short" twenty times faster, "none" does not wait at all.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from microipa.common.clock import Clock
from microipa.common.errors import MicroipaError
from microipa.quirks import QUIRKS
from microipa.radio.behaviour import Behaviour
from microipa.radio.rrc import FASTEST, Assistance, Rrc
from microipa.trace import Trace

Direction = Literal["up", "down"]
Deliver = Callable[[bytes], None]

IP_UDP_HEADERS = 28
"""Bytes of an IPv4 header without options (RFC 791) and a UDP header (RFC 768)."""

NOTHING: Mapping[str, Any] = MappingProxyType({})

# Power drawn by a module of power class 3, in watts: 220 mA while it transmits 23 dBm and 46 mA while it
# listens, at 3.6 V. Round figures of the device class for comparing flows with one another; they leave out
# the tail in which the network keeps the connection open.
TRANSMIT_W = 0.8
RECEIVE_W = 0.17

_MINIMUM_HOLD_S = 0.005  # a reordered datagram must fall behind others even on a link without delay


class UnknownPreset(MicroipaError):
    """There is no link preset of that name."""


@dataclass(frozen=True)
class LinkSettings:
    """How a link behaves. Times in seconds and rates in bit/s of the true radio; chances from 0 to 1.

    ``delay_s`` is one way, in each direction. ``mtu`` is the largest IP packet in bytes; a larger one
    vanishes, as its fragments do in the firewalls of many operators. ``search_s`` is what cell search and
    attach take. ``speedup`` divides all waiting but ``detour_s``, more delay one way, and nothing else.
    """

    delay_s: float = 0.45
    rate_up: float = 25_000
    rate_down: float = 50_000
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    mtu: int = 1358
    seed: int = 0
    search_s: float = 6.0
    detour_s: float = 0.0
    speedup: float = 1.0

    def wait_s(self, seconds: float) -> float:
        """What ``seconds`` of the true radio last here."""
        return seconds / self.speedup


NBIOT = LinkSettings()
"""NB-IoT in good coverage: about 1 s round trip, multi-tone uplink. 1358 bytes is the MTU that TS 23.060
annex C advises, so that the operator's tunnel fits into 1500."""

PRESETS = {
    "nbiot": NBIOT,
    "short": replace(NBIOT, speedup=20),
    "none": replace(NBIOT, speedup=math.inf),
}


def preset(name: str) -> LinkSettings:
    """The link settings of that name. Raises UnknownPreset."""
    if name not in PRESETS:
        raise UnknownPreset(f"no link preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass
class Traffic:
    """What one direction carried. ``bytes`` are those of whole IP packets, ``payload_bytes`` those inside
    UDP; lost and oversized datagrams count, for the sender has paid for them."""

    datagrams: int = 0
    payload_bytes: int = 0
    bytes: int = 0
    airtime_s: float = 0.0
    lost: int = 0


@dataclass
class Counters:
    """A bill: of a link since it was made, or of a part of what its trace holds."""

    up: Traffic = field(default_factory=Traffic)
    down: Traffic = field(default_factory=Traffic)
    round_trips: int = 0
    waiting_s: float = 0.0
    _last_way: Direction = "down"

    def count(self, way: Direction, size: int, settings: LinkSettings) -> float:
        """Put a datagram of ``size`` bytes of UDP payload on the bill; its airtime in seconds of the true radio."""
        whole = size + IP_UDP_HEADERS
        airtime = 8 * whole / (settings.rate_up if way == "up" else settings.rate_down)
        traffic = self.way(way)
        traffic.datagrams += 1
        traffic.payload_bytes += size
        traffic.bytes += whole
        traffic.airtime_s += airtime
        if way == "down" and self._last_way == "up":
            self.round_trips += 1
            self.waiting_s += 2 * settings.delay_s
        self._last_way = way
        return airtime

    def way(self, way: Direction) -> Traffic:
        return self.up if way == "up" else self.down

    @property
    def datagrams(self) -> int:
        return self.up.datagrams + self.down.datagrams

    @property
    def bytes(self) -> int:
        """Of whole IP packets, both ways."""
        return self.up.bytes + self.down.bytes

    @property
    def energy_mj(self) -> float:
        """Millijoules the modem spent on sending, receiving and listening for answers (an estimate)."""
        return 1000 * (TRANSMIT_W * self.up.airtime_s + RECEIVE_W * (self.down.airtime_s + self.waiting_s))


def _worse(settings: LinkSettings, behaviour: Behaviour) -> LinkSettings:
    return replace(
        settings,
        mtu=int(behaviour.mtu) or settings.mtu,
        loss=settings.loss + behaviour.loss / 100,
        duplicate=settings.duplicate + behaviour.duplicates / 100,
        reorder=settings.reorder + behaviour.disorder / 100,
        detour_s=settings.detour_s + behaviour.delay_s,
    )


class Link:
    """Carries datagrams between a modem and the internet, both directions at once, each in order."""

    def __init__(self, settings: LinkSettings | str = NBIOT, trace: Trace | None = None,
                 quirks: Iterable[str] = (), clock: Clock | None = None) -> None:
        """``settings`` may be the name of a preset. ``clock``: of one that skips, the timers of RRC and power saving
        run as they truly do, and not ``speedup`` times faster. Raises UnknownPreset and UnknownQuirk."""
        behaviour = QUIRKS.behaviour("network", Behaviour(), quirks)
        settings = preset(settings) if isinstance(settings, str) else settings
        self.settings = settings = _worse(settings, behaviour)
        self._lost_first = behaviour.datagrams_lost
        self._sent = {"up": 0, "down": 0}  # datagrams since the radio was off
        self.counters = Counters()
        self.rrc = Rrc(1.0 if clock and clock.skips else min(settings.speedup, FASTEST), behaviour, trace, clock)
        self._trace = trace
        # A string as seed gives the same dice in every process, and one set for each direction.
        self._dice = {way: random.Random(f"{settings.seed}/{way}") for way in ("up", "down")}
        self._free_at = {"up": 0.0, "down": 0.0}
        self._last_arrival = {"up": 0.0, "down": 0.0}
        self._flying: set[asyncio.TimerHandle] = set()

    def send(self, way: Direction, payload: bytes, deliver: Deliver,
             assistance: Assistance = Assistance.NONE, about: Mapping[str, Any] = NOTHING) -> None:
        """Carry one UDP payload; ``deliver`` gets it when it arrives, perhaps twice, perhaps never.

        ``assistance`` is what the device says of what follows one that goes up. ``about`` is what the trace says of it
        besides: ``flow``, whose it is, and of a TCP segment ``payload``, ``seq``, ``ack`` and ``flags``.
        """
        if way == "up":
            self.rrc.sent(assistance)
            self._carry(way, payload, deliver, about)
        else:
            self.rrc.reach(lambda: self._carry(way, payload, deliver, about))

    def _carry(self, way: Direction, payload: bytes, deliver: Deliver, about: Mapping[str, Any]) -> None:
        settings, dice = self.settings, self._dice[way]
        airtime = self.counters.count(way, len(payload), settings)
        fits = len(payload) + IP_UDP_HEADERS <= settings.mtu
        self._sent[way] += 1
        lost = dice.random() < settings.loss or not fits or way == "up" and self._sent[way] <= self._lost_first
        held = dice.random() < settings.reorder
        doubled = dice.random() < settings.duplicate
        now = asyncio.get_running_loop().time()
        self._free_at[way] = max(now, self._free_at[way]) + settings.wait_s(airtime)
        if self._trace:
            fields = {"payload": payload, **about, **({} if fits else {"larger_than_mtu": settings.mtu})}
            self._trace.record("radio", "datagram", direction=way, bytes=len(payload), lost=lost, **fields)
        if lost:
            self.counters.way(way).lost += 1
            return
        arrival = self._free_at[way] + settings.wait_s(settings.delay_s) + settings.detour_s
        if held:
            arrival += max(settings.wait_s(settings.delay_s), _MINIMUM_HOLD_S)
        else:
            # The event loop does not keep the order of equal times, so no two are equal.
            arrival = max(arrival, math.nextafter(self._last_arrival[way], math.inf))
            self._last_arrival[way] = arrival
        for _ in range(2 if doubled else 1):
            self._fly(way, arrival, payload, deliver)
            arrival = math.nextafter(arrival, math.inf)

    def after_last(self, way: Direction, then: Callable[[], None]) -> None:
        """Call ``then`` when what has been sent until now has arrived; what disorder holds back is not waited for."""
        now = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_at(math.nextafter(max(now, self._last_arrival[way]), math.inf), then)

    async def exchange(self, up: int, down: int, *about: Mapping[str, Any]) -> None:
        """Wait for and count a question and its answer of so many bytes of UDP payload: the modem's own
        traffic (DNS), which it repeats by itself, so that nothing of it is lost here. ``about``: of each, as in send.
        """
        self.rrc.sent(Assistance.NONE)
        seconds = 2 * self.settings.delay_s
        both = about or (NOTHING, NOTHING)
        sizes: tuple[tuple[Direction, int, Mapping[str, Any]], ...] = (("up", up, both[0]), ("down", down, both[1]))
        for way, size, said in sizes:
            seconds += self.counters.count(way, size, self.settings)
            if self._trace:
                fields = {"payload": b"", **said}
                self._trace.record("radio", "datagram", direction=way, bytes=size, lost=False, **fields)
        await asyncio.sleep(self.settings.wait_s(seconds))

    def clear(self) -> None:
        """Forget what is in the air: the radio is off."""
        self.rrc.leave()
        for handle in self._flying:
            handle.cancel()
        self._flying.clear()
        self._sent = {"up": 0, "down": 0}
        self._free_at = {"up": 0.0, "down": 0.0}

    def _fly(self, way: Direction, arrival: float, payload: bytes, deliver: Deliver) -> None:
        def land() -> None:
            self._flying.discard(handle)
            if way == "down":
                self.rrc.received()
            deliver(payload)

        handle = asyncio.get_running_loop().call_at(arrival, land)
        self._flying.add(handle)
