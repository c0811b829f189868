"""What a board does where boards differ. The quirks that change it: ``microipa.quirks.board``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from microipa.quirks import QUIRKS

_SETTINGS = "ipa.json"
_RAISING = """

class Board(Board):
    def uart(self):
        try:
            with open("raised") as file:
                raised = int(file.read())
        except OSError:
            raised = 0
        if raised < {boots:g}:
            with open("raised", "w") as file:
                file.write(str(raised + 1))
            raise OSError("no UART")
        return super().uart()
"""


@dataclass(frozen=True)
class Behaviour:
    """The defaults are those of a board that was flashed well."""

    settings: str = ""
    """What became of ipa.json: torn, empty, none, bad."""
    raises: float = 0
    """At so many boots board.py raises an error."""


def spoil(flash: Path, quirks: Iterable[str]) -> None:
    """Do to a board's flash what the quirks of boards do. Raises UnknownQuirk."""
    behaviour = QUIRKS.behaviour("board", Behaviour(), quirks)
    settings = flash / _SETTINGS
    if behaviour.settings == "torn":
        settings.write_bytes(settings.read_bytes()[: settings.stat().st_size // 2])
    elif behaviour.settings == "empty":
        settings.write_bytes(b"")
    elif behaviour.settings == "none":
        settings.unlink()
    elif behaviour.settings == "bad":
        known = json.loads(settings.read_text())
        settings.write_text(json.dumps({**known, "apm": "iot", "poll_interval_s": 0}))
    if behaviour.raises:
        board = flash / "board.py"
        board.write_text(board.read_text() + _RAISING.format(boots=behaviour.raises))
