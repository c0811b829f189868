"""Which MicroPython the lab takes, and the one sentence it says when there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from microipa.board.micropython import MicroPythonMissing, find_micropython

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
