"""A board that is a process: real MicroPython in a board's heap, a folder as flash, a pty as UART."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from microipa import paths
from microipa.board.bytecode import bytecode
from microipa.board.micropython import DEFAULT_HEAP, environment, find_micropython
from microipa.errors import MicroipaError
from microipa.trace import Trace

LINE_LIMIT = 4096
"""Bytes of a log line; the rest of a longer one is dropped."""
_READ = 65536


class BoardRunning(MicroipaError):
    """The board has power already."""


class VirtualBoard:
    """One board. Its folder outlives kill() and start(), as flash outlives a power cut."""

    def __init__(self, folder: Path, uart: str, *, heapsize: str = DEFAULT_HEAP,
                 trace: Trace | None = None) -> None:
        """``uart`` is the pty of a modem. ``heapsize`` is MicroPython's: "96wK" is 96 Ki words."""
        self.folder = folder
        self._uart = uart
        self._heapsize = heapsize
        self._trace = trace
        self._process: subprocess.Popen[bytes] | None = None
        self._line = bytearray()
        self._ended = asyncio.Event()
        self.exit_code: int | None = None

    def install(self, config: Mapping[str, Any], files: Mapping[str, bytes] | None = None, *,
                fresh: bool = False) -> None:
        """Flash the firmware, this board's board.py, ``config`` as ipa.json, and ``files`` by name.

        What the firmware itself has written (its journal) stays, unless ``fresh``. Raises BoardRunning.
        """
        if self.running:
            raise BoardRunning(f"kill the board in {self.folder} before installing into it")
        if fresh and self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "ipa", ignore_errors=True)
        for name, code in bytecode(paths.firmware()).items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(code)
        shutil.copy(paths.firmware() / "main.py", self.folder)
        shutil.copy(paths.boards() / "virtual" / "board.py", self.folder)
        (self.folder / "ipa.json").write_text(json.dumps(config, indent=1))
        for name, content in (files or {}).items():
            (self.folder / name).write_bytes(content)

    @property
    def running(self) -> bool:
        return self._process is not None

    async def start(self) -> None:
        """Give power: main.py runs. Raises BoardRunning and MicroPythonMissing."""
        if self.running:
            raise BoardRunning(f"the board in {self.folder} runs already")
        command = [*find_micropython(), "-X", f"heapsize={self._heapsize}", "main.py"]
        self._flush_uart()
        self._ended.clear()
        self._line.clear()
        self.exit_code = None
        # A group of its own keeps Ctrl-C for the lab. Not a session of its own: the UART would become the
        # terminal of that session, and its hang-up would kill the board.
        self._process = subprocess.Popen(  # noqa: ASYNC220 - so that kill() can reap it without the loop
            command, cwd=self.folder, env=environment(extra={"MICROIPA_UART": self._uart}),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
            process_group=0)
        assert self._process.stdout
        os.set_blocking(self._process.stdout.fileno(), False)
        asyncio.get_running_loop().add_reader(self._process.stdout, self._readable)
        self._record("power", on=True)

    def kill(self) -> None:
        """Cut the power: SIGKILL, with nothing said to the firmware. A board without power stays so."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._drain()
            self._bury()

    async def wait(self) -> int:
        """Wait until the board's program has ended; its exit status, negative for a signal."""
        if self.running:
            await self._ended.wait()
        return self.exit_code if self.exit_code is not None else 0

    def _flush_uart(self) -> None:
        """What a modem said to a board without power is lost."""
        line = os.open(self._uart, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            termios.tcflush(line, termios.TCIFLUSH)
        finally:
            os.close(line)

    def _readable(self) -> None:
        if not self._drain():
            assert self._process
            self._process.wait()
            self._bury()

    def _drain(self) -> bool:
        """Take what the board has printed; False at the end of its output."""
        assert self._process
        assert self._process.stdout
        while data := self._process.stdout.read(_READ):
            self._take(data)
        return data is None  # None: nothing more now; empty: closed

    def _bury(self) -> None:
        process, self._process = self._process, None
        assert process
        assert process.stdout
        asyncio.get_running_loop().remove_reader(process.stdout)
        process.stdout.close()
        if self._line:
            self._log()
        self.exit_code = process.returncode
        self._record("power", on=False, exit_code=self.exit_code)
        self._ended.set()

    def _take(self, data: bytes) -> None:
        *complete, rest = data.split(b"\n")
        for part in complete:
            self._append(part)
            self._log()
        self._append(rest)

    def _append(self, part: bytes) -> None:
        self._line += part[: LINE_LIMIT - len(self._line)]

    def _log(self) -> None:
        text = self._line.decode("utf-8", "replace").rstrip("\r")
        self._line.clear()
        if text:
            self._record("log", text=text)

    def _record(self, kind: str, **fields: Any) -> None:
        if self._trace:
            self._trace.record("board", kind, **fields)
