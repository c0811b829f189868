"""A board's serial port while its program runs: lines out of it, until it is back at its REPL."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import serial

from microipa.board.repl import BoardLost, Repl

REBOOTED, PROMPT = "soft reboot", b">>> "
_LINE_LIMIT = 4096


class Terminal:
    """Starts main.py and reads what it says in a thread. ``on_line`` gets each line, in that thread.

    ``ended`` is set when the board is at its prompt again, ``lost`` tells when the port has gone instead.
    """

    def __init__(self, repl: Repl, on_line: Callable[[str], None]) -> None:
        """``repl`` is used up: its port closes with close()."""
        self._repl = repl
        self._on_line = on_line
        self.ended = threading.Event()
        self.lost: BoardLost | None = None
        self._closing = False
        self._rebooted = False  # what it prompts before is the REPL that we leave
        with repl.lend() as transport:
            self._port = transport.serial
        repl.restart()
        self._thread = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Type something. Raises BoardLost."""
        with self._repl.lend():
            self._port.write(data)

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(AttributeError, OSError):  # a port by URL has no such thing, and ends its second
            self._port.cancel_read()
        self._thread.join()
        self._repl.close()

    def _read(self) -> None:
        line = bytearray()
        try:
            while not self._closing and not self.ended.is_set():
                line += self._some()
                while b"\n" in line:
                    text, _, rest = line.partition(b"\n")
                    line = bytearray(rest)
                    self._tell(bytes(text))
                if line == PROMPT and self._rebooted:
                    self.ended.set()
                del line[_LINE_LIMIT:]
        except (OSError, serial.SerialException) as error:
            self.lost = BoardLost(f"the board on {self._repl.port} is gone ({error}): is its cable plugged in?")
            self.ended.set()

    def _some(self) -> bytes:
        first: bytes = self._port.read(1)
        return first + self._port.read(_waiting(self._port)) if first else first

    def _tell(self, text: bytes) -> None:
        if words := text.decode("utf-8", "replace").strip("\r"):
            self._rebooted |= REBOOTED in words
            self._on_line(words)


def _waiting(port: Any) -> int:
    try:
        return int(port.in_waiting)
    except OSError:  # no terminal: a pty of some systems
        return 0
