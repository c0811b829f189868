"""Text that somebody else wrote is data wherever it is shown: it forges no line, moves no cursor, breaks no verb."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from microipa.asn1 import saip
from microipa.asn1.tlv import tlv
from microipa.board.check import CheckFailed
from microipa.cli.main import app, main
from microipa.common.console import Terminal, out
from microipa.common.outside_text import VisibleFormatter, visible, visible_lines
from microipa.eim.store import Alarm, Device, Order, Store
from microipa.hil.markup import clean
from microipa.hil.record import FAILED, Case, Recorder, Run
from microipa.lab import EID, LabFolder, new_profile
from microipa.saip import build
from microipa.saip.package import ProfilePackage
from microipa.smdpp.store import Order as SmdppOrder
from microipa.smdpp.store import Store as SmdppStore
from microipa.storage.unit_of_work import table_of
from microipa.trace import Event
from microipa.trace.timeline import Timeline
from rich.table import Table
from sqlalchemy import select
from typer.main import get_command

HOSTILE = [
    "[/x]", "[bold]", "[link=https://evil.example]x[/link]", "[/]", "\\[red]", ":smile:", "\x1b[2J",
    "\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\", "\x9b31m", "\u202egnp.exe",
    "\u2066x\u2069", "a\nFORGED line", "a\r\nb", "a\rb", "\u2028x", "\x85x", "\x00", "\x08\x08", "\x7f",
    "\u200b\u200d\ufeff", "\U000e0041", "{event.fields}", "%s%n", "<script>alert(1)</script>", "]]>", "&amp;",
    "\t", "'\"", "{}",
]  # fmt: skip
PIECES = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=6), min_size=1, max_size=3)
NAMES = PIECES.map(lambda pieces: f"N{''.join(pieces)}N")
UNICODE = NAMES.map(lambda name: name.encode("utf-8", "replace").decode())  # what a database or a file can hold
HARMLESS = "harmless"


class Said(str):
    """What a command printed, on both ways out."""


def microipa(*words: object) -> Said:
    """Run the command in this process; only its own kinds of end are taken."""
    printed = io.StringIO()
    argv, sys.argv = sys.argv, ["microipa", *map(str, words)]
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            main()
    except SystemExit as left:
        assert left.code in (0, 1, 2), left.code
    finally:
        sys.argv = argv
    return Said(printed.getvalue())


def is_data(say: Callable[[str], str], name: str) -> None:
    """``say`` prints as many lines as for a harmless name, all of them visible, and the whole name in them."""
    usual, said = say(HARMLESS), say(name)
    assert all(character.isprintable() or character == "\n" for character in said)
    assert said.count("\n") == usual.count("\n")
    assert said.count(visible(name)) >= usual.count(HARMLESS) > 0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside") / "lab"
    desk = LabFolder(folder, create=True)
    desk.offer()
    desk.eim.order_package(desk.eid, [("listProfileInfo", {})])
    with Store(folder / "eim.sqlite").work() as db:
        db.add(Alarm(eid=EID, text="", evidence=b""))
    return folder


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which no table wraps."""
    monkeypatch.setattr(out, "width", 4000)


def known(lab: Path, name: str) -> None:
    """All that a device, a card or an SM-DP+ may have told the eIM about itself."""
    with Store(lab / "eim.sqlite").work() as db:
        device = db.get_one(Device, EID)
        texts = dict.fromkeys(("name", "serviceProvider", "nickname"), name)
        device.profiles = [{"iccid": "8999", "state": "enabled", **texts}]
        device.eims, device.default_smdp, device.rplmn, device.state_change = [name, name], name, name, name
        device.label, device.maker, device.trouble, device.trouble_told = name, name, name, 1.0
        device.state_changed = device.profiles_known = 1.0
        (alarm,) = db.all(Alarm, select(table_of(Alarm)))
        (order,) = db.all(Order, select(table_of(Order)).where(Order.kind == "package"))
        alarm.text = order.result = order.summary = name


def offered(lab: Path, name: str) -> None:
    with SmdppStore(lab / "smdpp.sqlite").work() as db:
        order = db.query(SmdppOrder).one()
        order.owner = order.profile_type = order.result = order.smds_address = name


quickly = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("words", [("devices", EID), ("orders",)])
@quickly
@given(name=UNICODE)
def test_what_devices_told_is_data_to_the_eims_verbs(lab: Path, words, name: str) -> None:
    def say(name: str) -> str:
        known(lab, name)
        return microipa(*words, "--lab", lab)

    is_data(say, name)
    for_programs = microipa(words[0], "--json", "--lab", lab)
    assert set(for_programs) <= {"\n", *map(chr, range(0x20, 0x7F))}
    assert name in json.loads(for_programs.splitlines()[-1]).values()


@quickly
@given(name=UNICODE)
def test_what_operators_told_is_data_to_the_smdpps_verbs(lab: Path, name: str) -> None:
    def say(name: str) -> str:
        offered(lab, name)
        return microipa("smdpp", "orders", "--lab", lab)

    is_data(say, name)


VERBS: dict[str, Callable[[Path, str], tuple[object, ...]]] = {
    "battery": lambda lab, name: ("--board=walter", "--cell=19Ah", "--poll=24h", f"--modem={name}"),
    "bill": lambda lab, name: (f"--ts48={name}",),
    "board check": lambda lab, name: (f"--board={name}", "--port=/dev/null"),
    "board restart": lambda lab, name: (f"--board={name}", "--port=/dev/null"),
    "board virtual": lambda lab, name: (lab / "flash", f"--heap={name}"),
    "card apdu": lambda lab, name: ("--lab", lab, "--", name),
    "card shell": lambda lab, name: ("--lab", lab, f"--card={name}"),
    "card serve": lambda lab, name: ("--lab", lab, f"--vpcd={name}"),
    "decode": lambda lab, name: (f"--type={name}", "BF4F03020101"),
    "demo": lambda lab, name: ("--lab", lab, f"--scenario={name}"),
    "devices": lambda lab, name: ("--lab", lab, "--", name),
    "eim add-devices": lambda lab, name: (f"--config={name}", "--", name),
    "eim serve": lambda lab, name: (f"--config={name}",),
    "enrol": lambda lab, name: ("--lab", lab, "--", name),
    "field": lambda lab, name: ("--lab", lab / "field", f"--quirk={name}"),
    "flash": lambda lab, name: (f"--board={name}", "--port=/dev/null"),
    "hil report": lambda lab, name: ("--", name),
    "lab up": lambda lab, name: ("--lab", lab, f"--radio={name}"),
    "modem record": lambda lab, name: (f"--modem={name}", lab / "x.at"),
    "new product": lambda lab, name: (lab / "product", f"--board={name}"),
    "order cancel": lambda lab, name: ("1", f"--lab={name}"),
    "order data": lambda lab, name: ("--lab", lab, "--", name),
    "order default-dp": lambda lab, name: ("--lab", lab, "--", name),
    "order delete": lambda lab, name: ("--lab", lab, "--", name),
    "order disable": lambda lab, name: ("--lab", lab, "--", name),
    "order download": lambda lab, name: ("--lab", lab, f"--activation-code={name}"),
    "order eim add": lambda lab, name: ("--lab", lab, "--", name),
    "order eim configuration": lambda lab, name: ("--lab", lab, f"--trust={name}", lab / "eim.der"),
    "order eim delete": lambda lab, name: ("--lab", lab, "--", name),
    "order eim list": lambda lab, name: ("--lab", lab, f"--eid={name}"),
    "order eim update": lambda lab, name: ("--lab", lab, f"--fqdn={name}", "--", name),
    "order enable": lambda lab, name: ("--lab", lab, "--", name),
    "order fallback set": lambda lab, name: ("--lab", lab, "--", name),
    "order fallback unset": lambda lab, name: ("--lab", lab, f"--expires={name}"),
    "order immediate-enable": lambda lab, name: ("on", f"--smdp-address={name}", "--lab", lab),
    "order list": lambda lab, name: ("--lab", lab, f"--class={name}"),
    "order package": lambda lab, name: ("--lab", lab, "--", name),
    "order rat": lambda lab, name: ("--lab", lab, f"--expires={name}"),
    "orders": lambda lab, name: ("--lab", lab, f"--eid={name}"),
    "pki": lambda lab, name: ("--lab", lab / "no" / name),
    "profile build": lambda lab, name: (f"--file={name}", lab / "x.der"),
    "profile check": lambda lab, name: ("--", name),
    "profile show": lambda lab, name: ("--", name),
    "smdpp cancel": lambda lab, name: ("--lab", lab, "--", name),
    "smdpp order": lambda lab, name: ("--lab", lab, f"--matching-id={name}"),
    "smdpp orders": lambda lab, name: (f"--lab={name}",),
    "smdpp stock": lambda lab, name: ("--lab", lab, "--", name),
    "trace": lambda lab, name: ("--", name),
}
TAKE_NO_TEXT = {"board list", "lab quirks"}


def test_all_verbs_are_tried_with_hostile_text() -> None:
    def verbs(command: Any, name: str) -> Iterator[str]:
        if not hasattr(command, "commands"):
            yield name.strip()
        for word, inner in getattr(command, "commands", {}).items():
            yield from verbs(inner, f"{name} {word}")

    assert set(VERBS) | TAKE_NO_TEXT == set(verbs(get_command(app), ""))


@pytest.mark.parametrize("verb", VERBS)
@settings(quickly, max_examples=3)
@given(name=UNICODE.filter(lambda name: "\0" not in name and "/" not in name and name.strip(".- ")))
def test_an_argument_stays_one_line_whatever_becomes_of_it(lab: Path, verb: str, name: str) -> None:
    said = microipa(*verb.split(), *VERBS[verb](lab, name[:40]))
    assert all(character.isprintable() or character == "\n" for character in said)
    assert "\nFORGED" not in said


FIELDS = ("text", "state", "summary", "result", "address", "function", "outcome", "event", "imsi", "operator", "cause")
KINDS = ("step", "log", "program", "network", "esipa", "es9", "es2plus", "es12", "order", "alarm", "at", "x")


@settings(quickly, max_examples=25)
@given(kind=st.sampled_from(KINDS), name=NAMES)
def test_a_trace_is_one_line_an_event_whatever_parts_have_said(tmp_path: Path, kind: str, name: str) -> None:
    file = tmp_path / "trace.jsonl"

    def say(name: str) -> str:
        fields = dict.fromkeys(FIELDS, name) | {"direction": "in", "message": "bf4f03020101", "exit_code": name}
        fields |= {"order": 7, "data": ""}
        events = [Event(1.0, part, kind, fields) for part in ("eim", name)]
        file.write_text("".join(event.to_json() + "\n" for event in events))
        live = Terminal(file=io.StringIO())
        for event in events:
            Timeline(live)(event)
        return microipa("trace", file) + live.file.getvalue()

    is_data(say, name)
    for row in microipa("trace", "--json", file).splitlines():
        assert json.loads(row)["kind"] == kind


OTHER_FIELDS = ("direction", "message", "command", "response", "data", "order", "eid", "bytes", "lost", "began")
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | NAMES, st.lists, max_leaves=3)


@settings(quickly, max_examples=25)
@example(part="eim", kind="order", fields={"state": "done", "order": "x", "eid": "x"})
@example(part="radio", kind="datagram", fields={"bytes": "x"})
@example(part="radio", kind="datagram", fields={"flow": "tcp 192.0.2.1:1 192.0.2.2:2", "seq": "x", "ack": None})
@example(part="radio", kind="datagram", fields={"payload": "x"})
@example(part="radio", kind="datagram", fields={"payload": "00" * 65_530})
@example(part="radio", kind="datagram", fields={"flow": f"udp {'x' * 70_000}:{'9' * 5000} y:1", "payload": "00"})
@given(part=st.sampled_from(["eim", "x"]), kind=st.sampled_from([*KINDS, "apdu", "es10", "datagram", "power", "es11"]),
       fields=st.dictionaries(st.sampled_from([*FIELDS, *OTHER_FIELDS]), JSON))
def test_an_event_that_lacks_what_its_kind_has_is_shown_or_refused_by_name(
    tmp_path: Path, part: str, kind: str, fields: dict[str, Any]
) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(Event(1.0, part, kind, fields).to_json())
    for form in ((), ("--json",), ("--html", tmp_path / "x.html"), ("--pcapng", tmp_path / "x.pcapng")):
        assert microipa("trace", file, *form).count("\n") == 1
    Timeline(Terminal(file=io.StringIO()))(Event(1.0, part, kind, fields))
    a_run = Recorder(tmp_path / "run", RUN)
    a_run.add(Case("test", "", "", "", FAILED), [Event(1.0, part, kind, fields)])
    assert "report.html" in microipa("hil", "report", tmp_path / "run")


@quickly
@given(name=UNICODE)
def test_an_object_is_decoded_line_by_line_whatever_its_texts(name: str) -> None:
    def say(name: str) -> str:
        return microipa("decode", "--type", "EimConfigurationData", tlv(0x30, tlv(0x80, name.encode())).hex())

    is_data(say, name)


@quickly
@given(name=UNICODE.filter(lambda name: 0 < len(name.encode()) <= 60))
def test_a_profile_package_is_shown_line_by_line_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    package = build(new_profile("x"))
    header = ProfilePackage.parse(package).elements[0]
    file = tmp_path / "hostile.der"

    def say(name: str) -> str:
        value = ("header", dict(header.value) | {"profileType": name})
        file.write_bytes(saip.encode("ProfileElement", value) + package[len(header.raw) :])
        return microipa("profile", "show", file) + microipa("profile", "check", file)

    is_data(say, name)


RUN = Run("left", "walter", "", "", "mpy", "gm02s", "", "real", "8904", "", False, "2026-11-25T00:36:22+00:00")


@quickly
@given(name=NAMES)
def test_a_report_holds_text_and_no_elements_of_others(tmp_path: Path, name: str) -> None:
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    recorder = Recorder(tmp_path / "run", RUN)
    recorder.learn(modem_firmware=name, board=name, card_versions={"svn": name})
    recorder.add(Case(f"test[{name}]", name, name, name, FAILED, name), [Event(0.0, name, "log", {"text": name})])
    assert "report.html" in microipa("hil", "report", tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert all(character.isprintable() or character == "\n" for character in page)
    junit = ElementTree.parse(tmp_path / "run" / "junit.xml").getroot()
    assert junit.find(".//testcase").get("name") == visible(f"test[{name}]")
    for text in junit.itertext():
        assert all(character.isprintable() or character == "\n" for character in text)
    assert all(value.isprintable() for one in junit.iter() for value in one.attrib.values())
    assert {one.tag for one in junit.iter()} == {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "system-out"}


@settings(quickly, max_examples=25)
@given(kind=st.sampled_from(KINDS), name=NAMES)
def test_the_page_of_a_trace_holds_text_and_no_elements_of_others(tmp_path: Path, kind: str, name: str) -> None:
    file, html = tmp_path / "trace.jsonl", tmp_path / "trace.html"
    fields = dict.fromkeys(FIELDS, name) | {"direction": "in", "message": "bf4f03020101", "order": 7, "eid": name}
    events = [Event(1.0, part, kind, fields) for part in ("eim", "board", name)]
    file.write_text("".join(event.to_json() + "\n" for event in events))
    assert "written" in microipa("trace", file, "--html", html)
    page = html.read_text(encoding="utf-8")
    assert not re.search(r"<(script|a|b>alert|x)\b|href", page)
    assert all(character.isprintable() or character == "\n" for character in page)
    assert escape(clean(name)) in page


def test_a_board_of_ones_own_is_listed_by_its_files_and_no_markup(tmp_path: Path) -> None:
    folder = tmp_path / "[bold]board"
    folder.mkdir()
    (folder / "board.toml").write_text('title = "\\u001b[2J')
    said = microipa("board", "check", "--board", folder, "--port", "/dev/null")
    assert "[bold]board" in said
    assert "\x1b" not in said


def test_a_session_that_began_beyond_the_calendar_has_no_date(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    events = [Event(1e9, "lab", "session", {"began": "9999-12-31T23:59:59+00:00"}),
              Event(1e9, "card", "apdu", {"command": "00" * 70_000, "response": ""})]  # fmt: skip
    file.write_text("".join(event.to_json() + "\n" for event in events))
    assert "written" in microipa("trace", file, "--pcapng", tmp_path / "x")
    assert "no dates" in microipa("trace", file, "--since", "2026-01-01")


@given(NAMES)
def test_a_string_in_a_table_is_data_too(name: str) -> None:
    terminal = Terminal(file=io.StringIO(), width=4000)
    table = Table(name, title=name)
    table.add_row(name)
    terminal.print(table)
    assert terminal.file.getvalue().count(visible(name)) == 3
    assert all(character.isprintable() or character == "\n" for character in terminal.file.getvalue())


@given(NAMES)
def test_visible_text_is_one_line_and_stays_as_it_is(name: str) -> None:
    shown = visible(name)
    assert shown.isprintable()
    assert visible(shown) == shown
    assert visible_lines(shown) == shown


def test_a_long_text_is_cut_with_a_note() -> None:
    assert visible("x" * 5, 3) == "xxx… (5 characters)"
    assert visible("\x1b" * 3, 3) == r"\x1b\x1b\x1b"


def test_a_log_record_cannot_forge_another_one() -> None:
    record = logging.LogRecord("peer", logging.WARNING, "", 0, "from %s", ("a\x1b[2J, 1$dp$K2X7-4711",), None)
    assert VisibleFormatter("%(message)s").format(record) == r"from a\x1b[2J, 1$dp$K2X7…"


def test_a_line_end_in_what_a_peer_said_begins_no_line_of_the_log() -> None:
    record = logging.makeLogRecord({"msg": "from %s", "args": ("a\nworker 1 fails\r\n",)})
    assert VisibleFormatter("%(message)s").format(record) == r"from a\nworker 1 fails\r\n"


def test_a_refusal_of_a_board_is_one_line_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def broken() -> None:
        raise CheckFailed("modem: \x1b[2J\nmicroipa: all well")

    monkeypatch.setattr("microipa.cli.main.app", broken)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "microipa: modem: \\x1b[2J\\nmicroipa: all well\n"


def in_encoding(encoding: str, *words: object, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = Path(sys.executable).with_name("microipa")
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    return subprocess.run([command, *words], input=said, env=environment, capture_output=True, timeout=60)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_does_not_have_a_character_shows_its_number(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(Event(1.0, "lab", "step", {"text": "\u26a1 up"}).to_json() + "\n")
    run = in_encoding(encoding, "trace", file)
    assert (run.returncode, run.stderr) == (0, b"")
    assert b"\\u26a1 up" in run.stdout
    run = in_encoding(encoding, "lab", "quirks")
    assert (run.returncode, run.stderr) == (0, b"")


def test_what_is_typed_and_no_text_is_answered(lab: Path) -> None:
    run = in_encoding("utf-8:strict", "card", "shell", "--lab", lab, said=b"\xff\nquit\n")
    assert (run.returncode, run.stderr) == (0, b"")
    assert b"no verb '\\\\xff'" in run.stdout


def test_the_command_takes_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("microipa")
    run = subprocess.run([command, "trace", b"\xff\x1b.jsonl"], capture_output=True, cwd=tmp_path, timeout=60)
    assert run.stderr == b"microipa: cannot read \\udcff\\x1b.jsonl: No such file or directory\n"


@pytest.mark.parametrize(
    "code", ["1$dp.example$", "LPA:1$dp.example$", "lpa:1$dp.example:8443$", "2$dp.example$", "1$$"])
def test_an_activation_code_is_shown_by_its_beginning_also_a_wrong_one(code: str) -> None:
    terminal = Terminal(file=io.StringIO(), width=4000)
    terminal.print(f"{code}SECRETSECRET is here")
    assert terminal.file.getvalue() == f"{code}SECR… is here\n"


@pytest.mark.parametrize("code", ["2$dp.example$SECRETSECRET", "1$$SECRETSECRET"])
def test_a_wrong_activation_code_is_not_repeated_whole(lab: Path, code: str) -> None:
    said = microipa("order", "download", "--lab", lab, f"--activation-code={code}")
    assert "is not an activation code" in said
    assert "SECRETS" not in said
