"""PSM and eDRX of the settings reach the network through the modem, and what it grants is read back and told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from microipa.lab import Lab
from microipa.trace import Event

SETTINGS = {"poll_interval_s": 1, "psm_periodic_s": 86400, "psm_active_s": 16, "edrx_cycle_s": 80}


@pytest.mark.parametrize(("quirks", "told"), [
    (frozenset(), ["PSM granted, a sign of life every 86400 s, asleep after 16 s", "grants eDRX every 81.9 s"]),
    (frozenset({"network-grants-own-psm"}), ["PSM granted, a sign of life every 7200 s, asleep after 60 s"]),
])
async def test_what_the_network_grants_is_logged_and_a_poll_finds_the_modem_as_the_last_one_left_it(
        tmp_path: Path, quirks: frozenset[str], told: list[str]) -> None:
    events: list[Event] = []
    polled = asyncio.Event()

    def hear(event: Event) -> None:
        events.append(event)
        polls = [one for one in events if "the eIM has no" in str(one.fields.get("text"))]
        if len(polls) == 2:
            polled.set()

    async with Lab(tmp_path, radio="none", quirks=quirks, board_config=SETTINGS) as lab:
        lab.trace.listen(hear)
        await lab.board.start()
        await asyncio.wait_for(polled.wait(), 60)
    log = " ".join(str(event.fields["text"]) for event in events if event.part == "board" and event.kind == "log")
    assert all(words in log for words in told), log
    commands = [event.fields for event in events if event.kind == "at"]
    said = [str(fields.get("text")) for fields in commands if fields["direction"] == "in"]
    assert said.count('AT+CPSMS=1,,,"00111000","00001000"') == 1
    assert said.count("ATE0") == 1
    assert not [text for text in said if text.startswith("AT+CFUN=")]
