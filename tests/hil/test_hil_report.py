"""The report's page and its JUnit file: complete, escaped, and nothing in them from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from microipa.cli.main import app
from microipa.hil.overview import total
from microipa.hil.record import ERROR, FAILED, PASSED, SKIPPED, Bill, Case, Recorder, Run
from microipa.hil.report import write_reports, write_session
from microipa.trace import Event
from typer.testing import CliRunner

RUN = Run(
    "left", "walter", "1.28.0", "ipa-1a2b3c4d", "mpy", "gm02s", "UE8.2", "real", "8904", "", True,
    "2026-11-25T00:36:22+00:00", 131.0, {"svn": "2.5.0"},
)  # fmt: skip
HOSTILE = "<script>alert('\"&\x1b\u202e\ud800')</script>"
POLL, CUTS = "SGP.33-2: polling", "SGP.33-2: interruptions"
DONE = Case("test_a[left-direct]", POLL, "SGP.32 3.1.1.1", "it polls", PASSED, "", 1.5,
            Bill(2, 3, 400, 500, 7, 1000, 2))  # fmt: skip
BROKEN = Case("test_b[left]", POLL, "SGP.32 3.1.1.2", "it ends", FAILED, "AssertionError: why\nassert 1 == 2", 0.5,
              Bill(1, 1, 100, 50, 0, 900, 1))  # fmt: skip
LEFT_OUT = Case("test_c[left]", CUTS, "SGP.32 3.3.1", "it is cut", SKIPPED, "the bench has no power switch")
LOG = Event(5.0, "board", "log", {"text": "I (1) poll: done"})
VOID = {"meta", "br"}


class Page(HTMLParser):
    """What a browser makes of it: texts by element, and whether each element that begins ends."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def a_run(folder: Path, *cases: tuple[Case, list[Event]], run: Run = RUN) -> Path:
    recorder = Recorder(folder, run)
    for case, events in cases:
        recorder.add(case, events)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return a_run(tmp_path / "left", (DONE, [LOG]), (BROKEN, [LOG]), (LEFT_OUT, []))


def test_the_page_says_what_was_tested_and_what_came_of_each_case(folder: Path) -> None:
    page = Page(write_reports(folder)[0])
    facts = ("1.28.0", "ipa-1a2b3c4d, as mpy", "gm02s", "UE8.2", "8904", "svn 2.5.0", "2:11 min", "TETHERED. ")
    cases = ("it polls: direct", "SGP.32 3.1.1.1", "✓ passed", "✗ failed", "– skipped", "AssertionError: why …")
    for words in (*facts, *cases, POLL, CUTS, "AssertionError: why\nassert 1 == 2", "the bench has no power switch"):
        assert words in page.texts, words
    assert "✗ 1 failed, 1 passed, 1 skipped" in page.texts


def test_a_page_of_a_board_on_its_own_modem_says_nothing_of_a_tether(tmp_path: Path) -> None:
    page = Page(write_reports(a_run(tmp_path, run=replace(RUN, tether=False)))[0])
    assert "TETHERED" not in page.text
    assert "over the modem" in page.texts
    assert "no case has run" in page.texts


def test_nothing_on_the_page_comes_from_elsewhere_or_runs(folder: Path) -> None:
    page = Page(write_reports(folder)[0])
    assert not {"script", "img", "iframe", "object", "embed", "link", "base", "form"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") or name == "src" for _, attributes in page.tags for name in attributes)
    anchors = set(page.values("id"))
    assert len(anchors) == len(page.values("id"))
    events = {"cases/test_a-left-direct-.jsonl", "cases/test_b-left-.jsonl"}
    assert all(link in events or link[0] == "#" and link[1:] in anchors for link in page.values("href"))
    assert events <= set(page.values("href"))
    assert any("default-src 'none'" in content for content in page.values("content"))
    assert "url(" not in (folder / "report.html").read_text(encoding="utf-8").replace('"url(#head)"', "")


def test_whatever_a_board_says_stays_text(tmp_path: Path) -> None:
    run = replace(RUN, board=HOSTILE, modem_firmware=HOSTILE, card_versions={HOSTILE: HOSTILE}, firmware=HOSTILE)
    case = Case(f"test[{HOSTILE}]", HOSTILE, HOSTILE, HOSTILE, FAILED, f"{HOSTILE}\n{HOSTILE}")
    events = [Event(0, part, "log", {"text": HOSTILE}) for part in ("board", HOSTILE)]
    events += [Event(0, "card", HOSTILE, {HOSTILE: HOSTILE})]
    events += [Event(0, "modem", "at", {"direction": "in", "text": f"AT{HOSTILE}"})]
    html, junit = write_reports(a_run(tmp_path, (case, events), run=run))
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\ud800", "\\ud800")
    assert page.text.count(shown) >= 8
    assert not {"\x1b", "\u202e"} & set(html.read_text(encoding="utf-8"))
    assert ElementTree.parse(junit).getroot().find(".//failure").get("message") == shown  # type: ignore[union-attr]


def test_activation_codes_are_shown_in_part_since_a_report_is_handed_on(tmp_path: Path) -> None:
    code = "LPA:1$smdpp.example$K2-SECRET-7"
    said = (code, "AuthenticateServerRequest: matching id K2-SECRET-7, x", "download K2-SECRET-7 from smdpp.example")
    events = [Event(0, "board", "log", {"text": text}) for text in said]
    html, junit = write_reports(a_run(tmp_path, (replace(BROKEN, reason=f"{code}\n{code}"), events)))
    page = Page(html)
    for shown in ("LPA:1$smdpp.example$K2-S…", "AuthenticateServerRequest: matching id K2-S…, x"):
        assert shown in page.texts
    assert "download K2-S… from smdpp.example" in page.texts
    assert "SECRET" not in html.read_text(encoding="utf-8") + junit.read_text(encoding="utf-8")


def test_the_bill_of_all_adds_up_but_for_the_heap_whose_highest_peak_counts(folder: Path) -> None:
    assert total([DONE.bill, BROKEN.bill]) == Bill(3, 4, 500, 550, 7, 1000, 3)
    page = Page(write_reports(folder)[0])
    last = page.texts[page.texts.index("all") + 1 :]
    assert [text for text in last if text.strip()][:5] == ["2.00 s", "7", "1,050", "7", "1,000"]


def test_each_case_that_ran_has_a_diagram_and_a_skipped_one_only_its_line(folder: Path) -> None:
    page = Page(write_reports(folder)[0])
    assert len([tag for tag, _ in page.tags if tag == "article"]) == 2
    assert page.texts.count("SM-DP+") == 2
    assert page.texts.count("poll: done") == 2
    assert ("details", {"open": ""}) in page.tags  # so that paper has it as well


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "line 1 is not an event"),
        ('{"t": 1, "part": "eim", "kind": "order"}', "cannot be shown"),
        (None, "No such file"),
    ],
)  # fmt: skip
def test_events_that_cannot_be_read_cost_their_diagram_and_not_the_report(
    folder: Path, content: str | None, said: str
) -> None:
    file = folder / "cases/test_a-left-direct-.jsonl"
    file.unlink() if content is None else file.write_text(content)
    page = Page(write_reports(folder)[0])
    assert said in page.text
    assert page.texts.count("poll: done") == 1


def test_events_are_read_from_the_runs_folder_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = a_run(tmp_path / "run", (DONE, [LOG]))
    cases = folder / "cases.jsonl"
    cases.write_text(cases.read_text().replace("cases/test_a-left-direct-.jsonl", "../secret"))
    assert "outside of the run's folder" in Page(write_reports(folder)[0]).text


def test_boards_of_several_sessions_are_not_taken_for_one_run(tmp_path: Path) -> None:
    for name, session in (("left", "a"), ("right", "a"), ("third", "b")):
        a_run(tmp_path / name, (DONE, []), run=replace(RUN, board=name, session=session))
    assert "Not one run. " in Page(write_reports(tmp_path)[0]).texts
    assert "Not one run. " not in Page(write_session(tmp_path, "a")[0]).texts


def test_what_failed_for_one_reason_stands_together_whatever_the_boards_clock_said(tmp_path: Path) -> None:
    for number, name in enumerate(("left", "right")):
        stuck = f"microipa.hil.moments.BoardStuck: it still runs; last: I ({1000 + number}) agent: next try"
        a_run(tmp_path / name, (replace(BROKEN, id=f"test_b[{name}]", reason=stuck), []), run=replace(RUN, board=name))
    texts = Page(write_reports(tmp_path)[0]).texts
    start = texts.index("What failed") + 1
    assert [text for text in texts[start:] if text.strip()][:5] == [
        "BoardStuck: it still runs; last: I agent: next try", "it ends", " on left", "it ends", " on right",
    ]  # fmt: skip


def test_several_boards_of_a_bench_share_a_page_with_a_list_of_them(tmp_path: Path) -> None:
    a_run(tmp_path / "left", (DONE, [LOG]))
    polled = replace(DONE, id="test_a[right-direct]", outcome=SKIPPED)
    broken = replace(BROKEN, id="test_b[right]")
    a_run(tmp_path / "right", (broken, [LOG]), (polled, []), run=replace(RUN, board="right", tether=False))
    html, junit = write_reports(tmp_path)
    page = Page(html)
    assert "Hardware in the loop: 2 boards" in page.texts
    assert page.texts.count("TETHER") == 1
    assert "#board2" in page.values("href")
    start = page.texts.index("it polls: direct")
    assert [text for text in page.texts[start:] if text.strip()][:5] == ["it polls: direct", "✓", "–", "it ends", "✗"]
    assert "failed on right" in page.values("title")
    opened = ["open" in attributes for tag, attributes in page.tags if tag == "details"]
    assert opened == [False, True]  # passed on the left, failed on the right
    assert [suite.get("name") for suite in ElementTree.parse(junit).getroot()] == [f"left: {POLL}", f"right: {POLL}"]


# JUnit ---------------------------------------------------------------------------------------------------------


def test_junit_has_a_suite_for_each_group_and_counts_that_agree(folder: Path) -> None:
    root = ElementTree.parse(write_reports(folder)[1]).getroot()
    assert root.tag == "testsuites"
    assert [suite.get("name") for suite in root] == [f"left: {POLL}", f"left: {CUTS}"]
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
        assert suite.get("errors") == "0"
        assert suite.get("timestamp") == "2026-11-25T00:36:22"
        assert float(suite.attrib["time"]) == pytest.approx(sum(float(case.attrib["time"]) for case in cases))
        assert [child.tag for child in suite] == ["properties"] + ["testcase"] * len(cases)
    for name in ("tests", "failures"):
        assert int(root.attrib[name]) == sum(int(suite.attrib[name]) for suite in root)


def test_junit_tells_the_board_the_reasons_and_the_bill(folder: Path) -> None:
    root = ElementTree.parse(write_reports(folder)[1]).getroot()
    properties = {entry.get("name"): entry.get("value") for entry in root[0].iter("property")}
    told = {"firmware": "ipa-1a2b3c4d", "tether": "true", "eid": "8904", "card_svn": "2.5.0"}
    assert properties.items() >= told.items()
    assert "heap" not in properties
    passed, failed, skipped = root.iter("testcase")
    assert (passed.get("classname"), passed.get("name")) == ("left.SGP_33-2: polling", "test_a[left-direct]")
    assert "bytes up 400" in (passed.findtext("system-out") or "")
    failure = failed.find("failure")
    assert failure is not None
    assert failure.attrib == {"message": "AssertionError: why", "type": "AssertionError"}
    assert failure.text == BROKEN.reason
    assert skipped.find("skipped").attrib == {"message": "the bench has no power switch"}  # type: ignore[union-attr]


COUNT, SECONDS, ANY = r"\d+", r"\d+\.\d{3}", r"(?s).+"
TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
# What Jenkins' schema (xUnit plugin, strict) has in common with GitLab and GitHub's readers:
# attributes, those with ? may be left out; children in this order, those with * any number of times.
JUNIT: dict[str, tuple[dict[str, str], str]] = {
    "testsuites": ({"name": ANY, "tests": COUNT, "failures": COUNT, "errors": COUNT, "time": SECONDS}, "(testsuite )*"),
    "testsuite": ({"name": ANY, "tests": COUNT, "failures": COUNT, "errors": COUNT, "skipped": COUNT, "time": SECONDS,
                   "timestamp": TIMESTAMP, "hostname": ANY}, "properties (testcase )*"),
    "properties": ({}, "(property )*"),
    "property": ({"name": ANY, "value": ANY}, ""),
    "testcase": ({"classname": ANY, "name": ANY, "time": SECONDS}, "((skipped|failure) )?(system-out )?"),
    "skipped": ({"message": ANY}, ""),
    "failure": ({"message": ANY, "type": ANY}, ""),
    "system-out": ({}, ""),
}  # fmt: skip


def test_junit_is_what_strict_readers_take(folder: Path) -> None:
    a_run(folder, (DONE, [LOG]), (BROKEN, []), (LEFT_OUT, []), (replace(BROKEN, id="test_d", reason=""), []),
          (replace(LEFT_OUT, id="test_e", reason="", group=""), []))  # fmt: skip
    for part in ElementTree.parse(write_reports(folder)[1]).iter():
        attributes, children = JUNIT[part.tag]
        assert part.attrib.keys() == attributes.keys(), part.tag
        for name, pattern in attributes.items():
            assert re.fullmatch(pattern, part.attrib[name]), (part.tag, name, part.attrib[name])
        assert re.fullmatch(children, "".join(f"{child.tag} " for child in part)), part.tag
        if part.tag not in ("failure", "system-out"):
            assert not (part.text or "").strip()
    cases = ElementTree.parse(folder / "junit.xml").iter("testcase")
    names = [(case.get("classname"), case.get("name")) for case in cases]
    assert len(names) == len(set(names)) == 5  # a reader takes two of one name for one that was tried again


# The command ---------------------------------------------------------------------------------------------------


def test_the_command_writes_both_beside_the_record_or_where_it_is_told(folder: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["hil", "report", str(folder)])
    assert told.stdout.split() == [str(folder / "report.html"), str(folder / "junit.xml")]
    elsewhere = [str(tmp_path / "a.html"), str(tmp_path / "b.xml")]
    arguments = ["hil", "report", str(folder), "--html", elsewhere[0], "--junit", elsewhere[1]]
    assert CliRunner().invoke(app, arguments).stdout.split() == elsewhere
    beside = (folder / "report.html").read_text().replace('href="cases/', f'href="{folder.name}/cases/')
    assert (tmp_path / "a.html").read_text() == beside


# What a failure shows, and what has changed


def test_a_failure_says_its_line_and_is_marked_in_the_diagram(tmp_path: Path) -> None:
    failed = replace(BROKEN, where="test_x.py:12, raised at fixtures.py:88")
    mark = Event(6.0, "lab", "failed", {"text": "test_x.py:12: assert 1 == 2"})
    page_of, junit_of = write_reports(a_run(tmp_path / "left", (failed, [LOG, mark])))
    page = Page(page_of)
    assert "test_x.py:12, raised at fixtures.py:88" in page.text
    assert "loud mark" in page.values("class")
    assert "assert 1 == 2" in page.text
    assert "at test_x.py:12, raised at fixtures.py:88" in junit_of.read_text()


def test_what_fails_before_a_case_is_an_error_and_no_failure(tmp_path: Path) -> None:
    page_of, junit_of = write_reports(a_run(tmp_path / "left", (replace(BROKEN, outcome=ERROR), []), (DONE, [])))
    assert "! 1 error, 1 passed" in Page(page_of).text
    root = ElementTree.fromstring(junit_of.read_text())
    assert (root.get("failures"), root.get("errors")) == ("0", "1")
    assert len(root.findall(".//error")) == 1
    assert not root.findall(".//failure")


def test_diagrams_of_cases_that_passed_are_closed_so_that_a_green_board_prints_on_few_pages(folder: Path) -> None:
    page = Page(write_reports(folder)[0])
    opened = ["open" in attributes for tag, attributes in page.tags if tag == "details"]
    assert opened == [False, True]  # the case that failed


def test_a_run_is_compared_with_an_earlier_one(tmp_path: Path) -> None:
    then = a_run(tmp_path / "then" / "left", (DONE, []), (replace(BROKEN, outcome=PASSED), []), (LEFT_OUT, []))
    dear = replace(DONE, bill=replace(DONE.bill, bytes_up=800, bytes_down=510))
    now = a_run(tmp_path / "now" / "left", (dear, []), (BROKEN, []))
    page = Page(write_reports(now, earlier=then)[0]).text.split("\n")
    shown = page[page.index("Since the run of 2026-11-25 00:36:22 UTC, the same firmware") + 1 :]
    assert shown[3:11] == ["it polls", "bytes up", "400", "800", "it ends", "outcome", "✓ passed", "✗ failed"]
    assert "Not run this time: it is cut" in shown
    same = Page(write_reports(now, earlier=now)[0]).text
    assert "No outcome has changed, and no cost by more than a tenth." in same
