"""The conformance table: each row of SGP.32 with the tests that exercise it, and whether they pass.

A pytest plugin, used by `make conformance`: it runs the tests that say which rows they exercise
(``@pytest.mark.covers("psmo.enable.ok", …)``, keys in conformance_rows), prints the table, writes it to the
file given by ``--conformance=FILE`` and fails when a row has no test, a failing one, or only skipped ones. With
``--collect-only`` no test runs and no table is written: it fails when a row has no test, or a test names no row.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from conformance_rows import Row, resolve, rows

_PROPERTY = "covers"
_SHOWN = 2  # tests named in a row


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("covers"):
            item.user_properties.extend((_PROPERTY, key) for key in mark.args)  # reaches us from any worker


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance", type=Path, required=True, help="where to write the conformance table")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(config.getoption("conformance")))


class Table:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows = rows()
        self._outcomes: dict[str, dict[str, str]] = defaultdict(dict)  # key in a marker, test, its worst outcome

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, key in report.user_properties:
            if name == _PROPERTY:
                tests = self._outcomes[str(key)]
                if tests.get(report.nodeid) in (None, "passed"):
                    tests[report.nodeid] = report.outcome

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            for item in session.items:
                for name, key in item.user_properties:
                    if name == _PROPERTY:
                        self._outcomes[str(key)][item.nodeid] = "passed"  # as far as can be known

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._lines = list(_table(self._rows, self._by_row(), self._strangers()))
        if session.config.option.collectonly:
            self._lines = [line for line in self._lines if "| FAIL |" in line]
        else:
            self._file.write_text("\n".join(self._lines) + "\n")
        if session.exitstatus == pytest.ExitCode.OK and any("| FAIL |" in line for line in self._lines):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line("")
        for line in self._lines:
            terminalreporter.write_line(line, red="| FAIL |" in line)

    def _by_row(self) -> dict[Row, dict[str, str]]:
        known = {row.key.lower(): row for row in self._rows}
        found: dict[Row, dict[str, str]] = defaultdict(dict)
        for key, tests in self._outcomes.items():
            if row := resolve(key, known):
                found[row] |= tests
        return found

    def _strangers(self) -> dict[str, dict[str, str]]:
        """What tests claim to cover and no row is called."""
        known = {row.key.lower(): row for row in self._rows}
        return {key: tests for key, tests in self._outcomes.items() if resolve(key, known) is None}


def _table(
    all_rows: list[Row], tests: dict[Row, dict[str, str]], strangers: dict[str, dict[str, str]]
) -> Iterator[str]:
    verdicts = [_verdict(row, tests.get(row, {})) for row in all_rows]
    yield "# SGP.32 v1.2, row by row"
    yield ""
    counts = {verdict: sum(one == verdict for one, _ in verdicts) for verdict in ("pass", "FAIL", "n/a")}
    yield f"{len(all_rows)} rows: {counts['pass']} pass, {counts['FAIL']} fail, {counts['n/a']} do not apply."
    for group, entries in groupby(zip(all_rows, verdicts, strict=True), key=lambda entry: entry[0].group):
        yield from ("", f"## {group}", "", "| row | | exercised by |", "|---|---|---|")
        for row, (verdict, why) in entries:
            code = "" if row.code is None else f" ({row.code})"
            yield f"| {row.key}{code} | {verdict} | {why} |"
    if strangers:
        yield from ("", "## Claimed by tests, no row of the schema", "", "| key | | test |", "|---|---|---|")
        yield from (f"| {key} | FAIL | {_named(found)} |" for key, found in sorted(strangers.items()))


def _verdict(row: Row, tests: dict[str, str]) -> tuple[str, str]:
    failed = {test: outcome for test, outcome in tests.items() if outcome == "failed"}
    if failed:
        return "FAIL", f"{_named(failed)} failed"
    passed = {test: outcome for test, outcome in tests.items() if outcome == "passed"}
    if row.reason:  # whatever reads or prints its code: nothing here says it
        return "n/a", row.reason + (f"; its code is made up by {_named(passed)}" if passed else "")
    if passed:
        return "pass", _named(passed)
    return "FAIL", f"{_named(tests)} skipped" if tests else "no test"


def _named(tests: dict[str, str]) -> str:
    """The first tests by name, without parameters and the group of a worker, and how many more there are."""
    names = list(dict.fromkeys(re.split(r"[\[@]", test.removeprefix("tests/"))[0] for test in sorted(tests)))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
