"""What each thing a device does costs on the air: ``microipa bill``.

Everything is real but the waiting: MicroPython, modem, DTLS, eIM and SM-DP+ work as in the demo, and the link
counts what the NB-IoT preset would take without letting anyone wait for it.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from microipa.common.console import Terminal, lines, print_json
from microipa.common.errors import MicroipaError
from microipa.energy import targets
from microipa.energy.inputs import work_of
from microipa.lab import Lab, forget_all_but_keys, new_profile
from microipa.lab.demo import BOARD_TIMEOUT_S, Meter, run_board
from microipa.modem.tcp import IP_TCP_HEADERS
from microipa.radio import PRESETS, Counters
from microipa.radio.link import IP_UDP_HEADERS
from microipa.radio.rrc import State
from microipa.saip import ProfilePackage, build
from microipa.trace import Event, Trace

AIR = replace(PRESETS["nbiot"], speedup=math.inf)
HEAP = "240K"  # of the board: HTTPS takes more than CoAP
TRAFFIC = "traffic.json"  # in the lab's folder
WIDTH = 120  # columns of the table, in a file as well
GET_EIM_PACKAGE, PROVIDE_RESULT, HANDLE_NOTIFICATION = "bf4f", "bf50", "bf3d"
DTLS_RECORD = 37  # header 13, explicit nonce 8, tag 16 of AES-GCM (RFC 6347 4.1, RFC 5288 3)
_APPLICATION_DATA = "17"  # record content type 23


class NothingToBill(MicroipaError):
    """The session that was to be billed did not do what it should."""


@dataclass(frozen=True)
class Target:
    """The most a row may come to; ``ratio`` are IP bytes for each byte of ESipa payload, ``up`` its bytes up."""

    bytes: int | None = None
    datagrams: int | None = None
    ratio: float | None = None
    round_trips: int | None = None
    up: int | None = None
    apdus: int | None = None
    connections: int | None = None


@dataclass(frozen=True)
class Payload:
    """Bytes of ESipa messages, and the commands to the card between them."""

    up: int = 0
    down: int = 0
    apdus: int = 0

    @property
    def both(self) -> int:
        return self.up + self.down


@dataclass(frozen=True)
class Row:
    """One thing, its cost, and what it carried; ``work`` names it for `microipa battery`. ``connections`` of the radio,
    of which ``assisted`` ended by release assistance, are counted in the poll out of PSM."""

    what: str
    cost: Counters
    payload: Payload = Payload()
    target: Target = Target()
    work: str = ""
    connections: int = 1
    assisted: int = 1

    @property
    def ratio(self) -> float:
        """IP bytes for each byte of payload; 0 without payload."""
        return self.cost.bytes / self.payload.both if self.payload.both else 0.0

    def verdicts(self) -> list[tuple[str, bool]]:
        """Each target in words, and whether it is met."""
        target, cost = self.target, self.cost
        kept: list[tuple[str, float, float | None]] = [
            ("bytes", cost.bytes, target.bytes),
            ("packets", cost.datagrams, target.datagrams),
            ("trips", cost.round_trips, target.round_trips),
            ("ratio", self.ratio, target.ratio),
            ("ESipa up", self.payload.up, target.up),
            ("APDUs", self.payload.apdus, target.apdus),
            ("connections", self.connections, target.connections),
        ]
        return [(f"{what} ≤ {most:,}", value <= most) for what, value, most in kept if most is not None]

    def for_programs(self) -> dict[str, Any]:
        """The same as JSON: bytes, counts, seconds and joules; targets in words with whether they are met."""
        cost = self.cost
        return {
            "what": self.what,
            "packets": cost.datagrams,
            "bytes": cost.bytes,
            "round_trips": cost.round_trips,
            "air_s": cost.up.airtime_s + cost.down.airtime_s,
            "energy_j": cost.energy_mj / 1000,
            "esipa_up": self.payload.up,
            "esipa_down": self.payload.down,
            "apdus": self.payload.apdus,
            "targets": dict(self.verdicts()),
        }

    def arithmetic(self) -> str:
        """Where the bytes go that are no payload."""
        cost, below = self.cost, IP_UDP_HEADERS + DTLS_RECORD
        rest = cost.bytes - self.payload.both - cost.datagrams * below
        return (
            f"{self.what}: {cost.bytes:,} bytes are {self.payload.both:,} of ESipa, {cost.datagrams} datagrams × "
            f"({IP_UDP_HEADERS} IP and UDP + {DTLS_RECORD} DTLS) and {rest:,} of CoAP"
        )


class Session:
    """One run of the board, as its datagrams and ESipa messages tell it."""

    def __init__(self, events: Iterable[Event]) -> None:
        events = [event for event in events if event.kind in ("datagram", "esipa", "apdu")]
        data = [place for place, event in enumerate(events) if _is_data(event)]
        if not data:
            raise NothingToBill("the board sent nothing to the eIM")
        self._before, self._after = events[: data[0]], events[data[0] :]

    def lookup(self) -> Counters:
        """DNS, which the modem does by itself."""
        return _count(event for event in self._before if _is_lookup(event))

    def handshake(self) -> Counters:
        """DTLS up to the first application data."""
        return _count(event for event in self._before if not _is_lookup(event))

    def total(self) -> Counters:
        return _count([*self._before, *self._after])

    def apdus(self) -> int:
        return _apdus([*self._before, *self._after])

    def until(self, function: str) -> tuple[Counters, Payload]:
        """From the first application data to the answer to a message that begins so: cost and payload.

        Raises NothingToBill when there is none.
        """
        part = self._after[: self._answered(function)]
        sizes = {
            side: sum(
                len(event.fields["message"]) // 2 for event in part if event.kind == "esipa" and _comes(event, side)
            )
            for side in ("in", "out")
        }
        return _count(part), Payload(sizes["in"], sizes["out"], _apdus(part))

    def beyond(self, function: str) -> Session:
        """What comes after that answer."""
        return Session(self._after[self._answered(function) :])

    def _answered(self, function: str) -> int:
        asked = False
        for place, event in enumerate(self._after):
            if event.kind == "esipa" and _comes(event, "in") and event.fields["message"].startswith(function):
                asked = True
            elif asked and event.kind == "datagram" and _comes(event, "down"):
                return place + 1
        raise NothingToBill(f"the eIM never answered {function.upper()}")


def _comes(event: Event, direction: str) -> bool:
    return bool(event.fields["direction"] == direction)


def _is_lookup(event: Event) -> bool:
    """The modem does DNS, and opens TCP, without showing what it says."""
    larger_than_a_segment = event.fields.get("bytes", 0) > IP_TCP_HEADERS - IP_UDP_HEADERS
    return event.kind == "datagram" and not event.fields["payload"] and larger_than_a_segment


def _is_data(event: Event) -> bool:
    return event.kind == "datagram" and event.fields["payload"].startswith(_APPLICATION_DATA)


def _count(events: Iterable[Event]) -> Counters:
    counters = Counters()
    for event in events:
        if event.kind == "datagram":
            counters.count(event.fields["direction"], event.fields["bytes"], AIR)
    return counters


def _apdus(events: Iterable[Event]) -> int:
    return sum(event.kind == "apdu" for event in events)


class Till:
    """A lab whose board is run once for each thing on the bill."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._events: list[Event] = []
        self._polls = 0
        self._polled_twice = asyncio.Event()
        self._slept = asyncio.Event()
        lab.trace.listen(self._hear)

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        if event.kind == "esipa" and event.fields["message"].startswith(GET_EIM_PACKAGE) and _comes(event, "in"):
            self._polls += 1
        elif event.kind == "rrc" and event.fields["state"] == State.PSM:
            self._slept.set()
        elif self._polls == 2 and event.kind == "datagram" and _comes(event, "down"):
            self._polled_twice.set()

    def _install(self, settings: dict[str, Any]) -> None:
        self._lab.board.install({"apn": "iot.microipa.example", **settings})
        self._events.clear()
        self._polls = 0
        self._polled_twice.clear()

    async def session(self, **settings: Any) -> Session:
        """Let the board do what waits for it. Raises BoardFailed, and NothingToBill when an order failed."""
        lab = self._lab
        self._install({"stop_when_idle": True, **settings})
        await run_board(lab, Meter(lab.trace))
        for order in lab.eim.orders(lab.eid):
            if order.state != "done":
                raise NothingToBill(f"{order.summary} is {order.state}: {order.result}")
        return Session(self._events)

    async def poll(self) -> list[Row]:
        session = await self.session()
        poll, payload = session.until(GET_EIM_PACKAGE)
        handshake = session.handshake()
        return [
            Row("DNS, by the modem", session.lookup()),
            Row("DTLS handshake", handshake, target=Target(bytes=1600, datagrams=6)),
            Row("poll, nothing to do", poll, payload),
            Row("all three", session.total(), target=Target(bytes=1800)),
        ]

    async def poll_over_https(self) -> list[Row]:
        session = await self.session(transport="https")
        poll, payload = session.until(GET_EIM_PACKAGE)
        return [
            Row("TCP and TLS handshake", session.handshake()),
            Row("poll over HTTPS", poll, payload),
        ]

    async def second_poll(self) -> Row:
        """The same on the association of the poll before."""
        self._install({"poll_interval_s": 1, "keep_association_s": 60})
        await self._lab.board.start()
        try:
            await asyncio.wait_for(self._polled_twice.wait(), BOARD_TIMEOUT_S)
        finally:
            self._lab.board.kill()
        cost, payload = Session(self._events).beyond(GET_EIM_PACKAGE).until(GET_EIM_PACKAGE)
        return Row("poll, existing association", cost, payload, Target(bytes=200, datagrams=2))

    async def poll_out_of_psm(self) -> Row:
        """All that a poll with nothing to do takes, from PSM to PSM."""
        self._install({"poll_interval_s": 2, "poll_jitter_percent": 0, "psm_periodic_s": 86400, "psm_active_s": 2})
        spent = self._lab.link.rrc.spent
        await self._lab.board.start()
        try:
            async with asyncio.timeout(BOARD_TIMEOUT_S):
                await self._asleep()
                self._events.clear()
                connections, assisted = spent.connections, spent.assisted
                await self._asleep()
        finally:
            self._lab.board.kill()
        session = Session(self._events)
        return Row("poll out of PSM, nothing to do", session.total(), Payload(apdus=session.apdus()),
                   Target(bytes=1800, apdus=8, connections=1), work="poll",
                   connections=spent.connections - connections, assisted=spent.assisted - assisted)

    async def _asleep(self) -> None:
        self._slept.clear()
        await self._slept.wait()

    async def package(self) -> Row:
        self._lab.eim.order_package(self._lab.eid, [("listProfileInfo", {})])
        cost, payload = (await self.session()).until(PROVIDE_RESULT)
        return Row("one package: list profiles", cost, payload, work="package")

    async def download(self, what: str, package: bytes, target: Target = Target(), **settings: Any) -> Row:
        self._lab.eim.order_download(self._lab.eid, self._lab.offer(package), needs_proof=False)
        cost, payload = (await self.session(**settings)).until(HANDLE_NOTIFICATION)
        self._lab.eim.order_package(self._lab.eid, [("delete", {"iccid": ProfilePackage.parse(package).iccid})])
        await self.session()
        return Row(what, cost, payload, target)


async def measure(folder: Path, ts48: bytes | None = None) -> list[Row]:
    """Run every thing on the bill once; ``ts48`` is a profile package of the test profile of GSMA TS.48.

    Without it one of the same elements stands in. Raises NothingToBill and what the lab raises.
    """
    forget_all_but_keys(folder)
    fresh = new_profile("Bill")
    iot, minimal = build(fresh), build(replace(fresh, template="iot-minimal"))
    full = ts48 or build(replace(new_profile("Full"), template="ts48-like"))
    async with Lab(folder, radio=AIR, heap=HEAP, trace=Trace(folder / "trace.jsonl")) as lab:
        till = Till(lab)
        await till.package()  # a new card, so the eIM asks who it is before its first package
        rows = [
            *await till.poll(),
            await till.second_poll(),
            await till.package(),
            await till.download(f"minimal profile, {len(minimal)} bytes", minimal, Target(ratio=1.4)),
            await till.download(f"IoT profile, {len(iot):,} bytes", iot),
        ]
        name = "TS.48" if ts48 else "like TS.48"
        plain = await till.download(f"{name}, {len(full):,} bytes", full, Target(ratio=1.25))
        plain = replace(plain, work="download")
        half = Target(round_trips=plain.cost.round_trips // 2)
        bursts = await till.download(f"{name}, Q-Block2", full, half, q_block=True)
        third = Target(up=plain.payload.up * 35 // 100)
        compact = await till.download(f"{name}, compact", full, third, compact=True)
        https = await till.poll_over_https()
        for binding in ("asn1", "json"):
            row = await till.download(f"{name}, HTTPS, {binding}", full, transport="https", binding=binding)
            https.append(row)
        return [*rows, plain, bursts, compact, *https, await till.poll_out_of_psm()]


async def run(folder: Path, ts48: bytes | None, console: Terminal, as_json: bool = False) -> int:
    """``microipa bill``: measure and print. Returns the exit status, 1 when a measured row misses its target."""
    return show(await measure(folder, ts48), folder, console, as_json)


def show(rows: Sequence[Row], folder: Path, console: Terminal, as_json: bool) -> int:
    """Print rows and targets, and keep what `microipa battery` takes from them. Returns the exit status."""
    missed = [row for row in rows if not all(met for _, met in row.verdicts())]
    measured = traffic(rows)
    (folder / TRAFFIC).write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    work = work_of(measured)
    if as_json:
        for line in [*(row.for_programs() for row in rows), *targets.for_programs(work)]:
            print_json(line)
        return 1 if missed else 0
    console.width = max(console.width, WIDTH)
    console.print(_table(rows))
    for row in missed:
        if row.payload.both:
            console.print(row.arithmetic())
    console.print(targets.joules(work), targets.met_or_not(work), targets.checked())
    console.print(f"Every datagram: {folder / 'trace.jsonl'}; for microipa battery --bill: {folder / TRAFFIC}")
    return 1 if missed else 0


def traffic(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """What `microipa battery` takes from the bill: see `microipa.energy.model.Traffic`."""
    return {
        row.work: {"up": row.cost.up.bytes, "down": row.cost.down.bytes, "trips": row.cost.round_trips,
                   "apdus": row.payload.apdus, "connections": row.connections, "assisted": row.assisted}
        for row in rows
        if row.work
    }


def _table(rows: Sequence[Row]) -> Table:
    title = "The bill: NB-IoT, CoAP over DTLS 1.2, both ways, IPv4 and UDP headers counted"
    numbers = ("packets", "bytes", "trips", "air", "energy", "ESipa up", "down", "ratio", "APDUs")
    table = Table("", *numbers, "target", title=title, box=SIMPLE)
    for column in table.columns[1:10]:
        column.justify = "right"
    for row in rows:
        cost = row.cost
        table.add_row(
            row.what,
            str(cost.datagrams),
            f"{cost.bytes:,}",
            str(cost.round_trips),
            f"{cost.up.airtime_s + cost.down.airtime_s:.2f} s",
            f"{cost.energy_mj / 1000:.2f} J",
            f"{row.payload.up:,}" if row.payload.both else "",
            f"{row.payload.down:,}" if row.payload.both else "",
            f"{row.ratio:.2f}" if row.payload.both else "",
            str(row.payload.apdus) if row.work else "",
            lines(*(f"{words}{'' if met else ', missed'}" for words, met in row.verdicts())),
        )
    return table
