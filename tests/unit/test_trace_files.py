"""The files of a record: sessions follow one another, sizes are bounded, idle polls do not fill the disk."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from microipa.trace import Event, Record, Trace
from microipa.trace.idle import Folding
from microipa.trace.recording import files, set_aside

POLL = "bf4f125a1089049032123451234512345678901235"
NOTHING = "bf4f03020101"
PACKAGE = "bf5182001a"


def rows(*paths: Path) -> list[dict]:
    return [json.loads(row) for path in paths for row in path.read_text().splitlines()]


def test_a_second_session_follows_the_first_and_each_begins_with_its_date(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    before = datetime.now(UTC)
    for text in ("first", "second"):
        trace = Trace(path)
        trace.record("lab", "step", text=text)
        trace.close()
    kept = rows(path)
    assert [row.get("text") for row in kept] == [None, "first", None, "second"]
    began = [datetime.fromisoformat(row["began"]) for row in kept if row["kind"] == "session"]
    assert (before - began[0]).total_seconds() < 0.002
    assert before.tzinfo == began[0].tzinfo
    assert began[0] <= began[1] <= datetime.now(UTC)


def test_half_a_line_of_a_process_that_was_killed_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"t": 1, "part": "lab", "kind": "step", "text": "whole"}\n{"t": 2, "par')
    trace = Trace(path)
    trace.record("lab", "step", text="later")
    trace.close()
    assert [row.get("text") for row in rows(path)] == ["whole", None, "later"]


def test_a_file_at_its_limit_is_renamed_and_the_next_one_has_the_date_too(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    record = Record(path, limit=500)
    for number in range(20):
        record.add(Event(float(number), "lab", "step", {"text": f"{number}"}))
    record.close()
    found = files(path)
    assert [file.name for file in found[-3:]] == ["trace.2.jsonl", "trace.1.jsonl", "trace.jsonl"]
    assert all(file.stat().st_size <= 500 and file.stat().st_mode & 0o777 == 0o600 for file in found)
    assert {rows(file)[0]["kind"] for file in found} == {"session"}
    assert len({rows(file)[0]["began"] for file in found}) == 1
    assert [row["text"] for row in rows(*found) if row["kind"] == "step"] == [str(number) for number in range(20)]


def test_the_oldest_files_go_when_there_are_too_many(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for number in range(12):
        path.write_text(f"{number}\n")
        set_aside(path)
    assert [file.read_text() for file in files(path)] == [f"{number}\n" for number in range(3, 12)]


def idle_poll(at: float, flow: str = "udp 1") -> list[Event]:
    """What the parts tell of one poll."""
    handshake = {"flow": flow, "payload": "16fefd0000000000000001"}
    return [
        Event(at, "modem", "at", {"direction": "in", "text": "AT"}),
        Event(at, "radio", "datagram", {"direction": "up", **handshake}),
        Event(at, "board", "log", {"text": "I (1) poll: DTLS with eim"}),
        Event(at, "radio", "datagram", {"direction": "up", "flow": flow, "payload": "17fefd0001"}),
        Event(at, "eim", "esipa", {"direction": "in", "message": POLL}),
        Event(at, "eim", "esipa", {"direction": "out", "message": NOTHING}),
    ]


def written(events: list[Event]) -> list[Event]:
    folding = Folding()
    return [*(one for event in events for one in folding.feed(event)), *folding.flush()]


def test_polls_with_nothing_to_do_are_one_poll_and_one_line_for_the_others() -> None:
    kept = written([event for number in range(100) for event in idle_poll(float(number))])
    assert kept[:6] == idle_poll(0.0)
    assert kept[6:] == [Event(99.0, "eim", "idle", {"polls": 99, "since": 0.0})]


def test_a_line_in_ten_minutes_tells_that_polls_go_on() -> None:
    kept = written([event for number in range(360) for event in idle_poll(5.0 * number)])
    told = [(event.seconds, event.fields["polls"]) for event in kept[6:]]
    assert told == [(600.0, 120), (1200.0, 120), (1795.0, 119)]


def test_a_poll_with_an_order_is_whole() -> None:
    busy = [*idle_poll(50.0, "udp 2")[:-1], Event(50.0, "eim", "esipa", {"direction": "out", "message": PACKAGE})]
    kept = written([event for number in range(9) for event in idle_poll(float(number))] + busy)
    assert kept[7:] == busy
    assert kept[6].fields == {"polls": 8, "since": 0.0}


def test_of_an_association_that_an_idle_poll_began_the_handshake_is_there_when_it_is_used() -> None:
    busy = [*idle_poll(50.0)[3:-1], Event(50.0, "eim", "esipa", {"direction": "out", "message": PACKAGE})]
    kept = written([*idle_poll(0.0, "udp 0"), *idle_poll(1.0), *busy])
    assert kept[6:] == [idle_poll(1.0)[1], Event(50.0, "eim", "idle", {"polls": 1, "since": 0.0}), *busy]


async def test_what_happens_in_a_poll_is_in_the_file_when_it_matters(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    trace = Trace(path)
    for number in range(3):
        for event in idle_poll(float(number)):
            trace.record(event.part, event.kind, **event.fields)
    trace.record("modem", "at", direction="in", text="AT+CFUN=0")
    assert len(rows(path)) == 1 + 6
    trace.record("lab", "step", text="now")
    assert [row["kind"] for row in rows(path)[7:]] == ["idle", "at", "step"]
    trace.close()
