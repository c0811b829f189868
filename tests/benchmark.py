"""`make bench`: how long `microipa` takes to start, and to show 100 MB of a trace. Prints its figures, judges nothing.

The trace is that of a demonstration, again and again, each time of another card in another transaction.
"""

from __future__ import annotations

import re
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE = 100_000_000  # bytes
MICROIPA = [str(Path(sys.executable).with_name("microipa"))]
EID = "89049032123451234512345678901235"


def measured(*words: str) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    subprocess.run([*MICROIPA, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def long_trace(folder: Path) -> Path:
    measured("demo", "--radio", "none", "--lab", str(folder / "lab"))
    session = (folder / "lab" / "trace.jsonl").read_text()
    found = re.search(r'"transaction_id": "([0-9a-f]{32})"', session)
    assert found
    path, size = folder / "long.jsonl", 0
    with path.open("w") as file:
        while size < SIZE:
            eid = f"{EID[:16]}{secrets.randbelow(10**16):016}"
            size += file.write(session.replace(EID, eid).replace(found[1], secrets.token_hex(16)))
    return path


def main() -> None:
    for words in (["--help"], ["decode", "BF2D03810101"]):
        measured(*words)  # makes what is kept between runs
        runs = sorted(measured(*words) for _ in range(5))
        print(f"microipa {' '.join(words)}: {runs[0]:.2f} s at best, {runs[2]:.2f} s in the middle of five", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = long_trace(Path(folder))
        seconds = measured("trace", str(path))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        size = path.stat().st_size / 1e6
    print(f"microipa trace, {size:.0f} MB: {seconds:.1f} s; no command took more than {before} MB of memory")


if __name__ == "__main__":
    main()
