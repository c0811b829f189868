"""The other end of a UART in a test: a pty on which a script answers AT commands."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import Callable
from types import TracebackType

Answer = bytes | None
OK = b"\r\nOK\r\n"
PREAMBLE = {b"AT": OK, b"ATE0": OK, b"AT+CMEE=1": OK, b"AT+CEREG=1": OK, b"AT+CGREG=1": OK,
            b"AT+CTZR=2": OK, b"AT+CTZU=3": OK}


class PtyModem:
    """``answer(line)`` gives the bytes that follow a command line; what is not a line goes to ``data``.

    ``binary`` set to n makes the next n bytes data, which ``on_data`` answers.
    """

    def __init__(self, answer: Callable[[bytes], Answer], on_data: Callable[[bytes], Answer] | None = None,
                 echo: bool = False) -> None:
        self.lines: list[bytes] = []
        self.binary = 0
        self._answer, self._on_data, self._echo = answer, on_data, echo
        self._buffer = b""

    async def __aenter__(self) -> PtyModem:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        settings = termios.tcgetattr(self._slave)
        settings[6][termios.VMIN] = settings[6][termios.VTIME] = 0
        termios.tcsetattr(self._slave, termios.TCSANOW, settings)
        self.path = os.ttyname(self._slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)

    def say(self, data: bytes) -> None:
        os.write(self._master, data)

    def _read(self) -> None:
        self._buffer += os.read(self._master, 4096)
        while self._buffer:
            if self.binary:
                if len(self._buffer) < self.binary:
                    return
                data, self._buffer = self._buffer[: self.binary], self._buffer[self.binary :]
                self.binary = 0
                assert self._on_data
                answer = self._on_data(data)
            else:
                line, end, rest = self._buffer.partition(b"\r")
                if not end:
                    return
                self._buffer = rest
                self.lines.append(line)
                if self._echo:
                    self.say(line + b"\r")
                answer = self._answer(line)
            if answer:
                self.say(answer)
