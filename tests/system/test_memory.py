"""In the heap that firmware/README.md names, on 32-bit words: polls, downloads, switches, lists, not one error."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from microipa.board.micropython import word_bytes
from microipa.common.paths import tools


@pytest.mark.skipif(word_bytes() != 4, reason="a 64-bit MicroPython: make test32")
@pytest.mark.parametrize("form", ["romfs", "mpy"])
async def test_a_short_soak_in_little_heap(form: str, tmp_path: Path) -> None:
    soak = runpy.run_path(str(tools() / "soak.py"))["soak"]
    seen = await soak(tmp_path / "lab", form, polls=8, downloads=2)
    assert seen.downloads == 2
    assert min(seen.largest) > 8192  # no holes only
