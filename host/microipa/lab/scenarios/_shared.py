"""What the scenarios share: waiting for an event, and the summary of profiles and orders at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rich.table import Table

from microipa.common.console import Terminal, verdict
from microipa.eim import OrderView
from microipa.euicc import ProfileState
from microipa.lab import Lab
from microipa.lab.demo import BOARD_TIMEOUT_S, BoardFailed
from microipa.trace import Event

Matcher = Callable[[Event], bool]


def says(text: str) -> Matcher:
    """Matches a line of the board's log."""
    return lambda event: (event.part, event.kind) == ("board", "log") and text in event.fields["text"]


def reported(cause: str) -> Matcher:
    """Matches the report to the eIM of a change that it did not order."""
    return lambda event: (event.part, event.kind, event.fields.get("cause")) == ("eim", "state_change", cause)


async def until(lab: Lab, matches: Matcher) -> None:
    """Wait for such an event. Raises BoardFailed when the board stops before or takes too long."""
    seen = asyncio.Event()

    def hear(event: Event) -> None:
        if matches(event):
            seen.set()

    lab.trace.listen(hear)
    waiting = [asyncio.create_task(seen.wait()), asyncio.create_task(lab.board.wait())]
    try:
        await asyncio.wait(waiting, timeout=BOARD_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    if not seen.is_set():
        raise BoardFailed("the board did not reach the end of the scenario: the trace shows why")


def enabled(profiles: list[ProfileState]) -> str:
    """The name of the enabled profile, "" without one."""
    return next((profile.name for profile in profiles if profile.state == "enabled"), "")


def summarise(moments: dict[str, list[ProfileState]], orders: list[OrderView], console: Terminal, good: bool) -> None:
    """Print each profile's state at each moment, the eIM's orders, and whether it ended well."""
    table = Table("ICCID", "name", *moments, title="Profiles on the card")
    for profile in next(iter(moments.values())):
        states = [{one.iccid: one.state for one in profiles}[profile.iccid] for profiles in moments.values()]
        table.add_row(profile.iccid, profile.name, *states)
    console.print(table)
    ordered = Table("order", "what", "state", "result", title="Orders of the eIM")
    for order in orders:
        ordered.add_row(str(order.id), order.summary, order.state, order.result or "")
    console.print(ordered)
    console.print(verdict(good))
