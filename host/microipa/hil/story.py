"""A case on the report's page: what came of it, what it cost, and its sequence diagram."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element

from microipa.hil.diagram import diagram
from microipa.hil.markup import clean, element
from microipa.hil.record import ERROR, FAILED, PASSED, SKIPPED, Case, Run
from microipa.hil.sequence import rows
from microipa.trace.reading import BadTrace, read

EVENTS_LIMIT = 32 * 1024 * 1024  # bytes of a case's events that are read
REASON_LIMIT = 4000  # characters
SIGNS = {PASSED: "✓ passed", FAILED: "✗ failed", ERROR: "! error", SKIPPED: "– skipped"}


@dataclass(frozen=True)
class Record:
    """The record of one board, and what the page calls it: ``name`` is also the beginning of its anchors."""

    name: str
    folder: Path
    run: Run
    cases: list[Case]
    page: Path
    """The folder of the page, from which links to events lead."""
    earlier: tuple[Run, list[Case]] | None = None
    """The run that it is to be compared with."""

    def groups(self) -> dict[str, list[Case]]:
        """Cases by group, in the order in which they ran."""
        found: dict[str, list[Case]] = {}
        for case in self.cases:
            found.setdefault(case.group or "Other cases", []).append(case)
        return found


def has_page(case: Case) -> bool:
    """Whether there is more to say of it than its line in the table."""
    return bool(case.events) or case.outcome != SKIPPED


def article(record: Record, case: Case, folded: bool = False) -> Element:
    """``folded``: its diagram waits for a click, and is not printed."""
    return element(
        "article",
        element("header", element("h4", title_of(record, case)), verdict(case)),
        element("p", f"{case.clause or 'no clause'} · ", element("code", case.id), class_="soft"),
        element("p", "at ", element("code", case.where)) if case.where else None,
        element("pre", clean(case.reason, REASON_LIMIT)) if case.reason else None,
        _bill(record.run, case),
        _events(record, case, folded),
        class_="case",
        id=anchor_of(record, case),
    )


def verdict(case: Case) -> Element:
    return element("span", SIGNS.get(case.outcome, case.outcome), class_=f"verdict {case.outcome}")


def title_of(record: Record, case: Case) -> str:
    """Its sentence and, of a case that runs with several values, the value."""
    values = re.search(r"\[(.*)\]$", case.id)
    value = f"{values[1]}-".removeprefix(f"{record.run.board}-").rstrip("-") if values else ""
    return f"{case.title}: {value}" if value else case.title


def anchor_of(record: Record, case: Case) -> str:
    return f"{record.name}-case{record.cases.index(case)}"


def _bill(run: Run, case: Case) -> Element:
    bill = case.bill
    datagrams = "Tethered datagrams up, down" if run.tether else "Datagrams up, down"
    told = {
        datagrams: f"{bill.datagrams_up:,}, {bill.datagrams_down:,}" if bill.bytes_up + bill.bytes_down else "–",
        "Bytes up": figure(bill.bytes_up),
        "Bytes down": figure(bill.bytes_down),
        "Round trips": figure(bill.round_trips),
        "APDUs": figure(bill.apdus),
        "Heap peak": f"{bill.heap_peak:,} bytes" if bill.heap_peak else "–",
        "Time": in_time(case.seconds),
    }
    entries = (element("div", element("dt", name), element("dd", value)) for name, value in told.items())
    return element("dl", *entries, class_="bill")


def _events(record: Record, case: Case, folded: bool) -> Element | None:
    """Its diagram, or why there is none."""
    if not case.events:
        return element("p", "No events were recorded.", class_="soft")
    path = record.folder / case.events
    try:
        if not path.resolve().is_relative_to(record.folder.resolve()):
            raise BadTrace(f"{case.events} is outside of the run's folder")
        with path.open("rb") as file:
            content = file.read(EVENTS_LIMIT + 1)
        whole = len(content) <= EVENTS_LIMIT
        text = content[:EVENTS_LIMIT].decode("utf-8", "replace")
        events = read(text if whole else text[: text.rindex("\n")], case.events)
        shown = rows(events)
    except (OSError, BadTrace, KeyError, ValueError, TypeError, OverflowError) as error:
        return element("p", f"Its events cannot be shown: {error}", class_="soft")
    said = f"{len(events):,} events" + ("" if whole else f", of the first {EVENTS_LIMIT:,} bytes")
    link = quote(os.path.relpath(path, record.page))
    summary = element("summary", f"{said}, in ", element("a", element("code", case.events), href=link))
    unseen = element("p", _unseen({event.kind for event in events}), class_="soft small")
    return element("details", summary, unseen, diagram(shown), open=None if folded else "")


def _unseen(kinds: set[str]) -> str | None:
    """What this bench could not look at."""
    if "apdu" in kinds:
        return None
    if "at" in kinds:
        return "This bench cannot record at the card's contacts: APDUs and ES10 are those of the board's AT commands."
    return "No AT commands and no APDUs were recorded, so ES10 is not shown."


def figure(value: int) -> str:
    return f"{value:,}" if value else "–"


def in_time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 100 else f"{int(seconds) // 60}:{int(seconds) % 60:02} min"
