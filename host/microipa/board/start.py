"""Lets a board's program run, and waits for its first words: whether it really does."""

from __future__ import annotations

import queue
import re
import time

from microipa.board.repl import Repl
from microipa.board.terminal import REBOOTED, Terminal
from microipa.common.errors import MicroipaError

FIRST_WORDS_S = 30.0
_LOG = re.compile(r"[EID] \(\d+\) (.+)")  # firmware/ipa/compat.py, log
_AGAIN = "restart: again in"  # firmware/restart.py
_LOOK_S = 0.2


class NotStarted(MicroipaError):
    """The board's program ends in an exception, or has ended."""


def start(repl: Repl, within_s: float = FIRST_WORDS_S) -> str:
    """Restart a board whose REPL we have, and give its program to itself.

    Returns the first line of the assistant's log, or "" when nothing came in ``within_s`` seconds (``log_level`` 0
    prints nothing). Raises NotStarted with the program's last words, and BoardLost.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    terminal = Terminal(repl, lines.put)
    try:
        return _first_words(terminal, lines, time.monotonic() + within_s)
    finally:
        terminal.close()


def _first_words(terminal: Terminal, lines: queue.SimpleQueue[str], until: float) -> str:
    last = ""
    while time.monotonic() < until:
        try:
            line = lines.get(timeout=_LOOK_S)
        except queue.Empty:
            if terminal.lost:
                raise terminal.lost from None
            if terminal.ended.is_set() and lines.empty():
                raise NotStarted(f"the board's program has ended{_with(last)}; the board is at its REPL") from None
            continue
        if words := _LOG.fullmatch(line):
            return words[1]
        if line.startswith(_AGAIN):
            raise NotStarted(f"the board's program does not start{_with(last)}; it will try again after a pause")
        last = line if REBOOTED not in line else last
    return ""


def _with(last: str) -> str:
    return f", its last line: {last}" if last else ""
