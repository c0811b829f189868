"""First light: a board, a bootstrap profile, two orders; shown by ``microipa demo``, asserted by tests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.table import Column, Table

from microipa.common import addresses
from microipa.common.console import Terminal, verdict
from microipa.common.errors import MicroipaError
from microipa.eim import OrderView
from microipa.euicc import ProfileState
from microipa.euicc.pcsc import PcscCard
from microipa.lab import Lab, forget_all_but_keys, new_profile, require_idle
from microipa.lab.folder import NO_PEERS
from microipa.lab.keys import LabKeys
from microipa.lab.peers import Peers
from microipa.lab.protocols import Protocols
from microipa.net.https_server import LOOPBACK
from microipa.quirks import QUIRKS
from microipa.radio import Counters, preset
from microipa.saip import build, iccid_to_bytes
from microipa.trace import Event, Trace
from microipa.trace.timeline import Timeline

BOARD_TIMEOUT_S = 600.0
POLL_S = 5  # of `microipa lab up`, where somebody waits
DEFAULT = Protocols()
_HEAP = re.compile(r"heap: peak (\d+) of")


class BoardFailed(MicroipaError):
    """The board stopped before its work was done."""


@dataclass(frozen=True)
class Bill:
    """What a session cost: link counters, card APDUs, MicroPython heap peak in bytes, wall clock seconds."""

    link: Counters
    apdus: int
    heap_peak: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What first light left behind."""

    eid: str
    iccid: str
    before: list[ProfileState]
    after: list[ProfileState]
    orders: list[OrderView]
    bill: Bill

    @property
    def succeeded(self) -> bool:
        """Both orders done and the new profile enabled."""
        enabled = [profile.iccid for profile in self.after if profile.state == "enabled"]
        return enabled == [self.iccid] and all(order.state == "done" for order in self.orders)


class Meter:
    """Adds up what only the trace knows: APDUs at the card and the heap peak the board reports."""

    def __init__(self, trace: Trace) -> None:
        self.apdus = 0
        self.heap_peak = 0
        self.last_line = "it said nothing"
        trace.listen(self._hear)

    def _hear(self, event: Event) -> None:
        if event.part == "card" and event.kind == "apdu":
            self.apdus += 1
        elif event.part == "board" and event.kind == "log":
            self.last_line = str(event.fields["text"])
            if heap := _HEAP.search(self.last_line):
                self.heap_peak = max(self.heap_peak, int(heap[1]))


async def first_light(lab: Lab) -> Outcome:
    """Queue a download and a switch, let the board do them, and read what it cost.

    Raises BoardFailed when the board stops with an error or does not come to an end in time.
    """
    meter = Meter(lab.trace)
    started = asyncio.get_running_loop().time()
    before = lab.euicc.profiles()
    iccid = queue_orders(lab)
    await run_board(lab, meter)
    seconds = asyncio.get_running_loop().time() - started
    return Outcome(
        lab.eid,
        iccid,
        before,
        lab.euicc.profiles(),
        lab.eim.orders(lab.eid),
        Bill(lab.link.counters, meter.apdus, meter.heap_peak, seconds),
    )


def queue_orders(lab: Lab, *, rollback: bool = True) -> str:
    """Offer a fresh profile and order its download and a switch to it, which may be taken back. Returns its ICCID."""
    spec = new_profile("First Light")
    package = build(spec)
    code = lab.offer(package)
    step = lab.step
    step(f"the SM-DP+ holds profile {spec.iccid} ({len(package)} bytes, IMSI {spec.imsi}) as {code}")
    download = lab.eim.order_download(lab.eid, code, needs_proof=False)
    step(f"order {download}: download it")
    allowed = {"rollbackFlag": None} if rollback else {}
    # The list comes first: once a switch is pending the card answers profileChangeOngoing (SGP.32 5.9.14).
    switch = lab.eim.order_package(
        lab.eid,
        [("listProfileInfo", {}), ("enable", {"iccid": iccid_to_bytes(spec.iccid), **allowed})],
    )
    may_return = ", rollback allowed" if rollback else ""
    step(f"order {switch}: list the profiles and enable the new one{may_return}, in a package signed by the eIM")
    return spec.iccid


async def run_board(lab: Lab, meter: Meter) -> None:
    """Power the board and wait until its eIM has nothing more for it. Raises BoardFailed."""
    await lab.board.start()
    try:
        status = await asyncio.wait_for(lab.board.wait(), BOARD_TIMEOUT_S)
    except TimeoutError:
        raise BoardFailed(
            f"the board is still busy after {BOARD_TIMEOUT_S:.0f} s; last: {meter.last_line}"
        ) from None
    if status:
        raise BoardFailed(f"the board stopped with status {status}; last: {meter.last_line}")


async def run(folder: Path, radio: str, console: Terminal, protocols: Protocols = DEFAULT) -> int:
    """``microipa demo``: first light with a live timeline and a summary. Returns the exit status."""
    link = preset(radio)  # a wrong name must not cost the last run's record
    forget_all_but_keys(folder)
    trace = Trace(folder / "trace.jsonl")
    trace.listen(Timeline(console))
    settings = {"stop_when_idle": True, **protocols.settings}
    async with Lab(
        folder, radio=link, trace=trace, board_config=settings, heap=protocols.heap, measure_heap=True,
        form="mpy", certified=protocols.certified,
    ) as lab:
        lab.step(f"the board downloads {protocols}")
        outcome = await first_light(lab)
    summarise(outcome, console)
    console.print(f"Every message: microipa trace {folder / 'trace.jsonl'}")
    return 0 if outcome.succeeded else 1


async def stay_up(
    folder: Path, radio: str, console: Terminal, keys: LabKeys, protocols: Protocols = DEFAULT, family: str = "bg95",
    quirks: Sequence[str] = (), host: str = LOOPBACK, tls_keys: bool | None = None, peers: Peers = NO_PEERS,
    quiet: bool = False, reader: str = "",
) -> None:
    """``microipa lab up``: everything runs, and orders queued by other processes are carried out.

    ``keys`` of other makers, those the lab in ``folder`` was started with before where these say nothing;
    ``family`` is that of the modem, ``quirks`` are those of ``microipa.quirks``;
    ``peers`` of other makers join it. ``quiet``: of the timeline only what the lab itself says, and alarms.
    ``reader``: the PC/SC reader whose card is the lab's. Raises UnknownQuirk, NoReader, NotAnEuicc.
    """
    for chosen in QUIRKS.choose(quirks):  # a wrong name must not cost the last run's record
        console.print(f"quirk {chosen.form}: {chosen.quirk.says}")
    require_idle(folder)  # before its trace has a second writer
    keys = keys.over(LabKeys.of(folder))
    trace = Trace(folder / "trace.jsonl")
    trace.listen(Timeline(console, quiet))
    settings = {"poll_interval_s": POLL_S, **protocols.settings}
    async with Lab(
        folder, radio=radio, family=family, quirks=quirks, trace=trace, board_config=settings, heap=protocols.heap,
        keys=keys, host=host, certified=protocols.certified, tls_keys=tls_keys, peers=peers,
        card=PcscCard(reader, trace) if reader else None,
    ) as lab:
        lab.step(f"the lab is up; order a download with: microipa order download --lab {folder}")
        lab.step(f"the board polls its eIM every {POLL_S} s; Ctrl-C ends the lab; the next start continues")
        es2 = f"https://{addresses.join(host, lab.es2_port)}"
        lab.step(f"operators order by ES2+ at {es2}, with {folder / 'pki'}/operator_tls.pem")
        for (name, _), (address, port) in peers.routes:
            lab.step(f"{name} is at {addresses.join(address, port)}")
        if host != LOOPBACK:
            for (name, number), (_, port) in lab.network.routes():
                lab.step(f"{name}:{number} is at {addresses.join(host, port)}")
        with console_link(lab) as link:
            lab.step(f"the board's REPL is {link}, for microipa flash, microipa board check and mpremote")
            await lab.board.start()
            watcher = asyncio.create_task(lab.watch_subscribers())
            try:
                await lab.board.wait()
            finally:
                watcher.cancel()


@contextmanager
def console_link(lab: Lab) -> Iterator[Path]:
    """Plug the board in: while the lab is up, ``board.tty`` in its folder leads to the pty of its REPL."""
    link = lab.folder / "board.tty"
    link.unlink(missing_ok=True)
    link.symlink_to(lab.board.plug_in())
    try:
        yield link
    finally:
        link.unlink(missing_ok=True)  # the number of the pty may be another's terminal next
        lab.board.pull_out()


def summarise(outcome: Outcome, console: Terminal) -> None:
    """Print profiles before and after, orders, and the bill."""
    whole = Column("ICCID", no_wrap=True, min_width=20)
    profiles = Table(whole, "name", "before", "after", title=f"Profiles on {outcome.eid}")
    states = {profile.iccid: profile.state for profile in outcome.before}
    for profile in outcome.after:
        profiles.add_row(profile.iccid, profile.name, states.get(profile.iccid, "–"), profile.state)
    what, result = (Column(name, overflow="fold", min_width=20) for name in ("what", "result"))
    orders = Table("order", what, "state", result, title="Orders")
    for order in outcome.orders:
        orders.add_row(str(order.id), order.summary, order.state, order.result or "")
    for table in (profiles, orders, _bill(outcome.bill)):
        console.print(table)
    console.print(verdict(outcome.succeeded))


def _bill(bill: Bill) -> Table:
    link = bill.link
    table = Table("", "up", "down", title="The bill")
    table.add_row("datagrams", str(link.up.datagrams), str(link.down.datagrams))
    table.add_row("bytes (IP)", f"{link.up.bytes:,}", f"{link.down.bytes:,}")
    table.add_row("airtime", f"{link.up.airtime_s:.1f} s", f"{link.down.airtime_s:.1f} s")
    table.add_section()
    for name, value in (
        ("round trips", str(link.round_trips)),
        ("energy, estimated", f"{link.energy_mj / 1000:.1f} J"),
        ("card APDUs", str(bill.apdus)),
        ("MicroPython heap, peak", f"{bill.heap_peak:,} bytes"),
        ("total time", f"{bill.seconds:.1f} s"),
    ):
        table.add_row(name, value, "")
    return table
