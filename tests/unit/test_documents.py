"""What the documents show in Python does what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from microipa.common.file_lock import InUse
from microipa.lab import Lab, LabFolder

PAGE = Path(__file__).parents[2] / "docs/how-to/foreign-peers.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> doctest.DocTest:
    monkeypatch.chdir(tmp_path)
    LabFolder(Path(".lab"), create=True)
    names = {"LabFolder": LabFolder, "Path": Path}
    return doctest.DocTestParser().get_doctest(PAGE.read_text(encoding="utf-8"), names, PAGE.name, str(PAGE), 0)


def test_the_card_answers_as_shown(example: doctest.DocTest) -> None:
    assert doctest.DocTestRunner().run(example) == (0, len(example.examples))


def test_the_card_of_a_lab_that_is_up_is_left_alone(example: doctest.DocTest) -> None:
    with LabFolder(Path(".lab")).card().in_reader(), pytest.raises(doctest.UnexpectedException) as refused:
        doctest.DebugRunner().run(example)
    assert isinstance(refused.value.exc_info[1], InUse)


def test_a_lab_in_python_leaves_the_record_of_one_that_is_up(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    card = LabFolder(lab, create=True).card()
    (lab / "trace.jsonl").write_text("what is going on\n")
    with card.in_reader(), pytest.raises(InUse):
        Lab(lab)
    assert (lab / "trace.jsonl").read_text() == "what is going on\n"
