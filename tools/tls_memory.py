"""Measures what Mbed TLS takes of memory for an association: counts what a MicroPython allocates for it.

    python tools/tls_memory.py           # `make tls-memory`; needs gcc, with MICROPYTHON of 32 bits one that has -m32

The unix port gives Mbed TLS the C heap. calloc_counter.c stands between the two while a board does a first light, and
counts as the heap of a chip does (m_tracked_calloc): two pointers more for each block, whole blocks of 16 bytes.

Which program? The 64-bit one that pip brings has Mbed TLS built with MicroPython's own configuration, as chips have it:
its buffers are those of a chip, its structures a little larger. Debian's 32-bit one has Debian's Mbed TLS, with 16 kB
for records that go as well and with PSA, which copies each record: its figures are no chip's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from microipa.board.micropython import find_micropython, word_bytes
from microipa.common import paths
from microipa.lab import Lab
from microipa.lab.demo import first_light
from microipa.lab.protocols import Protocols

PROTOCOLS = {"CoAP": Protocols(), "HTTPS": Protocols(https=True), "direct": Protocols(direct=True)}
HEAP = "384K"
_COUNTER = "calloc_counter.c"
_FLAGS = ("-shared", "-nostdlib", "-ffreestanding", "-fPIC", "-fno-stack-protector", "-O2", "-Wall", "-Werror")
_LOADER = " --library-path "


class CannotMeasure(Exception):
    """What is missing on this machine."""


@dataclass(frozen=True)
class Measured:
    """Bytes in the heap of a chip: ``peak`` in the handshake, ``held`` when an association ends; the largest blocks."""

    peak: int
    held: int
    largest: tuple[int, ...]


async def measured(protocols: Protocols) -> Measured:
    """Of one first light. Raises CannotMeasure, BoardFailed."""
    settings = {"stop_when_idle": True, "app_tick_ms": 50, **protocols.settings}
    with TemporaryDirectory() as name:
        folder = Path(name)
        with _environment(MICROPYTHON=str(_counted(folder)), MICROIPA_TLS_MEMORY=str(folder / "figures")):
            async with Lab(folder / "lab", radio="none", board_config=settings, heap=HEAP) as lab:
                outcome = await first_light(lab)
        if not outcome.succeeded:
            raise CannotMeasure("the first light did not end well")
        lines = [list(map(int, line.split())) for line in (folder / "figures").read_text().splitlines()]
    _, peak, _, held, *largest = max(lines, key=lambda line: (line[1], line[3]))
    return Measured(peak, held, tuple(largest))


def _counted(folder: Path) -> Path:
    """MicroPython with the counter before its libraries, as a script in this folder. Raises CannotMeasure."""
    original = find_micropython()[0]
    bits = 8 * word_bytes()
    library = folder / "calloc_counter.so"
    if not shutil.which("gcc"):
        raise CannotMeasure("there is no gcc on this machine")
    command = ["gcc", f"-m{bits}", *_FLAGS, "-o", str(library), str(paths.tools() / _COUNTER)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise CannotMeasure(f"gcc does not build {_COUNTER} for {bits} bits: {built.stderr.strip()}")
    script = f'#!/bin/sh\nLD_PRELOAD={library} exec {original} "$@"\n'
    if bits == 32:  # the shell is of 64 bits: the loader of the program itself takes the counter
        script = Path(original).read_text(encoding="utf-8", errors="replace")
        if _LOADER not in script:
            raise CannotMeasure("MICROPYTHON is not what `make micropython32` writes")
        script = script.replace(_LOADER, f" --preload {library}{_LOADER}")
    program = folder / "micropython"
    program.write_text(script)
    program.chmod(0o755)
    return program


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def main() -> None:
    try:
        for name, protocols in PROTOCOLS.items():
            seen = asyncio.run(measured(protocols))
            print(f"{name}: {seen.held:,} bytes while an association is open, {seen.peak:,} in its handshake; largest "
                  f"blocks {', '.join(f'{one:,}' for one in seen.largest)}", flush=True)
    except CannotMeasure as error:
        sys.exit(f"tls_memory: {error}")


if __name__ == "__main__":
    main()
