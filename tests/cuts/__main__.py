"""`make cuts`: count the steps of each flow, cut the power at some or all of them, print what came of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from microipa.lab import Lab
from rich.console import Console
from rich.table import Table
from scene import QUICK, es10
from switching import Device

from cuts.flows import FLOWS, Flow, Wrong, template
from cuts.points import KINDS, Counts, Cut, counting, install_hook

LIMIT_S = 120


@dataclass(frozen=True)
class Point:
    """One run: the power goes at event ``number`` of the kind."""

    flow: str
    kind: str
    number: int


def device_for(flow: Flow, folder: Path) -> Device:
    # A modem whose card was cut in the middle of an attach takes it for refused until the board switches the radio.
    device = Device(folder, {**QUICK, "attach_timeout_s": 20, **flow.config})
    device.options = flow.lab
    return device


async def finish(flow: Flow, lab: Lab) -> None:
    """Until the flow has ended: the board says so by leaving, or the state of things does."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        if not lab.board.running:
            if lab.board.exit_code == 0:
                return
            raise Wrong(f"the board ended with {lab.board.exit_code}")
        if flow.config.get("stop_when_idle") is False and flow.ended(lab):
            return
        if time.monotonic() > deadline:
            raise Wrong(f"has not ended after {LIMIT_S} s")
        await asyncio.sleep(0.02)


async def warm_up(flow: Flow, lab: Lab) -> None:
    """A poll with nothing to do; the modem keeps its power afterwards."""
    if flow.warm:
        await lab.board.start()
        await asyncio.wait_for(lab.board.wait(), LIMIT_S)


async def count(flow: Flow, folder: Path) -> Counts:
    device = device_for(flow, folder)
    async with device.lab() as lab:
        await warm_up(flow, lab)
        device.events.clear()
        counts = counting(device, lab)
        flow.begin(device, lab)
        await lab.board.start()
        await finish(flow, lab)
        flow.check(lab)
        return counts()


async def cut(flow: Flow, point: Point, folder: Path) -> str:
    """"" where the flow ended right, "-" where it ended before the event came, else what is wrong."""
    device = device_for(flow, folder)
    try:
        async with device.lab() as lab:
            await warm_up(flow, lab)
            power = Cut(device, lab, point.kind, point.number)
            install = KINDS[point.kind] != "journal"
            if install:
                install_hook(lab)
            flow.begin(device, lab)
            await lab.board.start()
            waiting = asyncio.ensure_future(finish(flow, lab))
            happened = asyncio.ensure_future(power.happened.wait())
            await asyncio.wait((waiting, happened), return_when=asyncio.FIRST_COMPLETED)
            if not happened.done():
                happened.cancel()
                await waiting
                return "-"
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await power.restore()
            await finish(flow, lab)
            flow.check(lab)
        if device.config.get("stop_when_idle") and not device.config.get("emulation"):
            for question, nothing in (("BF2B00", "a000"), ("BF2B04A0028200", "a200")):
                left = es10(folder, question).value.hex()
                if left != nothing:
                    return f"the card keeps {left[:40]}"
    except Wrong as wrong:
        last = [line for line in device.log().splitlines() if "heap" not in line][-3:]
        return f"{wrong}; " + " | ".join(last)
    except Exception as error:  # noqa: BLE001 - a run that breaks is a finding
        return f"{type(error).__name__}: {error}"
    return ""


def play(flow_name: str, kind: str | None, number: int, templates: Path) -> Counts | str:
    """One run in a folder of its own, which goes unless the run is a finding."""
    flow = next(one for one in FLOWS if one.name == flow_name)
    folder = Path(tempfile.mkdtemp(prefix="cut-"))
    shutil.rmtree(folder)
    shutil.copytree(template(flow, templates), folder)
    try:
        if kind is None:
            return asyncio.run(count(flow, folder))
        return asyncio.run(cut(flow, Point(flow_name, kind, number), folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def spread(points: list[Point], most: int) -> list[Point]:
    """So many of them, evenly, the first and the last among them; one alone is that in the middle."""
    if len(points) <= most:
        return points
    if most == 1:
        return [points[len(points) // 2]]
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make cuts", description=__doc__)
    parser.add_argument("--flow", action="append", help="one of: " + "; ".join(flow.name for flow in FLOWS))
    parser.add_argument("--kind", action="append", help="one of: " + "; ".join(KINDS))
    parser.add_argument("--each", type=int, default=12, help="cuts of each kind in each flow at most; 0: all of them")
    parser.add_argument("--at", type=int, help="at this event alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    names = chosen.flow or [flow.name for flow in FLOWS]
    kinds = chosen.kind or list(KINDS)
    for name, known in [*((name, [flow.name for flow in FLOWS]) for name in names), *((kind, KINDS) for kind in kinds)]:
        if name not in known:
            print(f"cuts: no {name!r}: choose one of {', '.join(known)}", file=sys.stderr)
            return 2
    return run(names, kinds, chosen)


def run(names: list[str], kinds: list[str], chosen: argparse.Namespace) -> int:
    out = Console(width=120)
    began = time.monotonic()
    wrong: list[tuple[Point, str]] = []
    table = Table("flow", "power goes from", "steps", "cuts", "right", title="Power cuts")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(chosen.jobs) as pool:
        templates = Path(folder)
        for name in names:
            counts = pool.submit(play, name, None, 0, templates).result()
            if not isinstance(counts, Counts):
                raise TypeError(counts)
            steps = asdict(counts)
            out.print(f"{name}: {', '.join(f'{number} {kind}' for kind, number in steps.items())}")
            for kind in kinds:
                every = [Point(name, kind, number) for number in range(1, steps[KINDS[kind]] + 1)]
                points = spread(every, chosen.each) if chosen.each else every
                if chosen.at:
                    points = [Point(name, kind, chosen.at)]
                runs = {pool.submit(play, name, kind, point.number, templates): point for point in points}
                found = [(runs[one], str(one.result())) for one in as_completed(runs)]
                made = [(point, text) for point, text in found if text != "-"]
                bad = [(point, text) for point, text in made if text]
                for point, text in bad:
                    out.print(f"WRONG {point.flow}, {point.kind} {point.number}: {text}", markup=False, soft_wrap=True)
                wrong += bad
                table.add_row(name, kind, str(len(every)), str(len(made)), str(len(made) - len(bad)))
    out.print(table)
    out.print(f"{len(wrong)} ended wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
