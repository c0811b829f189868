"""`make fuzz`: see the package."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from fuzz import coap, corpus, firmware, host, modem
from fuzz.run import Outcome, explore, limit, report, try_one


def main() -> int:
    """0 without findings, 1 with some, 2 when there is no such target."""
    parser = argparse.ArgumentParser(prog="make fuzz", description="Damaged messages for every parser of both sides.")
    parser.add_argument("--seconds", type=float, default=60, help="of all targets together (default: 60)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="printed when not given")
    parser.add_argument("--target", action="append", help="only this one; may be given several times")
    parser.add_argument("--input", type=bytes.fromhex, help="this message, in hexadecimal, and no other")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        known = corpus.record(Path(folder))
        targets = [*host.targets(known), *coap.targets(known), *modem.targets(), *firmware.targets(known)]
        names = [target.name for target in targets]
        if strange := set(options.target or ()) - set(names):
            parser.error(f"no target {', '.join(sorted(strange))}; there are {', '.join(names)}")
        chosen = [target for target in targets if not options.target or target.name in options.target]
        print(f"seed {options.seed}, {options.seconds:g} s for {len(chosen)} targets", flush=True)
        limit()
        findings = 0
        for target in chosen:
            if options.input is None:
                outcome = explore(target, options.seed, options.seconds / len(chosen))
            else:
                outcome = Outcome(target.name)
                try_one(target, target.begin(), options.input, outcome)
            print(*report(outcome), sep="\n", flush=True)
            findings += len(outcome.findings)
    print(f"{findings} findings, seed {options.seed}")
    return bool(findings)


sys.exit(main())
