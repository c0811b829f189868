"""The front of the report's page: which board, which firmware, which card; what failed; all cases by group."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from xml.etree.ElementTree import Element

from microipa.hil.comparison import comparison
from microipa.hil.markup import clean_line, element
from microipa.hil.record import BAD, ERROR, FAILED, PASSED, SKIPPED, Bill, Case, Run
from microipa.hil.story import SIGNS, Record, anchor_of, figure, has_page, in_time, title_of, verdict

LINE_LIMIT = 300  # characters of a reason
FAILURES = 8  # cases that are named below one reason
TETHERED = (
    "The datagrams of this board travelled over its serial port and not over its modem. "
    "This run does not show that it reaches an eIM through a network."
)
_SUMS = ("time", "datagrams", "bytes", "APDUs", "heap peak")
_COLUMNS = {
    "outcome": "outcome", "case": "title", "clause": "clause", "time": "number", "datagrams": "number detail",
    "bytes": "number", "APDUs": "number detail", "heap peak": "number detail",
}  # fmt: skip
_NOTE = "Bytes are those of whole IP packets, both ways. – is none, or nothing on this bench that counts it."
_FOLDED = (
    "Only the diagrams of cases that failed are open, and printed; a click opens another."
)
_LEGEND = (
    "In the diagrams a heavy arrow is a message between device and servers, a thin one ES10 at the card, a dashed one "
    "traffic that is only counted; two heads: its answer is in the same line. A circle is what a part noted by itself, "
    "a line across what the bench did. What came several times in a row stands once, with ×."
)


def boards(records: Sequence[Record]) -> Element:
    """Several boards of one bench: who is who, what failed on which of them, and each case on all of them."""
    names = ("board", "kind", "modem", "its firmware", "build", "datagrams over", "card", "heap", "took", "outcome")
    lines = (
        (element("a", run.board, href=f"#{record.name}"), run.kind, run.modem, run.modem_firmware or "not known",
         run.build or run.firmware or "not known", element("b", "TETHER") if run.tether else "modem", run.card,
         run.heap or "the chip's own", in_time(run.seconds) if run.seconds else "not to its end",
         _tally(record.cases))
        for record in records
        for run in (record.run,)
    )  # fmt: skip
    return element(
        "section",
        element("h1", page_title(records)),
        element("p", _tally(case for record in records for case in record.cases), class_="lead"),
        _several_sessions([record.run for record in records]),
        _plain_table(names, lines),
        *_failures(records),
        element("h3", "Case by case"),
        _side_by_side(records),
        element("p", _FOLDED, class_="soft small"),
        class_="boards",
    )


def _several_sessions(runs: Sequence[Run]) -> Element | None:
    """A folder may hold what several sessions left; the report at a session's end has that session's boards only."""
    if len({run.session for run in runs}) == 1:
        return None
    first, *_, last = sorted(_when(run) for run in runs)
    return element("div", element("b", "Not one run. "), f"The boards ran in several sessions, the first at {first}, "
                   f"the last at {last}.", class_="tether")  # fmt: skip


def _when(run: Run) -> str:
    return run.started.replace("T", " ").replace("+00:00", " UTC")


def _side_by_side(records: Sequence[Record]) -> Element:
    """A line a case: what came of it on each board, as a sign."""
    outcomes = [{title_of(record, case): case for case in record.cases} for record in records]
    head = (element("th", element("span", record.run.board), class_="upright") for record in records)
    body = (
        element(
            "tr",
            element("th", title, scope="row"),
            *(
                element("td", _sign(record, known[title]) if title in known else None)
                for record, known in zip(records, outcomes, strict=True)
            ),
        )
        for title in dict.fromkeys(title for known in outcomes for title in known)
    )
    return element(
        "table",
        element("thead", element("tr", element("th", "✓ passed, ✗ failed, – skipped, empty: not run"), *head)),
        element("tbody", *body),
        class_="matrix",
    )


def _sign(record: Record, case: Case) -> Element:
    sign = SIGNS.get(case.outcome, case.outcome).partition(" ")[0]
    label = f"{case.outcome} on {record.run.board}"
    if has_page(case):
        return element("a", sign, href=f"#{anchor_of(record, case)}", title=label, class_=case.outcome)
    return element("span", sign, title=label, class_=case.outcome)


def _plain_table(names: Sequence[str], lines: Iterable[Sequence[str | Element]]) -> Element:
    return element(
        "table",
        element("thead", element("tr", *(element("th", name) for name in names))),
        element("tbody", *(element("tr", *(element("td", cell) for cell in line)) for line in lines)),
        class_="listing wide",
    )


def front(record: Record) -> Element:
    run = record.run
    return element(
        "section",
        element("h1", "Hardware in the loop: ", called(record)),
        element("p", _tally(record.cases), class_="lead"),
        element("div", element("b", "TETHERED. "), TETHERED, class_="tether") if run.tether else None,
        element("h3", "What was tested"),
        _facts(run),
        *_failures([record]),
        comparison(record.earlier, run, record.cases) if record.earlier else None,
        element("h3", "Cases by SGP.33 group"),
        _cases(record),
        element("p", _NOTE, class_="soft small"),
        element("p", f"{_LEGEND} {_FOLDED}", class_="soft small"),
        id=record.name,
    )


def page_title(records: Sequence[Record]) -> str:
    if len(records) == 1:
        return f"Hardware in the loop: {called(records[0])}"
    return f"Hardware in the loop: {len(records)} boards"


def called(record: Record) -> str:
    run = record.run
    return f"{run.board}, {run.modem}" if run.board == run.kind else f"{run.board} ({run.kind}), {run.modem}"


def _tally(cases: Iterable[Case]) -> Element:
    count = Counter(case.outcome for case in cases)
    said = [f"{count[outcome]} {outcome}" for outcome in (FAILED, ERROR, PASSED, SKIPPED) if count[outcome]]
    worst = FAILED if count[FAILED] else ERROR if count[ERROR] else PASSED if count[PASSED] else SKIPPED
    words = f"{SIGNS[worst][0]} {', '.join(said)}" if said else "no case has run"
    return element("span", words, class_=f"verdict {worst}")


def _facts(run: Run) -> Element:
    versions = ", ".join(f"{name} {value}" for name, value in run.card_versions.items())
    way = "over the board's serial port (tether)" if run.tether else "over the modem"
    told = {
        "Board": f"{run.board}, of boards/{run.kind}",
        "MicroPython": run.micropython,
        "Build of the firmware": run.build,
        "Version on the board": f"{run.firmware}, as {run.form}" if run.firmware else "",
        "Heap cap": f"{run.heap} (MicroPython's -X heapsize)" if run.heap else "none: the chip's own",
        "Modem": run.modem,
        "Modem firmware": run.modem_firmware,
        "Card": run.card,
        "EID": run.eid,
        "Card versions": versions,
        "Datagrams": way,
        "Started": _when(run),
        "Took": in_time(run.seconds) if run.seconds else "",
    }
    lines = (element("tr", element("th", name, scope="row"), element("td", told[name] or "not known")) for name in told)
    return element("table", element("tbody", *lines), class_="facts")


def _failures(records: Sequence[Record]) -> Iterator[Element]:
    """What a reader looks for first; what failed for one reason stands together."""
    reasons: dict[str, list[tuple[Record, Case]]] = {}
    for record in records:
        for case in record.cases:
            if case.outcome in BAD:
                reasons.setdefault(first_line(case.reason), []).append((record, case))
    if reasons:
        yield element("h3", "What failed")
    for reason, failed in sorted(reasons.items(), key=lambda item: -len(item[1])):
        links = (
            element("li", _case_link(record, case), f" on {record.run.board}" if len(records) > 1 else None)
            for record, case in failed[:FAILURES]
        )
        more = element("li", f"and {len(failed) - FAILURES} more") if len(failed) > FAILURES else None
        why = element("p", reason or "no reason was given")
        yield element("div", why, element("ul", *links, more), class_="failure")


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
    ran = any(has_page(case) for case in cases)
    name = element("a", group, href=f"#{record.name}-group{number}") if ran else element("span", group)
    title = element("th", name, " ", _tally(cases), colspan=3, scope="rowgroup")
    sums = _sums(cases) if len(cases) > 1 else ("",) * len(_SUMS)
    yield element("tr", title, *_cells("th", sums, _SUMS), class_="group-line")
    for case in cases:
        cells: list[str | Element] = [verdict(case), _case_link(record, case), case.clause or "–", *_sums([case])]
        yield _line("td", cells)
        if case.reason:
            why = element("td", element("span", first_line(case.reason), class_="reason"), colspan=2 + len(_SUMS))
            yield element("tr", element("td"), why, class_="why")


def _sums(cases: Sequence[Case]) -> tuple[str, ...]:
    """What stands in the columns of _SUMS."""
    bill = total(case.bill for case in cases)
    datagrams, octets = bill.datagrams_up + bill.datagrams_down, bill.bytes_up + bill.bytes_down
    return in_time(sum(case.seconds for case in cases)), *map(figure, (datagrams, octets, bill.apdus, bill.heap_peak))


def total(bills: Iterable[Bill]) -> Bill:
    """What all cost together; the heap's peak is the highest of them."""
    sums: Counter[str] = Counter()
    for bill in bills:
        for one in fields(Bill):
            value = getattr(bill, one.name)
            sums[one.name] = max(sums[one.name], value) if one.name == "heap_peak" else sums[one.name] + value
    return Bill(**sums)


def _case_link(record: Record, case: Case) -> Element:
    title = title_of(record, case)
    return element("a", title, href=f"#{anchor_of(record, case)}") if has_page(case) else element("span", title)


def _line(tag: str, cells: Sequence[str | Element]) -> Element:
    return element("tr", *_cells(tag, cells, ("outcome", "case", "clause", *_SUMS)))


def _cells(tag: str, cells: Sequence[str | Element], names: Sequence[str]) -> Iterator[Element]:
    for cell, name in zip(cells, names, strict=True):
        yield element(tag, cell, class_=_COLUMNS.get(name))


def first_line(reason: str) -> str:
    """A reason in short, without module names and a board's clock, which would make one reason look like several."""
    first, _, more = reason.partition("\n")
    first = re.sub(r"^(\w+\.)+(?=[A-Z])|(?<= [EID]) \(\d+\)", "", first)
    return clean_line(first + (" …" if more else ""), LINE_LIMIT)
