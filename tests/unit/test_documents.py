"""The documents say what is there: their commands, options, make targets and files, and what they show in Python."""

from __future__ import annotations

import doctest
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from documents import DOCUMENTS, ROOT
from microipa.cli.main import app
from microipa.common.file_lock import InUse
from microipa.lab import Lab, LabFolder

STANDS_FOR = {"8904903…": "89049032123451234512345678901235", "8999970…": "8999970000000000001",
              "ICCID": "8999970000000000001", "$same": "", "<EID>": "89049032123451234512345678901235",
              "EID": "89049032123451234512345678901235", "HOST:PORT": "127.0.0.1:35963"}
PATH = re.compile(r"(?:tests|host|firmware|tools|docs|boards|examples|\.ci)/[\w./-]+[\w/]")
PAGE = ROOT / "docs/how-to/foreign-peers.md"


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


@pytest.fixture
def snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the tutorial for eSIM experts shows in Python, beside a lab."""
    monkeypatch.chdir(tmp_path)
    LabFolder(Path(".lab/demo"), create=True).card()
    page = (ROOT / "docs/tutorials/esim-expert.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return code


def test_the_card_answers_to_what_the_tutorial_sends(snippet: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(snippet, {})
    assert capsys.readouterr().out.splitlines()[1].startswith("61")


def test_the_tutorials_code_leaves_the_card_of_a_lab_that_is_up_alone(snippet: str) -> None:
    with LabFolder(Path(".lab/demo")).card().in_reader(), pytest.raises(InUse):
        exec(snippet, {})


def test_a_lab_in_python_leaves_the_record_of_one_that_is_up(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    card = LabFolder(lab, create=True).card()
    (lab / "trace.jsonl").write_text("what is going on\n")
    with card.in_reader(), pytest.raises(InUse):
        Lab(lab)
    assert (lab / "trace.jsonl").read_text() == "what is going on\n"


def code(document: Path) -> Iterator[str]:
    """Lines of code blocks, continued lines joined, and spans of code."""
    text = document.read_text(encoding="utf-8")
    text = re.sub(r"```(?:python|toml|json).*?```", "", text, flags=re.DOTALL)
    joined = re.sub(r"\\\n\s*", " ", text)
    yield from (line.strip() for line in joined.splitlines() if line.startswith("    "))
    for block in re.findall(r"```\w*\n(.*?)```", joined, re.DOTALL):
        yield from block.splitlines()
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))


def of_kind(kind: str) -> list[pytest.param]:
    found = dict.fromkeys((document.relative_to(ROOT), re.split(r"\s#\s|\s\|\s|\s>\s| && ", line)[0].strip())
                          for document in DOCUMENTS for line in code(document) if line.startswith(f"{kind} "))
    return [pytest.param(line, id=f"{document}: {line}") for document, line in found]


@functools.cache
def whole_command() -> Any:
    """The command line: objects of a click that typer has for itself."""
    return typer.main.get_command(app)


@pytest.mark.parametrize("line", of_kind("microipa"))
def test_a_command_in_a_document_is_one_that_there_is(line: str) -> None:
    words = [word for given in shlex.split(line)[1:] if (word := STANDS_FOR.get(given, given)) and word != "…"]
    command = whole_command()
    context = command.context_class(command, info_name="microipa")
    while hasattr(command, "list_commands") and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found, f"{words[0]} is no command of {context.command_path}"
        command, context, words = found, found.context_class(found, parent=context, info_name=words[0]), words[1:]
    parameters = command.get_params(context)
    known = {option for parameter in parameters for option in parameter.opts + parameter.secondary_opts}
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert set(options) <= known | {"--help"}, f"{context.command_path} has no {set(options) - known}"


@pytest.mark.parametrize("line", of_kind("make"))
def test_a_make_target_in_a_document_is_one_that_there_is(line: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for word in shlex.split(line.replace("'", '"'))[1:] if re.fullmatch("[a-z][a-z0-9-]*", word)}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_that_a_document_names_or_links_to_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = {ROOT / path for path in re.findall(r"`([^`\s]+)`", text) if PATH.fullmatch(path) and "<" not in path}
    linked = {document.parent / link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)
              if "://" not in link and not link.startswith(("#", "mailto:"))}
    made = {ROOT / "docs" / "reference" / "cli.md"}  # by the site itself: docs/command_line.py
    assert [str(path) for path in sorted(named | linked) if path not in made and path.resolve() not in made
            and not path.exists()] == []
