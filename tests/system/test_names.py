"""How many names the firmware makes MicroPython keep: one more than its table holds costs a table of twice the size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from microipa.board.micropython import word_bytes
from microipa.lab import Lab
from microipa.lab.demo import first_light
from microipa.trace import Event, Trace

ROOM = 20 + 40 + 80 + 160 + 320 + 640
"""Names of its own that MicroPython has tables for before it makes one of 1,280, which takes 9 kB (py/qstr.c)."""
MAIN = b"import sys\nimport micropython\nsys.atexit(micropython.qstr_info)\nkept = bytearray(2048)\nimport app\n"
CONFIG = {"stop_when_idle": True, "app_tick_ms": 50}


@pytest.mark.skipif(word_bytes() != 4, reason="a 64-bit MicroPython: make test32")
async def test_the_names_of_a_device_with_the_default_protocols_stay_below_the_step_of_their_table(
        tmp_path: Path) -> None:
    found: list[int] = []

    def hear(event: Event) -> None:
        if counted := re.search(r"n_qstr=(\d+)", str(event.fields.get("text", ""))):
            found.append(int(counted[1]))

    trace = Trace()
    trace.listen(hear)
    async with Lab(tmp_path / "lab", radio="none", trace=trace, board_config=CONFIG, form="romfs", heap="160K") as lab:
        (lab.board.folder / "main.py").write_bytes(MAIN)
        outcome = await first_light(lab)
        assert outcome.succeeded
    (names,) = found
    assert 500 < names <= ROOM, (
        f"the firmware has {names} names, {names - ROOM} more than {ROOM}: MicroPython makes another table for them, "
        "9 kB of heap on every device. Use names again that are there already (local variables, keywords and "
        "attributes count, constants with an underscore do not), or move what few devices need into another module")
