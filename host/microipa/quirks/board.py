"""Quirks of the board and of what lies in its flash. What they change: ``microipa.board.behaviour``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microipa.quirks.registry import NUMBER, Quirk


def _board(name: str, changes: Mapping[str, object], says: str, source: str = "memory32.md", **more: Any) -> Quirk:
    return Quirk(name, "board", changes, says, source, **more)


QUIRKS = (
    _board("torn-settings", {"settings": "torn"}, "ipa.json ends in the middle, after a power cut."),
    _board("empty-settings", {"settings": "empty"}, "ipa.json is empty."),
    _board("no-settings", {"settings": "none"}, "There is no ipa.json."),
    _board("bad-settings", {"settings": "bad"}, "ipa.json has a key that does not exist and a value out of its range."),
    _board("board-raises", {"raises": NUMBER}, "board.py raises OSError when it opens the UART, at the first boots.",
           number=1, unit="boots"),
)
