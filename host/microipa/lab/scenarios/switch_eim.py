"""An eIM is replaced in the field: the old one names the new one, the new one dismisses the old one (SGP.32 3.5.1).

Nobody touches the device. It ends well when the card knows the new eIM alone, every order that either had while
it was the card's is done, and what the old one ordered afterwards is never fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from microipa.asn1 import sgp32
from microipa.common.console import Terminal, verdict
from microipa.eim import OrderView
from microipa.lab import Lab, forget_all_but_keys
from microipa.lab.scenarios import _shared
from microipa.radio import preset
from microipa.trace import Event, Trace
from microipa.trace.timeline import Timeline

POLL_S = 1  # somebody waits


@dataclass(frozen=True)
class Replacement:
    """What came of it. ``known`` are the eIMs the card had in the end, ``late`` is the order nobody fetched."""

    old: str
    new: str
    known: list[str]
    orders: dict[str, list[OrderView]]
    late: int

    @property
    def succeeded(self) -> bool:
        views = [view for views in self.orders.values() for view in views]
        states = {view.state for view in views if view.id != self.late or view not in self.orders[self.old]}
        late = next(view for view in self.orders[self.old] if view.id == self.late)
        return self.known == [self.new] and states == {"done"} and late.state == "queued"


async def replace_eim(lab: Lab) -> Replacement:
    """Run the scenario in a running lab with two eIMs. Raises BoardFailed."""
    old, new = lab.pki.eim_fqdn, lab.pki.second_eim().eim_fqdn
    configuration = sgp32.decode("EimConfigurationData", lab.eim2.configuration())
    lab.eim.order_package(lab.eid, [("addEim", configuration), ("listEim", {})])
    lab.step(f"the owner of the fleet changes from {old} to {new}: the old eIM orders addEim")
    dismissal = lab.eim2.order_package(lab.eid, [("deleteEim", {"eimId": old}), ("listEim", {})])
    lab.step("the new eIM orders deleteEim of the old one, as soon as the device polls it")
    await lab.board.start()
    await _shared.until(lab, _settled(dismissal))
    late = lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
    first = lab.eim2.order_package(lab.eid, [("listProfileInfo", {})])
    lab.step("both order a list of profiles; the device polls again")
    await _shared.until(lab, _settled(first))
    lab.board.kill()
    known = lab.eim2.device(lab.eid).eims or []
    return Replacement(old, new, known, {old: lab.eim.orders(lab.eid), new: lab.eim2.orders(lab.eid)}, late)


def _settled(order: int) -> Callable[[Event], bool]:
    """Matches the end of an order of the new eIM."""
    return lambda event: (
        (event.part, event.kind, event.fields.get("order")) == ("eim2", "order", order)
        and event.fields["state"] not in ("queued", "delivered")
    )


async def run(folder: Path, radio: str, console: Terminal) -> int:
    link = preset(radio)
    forget_all_but_keys(folder)
    trace = Trace(folder / "trace.jsonl")
    trace.listen(Timeline(console))
    async with Lab(folder, radio=link, trace=trace, board_config={"poll_interval_s": POLL_S}, two_eims=True) as lab:
        outcome = await replace_eim(lab)
    orders = Table("eIM", "order", "what", "state", "result", title="Orders")
    for eim, views in outcome.orders.items():
        for view in views:
            orders.add_row(eim, str(view.id), view.summary, view.state, view.result or "")
    console.print(orders)
    console.print(f"The card's eIMs: {', '.join(outcome.known)}")
    console.print(verdict(outcome.succeeded))
    return 0 if outcome.succeeded else 1
