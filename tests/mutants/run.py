"""The loop, inside pytest: which tests reach which mutant, then a process for each mutant, which runs those tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import pytest
from _pytest.runner import runtestprotocol

from mutants.operators import Mutant
from mutants.parts import ROOT, Part

EXPLAINED = tomllib.loads(Path(__file__).with_name("explained.toml").read_text())["mutant"]
SURVIVED, NOTICED, UNFIT = 0, 1, 3  # exit codes of a process
LONGEST_TEST = 12.0  # seconds; a longer test answers for no mutant
LONGEST = 40.0  # seconds of tests, as they last without a mutant, for one mutant
PATIENCE, GRACE = 5.0, 8.0  # so many times as long as without a mutant, and seconds more, may a test last


@dataclass
class Tally:
    """``left``: mutants that there was no time for. ``survivors``: a line for each."""

    noticed: int = 0
    explained: int = 0
    left: int = 0
    survivors: list[str] = field(default_factory=list)


@dataclass
class Loop:
    """Stands for pytest's own loop over the tests of a part. ``machine``: the module host or firmware."""

    part: Part
    mutants: list[Mutant]
    machine: Any
    rng: Random
    seconds: float
    jobs: int
    tally: Tally = field(default_factory=Tally)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        end = time.monotonic() + self.seconds
        self._items = {item.nodeid: item for item in session.items}
        self.machine.warm_up()
        self._folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        try:
            self._lasted, self._reached = self._map()
            order = [n for n, mutant in enumerate(self.mutants) if not explained(mutant)]
            self.tally.explained = len(self.mutants) - len(order)
            self.rng.shuffle(order)
            self._try_all(order, end)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        return True

    def _map(self) -> tuple[dict[str, float], dict[int, list[str]]]:
        """How long each test lasts, and which tests reach which mutant. Tests that fail are told and left out."""
        began = time.monotonic()
        files = [self._folder / f"map{n}.json" for n in range(self.jobs)]
        for n, file in enumerate(files):
            self._start(lambda n=n, file=file: self._walk(n, file), quiet=False)  # type: ignore[misc]
        for _ in files:
            _end_of(-1)
        walked = {name: found for file in files for name, found in json.loads(file.read_text()).items()}
        lasted, reached = {}, {}
        for name, (seconds, passed, numbers) in walked.items():
            if not passed:
                print(f"  {name} fails without a mutant")
            elif seconds <= LONGEST_TEST:
                lasted[name] = seconds
                for n in numbers:
                    reached.setdefault(n, []).append(name)
        print(f"  {len(lasted)} tests reach {len(reached)} of {len(self.mutants)} mutants, which took "
              f"{time.monotonic() - began:.0f} s to see", flush=True)  # fmt: skip
        return lasted, {n: self._ranked(n, reached, lasted) for n in reached}

    def _ranked(self, n: int, reached: dict[int, list[str]], lasted: dict[str, float]) -> list[str]:
        """First the tests that go where few go in this function: they are there for a refusal."""
        here = self.mutants[n].path, self.mutants[n].function
        rare: dict[str, int] = {}
        for m, names in reached.items():
            if (self.mutants[m].path, self.mutants[m].function) == here:
                rare |= {name: min(len(names), rare.get(name, len(names))) for name in names}
        return sorted(reached[n], key=lambda name: (rare[name], lasted[name]))

    def _walk(self, n: int, file: Path) -> int:
        """Every so many-th test, from the n-th on."""
        tracer = self.machine.Tracer(self.mutants)
        walked = {}
        for name in list(self._items)[n :: self.jobs]:
            begin = time.monotonic()
            passed = _passes(self._items[name])
            walked[name] = time.monotonic() - begin, passed, sorted(tracer.reached())
        file.write_text(json.dumps(walked))
        return SURVIVED

    def _try_all(self, order: list[int], end: float) -> None:
        running: dict[int, int] = {}
        while order or running:
            while order and len(running) < self.jobs and time.monotonic() < end:
                n = order.pop()
                if n in self._reached:
                    running[self._start(lambda n=n: self._try(n))] = n  # type: ignore[misc]
                else:
                    self._survived(self.mutants[n], "no test gets there")
            if not running:
                break
            pid, code = _end_of(-1)
            mutant, tests = self.mutants[running[pid]], self._reached[running.pop(pid)]
            if code == SURVIVED:
                self._survived(mutant, f"of {len(tests)} tests none notices")
            elif code != UNFIT:
                self.tally.noticed += 1
        self.tally.left = len(order)

    def _survived(self, mutant: Mutant, why: str) -> None:
        line = f"{mutant.path.relative_to(ROOT)}:{mutant.line} {mutant.function}: {mutant.text} ({why})"
        print(f"  survived: {line}", flush=True)
        self.tally.survivors.append(line)

    def _try(self, n: int) -> int:
        try:
            self.machine.put_in(self.mutants[n])
        except ValueError:
            return UNFIT
        spent = 0.0
        for name in self._reached[n]:
            spent += self._lasted[name]
            if spent > LONGEST:
                break
            signal.setitimer(signal.ITIMER_REAL, GRACE + PATIENCE * self._lasted[name])  # ends this process
            if not _passes(self._items[name]):
                return NOTICED
        return SURVIVED

    def _start(self, work: Callable[[], int], quiet: bool = True) -> int:
        """A process of its own, in a group and with a folder for temporary files of its own. Its id."""
        pid = os.fork()
        if not pid:
            os.setpgid(0, 0)
            _alone(self._folder, work, quiet)
        return pid


def _alone(folder: Path, work: Callable[[], int], quiet: bool) -> NoReturn:
    code = NOTICED
    try:
        own = folder / str(os.getpid())
        own.mkdir()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(own)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        if quiet:
            os.dup2(nowhere, 2)
        code = work()
        shutil.rmtree(own, ignore_errors=True)
    finally:
        os._exit(code)


def _end_of(pid: int) -> tuple[int, int]:
    """Wait for a process, or for any, and end what it has left running: (id, exit code)."""
    pid, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return pid, os.waitstatus_to_exitcode(status)


def _passes(item: pytest.Item) -> bool:
    """A skipped test passes; what a test shares with its neighbours is torn down with it."""
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def explained(mutant: Mutant) -> bool:
    place = str(mutant.path.relative_to(ROOT))
    return any(
        entry["where"] in (place, f"{place} {mutant.function}") and mutant.text in entry.get("changes", [mutant.text])
        for entry in EXPLAINED
    )
