"""A MicroPython unix port on a terminal of its own, as the REPL needs it: bytes in, bytes out, an end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import termios
import tty
from collections.abc import Callable, Mapping
from pathlib import Path

_READ = 65536
_INPUT_LIMIT = 64 * 1024
_LOCAL_FLAGS = 3


class Process:
    """Runs from its making until it ends by itself or by kill(); ``on_end`` follows the last ``on_output``."""

    def __init__(self, command: list[str], folder: Path, env: Mapping[str, str],
                 on_output: Callable[[bytes], None], on_end: Callable[[int], None], keep: tuple[int, ...] = ()) -> None:
        """``keep``: descriptors it inherits."""
        self._on_output = on_output
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._buried = False
        self._input = bytearray()
        self._master, slave = os.openpty()
        try:
            tty.setraw(slave)
            attributes = termios.tcgetattr(slave)
            # Means nothing without ECHO. The friendly REPL clears it while it reads a line: see edits_line.
            attributes[_LOCAL_FLAGS] |= termios.ECHOK
            termios.tcsetattr(slave, termios.TCSANOW, attributes)
            # A group of its own keeps Ctrl-C for the lab. Not a session of its own: the UART would become the
            # terminal of that session, and its hang-up would kill the board. What it writes may be a private key.
            self._process = subprocess.Popen(command, cwd=folder, env=env, stdin=slave, stdout=slave,
                                             stderr=slave, process_group=0, pass_fds=keep, umask=0o077)
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        os.set_blocking(self._master, False)
        self._loop.add_reader(self._master, self._readable)

    def write(self, data: bytes) -> None:
        """Type something. What the program does not read in time is lost, as in a UART."""
        idle = not self._input
        self._input += data[: _INPUT_LIMIT - len(self._input)]
        if idle and self._input:
            self._writable()

    def interrupt(self) -> None:
        """Ctrl-C: KeyboardInterrupt in what runs."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, with nothing said to it. All it has printed is delivered before this returns."""
        self._process.kill()
        self._process.wait()
        self.drain()
        self._bury()

    @property
    def edits_line(self) -> bool:
        """Whether the friendly REPL reads a line, in which Ctrl-C is a key like others."""
        return not termios.tcgetattr(self._master)[_LOCAL_FLAGS] & termios.ECHOK

    @property
    def catches_interrupt(self) -> bool:
        """Whether Ctrl-C would reach code (see micropython.kbd_intr) instead of ending the process.

        The raw REPL lets go of the signal while it waits, which Linux tells.
        """
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return not self.edits_line
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGINT - 1) & 1)

    def _writable(self) -> None:
        try:
            sent = os.write(self._master, self._input)
        except BlockingIOError:
            sent = 0
        except OSError:  # it has ended, which its output will tell
            sent = len(self._input)
        del self._input[:sent]
        if self._input:
            self._loop.add_writer(self._master, self._writable)
        else:
            self._loop.remove_writer(self._master)

    def _readable(self) -> None:
        if not self.drain():
            self._process.wait()
            self._bury()

    def drain(self) -> bool:
        """Take what it has printed; False at the end of its output."""
        while True:
            try:
                data = os.read(self._master, _READ)
            except BlockingIOError:
                return True
            except OSError:  # EIO: nobody has the other end any more
                return False
            if not data:
                return False
            self._on_output(data)
            if self._buried:
                return False

    def _bury(self) -> None:
        if self._buried:  # by somebody who killed it for what it printed
            return
        self._buried = True
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        os.close(self._master)
        self._on_end(self._process.returncode)
