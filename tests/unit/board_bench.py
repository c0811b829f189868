"""A virtual board on its cable for the tests of REPL, flashing and self-test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from microipa.board import VirtualBoard
from microipa.board.repl import Repl
from microipa.trace import Event, Trace

T = TypeVar("T")

LITTLEFS = """
import os
import vfs


class Flash:
    def __init__(self, file):
        self.file = file

    def readblocks(self, number, buf, offset=0):
        self.file.seek(number * 4096 + offset)
        self.file.readinto(buf)

    def writeblocks(self, number, buf, offset=0):
        self.file.seek(number * 4096 + offset)
        self.file.write(buf)
        self.file.flush()

    def ioctl(self, what, _):
        return {{4: {blocks}, 5: 4096}}.get(what, 0)


flash = Flash(open("{image}", "r+b"))
try:
    vfs.mount(vfs.VfsLfs2(flash), "/flash")
except OSError:
    vfs.VfsLfs2.mkfs(flash)
    vfs.mount(vfs.VfsLfs2(flash), "/flash")
os.chdir("/flash")
"""
"""boot.py of a board whose flash is a LittleFS of so many blocks, in a file that outlives its power."""


@pytest.fixture
def said() -> list[Event]:
    """What the board said."""
    return []


@pytest.fixture
async def board(tmp_path: Path, said: list[Event]) -> AsyncIterator[VirtualBoard]:
    """A board with an empty flash and without power."""
    trace = Trace()
    trace.listen(said.append)
    board = VirtualBoard(tmp_path / "flash", trace=trace)
    board.folder.mkdir()
    yield board
    board.kill()
    board.pull_out()


def use_littlefs(board: VirtualBoard, blocks: int) -> None:
    image = board.folder.with_name("flash.img")
    image.write_bytes(bytes(blocks * 4096))
    (board.folder / "boot.py").write_text(LITTLEFS.format(blocks=blocks, image=image))


async def with_repl(board: VirtualBoard, work: Callable[[Repl], T]) -> T:
    """Do something in the board's REPL, while this loop serves the board."""

    def session() -> T:
        with Repl(board.plug_in()) as repl:
            return work(repl)

    if not board.running:
        board.plug_in()
        await board.start()
    return await asyncio.wait_for(asyncio.to_thread(session), 60)


async def heard(said: list[Event], kind: str, **fields: object) -> Event:
    """The first such event of the board, once it is there; it is taken, with all before it."""
    async with asyncio.timeout(20):
        while True:
            for place, event in enumerate(said):
                if event.kind == kind and fields.items() <= event.fields.items():
                    del said[: place + 1]
                    return event
            await asyncio.sleep(0.005)


def silent_pty() -> tuple[str, Callable[[], None]]:
    """A port on which nobody ever says anything: its name, and what closes it."""
    master, slave = os.openpty()

    def close() -> None:
        os.close(master)
        os.close(slave)

    return os.ttyname(slave), close
