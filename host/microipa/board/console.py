"""The USB serial of a virtual board: a pty on which mpremote, or a person, finds the REPL of a real board."""

from __future__ import annotations

import re

from microipa.board.process import Process
from microipa.modem.serial import Serial

_CTRL_A, _CTRL_B, _CTRL_C = b"\x01", b"\x02", b"\x03"
_KEYS = re.compile(_CTRL_B + b"|" + _CTRL_C)
_PROMPT = b">>> "
_RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
# The raw REPL waits for a command, or does in a moment: mpremote does not wait for the prompt behind the banner, and
# the last command has ended with output and errors
_RAW_PROMPTS = (_RAW_BANNER, _RAW_BANNER[:-1], b"\x04>", b"\x04\x04")
_TAIL = 64
_HELD_LIMIT = 64 * 1024


class Console:
    """Between the cable and whichever process the board runs: a program, or a REPL after it.

    The REPL is a process of its own. From the last Ctrl-C, which ends the program, until it asks for input, what
    the host types is held back; and so after Ctrl-B.
    """

    def __init__(self) -> None:
        self._cable = Serial(self._typed)
        self.path = self._cable.path
        self._process: Process | None = None
        self._is_program = False
        self._held: bytearray | None = None
        self._tail = b""
        self.raw = False
        """Whether the REPL is the raw one, in which a soft reset does not run main.py."""

    def close(self) -> None:
        self._cable.close()

    def run_program(self, process: Process | None) -> None:
        """From now on the host talks to a program, or to a board without power."""
        self._process, self._is_program = process, True
        self._held = None
        self.raw = False

    def run_repl(self, process: Process) -> None:
        """From now on the host talks to a REPL: as soon as that asks for input, in the mode it was in."""
        self._process, self._is_program = process, False
        self._held = self._held or bytearray()
        self._tail = b""

    def find_repl(self, process: Process | None) -> None:
        """The cable comes to a REPL that has asked for input already, in whichever mode."""
        self._process, self._is_program = process, False

    def soft_reboot(self) -> None:
        """Say what a board says before it begins again."""
        self._cable.write(b"MPY: soft reboot\r\n")

    def show_program(self, data: bytes) -> None:
        """What a program has printed; a board ends its lines with both characters."""
        self._cable.write(re.sub(rb"(?<!\r)\n", b"\r\n", data))

    def show_repl(self, data: bytes) -> None:
        """What the REPL has printed, as it is: a mount sends binary data."""
        self._cable.write(data)
        seen = self._tail + data
        self._tail = seen[-_TAIL:]
        if self._held is not None and seen.endswith(_PROMPT):
            self._release()
        elif seen.endswith(_RAW_BANNER):
            self.raw = True

    def _release(self) -> None:
        assert self._process
        held, self._held = self._held, None
        if self.raw:
            self._process.write(_CTRL_A)
        if held:
            self._typed(bytes(held))

    def _typed(self, data: bytes) -> None:
        while data:
            if self._process is None:
                return  # no power
            if self._held is not None:
                if self._is_program and _CTRL_C in data:  # once more: the first one can be lost in what it met
                    data = data.rpartition(_CTRL_C)[2]
                    self._interrupt(self._process)
                self._held += data[: _HELD_LIMIT - len(self._held)]
                return
            key = _KEYS.search(data)
            plain, data = (data, b"") if key is None else (data[: key.start()], data[key.end() :])
            self._process.write(plain)
            if key and key[0] == _CTRL_C:
                self._interrupt(self._process)
            elif key:
                self._leave_raw(self._process)

    def _interrupt(self, process: Process) -> None:
        if self._is_program:
            process.interrupt()
            self._held = bytearray()
        elif process.catches_interrupt and (self.raw or not process.edits_line):
            process.interrupt()
        else:
            process.write(_CTRL_C)  # a character like any other: the REPL's own input, or a mount's data

    def _leave_raw(self, process: Process) -> None:
        process.write(_CTRL_B)
        if self.raw and self._tail.endswith(_RAW_PROMPTS):
            self.raw = False
            self._tail = b""  # a prompt that comes late belongs to what is left
            self._held = bytearray()  # the port throws away what comes before it has changed its mode
