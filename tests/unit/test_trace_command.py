"""`microipa trace` on long, growing and many records: what comes at once, what is left out, how much memory is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_runner import Microipa, microipa  # noqa: F401
from microipa.common.console import Terminal
from microipa.trace import Event, Record
from microipa.trace.reading import Wanted, events
from microipa.trace.session import print_session

EID, OTHER = "89049032123451234512345678901235", "89049032000000000000000000000163"
COMMAND = [sys.executable, "-c", "from microipa.cli.main import main; main()", "trace"]


def session(path: Path, *rows: tuple[str, str, dict], **about: str) -> Path:
    record = Record(path)
    record.about.update(about)
    for second, (part, kind, fields) in enumerate(rows):
        record.add(Event(float(second), part, kind, fields))
    record.close()
    return path


def step(text: str) -> tuple[str, str, dict]:
    return "lab", "step", {"text": text}


def shown(microipa: Microipa, *words: object) -> list[str]:  # noqa: F811
    status, out, err = microipa("trace", *words)
    assert (status, err) == (0, "")
    return [line[17:] for line in out.splitlines() if "the session that" not in line]


def test_a_folder_is_its_whole_record(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    session(tmp_path / "trace.1.jsonl", step("before"))
    session(tmp_path / "trace.jsonl", step("after"))
    assert shown(microipa, tmp_path) == ["before", "after"]
    assert shown(microipa, tmp_path / "trace.jsonl") == ["after"]


def test_a_folder_without_a_record_is_said(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    said = f"microipa: there is no trace.jsonl in {tmp_path}: give a trace or the folder of a lab\n"
    assert microipa("trace", tmp_path) == (1, "", said)


def test_part_shows_what_one_part_or_several_tell(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    path = session(tmp_path / "t", step("a"), ("board", "log", {"text": "b"}), ("radio", "network", {"event": "c"}))
    assert shown(microipa, path, "--part", "board") == ["b"]
    assert shown(microipa, path, "--part", "board", "--part", "radio") == ["b", "c"]


def test_since_is_a_date_or_a_time_before_now(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "t"
    now = datetime.now(UTC)
    rows = []
    for hours in (3, 1):
        began = (now - timedelta(hours=hours)).isoformat()
        rows += [{"t": 0, "part": "lab", "kind": "session", "began": began},
                 {"t": 60, "part": "lab", "kind": "step", "text": f"{hours} hours ago"}]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert shown(microipa, path, "--since", "2h") == ["1 hours ago"]
    assert shown(microipa, path, "--since", "4h") == ["3 hours ago", "1 hours ago"]
    assert shown(microipa, path, "--since", (now - timedelta(hours=2)).isoformat()) == ["1 hours ago"]
    assert "--since 'soon' is not a time: give 30s, 10m, 12h" in microipa("trace", path, "--since", "soon").err
    path.write_text('{"t": 1, "part": "lab", "kind": "step", "text": "x"}\n')
    assert "this trace has no dates" in microipa("trace", path, "--since", "2h").err


def order(number: int, state: str) -> tuple[str, str, dict]:
    return "eim", "order", {"order": number, "eid": EID, "state": state, "summary": "s", "result": None}


def answer(message: str = "") -> tuple[str, str, dict]:
    return "eim", "esipa", {"direction": "out", "message": message}


def test_order_shows_an_order_from_its_delivery_to_its_acknowledgement(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    path = session(tmp_path / "t", order(1, "queued"), order(2, "queued"), step("a"), order(2, "delivered"), answer(),
                   step("b"), order(2, "done"), answer(), step("c"), order(1, "delivered"))  # fmt: skip
    assert shown(microipa, path, "--order", "2") == [
        "order 2 queued (s)", "order 2 delivered (s)", "→ (empty)", "b", "order 2 done (s)", "→ (empty)",
    ]  # fmt: skip


def test_eid_shows_what_concerns_one_device(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    log = ("board", "log", {"text": "of the board"})
    asks = [("eim", "esipa", {"direction": "in", "message": f"bf4f125a10{eid}"}) for eid in (EID, OTHER)]
    path = session(tmp_path / "t", log, asks[0], answer("bf4f03020101"), asks[1], answer(), eid=EID)
    assert shown(microipa, path, "--eid", EID) == [
        "of the board", f"← GetEimPackageRequest: EID {EID}", "→ GetEimPackageResponse: noEimPackageAvailable",
    ]  # fmt: skip
    assert shown(microipa, path, "--eid", OTHER) == [f"← GetEimPackageRequest: EID {OTHER}", "→ (empty)"]


def test_the_first_line_is_there_before_the_second_is_read(tmp_path: Path) -> None:
    def read() -> Iterator[Event]:
        yield Event(0.0, "lab", "step", {"text": "first"})
        assert out.read_text() == "   0.000  lab    first\n"
        yield Event(1.0, "lab", "step", {"text": "second"})

    out = tmp_path / "out"
    with out.open("w") as file:
        print_session(read(), Terminal(file=file), as_json=False)
    assert len(out.read_text().splitlines()) == 2


def test_a_record_is_followed_also_when_its_file_is_renamed(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    record = Record(path, limit=300)
    record.add(Event(0.0, "lab", "step", {"text": "0"}))
    with subprocess.Popen([*COMMAND, "--follow", path], stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout
        for number in range(1, 9):
            while "session that began" in (line := follower.stdout.readline()):
                pass
            assert line[17:] == f"{number - 1}\n"
            record.add(Event(float(number), "lab", "step", {"text": f"{number}"}))
        follower.terminate()
    record.close()
    assert (tmp_path / "trace.1.jsonl").exists()


@pytest.mark.parametrize("form", [False, True], ids=["text", "json"])
def test_a_long_record_takes_no_more_memory_than_a_short_one(tmp_path: Path, form: bool, monkeypatch) -> None:
    def peak(events_: int) -> int:
        path = tmp_path / f"{events_}"
        row = Event(1.0, "modem", "at", {"direction": "in", "text": "AT+CEREG?" * 9}).to_json() + "\n"
        path.write_text(row * events_)
        with open(os.devnull, "w") as nowhere:
            monkeypatch.setattr(sys, "stdout", nowhere)
            tracemalloc.start()
            print_session(events([path]), Terminal(file=nowhere), form, Wanted())
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return used

    peak(10)
    assert peak(20_000) < peak(200) + 50_000
