"""A run on a bench as one page of HTML: no scripts, nothing from elsewhere, and made to be printed as well.

``write_reports`` puts the page and JUnit XML beside the record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from microipa import session
from microipa.hil import junit
from microipa.hil.diagram import definitions, diagram
from microipa.hil.markup import clean, element
from microipa.hil.record import FAILED, PASSED, SKIPPED, Bill, Case, Run, load, runs
from microipa.hil.sequence import rows

PAGE, JUNIT = "report.html", "junit.xml"
EVENTS_LIMIT = 32 * 1024 * 1024  # bytes of a case's events that are read
REASON_LIMIT, LINE_LIMIT = 4000, 300  # characters of a reason, of its first line
SIGNS = {PASSED: "✓ passed", FAILED: "✗ failed", SKIPPED: "– skipped"}
TETHERED = (
    "The datagrams of this board travelled over its serial port and not over its modem. "
    "Nothing here says that it reaches an eIM through a network."
)
_SUMS = ("time", "datagrams", "bytes", "APDUs", "heap peak")
_COLUMNS = {
    "outcome": "outcome", "case": "title", "clause": "clause", "time": "number", "datagrams": "number detail",
    "bytes": "number", "APDUs": "number detail", "heap peak": "number detail",
}  # fmt: skip
_NOTE = "Bytes are those of whole IP packets, both ways. – is none, or nothing on this bench that counts it."
_LEGEND = (
    "In the diagrams a heavy arrow is a message between device and servers, a thin one ES10 at the card, a dotted one "
    "traffic that is only counted; two heads: its answer is in the same line. A circle is what a part noted by itself, "
    "a line across what the bench did. What came several times in a row stands once, with ×."
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Record:
    """The record of one board, and what the page calls it: ``name`` is also the beginning of its anchors."""

    name: str
    folder: Path
    run: Run
    cases: list[Case]

    def groups(self) -> dict[str, list[Case]]:
        """Cases by group, in the order in which they ran."""
        found: dict[str, list[Case]] = {}
        for case in self.cases:
            found.setdefault(case.group or "Other cases", []).append(case)
        return found


def write_reports(folder: Path, html: Path | None = None, xml: Path | None = None) -> tuple[Path, Path]:
    """Write the page and the JUnit file of all boards' runs in ``folder``; beside them unless told where.

    Returns their paths. Raises BadRecord, OSError.
    """
    records = read_records(folder)
    page, results = html or folder / PAGE, xml or folder / JUNIT
    with page.open("w", encoding="utf-8") as file:
        file.writelines(html_page(records))
    results.write_bytes(junit.document([(record.run, record.cases) for record in records]))
    return page, results


def read_records(folder: Path) -> list[Record]:
    """Raises BadRecord."""
    return [Record(f"board{number}", path, *load(path)) for number, path in enumerate(runs(folder), 1)]


def html_page(records: Sequence[Record]) -> Iterator[str]:
    """The page in pieces: as many as cases, so that none of them needs the room of all."""
    title = f"Hardware in the loop: {', '.join(_called(record) for record in records)}"
    style = files("microipa.hil").joinpath("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
    )
    # The style is ours and not escaped, as HTML wants it.
    yield '<!DOCTYPE html>\n<html lang="en">\n' + _text(head).replace("</head>", f"<style>\n{style}</style></head>")
    yield "<body>" + _text(definitions())
    if len(records) > 1:
        yield _text(_boards(records))
    for record in records:
        yield '<div class="board">' + _text(_front(record))
        for number, (group, cases) in enumerate(record.groups().items()):
            ran = [case for case in cases if _has_page(case)]
            if not ran:
                continue
            yield f'<section class="group" id="{record.name}-group{number}">' + _text(element("h2", group))
            for case in ran:
                yield _text(_case(record, case))
            yield "</section>"
        yield "</div>"
    yield "</body></html>\n"


def _text(made: Element) -> str:
    return tostring(made, encoding="unicode", method="html") + "\n"


# The front: what was run, and what came of it ------------------------------------------------------------------


def _boards(records: Sequence[Record]) -> Element:
    """Several boards of one bench: who is who."""
    names = ("board", "modem", "card", "heap", "outcome")
    lines = (
        (element("a", _called(record), href=f"#{record.name}"), run.modem, run.card, run.heap or "the chip's own",
         _tally(record.cases))
        for record in records
        for run in (record.run,)
    )  # fmt: skip
    return element(
        "section",
        element("h1", f"{len(records)} boards in the loop"),
        element(
            "table",
            element("thead", element("tr", *(element("th", name) for name in names))),
            element("tbody", *(element("tr", *(element("td", cell) for cell in line)) for line in lines)),
            class_="listing",
        ),
        class_="boards",
    )


def _front(record: Record) -> Element:
    run = record.run
    return element(
        "section",
        element("h1", "Hardware in the loop: ", _called(record)),
        element("p", _tally(record.cases), class_="lead"),
        element("div", element("b", "TETHERED. "), TETHERED, class_="tether") if run.tether else None,
        element("h3", "What was tested"),
        _facts(run),
        *_failures(record),
        element("h3", "Cases by SGP.33 group"),
        _cases(record),
        element("p", _NOTE, class_="soft small"),
        element("p", _LEGEND, class_="soft small"),
        id=record.name,
    )


def _called(record: Record) -> str:
    run = record.run
    return f"{run.board}, {run.modem}" if run.board == run.kind else f"{run.board} ({run.kind}), {run.modem}"


def _tally(cases: Iterable[Case]) -> Element:
    count = Counter(case.outcome for case in cases)
    said = [f"{count[outcome]} {outcome}" for outcome in (FAILED, PASSED, SKIPPED) if count[outcome]]
    worst = FAILED if count[FAILED] else PASSED if count[PASSED] else SKIPPED
    words = f"{SIGNS[worst][0]} {', '.join(said)}" if said else "no case has run"
    return element("span", words, class_=f"verdict {worst}")


def _facts(run: Run) -> Element:
    versions = ", ".join(f"{name} {value}" for name, value in run.card_versions.items())
    way = "over the board's serial port (tether)" if run.tether else "over the modem"
    told = {
        "Board": f"{run.board}, of boards/{run.kind}",
        "MicroPython": run.micropython,
        "Firmware": f"{run.firmware}, as {run.form}" if run.firmware else "",
        "Heap cap": f"{run.heap} (MicroPython's -X heapsize)" if run.heap else "none: the chip's own",
        "Modem": run.modem,
        "Modem firmware": run.modem_firmware,
        "Card": run.card,
        "EID": run.eid,
        "Card versions": versions,
        "Datagrams": way,
        "Started": run.started.replace("T", " ").replace("+00:00", " UTC"),
        "Took": _time(run.seconds) if run.seconds else "",
    }
    lines = (element("tr", element("th", name, scope="row"), element("td", told[name] or "not known")) for name in told)
    return element("table", element("tbody", *lines), class_="facts")


def _failures(record: Record) -> Iterator[Element]:
    """What a reader looks for first; what failed for one reason stands together."""
    reasons: dict[str, list[Case]] = {}
    for case in record.cases:
        if case.outcome == FAILED:
            reasons.setdefault(_first_line(case.reason), []).append(case)
    if reasons:
        yield element("h3", "What failed")
    for reason, cases in sorted(reasons.items(), key=lambda item: -len(item[1])):
        links = (element("li", _case_link(record, case)) for case in cases)
        yield element("div", element("p", reason or "no reason was given"), element("ul", *links), class_="failure")


def _cases(record: Record) -> Element:
    """All cases by group, each group with its sums, and all of them in the foot."""
    names = ("", "case", "clause", *_SUMS)
    groups = (
        element("tbody", *_group_lines(record, number, group, cases))
        for number, (group, cases) in enumerate(record.groups().items())
    )
    return element(
        "table",
        element("thead", _line("th", names)),
        *groups,
        element("tfoot", _line("th", ("", "all", "", *_sums(record.cases)))),
        class_="listing",
    )


def _group_lines(record: Record, number: int, group: str, cases: Sequence[Case]) -> Iterator[Element]:
    ran = any(_has_page(case) for case in cases)
    name = element("a", group, href=f"#{record.name}-group{number}") if ran else element("span", group)
    title = element("th", name, " ", _tally(cases), colspan=3, scope="rowgroup")
    yield element("tr", title, *_cells("th", _sums(cases), _SUMS), class_="group-line")
    for case in cases:
        cells: list[str | Element] = [_verdict(case), _case_link(record, case), case.clause or "–", *_sums([case])]
        yield _line("td", cells)
        if case.reason:
            why = element("td", element("span", _first_line(case.reason), class_="reason"), colspan=2 + len(_SUMS))
            yield element("tr", element("td"), why, class_="why")


def _sums(cases: Sequence[Case]) -> tuple[str, ...]:
    """What stands in the columns of _SUMS."""
    bill = total(case.bill for case in cases)
    datagrams, octets = bill.datagrams_up + bill.datagrams_down, bill.bytes_up + bill.bytes_down
    return _time(sum(case.seconds for case in cases)), *map(_number, (datagrams, octets, bill.apdus, bill.heap_peak))


def total(bills: Iterable[Bill]) -> Bill:
    """What all cost together; the heap's peak is the highest of them."""
    sums: Counter[str] = Counter()
    for bill in bills:
        for one in fields(Bill):
            value = getattr(bill, one.name)
            sums[one.name] = max(sums[one.name], value) if one.name == "heap_peak" else sums[one.name] + value
    return Bill(**sums)


def _has_page(case: Case) -> bool:
    """Whether there is more to say of it than its line in the table."""
    return bool(case.events) or case.outcome != SKIPPED


def _case_link(record: Record, case: Case) -> Element:
    title = _title(record, case)
    return element("a", title, href=f"#{_anchor(record, case)}") if _has_page(case) else element("span", title)


def _first_line(reason: str) -> str:
    first, _, more = reason.partition("\n")
    return clean(first + (" …" if more else ""), LINE_LIMIT)


def _line(tag: str, cells: Sequence[str | Element]) -> Element:
    return element("tr", *_cells(tag, cells, ("outcome", "case", "clause", *_SUMS)))


def _cells(tag: str, cells: Sequence[str | Element], names: Sequence[str]) -> Iterator[Element]:
    for cell, name in zip(cells, names, strict=True):
        yield element(tag, cell, class_=_COLUMNS.get(name))


# A case ------------------------------------------------------------------------------------------------------------


def _case(record: Record, case: Case) -> Element:
    return element(
        "article",
        element("header", element("h4", _title(record, case)), _verdict(case)),
        element("p", f"{case.clause or 'no clause'} · ", element("code", case.id), class_="soft"),
        element("pre", clean(case.reason, REASON_LIMIT)) if case.reason else None,
        _bill(case),
        _events(record, case),
        class_="case",
        id=_anchor(record, case),
    )


def _verdict(case: Case) -> Element:
    return element("span", SIGNS.get(case.outcome, case.outcome), class_=f"verdict {case.outcome}")


def _title(record: Record, case: Case) -> str:
    """Its sentence and, of a case that runs with several values, the value."""
    values = re.search(r"\[(.*)\]$", case.id)
    value = values[1].removeprefix(record.run.board).lstrip("-") if values else ""
    return f"{case.title}: {value}" if value else case.title


def _anchor(record: Record, case: Case) -> str:
    return f"{record.name}-case{record.cases.index(case)}"


def _bill(case: Case) -> Element:
    bill = case.bill
    told = {
        "Datagrams up, down": f"{_number(bill.datagrams_up)}, {_number(bill.datagrams_down)}",
        "Bytes up": _number(bill.bytes_up),
        "Bytes down": _number(bill.bytes_down),
        "Round trips": _number(bill.round_trips),
        "APDUs": _number(bill.apdus),
        "Heap peak": f"{bill.heap_peak:,} bytes" if bill.heap_peak else "–",
        "Time": _time(case.seconds),
    }
    entries = (element("div", element("dt", name), element("dd", value)) for name, value in told.items())
    return element("dl", *entries, class_="bill")


def _events(record: Record, case: Case) -> Element | None:
    """Its diagram, or why there is none."""
    if not case.events:
        return element("p", "Nothing was recorded of it.", class_="soft")
    path = record.folder / case.events
    try:
        if not path.resolve().is_relative_to(record.folder.resolve()):
            raise session.BadTrace(f"{case.events} lies outside of the run's folder")
        with path.open("rb") as file:
            content = file.read(EVENTS_LIMIT + 1)
        whole = len(content) <= EVENTS_LIMIT
        text = content[:EVENTS_LIMIT].decode("utf-8", "replace")
        events = session.read(text if whole else text[: text.rindex("\n")], case.events)
        shown = rows(events)
    except (OSError, session.BadTrace, KeyError, ValueError, TypeError) as error:
        return element("p", f"Its events cannot be shown: {error}", class_="soft")
    said = f"{len(events):,} events" + ("" if whole else f", of the first {EVENTS_LIMIT:,} bytes")
    return element("details", element("summary", f"{said}, in ", element("code", case.events)), diagram(shown), open="")


def _number(value: int) -> str:
    return f"{value:,}" if value else "–"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 100 else f"{int(seconds) // 60}:{int(seconds) % 60:02} min"
