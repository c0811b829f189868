"""The record of a run: what is written while it goes on is what is read afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from microipa.hil.record import PASSED, SKIPPED, BadRecord, Bill, Case, Recorder, Run, load, runs, runs_of
from microipa.hil.title import title
from microipa.trace import Event
from microipa.trace.reading import read

RUN = Run("left", "virtual", "1.28.0", "ipa-1a2b3c4d", "mpy", "bg95", "", "virtual", "8904", "144K", False, "2026")
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


def test_a_board_that_runs_again_begins_a_new_record_in_its_folder(tmp_path: Path) -> None:
    Recorder(tmp_path / "left", RUN).add(Case("test_a", "", "", "", PASSED), EVENTS)
    Recorder(tmp_path / "left", replace(RUN, session="second"))
    Recorder(tmp_path / "right", replace(RUN, session="first"))
    assert load(tmp_path / "left")[1] == []
    assert not list((tmp_path / "left" / "cases").iterdir())
    assert runs_of("second", tmp_path) == [tmp_path / "left"]
    assert runs_of("third", tmp_path) == []


@pytest.mark.parametrize(("name", "docstring", "said"), [
    ("test_an_eim_that_is_away_is_tried_again", None, "An eIM that is away is tried again"),
    ("test_the_card_s_smdpp", "", "The card's SM-DP+"),
    ("test_smdpp", None, "SM-DP+"),
    ("test_x", "  The card's own words.\n\n    More of it.\n", "The card's own words"),
])  # fmt: skip
def test_a_title_is_the_docstrings_first_line_or_the_name_in_the_standards_spelling(
    name: str, docstring: str | None, said: str
) -> None:
    assert title(name, docstring) == said
