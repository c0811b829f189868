"""The record of a run: what is written while it goes on is what is read afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from microipa.hil.record import PASSED, SKIPPED, BadRecord, Bill, Case, Recorder, Run, load, runs
from microipa.session import read
from microipa.trace import Event

RUN = Run("left", "virtual", "1.28.0", "ipa-1a2b3c4d", "mpy", "bg95", "", "virtual", "8904", "96wK", False, "2026")
EVENTS = [Event(1.5, "board", "log", {"text": "I (1) boot"}), Event(2.0, "card", "es9", {})]


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "left", RUN)
    done = Case("test_a[left/x]", "polling", "SGP.32 3.1.1.1", "a title", PASSED, bill=Bill(bytes_up=7), seconds=1.5)
    left_out = Case("test_b", "polling", "", "another", SKIPPED, "the bench has no power switch")
    recorder.add(done, EVENTS)
    recorder.add(left_out)
    recorder.learn(seconds=3.0, eid="8905")
    [folder] = runs(tmp_path)
    run, cases = load(folder)
    assert run == replace(RUN, seconds=3.0, eid="8905")
    assert cases == [replace(done, events="cases/test_a-left-x-.jsonl"), left_out]
    kept = (folder / cases[0].events).read_text()
    assert read(kept, "") == EVENTS


@pytest.mark.parametrize("content", [None, "{}", "[", '{"board": 1}'])
def test_a_folder_that_holds_no_run_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
        (tmp_path / "cases.jsonl").touch()
    with pytest.raises(BadRecord, match=str(tmp_path)):
        load(tmp_path)


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match=str(tmp_path)):
        runs(tmp_path)
