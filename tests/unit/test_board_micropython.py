"""Which MicroPython the lab takes, and the one sentence it says when there is none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from microipa.board.micropython import MicroPythonMissing, find_micropython, heap_bytes, on_32_bits
from microipa.common.paths import tools

WHEELS = Path(sys.executable).parent / "micropython"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without any MicroPython: not beside Python, not on PATH, not named."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MICROPYTHON", raising=False)
    return monkeypatch


def test_its_absence_is_said_in_one_sentence_that_tells_how_to_get_it(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(MicroPythonMissing, match=r"^No MicroPython .*pip install .*PATH or in MICROPYTHON\.$"):
        find_micropython()


@pytest.mark.parametrize("program", ["/bin/true", "/bin/false", "/nowhere/micropython", sys.executable])
def test_a_program_that_is_none_is_named(bare: pytest.MonkeyPatch, program: str) -> None:
    bare.setenv("MICROPYTHON", program)
    with pytest.raises(MicroPythonMissing, match=f"^MICROPYTHON={program} is not a MicroPython 1.26 or later"):
        find_micropython()


@pytest.mark.skipif(not WHEELS.exists(), reason="no MicroPython wheel for this platform")
def test_one_on_path_or_named_is_taken(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("PATH", f"{WHEELS.parent}:/bin")
    assert find_micropython() == [str(WHEELS)]
    bare.setenv("PATH", "/bin")
    bare.setenv("MICROPYTHON", str(WHEELS))
    assert find_micropython() == [str(WHEELS)]


@pytest.mark.parametrize(("word", "size"), [(4, 147456), (8, 196608)])
def test_a_heap_of_a_chip_is_a_third_larger_where_micropython_has_words_of_64_bits(
        bare: pytest.MonkeyPatch, tmp_path: Path, word: int, size: int) -> None:
    """A program that is only asked for the size of its words."""
    program = tmp_path / "micropython"
    program.write_text(f'#!/bin/sh\ncase "$2" in *"print(4 if"*) echo {word};; *) echo 1;; esac\n')
    program.chmod(0o755)
    bare.setenv("MICROPYTHON", str(program))
    assert heap_bytes("144K") == heap_bytes("147456") == size
    assert on_32_bits(size, word) == 147456
    with pytest.raises(ValueError, match="96wK is not a heap size"):
        heap_bytes("96wK")


def test_a_machine_that_cannot_run_a_32_bit_program_is_told_why(tmp_path: Path) -> None:
    """No network is asked for that: there is no apt here."""
    command = [sys.executable, tools() / "micropython32.py", tmp_path / "there"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.match("micropython32: (there is no apt-get on this machine|Linux on x86-64 runs it)", done.stderr)
    assert done.stderr.count("\n") == 1
