"""Hundreds of polls in little heap: downloads, switches, deletions, lists, without one memory error.

    MICROPYTHON=… python tools/soak.py [--polls 300] [--downloads 30] [--form romfs|mpy]     # both forms by default

The board has the heap that heap_needed.toml names for its form and a tenth more, and 2 kB of it are the product's.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from microipa.board.micropython import word_bytes
from microipa.board.needs import heap_needed
from microipa.board.virtual import Form
from microipa.common import paths
from microipa.lab import Lab, new_profile
from microipa.saip import build, iccid_to_bytes
from microipa.trace import Event, Trace

SPARE = 1.1
SETTINGS = {"poll_interval_s": 1, "poll_jitter_percent": 0, "backoff_s": 1, "backoff_max_s": 2}
WAIT_S = 120.0
SHORT = re.compile(r"MemoryError|memory allocation|ENOMEM|out of memory")


class Starved(Exception):
    """The board ran short of memory, was reset, or an order did not end well: the last lines of its log."""


@dataclass
class Soak:
    """What came of it: polls, downloads, and bytes free and in the largest free block after each poll."""

    polls: int = 0
    downloads: int = 0
    free: list[int] = field(default_factory=list)
    largest: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    wrong: bool = False

    def has_come_to(self, polls: int) -> bool:
        return self.polls >= polls

    def hear(self, event: Event) -> None:
        if event.part != "board" or event.kind not in ("log", "reset"):
            return
        text = str(event.fields.get("text", event.kind))
        self.lines = [*self.lines[-30:], text]
        self.wrong = self.wrong or event.kind == "reset" or SHORT.search(text) is not None
        if found := re.search(r"soak: free (\d+) largest (\d+)", text):
            self.polls += 1
            self.free.append(int(found[1]))
            self.largest.append(int(found[2]))


async def soak(folder: Path, form: Form, polls: int, downloads: int) -> Soak:
    """Raises Starved."""
    seen = Soak()
    trace = Trace()
    trace.listen(seen.hear)
    heap = int(heap_needed("mpy" if form == "mpy" else "romfs") * SPARE)
    async with Lab(folder, radio="none", trace=trace, board_config=SETTINGS, heap=str(heap), form=form) as lab:
        (lab.board.folder / "soak_meter.py").write_bytes((paths.tools() / "soak_meter.py").read_bytes())
        (lab.board.folder / "main.py").write_bytes(b"import soak_meter\nimport app\n")
        await lab.board.start()
        old = ""
        for number in range(downloads):
            old = await _cycle(lab, seen, old)
            seen.downloads += 1
            await _until(seen, partial(seen.has_come_to, polls * (number + 1) // downloads))
        lab.board.kill()
    return seen


async def _cycle(lab: Lab, seen: Soak, old: str) -> str:
    """Download a profile, switch to it, list all, delete the one before. Returns the ICCID of the new one."""
    spec = new_profile("Soaked")
    iccid = iccid_to_bytes(spec.iccid)
    lab.eim.order_download(lab.eid, lab.offer(build(spec)))
    await _done(lab, seen)
    lab.eim.order_package(lab.eid, [("enable", {"iccid": iccid, "rollbackFlag": None})])
    await _done(lab, seen)
    deletion = [("delete", {"iccid": iccid_to_bytes(old)})] if old else []
    lab.eim.order_package(lab.eid, [("listProfileInfo", {}), *deletion])
    await _done(lab, seen)
    return spec.iccid


async def _done(lab: Lab, seen: Soak) -> None:
    await _until(seen, lambda: lab.eim.orders(lab.eid)[-1].state == "done")


async def _until(seen: Soak, holds: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S * 10)):
        if seen.wrong:
            break
        if holds():
            return
        await asyncio.sleep(0.1)
    raise Starved("\n".join(seen.lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--polls", type=int, default=300)
    parser.add_argument("--downloads", type=int, default=30)
    parser.add_argument("--form", choices=("romfs", "mpy"))
    chosen = parser.parse_args()
    if word_bytes() != 4:
        sys.exit("soak: this MicroPython has 64-bit words: MICROPYTHON=$(make -s micropython32)")
    forms: tuple[Form, ...] = ("romfs", "mpy")
    for form in (chosen.form,) if chosen.form else forms:
        with TemporaryDirectory() as folder:
            try:
                seen = asyncio.run(soak(Path(folder), form, chosen.polls, chosen.downloads))
            except Starved as error:
                sys.exit(f"soak: {form}: short of memory, or an order did not end well:\n{error}")
        print(f"{form}: {seen.polls} polls, {seen.downloads} downloads; free after a poll {min(seen.free):,} bytes or "
              f"more, largest block {seen.largest[0]:,} at first, {min(seen.largest):,} at least, "
              f"{seen.largest[-1]:,} at the end", flush=True)


if __name__ == "__main__":
    main()
