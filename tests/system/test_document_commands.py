"""Every block of commands of every document, word for word, in a fresh clone."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import DOCUMENTS, MARKS, ROOT, Piece, Reader, pieces

BIN = Path(sys.executable).parent
CLONE = Piece("sh", "git clone … && cd microipa")
LAB = [Piece("stays", "the board's REPL is"), Piece("sh", "microipa lab up --radio none")]
PREPARED = {  # what a how-to page takes for granted; a tutorial takes nothing for granted
    "docs/how-to/demo.md": [CLONE],
    "docs/how-to/es2.md": LAB,
    "docs/how-to/profiles.md": LAB,
    "docs/how-to/quirks.md": [CLONE],
    "docs/how-to/traces.md": [Piece("sh", "microipa demo --radio none --lab .lab")],
    "examples/product/README.md": [*LAB, Piece("sh", "microipa new product meter\ncd meter\nln -s ../.lab .lab")],
}
REASONS = re.compile(r"it (needs|takes|installs|is the whole suite)|a program with windows|\S+\.md runs it")
NOT_RUN = 26


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def commands(document: Path) -> list[tuple[Piece, str]]:
    """Each block of commands, with the reason for which it is not run, or ""."""
    found, reason = [], ""
    for piece in pieces(document):
        if piece.kind == "not run":
            reason = piece.text
        elif piece.kind == "sh":
            found.append((piece, reason))
            reason = ""
    return found


RUN = [document for document in DOCUMENTS if any(not reason for _, reason in commands(document))]


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    program = str(BIN)
    environment = {
        **os.environ, "PATH": f"{program}:{os.environ['PATH']}", "HOME": str(tmp_path), "COLUMNS": "120",
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "MAKEFLAGS": f"BIN={program} STAMP=",  # the packages are there, in another place than the clone's .venv
    }
    # ARGS is given to `make test`, and would be taken by each `make` of a document.
    for variable in ("ARGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER",
                     "PYTEST_XDIST_WORKER_COUNT", "PYTEST_CURRENT_TEST"):
        environment.pop(variable, None)
    somebody = Reader(tmp_path, environment)
    yield somebody
    somebody.leaves()


@pytest.mark.timeout(900)  # on a busy machine; alone half a minute to two minutes
@pytest.mark.parametrize("document", RUN, ids=name)
def test_the_commands_of_a_document_do_what_it_says(document: Path, reader: Reader) -> None:
    reader.does([*PREPARED.get(name(document), []), *pieces(document)])


def test_a_block_that_is_not_run_has_a_reason_and_they_are_counted() -> None:
    reasons = {f"{name(document)}:{piece.line}": reason
               for document in DOCUMENTS for piece, reason in commands(document) if reason}
    print("\n".join(f"{place}: {reason}" for place, reason in reasons.items()))
    assert [place for place, reason in reasons.items() if not REASONS.match(reason)] == []
    assert len(reasons) == NOT_RUN


def test_every_command_in_a_document_is_in_a_block_that_a_test_reads() -> None:
    command = re.compile(r"(microipa|make|pytest|mpremote|git|pip|python3) [\w.-]")
    for document in DOCUMENTS:
        inside = False
        for line in document.read_text(encoding="utf-8").splitlines():
            inside = not inside if line.lstrip().startswith("```") else inside
            is_command = line.startswith("    ") and command.match(line.strip())
            assert inside or not is_command, f"{name(document)}: {line}"
        kinds = {piece.kind for piece in pieces(document)}
        assert kinds <= {*MARKS, "", "sh", "text", "python", "toml", "json"}, name(document)
