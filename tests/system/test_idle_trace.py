"""A lab whose device has nothing to do writes one poll, and a line for the others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from microipa.lab import Lab
from microipa.trace import Event

POLLS = 6
NOTHING = "bf4f03020101"


async def test_a_lab_with_nothing_to_do_writes_one_poll_in_full_and_counts_the_others(tmp_path: Path) -> None:
    answers, enough = 0, asyncio.Event()

    def count(event: Event) -> None:
        nonlocal answers
        if event.kind == "esipa" and event.fields["direction"] == "out" and event.fields["message"] == NOTHING:
            answers += 1
            if answers == POLLS:
                enough.set()

    async with Lab(tmp_path, radio="none", board_config={"poll_interval_s": 1}) as lab:
        lab.trace.listen(count)
        await lab.board.start()
        await asyncio.wait_for(enough.wait(), 100)
    rows = [json.loads(row) for row in (tmp_path / "trace.jsonl").read_text().splitlines()]
    in_full = sum(row["kind"] == "esipa" and row["direction"] == "out" for row in rows)
    left_out = sum(row["polls"] for row in rows if row["kind"] == "idle")
    assert in_full + left_out == answers
    assert in_full == 1
