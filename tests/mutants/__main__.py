"""`make mutants`: see the package."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from random import Random
from types import ModuleType

import pytest

from mutants import firmware, host
from mutants.operators import Mutant, mutants
from mutants.parts import PARTS, ROOT, Part
from mutants.run import Loop, Tally


def main() -> int:
    """0 when each mutant that was tried is noticed or explained, 1 with survivors, 2 for a part that is unknown."""
    parser = argparse.ArgumentParser(prog="make mutants", description="A fault in each refusal; a test notices it.")
    parser.add_argument("--seconds", type=float, default=1800, help="of all parts together (default: 1800)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="printed when not given")
    parser.add_argument("--only", action="append", help="this part, or modules with this in their path; repeatable")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    options = parser.parse_args()
    chosen = [(part, found) for part in PARTS if (found := _mutants(part, options.only))]
    if not chosen:
        parser.error(f"no part or module {options.only}; parts are {', '.join(part.name for part in PARTS)}")
    if options.list:
        for _, found in chosen:
            print(*(f"{one.path.relative_to(ROOT)}:{one.line} {one.function}: {one.text}" for one in found), sep="\n")
        return 0
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    tallies = {}
    end = time.monotonic() + options.seconds
    for n, (part, found) in enumerate(chosen):
        seconds = _share((end - time.monotonic()) * options.jobs, chosen[n:]) / options.jobs
        tallies[part.name] = _try(part, found, Random(f"{options.seed}/{part.name}"), seconds, options.jobs)
    return _summary(tallies, {part.name: len(found) for part, found in chosen}, options.seed)


def _share(seconds: float, waiting: list[tuple[Part, list[Mutant]]]) -> float:
    """Of the seconds that one process has left, those for the first part: the same share of each part is tried."""
    part, found = waiting[0]
    for_mutants = max(seconds - sum(one.mapping for one, _ in waiting), 0.0)
    return part.mapping + for_mutants * part.each * len(found) / sum(one.each * len(those) for one, those in waiting)


def _machine(part: Part) -> ModuleType:
    return firmware if part.name == "firmware" else host


def _mutants(part: Part, only: list[str] | None) -> list[Mutant]:
    whole = not only or part.name in only
    words = set(only or ()) - {part.name for part in PARTS}
    return [
        mutant
        for path in part.sources()
        if whole or any(word in str(path.relative_to(ROOT)) for word in words)
        for mutant in mutants(path, _machine(part).is_number(path))
    ]


def _try(part: Part, found: list[Mutant], rng: Random, seconds: float, jobs: int) -> Tally:
    print(f"{part.name}: {len(found)} mutants, {seconds:.0f} s", flush=True)
    loop = Loop(part, found, _machine(part), rng, seconds, jobs)
    tests = [str(path.relative_to(ROOT)) for path in part.test_files()]
    pytest.main(["-n", "0", "-s", "-qq", "--no-summary", "-o", "timeout=0", "-p", "no:cacheprovider", *tests],
                plugins=[loop])  # fmt: skip
    return loop.tally


def _summary(tallies: dict[str, Tally], totals: dict[str, int], seed: int) -> int:
    survivors = [line for tally in tallies.values() for line in tally.survivors]
    left = sum(tally.left for tally in tallies.values())
    if left:
        tried = (f"{name} {totals[name] - tally.left} of {totals[name]}" for name, tally in tallies.items())
        print(f"a sample, chosen by the seed and spread over the parts: {', '.join(tried)}; more --seconds try more")
    print(
        f"{sum(totals.values())} mutants: {sum(tally.noticed for tally in tallies.values())} noticed, "
        f"{len(survivors)} survived, {sum(tally.explained for tally in tallies.values())} explained, "
        f"{left} not tried, seed {seed}"
    )
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
