"""Each firmware test is a script inside the real MicroPython, with the heap of a board."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from microipa.board.bytecode import bytecode
from microipa.board.micropython import DEFAULT_HEAP, environment, find_micropython, heap_bytes
from microipa.common.paths import firmware

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COVERAGE = [sys.executable, "-m", "coverage", "run", "--parallel-mode", f"--data-file={ROOT / '.coverage'}",
            f"--include={firmware()}/ipa/modem/*"]
Run = Callable[..., Awaitable[str]]


@pytest.fixture(scope="session")
def flash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware as a board has it: bytecode, which leaves the heap to what runs."""
    folder = tmp_path_factory.mktemp("flash")
    for name, code in bytecode(firmware()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(code)
    return folder


@pytest.fixture
def micropython(tmp_path: Path, flash: Path, pytestconfig: pytest.Config) -> Run:
    """`await micropython(script, *argv)` runs the script beside the firmware and gives what it printed.

    It shares the loop with the servers and modems of the test. A script that ends with a traceback fails
    the test with that traceback. With `--interpreter cpython` the lines of the drivers are counted instead.
    """
    counting = pytestconfig.getoption("interpreter", "micropython") == "cpython"

    async def run(script: str, *args: object, heapsize: str = DEFAULT_HEAP, timeout: float = 60) -> str:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(script))
        command = [*find_micropython(), "-X", f"heapsize={heap_bytes(heapsize)}"]
        surroundings = environment([flash, HERE])  # rooms.py
        if counting:
            command = [*COVERAGE, str(HERE / "cpython.py")]
            surroundings = {**os.environ, "PYTHONPATH": f"{firmware()}:{HERE}"}
        process = await asyncio.create_subprocess_exec(
            *command, str(path), *map(str, args), cwd=tmp_path, env=surroundings,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        try:
            output, _ = await asyncio.wait_for(process.communicate(), timeout)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        text = output.decode(errors="replace")
        assert process.returncode == 0, text
        return text

    return run
