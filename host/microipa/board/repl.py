"""A board's REPL through mpremote's library: the one place that knows it, and every way it fails by name."""

from __future__ import annotations

import ast
import contextlib
import errno
import io
import re
import struct
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport
from serial.tools import list_ports

from microipa.common.errors import MicroipaError

BAUD = 115200
_READ_S = 1.0  # a pty is read without looking first whether something is there
_ENTER_S = 5.0  # a virtual board with a romfs reads its partition first
_TRIES = 3  # opening the port resets some boards, which hear nothing while they boot; a program may catch a Ctrl-C
_CHUNK = 1024
# What mpremote lets through when bytes stop coming, or come garbled
_BROKEN = (TransportError, OSError, ValueError, SyntaxError, IndexError, struct.error)
_ENOSPC = re.compile(r"OSError: (\[Errno )?28\b|ENOSPC")


class PortError(MicroipaError):
    """The port is not there, not ours to use, or another program has it."""


class BoardSilent(MicroipaError):
    """Nothing on the port behaves like MicroPython's REPL."""


class BoardLost(MicroipaError):
    """The board was there and is gone: a cable, a reset, a power cut."""


class BoardFull(MicroipaError):
    """The board's flash has no room."""


class BoardFailed(MicroipaError):
    """Code on the board ended in an exception; the message is its last line."""


class Repl:
    """A board in its raw REPL, its program stopped, its heap empty. Use it in a ``with``, or close()."""

    def __init__(self, port: str) -> None:
        """``port``: a device, a pty, or a URL of pyserial. Raises PortError, BoardSilent."""
        link = Path(port)
        # mpremote tells a pty by its name, which a link hides.
        self.port = str(link.resolve()) if link.is_symlink() else port
        self._transport = self._open()
        with self.lend():
            self._enter()

    def _open(self) -> SerialTransport:
        try:
            return SerialTransport(self.port, baudrate=BAUD, timeout=_READ_S)
        except (TransportError, OSError, ValueError) as error:
            raise PortError(_why_not(self.port, error)) from None

    def _enter(self) -> None:
        for _ in range(_TRIES):
            with contextlib.suppress(TransportError), contextlib.redirect_stdout(io.StringIO()):
                self._transport.enter_raw_repl(soft_reset=True, timeout_overall=_ENTER_S)
                return
        self._transport.close()
        raise BoardSilent(
            f"no MicroPython answers on {self.port}: check that this is the board's USB port and not its modem's, "
            "press its reset key, or install MicroPython 1.26 or later first"
        )

    def __enter__(self) -> Repl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the board at its friendly prompt, where its cable still is."""
        with contextlib.suppress(OSError, TransportError):
            if self._transport.in_raw_repl:
                self._transport.exit_raw_repl()
            self._transport.close()

    def run(self, code: str) -> None:
        """Execute statements. Raises BoardFailed, BoardFull, BoardLost."""
        with self.lend() as transport:
            transport.exec(code)

    def value(self, expression: str) -> Any:
        """What an expression is on the board: numbers, text, bytes, and tuples, lists, dicts of them."""
        with self.lend() as transport:
            return transport.eval(expression)

    def lines(self, statement: str, silence_s: float) -> list[Any]:
        """What a statement prints, one value a line; the board may be silent for so many seconds between them."""
        with self.lend() as transport:
            transport.exec_raw_no_follow(statement)
            output, error = transport.follow(silence_s)
            if error:
                raise TransportExecError(output, error.decode("utf-8", "replace"))
            return [ast.literal_eval(line) for line in output.decode().splitlines()]

    def write_file(self, path: str, content: bytes, on_progress: Callable[[int], None] | None = None) -> None:
        """Create or replace a file; ``on_progress`` gets how many of its bytes are there."""
        self.run(f"from binascii import a2b_base64 as _a\n_f = open({path!r}, 'wb')")
        for start in range(0, len(content), _CHUNK):
            piece = content[start : start + _CHUNK]
            self.run(f"_f.write(_a({b2a_base64(piece, newline=False)!r}))")
            if on_progress:
                on_progress(start + len(piece))
        self.run("_f.close()\nimport gc\ngc.collect()")  # lest what stays lies between what goes

    def restart(self) -> None:
        """Soft reset: boot.py and main.py run. The board is out of our hands then."""
        with self.lend() as transport:
            transport.exit_raw_repl()
            transport.serial.write(b"\x04")
            transport.serial.flush()

    def soft_reset(self) -> None:
        """Empty the heap and stay in the raw REPL: boot.py runs, main.py does not."""
        with self.lend() as transport:
            transport.exit_raw_repl()
            transport.enter_raw_repl(soft_reset=True)

    @contextlib.contextmanager
    def lend(self) -> Iterator[SerialTransport]:
        """mpremote's own object, whose errors become ours on the way out."""
        try:
            yield self._transport
        except TransportExecError as error:
            if _ENOSPC.search(error.error_output):
                raise BoardFull("the board's flash is full") from None
            lines = error.error_output.strip().splitlines() or ["no reason given"]
            raise BoardFailed(f"the board reports {lines[-1]}") from None
        except _BROKEN as error:
            lost = f"the board on {self.port} stopped answering ({_text(error)}): is its cable plugged in?"
            raise BoardLost(lost) from None


def usb_ports() -> list[str]:
    """The USB serial ports of this machine."""
    return sorted(str(info.device) for info in list_ports.comports() if info.vid is not None)


def find_port() -> str:
    """The one USB serial port of this machine. Raises PortError when there is none or more than one."""
    ports = usb_ports()
    if len(ports) == 1:
        return ports[0]
    if not ports:
        raise PortError("no USB serial port on this machine: plug the board in, or name its port with --port")
    raise PortError(f"several USB serial ports, {', '.join(ports)}: name the board's with --port")


def _why_not(port: str, error: Exception) -> str:
    """mpremote keeps the reason to itself: open the port once more to hear it."""
    try:
        serial.serial_for_url(port, exclusive=True).close()
    except (OSError, ValueError) as reason:
        error = reason
    text, number = _text(error), getattr(error, "errno", None)
    if number == errno.ENOENT or "No such file" in text:
        known = ", ".join(usb_ports())
        return f"there is no port {port}: plug the board in, or name another with --port ({known or 'there is none'})"
    if number == errno.EACCES or "Permission denied" in text:
        return f"no permission to use {port}: join the group it belongs to, dialout on many systems"
    if "Inappropriate ioctl" in text or number == errno.EISDIR:
        return f"{port} is not a serial port: name the board's with --port"
    if "lock" in text or number in (errno.EBUSY, errno.EAGAIN):
        return f"another program has {port} open: close that terminal, IDE or `microipa` and try again"
    if "://" in port:
        return f"cannot use {port}: {text}; check host and port, and that such a server runs there"
    return f"cannot use {port}: {text}"


def _text(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
