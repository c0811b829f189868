"""What people see of a trace: the page of `microipa trace --html`, and the lines of `lab up`."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cli_runner import Microipa, microipa  # noqa: F401
from microipa.common.console import Terminal
from microipa.trace import Event, Record
from microipa.trace.timeline import COLOURS, Timeline
from rich.color import Color

EID = "89049032123451234512345678901235"


class Outline(HTMLParser):
    """Headings, tables and rows of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.diagrams, self.text, self._in = 0, "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        self.diagrams += ("class", "sequence") in attrs
        assert tag != "script"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in in ("h1", "h2", "h4"):
            self.headings.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


def order(state: str) -> Event:
    fields = {"order": 7, "eid": EID, "state": state, "summary": "list <profiles>", "result": "fine"}
    return Event(2.0, "eim", "order", fields)


def test_a_trace_is_a_page_with_a_diagram_of_each_order_and_what_is_known_of_devices(
    microipa: Microipa, tmp_path: Path  # noqa: F811
) -> None:
    record = Record(tmp_path / "trace.jsonl")
    record.about["eid"] = EID
    for event in (
        Event(1.0, "lab", "step", {"text": "before"}), order("queued"), order("delivered"),
        Event(2.0, "eim", "esipa", {"direction": "out", "message": "bf4f03020101"}), order("done"),
        Event(3.0, "eim", "esipa", {"direction": "out", "message": ""}),
        Event(4.0, "radio", "network", {"event": "attach accepted", "imsi": "1", "operator": "99970"}),
        Event(5.0, "eim", "alarm", {"eid": EID, "text": "<b>odd</b>"}),
    ):  # fmt: skip
        record.add(event)
    record.close()
    html = tmp_path / "trace.html"
    assert microipa("trace", tmp_path, "--html", html) == (0, f"{html} written\n", "")
    assert html.stat().st_mode & 0o777 == 0o600
    page = Outline()
    page.feed(html.read_text())
    title, session, one, between, device = page.headings
    assert session.startswith("the session that began at 20")
    assert (one, between, device) == ("Order 7: list <profiles>", "Beside the orders", f"Device {EID}")
    assert page.diagrams == 3
    assert "attach accepted 1 99970" in page.text
    assert "<b>odd</b>" in page.text


def test_a_page_is_a_file_and_no_stream(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    assert "leave out --follow and --json" in microipa("trace", tmp_path, "--html", tmp_path / "x", "--json").err


def test_a_quiet_lab_prints_what_it_says_itself_and_alarms() -> None:
    screen = Terminal(file=io.StringIO())
    timeline = Timeline(screen, quiet=True)
    for event in (Event(0, "lab", "step", {"text": "the lab is up"}), Event(0, "board", "log", {"text": "I (1) poll"}),
                  order("queued"), Event(0, "eim", "alarm", {"text": "odd"})):  # fmt: skip
        timeline(event)
    assert [line[17:] for line in screen.file.getvalue().splitlines()] == ["the lab is up", "ALARM: odd"]


@pytest.mark.parametrize("part", [part for part in COLOURS if part != "lab"])
def test_each_part_can_be_read_on_black_and_on_white(part: str) -> None:
    channels = [value / 255 for value in Color.parse(COLOURS[part]).get_truecolor()]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    assert (luminance + 0.05) / 0.05 > 3.5  # WCAG 2.1, contrast against black
    assert 1.05 / (luminance + 0.05) > 3.5
