"""A lab's folder that cannot be written, such as a copy of somebody else's: what only reads works there."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_runner import Microipa
from microipa.lab import EID, LabFolder
from microipa.trace.reading import events

NOBODY = 65534


for module in ("pydantic", "httpx", "uvicorn", "alembic", "pkgutil", "microipa.lab.demo", "microipa.euicc.vpcd"):
    importlib.import_module(module)  # of a Python that only root may read


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write whatever the modes say."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def seal(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(path.stat().st_mode & ~0o222)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others than their owner
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def sealed(folder: Path) -> Path:
    lab = folder / "lab"
    desk = LabFolder(lab, create=True)
    desk.eim.order_download(EID, desk.offer(), needs_proof=False)
    desk.card()
    (lab / "trace.jsonl").write_text('{"t": 1, "part": "lab", "kind": "step", "text": "x"}\n')
    del desk
    gc.collect()  # and with it what SQLite keeps beside an open database
    assert not list(lab.glob("*-wal"))
    seal(lab)
    return lab


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["orders"], "download"),
        (["orders", "--json"], '"state": "queued"'),
        (["orders", "--eid", EID], "queued"),
        (["orders", "1"], "download"),
        (["devices"], EID),
        (["devices", EID], "not known"),
        (["devices", "--json"], EID),
        (["smdpp", "orders"], "released"),
        (["smdpp", "orders", "--json"], '"state"'),
        (["pki"], "smdpp auth"),
    ],
    ids=str,
)
def test_a_verb_that_reads_works(microipa: Microipa, sealed: Path, words: list[str], said: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in sealed.rglob("*")}
    with as_nobody():
        status, out, err = microipa(*words, "--lab", sealed)
    assert (status, err) == (0, "")
    assert said in out
    assert {path: path.stat().st_mtime_ns for path in sealed.rglob("*")} == before


def test_a_database_that_somebody_else_has_open_is_read_as_it_is_now(microipa: Microipa, folder: Path) -> None:
    lab = folder / "open"
    desk = LabFolder(lab, create=True)
    desk.eim.order_package(EID, [("listProfileInfo", {})])
    assert list(lab.glob("*-wal"))
    seal(lab)
    with as_nobody():
        assert "listProfileInfo" in microipa("orders", "--lab", lab).out


def test_a_trace_and_a_configuration_are_read(microipa: Microipa, sealed: Path, folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    with as_nobody():
        assert microipa("trace", sealed / "trace.jsonl").status == 0
        assert next(events([sealed], follow=True)).fields == {"text": "x"}
        assert microipa("order", "eim", "configuration", elsewhere / "eim.der", "--lab", sealed).status == 0


def test_the_card_is_asked_and_keeps_nothing(microipa: Microipa, sealed: Path) -> None:
    with as_nobody():
        status, out, err = microipa("card", "shell", "--lab", sealed, stdin=b"eid\nprofiles\n")
        assert (status, err) == (0, "")
        assert EID in out
        assert "Bootstrap" in out
        assert microipa("card", "apdu", "00A4000C023F00", "--lab", sealed)[:2] == (0, "9000\n")
        assert "undefinedError" in microipa("card", "shell", "--lab", sealed, stdin=b"default-dp smdp.example\n").out


@pytest.mark.parametrize(
    "words",
    [
        ["order", "list"],
        ["order", "cancel", "1"],
        ["order", "download"],
        ["enrol", "89049032123451234512345678901332"],
        ["smdpp", "order"],
        ["smdpp", "cancel", "X"],
        ["card", "serve"],
        ["demo", "--radio", "none"],
        ["lab", "up"],
    ],
    ids=" ".join,
)
def test_a_verb_that_writes_is_refused_in_one_sentence(microipa: Microipa, sealed: Path, words: list[str]) -> None:
    with as_nobody():
        status, out, err = microipa(*words, "--lab", sealed)
    assert status
    assert out == ""
    assert err.startswith("microipa: ")
    assert len(err.splitlines()) == 1
    assert str(sealed) in err
