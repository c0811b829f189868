"""Runs a firmware test's script under CPython: `python cpython.py SCRIPT [ARGUMENT…]`, with the firmware on PYTHONPATH.

For counting lines only (`make coverage`): whether something works is told by MicroPython.
"""

from __future__ import annotations

import asyncio
import logging
import runpy
import sys
import time
from collections.abc import Coroutine
from typing import BinaryIO

from ipa import compat


class StreamReader:
    """MicroPython's, around anything that poll() takes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    async def readinto(self, buf: bytearray) -> int | None:
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(self._stream, lambda: readable.done() or readable.set_result(None))
        try:
            await readable
        finally:
            loop.remove_reader(self._stream)
        return self._stream.readinto(buf)  # type: ignore[attr-defined]


def run(main: Coroutine[object, object, object]) -> object:
    """As MicroPython's: tasks that are left when this one ends are left, not cancelled and waited for."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(main)


logging.disable()  # which is where asyncio complains of them
asyncio.run = run  # type: ignore[assignment]
asyncio.StreamReader = StreamReader  # type: ignore[assignment,misc]
time.clock = time.process_time  # type: ignore[attr-defined]
for module, names in ((asyncio, ("sleep_ms", "wait_for_ms")), (time, ("ticks_ms", "ticks_add", "ticks_diff"))):
    for name in names:
        setattr(module, name, getattr(compat, name))

del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
