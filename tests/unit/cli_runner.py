"""The command line inside the test process: as fast as a call, with all it prints."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
from microipa.cli.main import main


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Microipa = Callable[..., Outcome]


@pytest.fixture
def microipa(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Microipa:
    """`microipa("decode", "bf4f…")` runs the command line in this process."""

    def run(*words: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["microipa", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            main()
        return Outcome(int(left.value.code or 0), *capsys.readouterr())

    return run
