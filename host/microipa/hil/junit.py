"""A run on a bench as JUnit XML, as Jenkins and GitLab read it: a suite for each group of cases of each board."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from xml.etree.ElementTree import Element, indent, tostring

from microipa.hil.markup import clean, clean_line, element
from microipa.hil.record import BAD, ERROR, FAILED, SKIPPED, Case, Run

_MESSAGE_LIMIT, _TEXT_LIMIT = 300, 4000  # characters
_PROPERTIES = (
    "board", "kind", "micropython", "build", "firmware", "form", "heap", "modem", "modem_firmware", "card", "eid",
    "tether",
)  # fmt: skip


def document(records: Iterable[tuple[Run, list[Case]]]) -> bytes:
    """The XML of all boards' cases."""
    suites = [suite for run, cases in records for suite in _suites(run, cases)]
    count = Counter[str]()
    for suite in suites:
        for name in ("tests", "failures", "errors"):
            count[name] += int(suite.attrib[name])
    seconds = sum(float(suite.attrib["time"]) for suite in suites)
    # No count of skipped ones: strict readers know none here.
    root = element("testsuites", *suites, name="microipa.hil", tests=count["tests"], failures=count["failures"],
                   errors=count["errors"], time=f"{seconds:.3f}")  # fmt: skip
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _suites(run: Run, cases: list[Case]) -> list[Element]:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group or "other", []).append(case)
    return [_suite(run, group, members) for group, members in groups.items()]


def _suite(run: Run, group: str, cases: list[Case]) -> Element:
    outcomes = Counter(case.outcome for case in cases)
    known = {name: getattr(run, name) for name in _PROPERTIES}
    known |= {f"card_{name}": value for name, value in run.card_versions.items()}
    properties = (element("property", name=name, value=_word(value)) for name, value in known.items() if value != "")
    return element(
        "testsuite",
        element("properties", *properties),
        *(_test_case(run, group, case) for case in cases),
        name=f"{run.board}: {group}",
        tests=len(cases),
        failures=outcomes[FAILED],
        errors=outcomes[ERROR],
        skipped=outcomes[SKIPPED],
        time=f"{sum(case.seconds for case in cases):.3f}",
        timestamp=re.sub(r"(Z|[+-]\d\d:?\d\d)$", "", run.started),  # UTC, which the format has no room to say
        hostname=run.board,
    )


def _test_case(run: Run, group: str, case: Case) -> Element:
    outcome = None
    reason = case.reason or "no reason was given"
    if case.where:
        reason = f"{reason}\nat {case.where}"
    if case.outcome in BAD:
        tag = "failure" if case.outcome == FAILED else "error"
        outcome = element(tag, clean(reason, _TEXT_LIMIT), message=_first_line(reason), type=_error_type(reason))
    elif case.outcome == SKIPPED:
        outcome = element("skipped", message=_first_line(reason))
    bill = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in asdict(case.bill).items() if value)
    said = map(clean_line, (case.title, case.clause, bill, case.events and f"events: {case.events}"))
    return element(
        "testcase",
        outcome,
        element("system-out", "\n".join(filter(None, said))),
        classname=f"{_dotless(run.board)}.{_dotless(group)}",
        name=case.id,
        time=f"{case.seconds:.3f}",
    )


def _first_line(text: str) -> str:
    return clean_line(text.partition("\n")[0], _MESSAGE_LIMIT)


def _error_type(reason: str) -> str:
    """The exception's name, with which pytest begins a reason."""
    found = re.match(r"[A-Za-z_][\w.]*(?=:|$)", reason)
    return found[0] if found else "failed"


def _dotless(name: str) -> str:
    """Jenkins takes what stands before a dot for a package."""
    return name.replace(".", "_")


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
