"""A board begins anew while its modem is in PSM: it wakes the modem, which stays registered, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from microipa.lab import Lab
from microipa.modem import FAMILIES
from microipa.radio.rrc import State
from test_warm_wake import PSM, Polls, said

POLLS_ONCE = {**PSM, "poll_interval_s": 86400}
AT_ONCE_S = 8.0
"""A modem that is asleep does not have to be waited for as one that boots."""


@pytest.mark.parametrize("family", sorted(FAMILIES))
async def test_a_board_that_is_reset_wakes_its_modem_at_once_and_registers_not_anew(
        tmp_path: Path, family: str) -> None:
    async with Lab(tmp_path, radio="none", family=family, board_config=POLLS_ONCE) as lab:
        polls = Polls(lab)
        await lab.board.start()
        await polls.nothing_to_do()
        await polls.until("rrc", state=State.PSM)
        known = len(polls.events)
        lab.board.reset()
        began = polls.events[-1].seconds
        await polls.nothing_to_do()
        events = polls.events[known:]
    assert not [one for one in events if one.kind == "network"]
    assert not [text for text in said(events) if "CFUN=" in text]
    assert events[-1].seconds - began < AT_ONCE_S
