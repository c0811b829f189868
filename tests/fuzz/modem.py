"""The lab's modem: damaged command lines, family by family."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from microipa.modem import VirtualModem
from microipa.modem.virtual import FAMILIES
from microipa.radio import PRESETS, Link, Network
from modem_bench import StubCard

from fuzz import mutations
from fuzz.run import Take, Target

TRANSCRIPTS = Path(__file__).parents[1] / "firmware" / "transcripts"
TURNS = 30  # of the event loop, in which a line is obeyed as far as it can be

_families = itertools.cycle(FAMILIES)


def targets() -> Iterator[Target]:
    said = {line[2:] for file in TRANSCRIPTS.glob("*.at") for line in file.read_text().splitlines() if line[:2] == "> "}
    yield Target("at", tuple(line.encode() for line in sorted(said)), mutations.octets, (), _modem)


def _modem() -> Take:
    """A booted modem of the next family. A task of it that dies is the finding."""
    loop = asyncio.new_event_loop()
    network = Network()
    modem = VirtualModem(StubCard(), network, Link(replace(PRESETS["none"])), family=next(_families))

    def take(message: bytes) -> None:
        loop.run_until_complete(_obey(modem, message))

    return take


async def _obey(modem: VirtualModem, message: bytes) -> None:
    if not modem._live:
        await modem.power(True)
        async with asyncio.timeout(20):
            while not modem._live:
                await asyncio.sleep(0)
                _check(modem)
    modem.interpreter.feed(message + b"\r")
    for _ in range(TURNS):
        await asyncio.sleep(0)
    _check(modem)


def _check(modem: VirtualModem) -> None:
    for task in list(modem._tasks):
        if task.done() and not task.cancelled() and (error := task.exception()):
            modem._tasks.discard(task)
            modem._live = False  # it boots before the next line
            raise error
