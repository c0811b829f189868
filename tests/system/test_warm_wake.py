"""A modem in PSM is woken for a poll and finds its network, its data context and its card as they were left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from microipa.lab import Lab
from microipa.modem import FAMILIES
from microipa.radio.rrc import State
from microipa.trace import Event

# The radio's timers run twenty times faster than true: T3324 ends a tenth of a second after the connection.
PSM = {"poll_interval_s": 2, "poll_jitter_percent": 0, "psm_periodic_s": 86400, "psm_active_s": 2}
AT_MOST, APDUS_AT_MOST = 20, 8


class Polls:
    """The events of a lab, poll by poll: each ends when the eIM has nothing, and begins after the modem slept."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        lab.trace.listen(self._hear)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, kind: str, **fields: Any) -> None:
        """Wait for the next event of that kind whose fields begin so."""
        place = len(self.events)
        async with asyncio.timeout(60):
            while True:
                for event in self.events[place:]:
                    if event.kind == kind and all(str(event.fields.get(name, "")).find(value) >= 0
                                                  for name, value in fields.items()):
                        return
                place = len(self.events)
                self._changed.clear()
                await self._changed.wait()

    async def nothing_to_do(self) -> None:
        await self.until("log", text="the eIM has no")

    async def asleep(self) -> None:
        await self.until("rrc", state=State.PSM)

    async def idle_poll(self) -> list[Event]:
        """All of one poll with nothing to do, from a modem in PSM until it sleeps again."""
        begun = len(self.events)
        await self.nothing_to_do()
        await self.asleep()
        return self.events[begun:]


def said(events: list[Event]) -> list[str]:
    """The AT commands among them. One that is repeated at once counts once: how often the board looks again for a
    datagram depends on how fast this machine is."""
    lines = [str(event.fields["text"]) for event in events
             if event.kind == "at" and event.fields["direction"] == "in" and "text" in event.fields]
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line != before]


def apdus(events: list[Event]) -> int:
    return sum(event.kind == "apdu" for event in events)


ASSISTED = {"bg95", "bg77", "gm02s", "nrf91"}
"""Families whose firmware has release assistance, by the manuals that are public."""


@pytest.mark.parametrize("family", sorted(FAMILIES))
async def test_an_idle_poll_out_of_psm_attaches_not_and_is_short(tmp_path: Path, family: str) -> None:
    async with Lab(tmp_path, radio="none", family=family, board_config=PSM) as lab:
        polls = Polls(lab)
        await lab.board.start()
        await polls.nothing_to_do()
        await polls.asleep()
        spent = lab.link.rrc.spent
        fewest: list[str] = []
        for _ in range(3):  # a machine that has much to do lets the board look for an answer twice
            before, assisted = spent.connections, spent.assisted
            poll = await polls.idle_poll()
            commands = said(poll)
            attached = [one for one in poll if one.kind == "network" or "attach" in str(one.fields.get("event"))]
            assert not attached
            assert not [text for text in commands if "CFUN" in text]
            assert apdus(poll) <= APDUS_AT_MOST
            assert (spent.connections - before, spent.assisted - assisted) == (1, family in ASSISTED)
            fewest = min(fewest or commands, commands, key=len)
            if len(fewest) <= AT_MOST:
                break
    assert len(fewest) <= AT_MOST, "\n".join(fewest)
