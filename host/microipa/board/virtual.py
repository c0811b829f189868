"""A board that is a process: real MicroPython in a board's heap, a folder as flash, a pty as UART."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from microipa.board.bytecode import bytecode
from microipa.board.console import Console
from microipa.board.micropython import DEFAULT_HEAP, environment, find_micropython, heap_bytes
from microipa.board.power_key import PowerKey
from microipa.board.process import Process
from microipa.board.sleep import FIFO, Sleeper, SleepLine, Woken
from microipa.board.watchdog import Watchdog
from microipa.common import paths
from microipa.common.clock import Clock
from microipa.common.errors import MicroipaError
from microipa.trace import Trace

Form = Literal["by hand", "mpy", "romfs"]
LINE_LIMIT = 4096
"""Bytes of a log line; the rest of a longer one is dropped."""
RESET_STATUS = 75
"""Exit status with which a program asks for a reset: firmware/restart.py and boards/virtual/board.py."""


class BoardRunning(MicroipaError):
    """The board has power already."""


class VirtualBoard:
    """One board. Its folder outlives kill() and start(), as flash outlives a power cut.

    main.py runs after start(), boot.py before it where there is one. It runs again when it asks for a reset, or does
    not feed the watchdog any more that it has begun to feed. What happens when it ends depends on the cable: a board
    on a console (plug_in) goes on with the REPL as boards do, one without loses its power.

    It sleeps as chips do. Light sleep stops the program, and the UART keeps FIFO bytes meanwhile; deep sleep ends it
    and begins it again, with flash and RTC memory as they were.
    """

    def __init__(self, folder: Path, uart: str = "", *, heapsize: str = DEFAULT_HEAP, modem: str = "bg95",
                 rom_size: int = 0, power_key: Callable[[], None] | None = None,
                 wake_pin: Callable[[], None] | None = None,
                 sleep_pin: Callable[[bool], None] | None = None, watchdog_s: float = 8.0,
                 clock: Clock | None = None, skips_under_s: float = 0.0, drift_percent: float = 0.0,
                 uart_sleeps: Callable[[int | None], None] = lambda room: None,
                 trace: Trace | None = None) -> None:
        """``uart`` is the pty of a modem, of the family ``modem``; empty without one. ``heapsize`` as
        heap_bytes() reads it. ``rom_size``: bytes of a romfs partition, in a file beside ``folder``.
        ``power_key`` is called when the board presses the power key of its modem, ``wake_pin`` when it moves the pin
        that wakes one, in families that have it, ``sleep_pin`` when it moves that which lets the serial line of one
        sleep. ``watchdog_s``: how long its watchdog goes without food. ``skips_under_s``: ``clock`` skips its sleeps
        that are shorter than that. ``drift_percent``: how much longer they are than its RTC counts. ``uart_sleeps`` is
        told how many bytes the UART takes from now on, None for all."""
        self.folder = folder
        self.rom_size = rom_size
        self._uart = uart
        self._heapsize = heapsize
        self._modem = modem
        self._trace = trace
        self._on_power_key = power_key
        self._on_wake_pin = wake_pin
        self._on_sleep_pin = sleep_pin
        self._power_key: PowerKey | None = None
        self._watchdog_s = watchdog_s
        self._watchdog: Watchdog | None = None
        self._sleeper = Sleeper(folder, clock or Clock(), skips_under_s=skips_under_s,
                                drift_percent=drift_percent)
        self._sleep_line: SleepLine | None = None
        self._uart_sleeps = uart_sleeps
        self._process: Process | None = None
        self._console: Console | None = None
        self._line = bytearray()
        self._ended = asyncio.Event()
        self._dies = False
        self._resets = False
        self._in_repl = False
        self.exit_code: int | None = None

    def install(self, config: Mapping[str, Any], files: Mapping[str, bytes] | None = None, *,
                fresh: bool = False, form: Form = "by hand") -> None:
        """Program the flash of a board without power: firmware, board.py, ``config`` as ipa.json, and
        ``files`` by name. ``form``: main.py and board.py as source, copied "by hand", or all of it as `microipa flash`
        writes it, into the file system ("mpy") or into a romfs partition ("romfs"), where settings and ``files`` go
        that are no programs.

        What the firmware itself has written (its journal) stays, unless ``fresh``. Raises BoardRunning.
        """
        if self.running:
            raise BoardRunning(f"stop the board in {self.folder} before you install into it")
        if fresh and self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "ipa", ignore_errors=True)
        for name in ("restart.py", "starts.py"):
            shutil.copy(paths.firmware() / name, self.folder)
        whole = {"ipa.json": json.dumps(config, indent=1).encode(), **(files or {})}
        if form == "by hand":
            whole = {**bytecode(paths.firmware(), short_names=True),
                     "main.py": (paths.firmware() / "main.py").read_bytes(),
                     "board.py": (paths.boards() / "virtual" / "board.py").read_bytes(), **whole}
        else:
            whole = self._as_flashed(whole, form == "romfs")
        for name, content in whole.items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, content)

    def _as_flashed(self, files: Mapping[str, bytes], romfs: bool) -> dict[str, bytes]:
        """What lies in the file system; the partition is written."""
        from microipa.board.known import find_board  # which know boards, and these know a virtual one
        from microipa.board.package import build
        from microipa.board.romfs import image

        programs = {"main.py": b"import app\n"}
        programs |= {name: content for name, content in files.items() if name.endswith(".py")}
        others = {name: content for name, content in files.items() if name not in programs}
        package = build(find_board("virtual")).with_files(others).without_unused()
        if not romfs:
            return {**package.files, **programs}
        content = image(package)
        _write(self._rom_file, content)
        self.rom_size = len(content)
        return programs

    @property
    def flashed(self) -> str:
        """The version that `microipa flash` has put there, "" without one."""
        names = self.folder / "ipa.version"
        return names.read_text().partition("\n")[0] if names.exists() else ""

    @property
    def running(self) -> bool:
        """Whether it has power."""
        return self._process is not None or self.asleep

    @property
    def asleep(self) -> bool:
        return bool(self._sleeper.state)

    def plug_in(self) -> str:
        """Put the USB cable in: the path of the pty on which the board's REPL is."""
        if self._console is None:
            self._console = Console()
            if self._in_repl:
                self._console.find_repl(self._process)
            else:
                self._console.run_program(self._process)
        return self._console.path

    def pull_out(self) -> None:
        """Pull the USB cable. The board does not notice, and keeps its power until its program ends."""
        if self._console:
            self._console.close()
            self._console = None

    async def start(self) -> None:
        """Give power: main.py runs. Raises BoardRunning and MicroPythonMissing."""
        if self.running:
            raise BoardRunning(f"the board in {self.folder} is already running")
        self._flush_uart()
        self._ended.clear()
        self._dies = False
        self.exit_code = None
        if self._on_power_key:
            self._power_key = PowerKey(self.folder.with_name(f"{self.folder.name}.key"), self._on_power_key,
                                       self._on_wake_pin or self._on_power_key,
                                       self._on_sleep_pin or (lambda may_sleep: None))
        self._run_program()
        self._record("power", on=True)

    def kill(self) -> None:
        """Cut the power: SIGKILL, with nothing said to the firmware. A board without power stays so."""
        self._dies = True
        if self._process:
            self._process.kill()
        elif self.asleep:
            self._power_off()

    def wake(self) -> None:
        """A pin wakes the board: a key of the product, or the modem that has got an SMS."""
        self._sleeper.wake(Woken.PIN)

    def reset(self) -> None:
        """The reset key: the program begins again, of a board that sleeps as well."""
        if self._sleeper.state == "deep":
            self._sleeper.wake(Woken.RESET)
        elif self._process:
            self._sleeper.wake(Woken.RESET)
            self._sleeper.woken = Woken.RESET
            self._resets = True
            self._process.kill()

    async def wait(self) -> int:
        """Wait until the board has no power; the exit status of its program, negative for a signal."""
        if self.running:
            await self._ended.wait()
        return self.exit_code if self.exit_code is not None else 0

    def _run_program(self) -> None:
        """What power and a soft reset begin with; a board that has no main.py goes to the REPL."""
        program = ["main.py"]
        if boots := self._boots:  # and may have mounted another file system
            program = ["-c", f"{boots}import os\nif 'main.py' in os.listdir(): import main"]
        elif self._console and not (self.folder / "main.py").exists():
            self._run_repl()
            return
        self._in_repl = False
        self._watchdog = Watchdog(self._watchdog_s, self._bite)
        self._sleep_line = SleepLine(self._fall_asleep)
        self._process = self._spawn(program, self._printed, self._program_ended)
        if self._console:
            self._console.run_program(self._process)

    def _run_repl(self) -> None:
        """A REPL in a fresh heap: it knows nothing of the program that ran before it."""
        assert self._console
        self._in_repl = True
        boots = self._boots
        self._process = self._spawn(["-i", "-c", boots] if boots else [], self._answered, self._repl_ended)
        self._console.run_repl(self._process)

    def _spawn(self, program: list[str], on_output: Callable[[bytes], None],
               on_end: Callable[[int], None]) -> Process:
        heap = heap_bytes(self._heapsize, self.rom_size)
        surroundings = {"MICROIPA_UART": self._uart, "MICROIPA_MODEM": self._modem}
        if self._power_key:
            surroundings["MICROIPA_POWER_KEY"] = str(self._power_key.path)
            if self._on_wake_pin:
                surroundings["MICROIPA_WAKE_PIN"] = str(self._power_key.path)
            if self._on_sleep_pin:
                surroundings["MICROIPA_SLEEP_PIN"] = str(self._power_key.path)
        if self.rom_size:
            surroundings["MICROIPA_ROM"] = str(self._partition())
        keep: tuple[int, ...] = ()
        if self._watchdog:
            surroundings["MICROIPA_WATCHDOG"] = self._watchdog.path
            keep = (self._watchdog.bowl,)
        if self._sleep_line:
            surroundings |= {
                "MICROIPA_SLEEP": self._sleep_line.paths, "MICROIPA_WOKEN": self._sleeper.woken,
                "MICROIPA_RTC": str(self._sleeper.memory), "MICROIPA_RTC_AHEAD": f"{self._sleeper.rtc_ahead_s:.0f}",
            }
            keep += self._sleep_line.descriptors
        command = [*find_micropython(), "-X", f"heapsize={heap}", *program]
        return Process(command, self.folder, environment(
            [self.folder / "lib", paths.tools() / "virtual"], surroundings), on_output, on_end, keep)

    @property
    def _boots(self) -> str:
        """What runs before main.py, and before the REPL: the port's own part for a romfs, and boot.py."""
        rom = f"import sys\nsys.path.insert(0, {str(paths.tools())!r})\nimport virtual_rom\ndel sys.path[0]\n"
        boot = (self.folder / "boot.py").exists()
        return (rom if self.rom_size else "") + ("import boot\n" if boot else "")

    @property
    def _rom_file(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.romfs").resolve()  # for a process in another folder

    def _partition(self) -> Path:
        """The file of the romfs partition, which outlives everything; empty at first."""
        file = self._rom_file
        if not file.exists() or file.stat().st_size != self.rom_size:
            _write(file, bytes(self.rom_size))
        return file

    def _flush_uart(self) -> None:
        """What a modem said to a board without power is lost."""
        if not self._uart:
            return
        line = os.open(self._uart, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            termios.tcflush(line, termios.TCIFLUSH)
        finally:
            os.close(line)

    def _printed(self, data: bytes) -> None:
        self._take(data)
        if self._console:
            self._console.show_program(data)

    def _answered(self, data: bytes) -> None:
        if self._console:
            self._console.show_repl(data)

    def _fall_asleep(self, state: str, ms: int) -> None:
        """The program has called light_sleep() or deep_sleep()."""
        assert self._process
        self._process.drain()  # what it printed before
        self._record("sleep", state=state, ms=ms)
        self._sleeper.begin(state, ms, self._woken)
        self._uart_sleeps(FIFO if state == "light" else 0)
        if state == "deep":
            self._process.kill()
        elif self._watchdog:
            self._watchdog.pause()

    def _woken(self, why: Woken) -> None:
        """A sleep is over: the program goes on, or begins again."""
        self._record("wake", why=why)
        self._uart_sleeps(None)
        if self._process:
            assert self._sleep_line
            self._sleep_line.answer(why, self._sleeper.rtc_ahead_s)
        else:
            self._flush_uart()
            self._run_program()

    def _bite(self) -> None:
        """The watchdog was not fed."""
        self._record("watchdog")
        self._sleeper.woken = Woken.WATCHDOG
        self._resets = True
        if self._process:
            self._process.kill()

    def _program_ended(self, exit_code: int) -> None:
        if self._line:
            self._log()
        self.exit_code = exit_code
        if self._watchdog:
            self._watchdog.close()
            self._watchdog = None
        if self._sleep_line:
            self._sleep_line.close()
            self._sleep_line = None
        if self._sleeper.state == "deep" and not self._dies:
            self._process = None
            if self._console:
                self._console.run_program(None)
            return
        resets, self._resets = self._resets or exit_code == RESET_STATUS, False
        if resets and not self._dies:
            self._record("reset", exit_code=exit_code)
            if exit_code == RESET_STATUS:
                self._sleeper.woken = Woken.RESET
            self._flush_uart()
            self._run_program()
        elif self._console and not self._dies:
            self._record("program", exit_code=exit_code)
            self._run_repl()
        else:
            self._power_off()

    def _repl_ended(self, exit_code: int) -> None:
        if not self._console or self._dies:
            self._power_off()
            return
        if exit_code == RESET_STATUS:  # machine.reset(), as of `mpremote reset`
            self._record("reset", exit_code=exit_code)
            self._flush_uart()
            self._run_program()
            return
        self._console.soft_reboot()
        self._sleeper.woken = Woken.RESET
        if self._console.raw:
            self._run_repl()
        else:
            self._run_program()

    def _power_off(self) -> None:
        self._process = None
        self._sleeper.lose_power()
        self._uart_sleeps(None)
        self._in_repl = False
        if self._power_key:
            self._power_key.close()
            self._power_key = None
        if self._console:
            self._console.run_program(None)
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


def _write(file: Path, content: bytes) -> None:
    """For its owner alone: a board's flash holds private keys."""
    file.touch(0o600)
    file.chmod(0o600)
    file.write_bytes(content)
