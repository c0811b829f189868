"""A pseudo terminal that behaves like a UART: raw bytes, no waiting, lost when nobody takes them."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import Callable

_READ = 4096
OUTPUT_LIMIT = 128 * 1024
"""Bytes that wait for a reader; a UART without flow control loses the rest, and so does this one."""


class Serial:
    """The modem's end of a serial line. ``path`` is what the board opens as its UART."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        """``receive`` gets what the board sends. Must be made inside the running event loop."""
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._master, self._slave = os.openpty()
        # The slave stays open here, so that a board may come and go without a hang-up on the line.
        tty.setraw(self._slave)
        attributes = termios.tcgetattr(self._slave)
        attributes[6][termios.VMIN] = 0  # a read returns what is there, perhaps nothing, like machine.UART
        attributes[6][termios.VTIME] = 0
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._output = bytearray()
        self._room: int | None = None
        self._held: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._master, self._readable)

    def write(self, data: bytes) -> None:
        """Send bytes to the board, now or as soon as it takes them."""
        if self._room is not None:
            data = data[: self._room]
            self._room -= len(data)
        if len(self._output) + len(data) > OUTPUT_LIMIT:
            return
        idle = not self._output
        self._output += data
        if idle:
            self._writable()

    def board_sleeps(self, room: int | None) -> None:
        """The board takes so many bytes and no more until it wakes; None: it is awake."""
        self._room = room

    def hold(self, seconds: float) -> None:
        """CTS high: what the board sends stays with it for so long."""
        self._loop.remove_reader(self._master)
        self._held = self._loop.call_later(seconds, self._loop.add_reader, self._master, self._readable)

    def drop_output(self) -> None:
        """Forget what has not left yet: the sender lost its power."""
        self._output.clear()
        self._loop.remove_writer(self._master)

    def close(self) -> None:
        if self._held:
            self._held.cancel()
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        os.close(self._master)
        os.close(self._slave)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, _READ)
        except BlockingIOError:
            return
        if data:
            self._receive(data)

    def _writable(self) -> None:
        try:
            sent = os.write(self._master, self._output)
        except BlockingIOError:
            sent = 0
        del self._output[:sent]
        if self._output:
            self._loop.add_writer(self._master, self._writable)
        else:
            self._loop.remove_writer(self._master)


class LineSleep:
    """A line that sleeps: a command allows it, a pin of the board (DTR or RTS) begins and ends it.

    While the line sleeps, what the board sends is lost, and what the modem has to say as well.
    """

    def __init__(self) -> None:
        self._allowed = False
        self._until_moved = False
        self._pin = False

    @property
    def asleep(self) -> bool:
        return self._until_moved or self._allowed and self._pin

    def allow(self, allowed: bool, *, until_moved: bool = False) -> None:
        """By a command: from now on, or from now ``until_moved``, whatever the pin says."""
        self._allowed, self._until_moved = allowed, until_moved

    def move(self, may_sleep: bool) -> None:
        """The board moves the pin."""
        if self._pin and not may_sleep:
            self._until_moved = False
        self._pin = may_sleep

    def forget(self) -> None:
        """The modem begins anew. The pin is the board's."""
        self._allowed = self._until_moved = False
