"""From bytes on the line to commands, and back: lines, echo, results, unsolicited lines, data mode."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from microipa.modem.behaviour import Behaviour
from microipa.modem.commands import CME_TEXT, CommandFailed, Request, parse_line
from microipa.trace import Trace

LINE_LIMIT = 4096
"""Characters of a command line; a longer one is answered with ERROR and forgotten."""
INPUT_LIMIT = 16 * 1024
"""Bytes that may wait while a command runs; the rest is lost, as in a UART that overruns."""
_URC_LIMIT = 64
_CR, _LF, _BACKSPACE, _QUOTE = b"\r", b"\n", b"\x08", b'"'
_BABBLE = b"\xffx" * 512
_BABBLES = 64

Execute = Callable[[Request], Awaitable[None]]


class Interpreter:
    """One command at a time; unsolicited lines wait until it has ended."""

    def __init__(self, write: Callable[[bytes], None], execute: Execute, behaviour: Behaviour,
                 data_timeout_s: float, trace: Trace | None = None, prompt: str = "> ",
                 before: Callable[[], Awaitable[None]] | None = None) -> None:
        """``write`` sends to the board, ``execute`` carries out a command or raises CommandFailed, ``prompt``
        asks for data, ``before`` is awaited before each line is obeyed."""
        self._before = before
        self._write = write
        self._prompt = prompt
        self._line_end = b"\n" if behaviour.bare_line_feeds else _CR + _LF
        self._execute = execute
        self._behaviour = behaviour
        self._data_timeout_s = data_timeout_s
        self._trace = trace
        self._input = bytearray()
        self._arrived = asyncio.Event()
        self.busy = False
        """A command runs."""
        self._urcs: deque[tuple[str, bytes | None]] = deque(maxlen=_URC_LIMIT)
        self._lines = 0
        self._final = "OK"
        self.echo = True
        self.interrupting = False
        """An unsolicited line comes at once, in the middle of the running command."""
        self._finals = 0
        self.error_mode = 1  # AT+CMEE, factory setting of Quectel's modems

    def feed(self, data: bytes) -> None:
        """Take bytes from the board."""
        self._input += data[: INPUT_LIMIT - len(self._input)]
        self._arrived.set()

    def respond(self, text: str, data: bytes | None = None, joint: str = "\r\n", tail: str = "\r\n") -> None:
        """An information response of the running command; ``data`` follows it behind ``joint``, which is a
        new line in most families, and ``tail`` ends them."""
        for line in self._behaviour.stray_lines:
            self._send(line)
        self._send(text, data, joint, tail)
        if self._behaviour.urc_inside_response:
            self._send(self._behaviour.urc_inside_response)

    def finish(self, result: str) -> None:
        """End the running command with another result than OK (``SEND OK``), or with none ("")."""
        self._final = result

    def urc(self, text: str, data: bytes | None = None) -> None:
        """An unsolicited line, now or after the running command."""
        if self.busy and not self.interrupting:
            self._urcs.append((text, data))
        else:
            self._send(text, data)

    async def prompt(self, size: int, invitation: str = "") -> bytes:
        """Ask for exactly ``size`` bytes, by the prompt or by a line. What came before is not part of them.

        Raises CommandFailed when they do not come in time.
        """
        self._input.clear()
        if invitation:
            self._send(invitation)
        else:
            self._write(self._line_end + self._prompt.encode())
            self._record("out", text=self._prompt)
        try:
            async with asyncio.timeout(self._data_timeout_s):
                while len(self._input) < size:
                    await self._more()
        except TimeoutError:
            self._input.clear()
            raise CommandFailed from None
        data = bytes(self._input[:size])
        del self._input[:size]
        self._record("in", data=data)
        return data

    async def run(self) -> None:
        """Serve the line until cancelled."""
        while True:
            line = await self._line()
            at = -1 if line is None else line.upper().find("AT")
            if line is not None and at < 0:
                continue  # noise on the line is not answered (V.250 5.2.1)
            self.busy = True
            self._lines += 1
            if self._lines == self._behaviour.endless_line_at:
                await self._babble()
            if self._before:
                await self._before()
            await self._obey(None if line is None else line[at + 2 :])
            self.busy = False
            while self._urcs:
                self._send(*self._urcs.popleft())

    async def _obey(self, commands: str | None) -> None:
        self._final = "OK"
        try:
            if commands is None:
                raise CommandFailed
            for request in parse_line(commands):
                self._final = "OK"
                await self._execute(request)
        except CommandFailed as failure:
            self._final = self._error(failure)
        self._finals += 1
        every = self._behaviour.loses_final_at
        if self._final and not (every and self._finals % every == 0):
            self._send(self._final)

    def _error(self, failure: CommandFailed) -> str:
        """The final result under the present AT+CMEE (TS 27.007 9.1)."""
        if failure.cme is None or self.error_mode == 0:
            return "ERROR"
        in_words = self.error_mode == 2 or self._behaviour.verbose_errors
        return f"+CME ERROR: {CME_TEXT[failure.cme] if in_words else failure.cme}"

    async def _line(self) -> str | None:
        """The next command line without its end; None for one that was too long."""
        too_long = False
        while (end := self._input.find(_CR)) < 0:
            if len(self._input) > LINE_LIMIT:
                too_long = True
                self._input.clear()
            await self._more()
        raw = bytes(self._input[:end])
        del self._input[: end + 1]
        if too_long or len(raw) > LINE_LIMIT:
            self._record("in", text=f"(a line of more than {LINE_LIMIT} characters)")
            return None
        if self.echo:
            self._write(_without_line_feeds(raw) + _CR)
        text = _erase(_without_line_feeds(raw)).decode("latin-1")
        if text:
            self._record("in", text=text)
        return text

    async def _more(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def _babble(self) -> None:
        for _ in range(_BABBLES):
            self._write(_BABBLE)
            await asyncio.sleep(0)
        self._record("out", text=f"({len(_BABBLE) * _BABBLES} bytes without a line end)")

    def _send(self, text: str, data: bytes | None = None, joint: str = "\r\n", tail: str = "\r\n") -> None:
        if self._behaviour.nuls:
            spaced = text.replace(": ", ":   ", 1)
            text = f"\0\0{spaced}" + ("" if data or spaced == text else "  ")
        line = self._line_end + text.encode("latin-1", "replace")
        self._write(line + self._line_end if data is None else line + joint.encode() + data + tail.encode())
        self._record("out", text=text, **({} if data is None else {"data": data}))

    def _record(self, direction: str, **fields: object) -> None:
        if self._trace:
            self._trace.record("modem", "at", direction=direction, **fields)


def _without_line_feeds(line: bytes) -> bytes:
    """Line feeds mean nothing but inside quotes, where a certificate has them."""
    parts = line.split(_QUOTE)
    return _QUOTE.join(part if place % 2 else part.replace(_LF, b"") for place, part in enumerate(parts))


def _erase(line: bytes) -> bytes:
    """Carry out the backspaces of a hand-typed line (V.250 6.2.3)."""
    if _BACKSPACE not in line:
        return line
    kept = bytearray()
    for octet in line:
        if octet != _BACKSPACE[0]:
            kept.append(octet)
        elif kept:
            kept.pop()
    return bytes(kept)
