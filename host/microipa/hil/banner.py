"""What MicroPython's REPL says by itself, around the program of a board: on record, and no part of a story."""

from __future__ import annotations

import re

_BANNER = re.compile(
    r">+ *$|OK$|MPY: soft reboot|raw REPL; CTRL-B|MicroPython \S+ on \d|Use Ctrl-D to exit|Type \"help\(\)\"|=== "
)


def is_banner(line: str) -> bool:
    return bool(_BANNER.match(line))
