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
EDRX = {"poll_interval_s": 3, "poll_jitter_percent": 0, "edrx_cycle_s": 20, "sleep": "light"}
SAVINGS: dict[str, tuple[dict[str, Any], State]] = {"psm": (PSM, State.PSM), "edrx": (EDRX, State.EDRX)}
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

    async def idle_poll(self) -> list[Event]:
        """All of one poll with nothing to do, and of the sleep before it."""
        begun = len(self.events)
        await self.nothing_to_do()
        return self.events[begun:]


def said(events: list[Event]) -> list[str]:
    """The AT commands among them. One that is repeated at once counts once: how often the board looks again for a
    datagram depends on how fast this machine is."""
    lines = [str(event.fields["text"]) for event in events
             if event.kind == "at" and event.fields["direction"] == "in" and "text" in event.fields]
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line != before]


def apdus(events: list[Event]) -> int:
    return sum(event.kind == "apdu" for event in events)


@pytest.mark.parametrize("saving", SAVINGS)
@pytest.mark.parametrize("family", sorted(FAMILIES))
async def test_an_idle_poll_out_of_psm_or_edrx_attaches_not_and_is_short(
        tmp_path: Path, family: str, saving: str) -> None:
    config, resting = SAVINGS[saving]
    async with Lab(tmp_path, radio="none", family=family, board_config=config) as lab:
        polls = Polls(lab)
        await lab.board.start()
        await polls.nothing_to_do()
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
            assert resting in [one.fields["state"] for one in poll if one.kind == "rrc"]
            assert (spent.connections - before, spent.assisted - assisted) == (1, 1)
            fewest = min(fewest or commands, commands, key=len)
            if len(fewest) <= AT_MOST:
                break
    assert len(fewest) <= AT_MOST, "\n".join(fewest)


LINE_SLEEP = {
    "bg95": "AT+QSCLK=1", "bg77": "AT+QSCLK=1", "sim7080g": "AT+CSCLK=1", "sim7000": "AT+CSCLK=1",
    "sara-r5": "AT+UPSV=3", "nrf91": "AT#XSLEEP=2", "gm02s": "AT+SQNIPSCFG=1,1000",
    "tx62": 'AT^SCFG="MEopMode/PwrSave","enabled",52,50',
}


def test_every_family_but_sara_r422_has_a_way_of_letting_its_serial_line_sleep() -> None:
    assert set(FAMILIES) - set(LINE_SLEEP) == {"sara-r422"}


@pytest.mark.parametrize("family", sorted(LINE_SLEEP))
async def test_the_serial_line_sleeps_with_the_board_and_what_is_said_after_is_heard(
        tmp_path: Path, family: str) -> None:
    async with Lab(tmp_path, radio="none", family=family, board_config=EDRX) as lab:
        polls = Polls(lab)
        await lab.board.start()
        await polls.nothing_to_do()
        await polls.until("sleep")
        assert lab.modem.line.asleep
        begun = len(polls.events)
        await polls.nothing_to_do()
        assert not lab.modem.line.asleep
        await polls.until("sleep")
    assert [text for text in said(polls.events) if LINE_SLEEP[family][2:] in text]
    assert not [one for one in polls.events[begun:] if "silent" in str(one.fields.get("text"))]


async def test_a_firmware_without_release_assistance_is_asked_for_it_once(tmp_path: Path) -> None:
    async with Lab(tmp_path, radio="none", family="sara-r5", quirks=["no-release-assistance"],
                   board_config=PSM) as lab:
        polls = Polls(lab)
        await lab.board.start()
        for _ in range(3):
            await polls.nothing_to_do()
        assert lab.link.rrc.spent.assisted == 0
    assert said(polls.events).count("AT+CNMPSD") == 1
