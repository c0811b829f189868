"""The operators' side: who is a subscriber, where there is coverage, and where a name leads.

The network authenticates every card with EPS AKA (3GPP TS 33.401, TS 33.102) before it lets a modem on,
so a profile with wrong keys never gets an address. Signalling itself is not put on the link's bill.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from microipa.common.clock import Clock
from microipa.common.errors import MicroipaError
from microipa.crypto.aka import Functions, functions
from microipa.quirks import QUIRKS
from microipa.radio.behaviour import Behaviour
from microipa.trace import Trace

Address = tuple[str, int]

EVERY_PORT = 0

# 3GPP TS 24.301 9.9.3.9, reasons a network gives for refusing to let a device attach
CAUSE_ILLEGAL_UE = 3
CAUSE_CONGESTION = 22
CAUSE_SERVICES_NOT_ALLOWED = 8  # what TS 29.272 annex A makes of a user unknown to the subscriber register
# 3GPP TS 24.301 9.9.4.4, reasons for refusing a PDN connection
ESM_INSUFFICIENT_RESOURCES = 26
ESM_MISSING_OR_UNKNOWN_APN = 27

_STRANGERS = 26201  # PLMN of the first network that is heard and lets nobody of the lab on

_PLMN_DIGITS = 5
_AMF = bytes.fromhex("8000")  # separation bit set: EPS AKA (TS 33.401 6.1.1)
_AMF_RESYNC = bytes(2)  # TS 33.102 6.3.3: all zeroes under MAC-S
_SQN_STEP = 1 << 5  # SQN = SEQ || IND with five bits of IND (TS 33.102 annex C.3.2)
_SQN_LIMIT = 1 << 48


class NoCoverage(MicroipaError):
    """None of the cells in reach belongs to the subscriber's operator."""


class AttachRefused(MicroipaError):
    """The network does not let this card on. ``cause`` is the EMM cause of TS 24.301 9.9.3.9."""

    def __init__(self, cause: int, reason: str) -> None:
        super().__init__(f"attach refused with EMM cause {cause}: {reason}")
        self.cause = cause


class PdnRefused(MicroipaError):
    """The network opens no connection to this APN. ``cause`` is the ESM cause of TS 24.301 9.9.4.4."""

    def __init__(self, cause: int, reason: str) -> None:
        super().__init__(f"PDN connection refused with ESM cause {cause}: {reason}")
        self.cause = cause


@dataclass(frozen=True)
class AkaAnswer:
    """What a USIM said to a challenge: ``res``, or ``auts`` when it found SQN out of range, or neither when
    the MAC was wrong."""

    res: bytes | None = None
    auts: bytes | None = None


class Usim(Protocol):
    """The card as the network sees it through the modem."""

    @property
    def imsi(self) -> str: ...

    async def authenticate(self, rand: bytes, autn: bytes) -> AkaAnswer: ...


@dataclass
class Subscriber:
    """One line of the home subscriber register. ``sqn`` is the last sequence number given out."""

    imsi: str
    k: bytes = field(repr=False)
    opc: bytes = field(repr=False)
    operator: str
    apns: frozenset[str] | None = None
    sqn: int = 0
    algorithm: str = "milenage"


@dataclass(frozen=True)
class Attachment:
    """A device on the network: who serves it and in which cell. ``asked`` counts what it has asked for since."""

    subscriber: Subscriber
    operator: str
    roaming: bool
    tac: int = 0x2B5D
    cell: int = 0x01A2D101
    asked: Counter[str] = field(default_factory=Counter, compare=False)


class Network:
    """All operators of the lab, their register, their coverage, and the internet behind them."""

    def __init__(self, trace: Trace | None = None, quirks: Iterable[str] = (), clock: Clock | None = None) -> None:
        """Raises UnknownQuirk."""
        self._trace = trace
        self.clock = clock or Clock()
        self.behaviour = QUIRKS.behaviour("network", Behaviour(), quirks)
        self._subscribers: dict[str, Subscriber] = {}
        self.admits_strangers = False
        """Let any IMSI on, without AKA: for a card of a maker, whose operator nobody here plays."""
        self._coverage: dict[str, bool] = {}
        self._coverage_changed = asyncio.Event()
        self._routes: dict[Address, Address] = {}
        self._attempts = self._datagrams = 0
        self._addresses = ipaddress.ip_network("10.64.0.0/10").hosts()
        self.timezone_quarters = 4
        """What NITZ announces: quarters of an hour east of Greenwich."""

    def add_subscriber(self, imsi: str, k: bytes, opc: bytes, operator: str = "90170",
                       apns: Collection[str] | None = None, algorithm: str = "milenage") -> None:
        """Register a line (``k``, ``opc`` 16 bytes) with an operator, named by its PLMN, which gets coverage
        unless that was decided before. ``apns`` limits the access points, None allows all; an empty APN asks for the
        default of the subscription and is always allowed. ``algorithm``: milenage,
        or usim-test-algorithm as the test profiles of GSMA TS.48 have it."""
        self._coverage.setdefault(operator, True)
        allowed = None if apns is None else frozenset(apn.lower() for apn in apns)
        self._subscribers[imsi] = Subscriber(imsi, k, opc, operator, allowed, algorithm=algorithm)

    def set_coverage(self, operator: str, covered: bool) -> None:
        """Put up or take down an operator's cells; devices on them notice at once."""
        self._coverage[operator] = covered
        self._coverage_changed.set()
        self._coverage_changed = asyncio.Event()

    def move(self, operator: str, other: str) -> None:
        """Take the subscribers of one operator to where only another has cells, which lets them on (roaming)."""
        for subscriber in self._subscribers.values():
            if subscriber.operator == operator:
                subscriber.operator = other
        self._coverage[other] = True
        self.set_coverage(operator, False)

    def covers(self, operator: str) -> bool:
        return self._coverage.get(operator, False)

    @property
    def operators(self) -> list[str]:
        """PLMNs with a cell in reach."""
        others = [f"{_STRANGERS + number}" for number in range(int(self.behaviour.others))]
        return sorted([*(operator for operator, covered in self._coverage.items() if covered), *others])

    async def coverage_change(self) -> None:
        """Wait until set_coverage is called."""
        await self._coverage_changed.wait()

    def route(self, host: str, port: int, target: Address) -> None:
        """Let ``host``:``port``, as a device names it, lead to a real address (DNS and NAT in one).

        ``port`` EVERY_PORT: whichever port has no route of its own.
        """
        self._routes[host.lower(), port] = target

    def forget(self, host: str) -> None:
        """Let a name lead nowhere."""
        for key in [key for key in self._routes if key[0] == host.lower()]:
            del self._routes[key]

    def routes(self) -> list[tuple[Address, Address]]:
        """Every name with its port and where that leads."""
        return sorted(self._routes.items())

    def resolve(self, host: str, port: int) -> Address | None:
        """Where a datagram to ``host``:``port`` goes; None when there is no such name or address."""
        return self._routes.get((host.lower(), port)) or self._routes.get((host.lower(), EVERY_PORT))

    def knows(self, attachment: Attachment, host: str) -> bool:
        """What a DNS server answers a device that asks for a name: whether any route has it."""
        attachment.asked["name"] += 1
        if attachment.asked["name"] <= self.behaviour.dns_failures:
            return False
        return any(name == host.lower() for name, _ in self._routes)

    def time(self) -> datetime:
        """Network time (NITZ), UTC; add ``timezone_quarters`` for the local time."""
        return datetime.fromtimestamp(self.clock.time(), UTC)

    async def attach(self, usim: Usim, only: str | None = None) -> Attachment:
        """Let a card on after AKA, at the operator ``only`` where one is given. Raises NoCoverage and AttachRefused."""
        if not self.operators and not self.admits_strangers:
            raise NoCoverage("no cell in reach")
        self._attempts += 1
        if self._attempts <= self.behaviour.attach_refusals:
            self._record("attach refused", imsi=usim.imsi, cause=CAUSE_CONGESTION)
            raise AttachRefused(CAUSE_CONGESTION, "too many devices attach")
        subscriber = self._subscribers.get(usim.imsi)
        if subscriber is None and self.admits_strangers and usim.imsi:
            operator = usim.imsi[:_PLMN_DIGITS]
            self._coverage.setdefault(operator, True)
            self._record("attach accepted", imsi=usim.imsi, operator=operator, resynchronised=False)
            return Attachment(Subscriber(usim.imsi, b"", b"", operator), operator, False)
        try:
            if subscriber is None:
                raise AttachRefused(CAUSE_SERVICES_NOT_ALLOWED, f"IMSI {usim.imsi} is not registered")
            if not self.covers(subscriber.operator) or only not in (None, subscriber.operator):
                raise NoCoverage(f"no cell of {subscriber.operator} in reach, or not the one the modem is to take")
            resynchronised = await self._authenticate(subscriber, usim)
        except AttachRefused as refusal:
            self._record("attach refused", imsi=usim.imsi, cause=refusal.cause)
            raise
        self._record("attach accepted", imsi=usim.imsi, operator=subscriber.operator,
                     resynchronised=resynchronised)
        roaming = not subscriber.imsi.startswith(subscriber.operator)
        return Attachment(subscriber, subscriber.operator, roaming)

    def open_pdn(self, attachment: Attachment, apn: str) -> str:
        """The IPv4 address of a new PDN connection. Raises PdnRefused."""
        attachment.asked["context"] += 1
        if attachment.asked["context"] <= self.behaviour.context_failures:
            self._record("pdn refused", imsi=attachment.subscriber.imsi, apn=apn)
            raise PdnRefused(ESM_INSUFFICIENT_RESOURCES, "the first activations after an attach fail here")
        allowed = attachment.subscriber.apns
        if self.behaviour.own_apn:
            allowed = frozenset((own_apn(attachment.operator),))
        if apn and allowed is not None and apn.lower() not in allowed:
            self._record("pdn refused", imsi=attachment.subscriber.imsi, apn=apn)
            raise PdnRefused(ESM_MISSING_OR_UNKNOWN_APN, f"{apn!r} is not an APN of this subscriber")
        return str(next(self._addresses))

    def carries(self, attachment: Attachment) -> bool:
        """A datagram leaves the device. False when the network takes its context away with it."""
        attachment.asked["datagram"] += 1
        self._datagrams += 1
        if self._datagrams == self.behaviour.gap_at:
            self.set_coverage(attachment.operator, False)
            asyncio.get_running_loop().call_later(
                self.behaviour.gap_s, self.set_coverage, attachment.operator, True)
        return attachment.asked["datagram"] != self.behaviour.context_lost_at

    async def _authenticate(self, subscriber: Subscriber, usim: Usim) -> bool:
        """EPS AKA, once more after a re-synchronisation; True when there was one. Raises AttachRefused."""
        aka = functions(subscriber.algorithm, subscriber.k, subscriber.opc)
        for attempt in range(2):
            rand = secrets.token_bytes(16)
            answer = await usim.authenticate(rand, _autn(aka, subscriber, rand))
            if answer.res is not None:
                if hmac.compare_digest(answer.res, aka.f2(rand)):
                    return attempt > 0
                raise AttachRefused(CAUSE_ILLEGAL_UE, "RES is wrong: the card has another K or OPc")
            if answer.auts is None:
                raise AttachRefused(CAUSE_ILLEGAL_UE, "the card found the MAC wrong: it has another K or OPc")
            subscriber.sqn = _resynchronise(aka, rand, answer.auts)
        raise AttachRefused(CAUSE_ILLEGAL_UE, "SQN is still out of range after re-synchronisation")

    def _record(self, event: str, **fields: object) -> None:
        if self._trace:
            self._trace.record("radio", "network", event=event, **fields)


def own_apn(operator: str) -> str:
    """The APN of an operator (PLMN digits) where each has its own."""
    return f"{operator}.example"


def _autn(aka: Functions, subscriber: Subscriber, rand: bytes) -> bytes:
    """The next AUTN = SQN xor AK || AMF || MAC-A, 16 bytes (TS 33.102 6.3.2); counts SQN up."""
    subscriber.sqn = (subscriber.sqn + _SQN_STEP) % _SQN_LIMIT
    sqn = subscriber.sqn.to_bytes(6, "big")
    return _xor(sqn, aka.f5(rand)) + _AMF + aka.f1(rand, sqn, _AMF)


def _resynchronise(aka: Functions, rand: bytes, auts: bytes) -> int:
    """SQN of the card out of AUTS (TS 33.102 6.3.5). Raises AttachRefused when MAC-S is wrong."""
    if len(auts) != 14:
        raise AttachRefused(CAUSE_ILLEGAL_UE, f"AUTS has {len(auts)} bytes instead of 14")
    sqn = _xor(auts[:6], aka.f5_star(rand))
    if not hmac.compare_digest(auts[6:], aka.f1_star(rand, sqn, _AMF_RESYNC)):
        raise AttachRefused(CAUSE_ILLEGAL_UE, "MAC-S in AUTS is wrong")
    return int.from_bytes(sqn, "big")


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
