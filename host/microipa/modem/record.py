"""Records what a driver and a modem say to each other: `microipa modem record`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import serial

from microipa.board.micropython import environment, find_micropython
from microipa.common import paths
from microipa.common.errors import MicroipaError
from microipa.modem.serial import Serial
from microipa.modem.transcript import Transcript

TOUR_SECONDS = 600.0
_READ = 4096


class PortUnusable(MicroipaError):
    """The serial port is not there, or somebody else has it."""


@dataclass(frozen=True)
class Tour:
    """How tools/modem_tour.py ended: its exit status, its lines, and the conversation."""

    status: int
    lines: list[str]
    transcript: Transcript


@contextlib.asynccontextmanager
async def port(path: str, baud: int, receive: Callable[[bytes], None]) -> AsyncIterator[Callable[[bytes], None]]:
    """A modem's serial port, or a pty: ``receive`` gets what comes, the value writes. Raises PortUnusable."""
    try:
        line = serial.serial_for_url(path, baudrate=baud, timeout=0, write_timeout=5, exclusive=True)
    except (serial.SerialException, ValueError, OSError) as error:
        raise PortUnusable(f"cannot open {path}: {getattr(error, 'strerror', None) or error}") from None
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(line.fileno(), lambda: receive(line.read(_READ)))
        yield lambda data: line.write(data)
    finally:
        loop.remove_reader(line.fileno())
        line.close()


async def record(path: str, baud: int, family: str, apn: str, echo: tuple[str, int] | None) -> Tour:
    """Take the driver of a family through its tour on the modem at ``path``.

    ``echo``: a UDP service the modem can reach that gives back what it gets. Raises PortUnusable.
    """
    transcript = Transcript()
    board: Serial

    def heard(data: bytes) -> None:
        transcript.modem(data)
        board.write(data)

    async with port(path, baud, heard) as write:

        def sent(data: bytes) -> None:
            transcript.driver(data)
            write(data)

        board = Serial(sent)
        try:
            status, lines = await take_tour(board.path, family, apn, echo)
        finally:
            board.close()
    return Tour(status, lines, transcript)


async def take_tour(uart: str, family: str, apn: str, echo: tuple[str, int] | None) -> tuple[int, list[str]]:
    """Run the tour in MicroPython on a UART. Returns its exit status and its lines."""
    host, number = echo or ("-", 0)
    arguments = [family, uart, apn, host, str(number)]
    process = await asyncio.create_subprocess_exec(
        *find_micropython(), str(paths.tools() / "modem_tour.py"), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment([paths.firmware()]))
    try:
        output, _ = await asyncio.wait_for(process.communicate(), TOUR_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace").splitlines()
