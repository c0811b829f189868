"""`pytest --pyargs microipa.hil`: a few cases on the virtual board, and what is said of wrong options."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from microipa.hil.record import Recorder, Run, load
from microipa.trace.reading import read


def left_by_an_earlier_session(folder: Path) -> None:
    run = Run("old", "walter", "", "", "mpy", "gm02s", "", "real", "", "", False, "2026", session="yesterday")
    Recorder(folder / "old", run)


def hil(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--pyargs", "microipa.hil", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_a_board_is_flashed_tried_kept_on_record_and_reported(tmp_path: Path) -> None:
    left_by_an_earlier_session(tmp_path / "run")
    done = hil(tmp_path, "--run=run", "--form=romfs", "--quirk=ccho-bare", "-k",
               "joins_and_leaves or downloaded_and_everyone")
    assert done.returncode == 0, done.stdout
    assert f"report: {Path('run/report.html')}, {Path('run/junit.xml')}" in done.stdout
    page = (tmp_path / "run" / "report.html").read_text()
    assert "An eIM joins and leaves again" in page
    assert "MPY: soft reboot" not in page
    assert "walter" not in page
    run, cases = load(tmp_path / "run" / "virtual")
    assert (run.modem, run.heap, run.form, run.tether) == ("bg95", "192K", "romfs", False)
    assert run.firmware.startswith("ipa-")
    assert run.card_versions
    assert [case.outcome for case in cases] == ["passed"] * 3
    download = cases[1]
    assert download.bill.datagrams_up > 5
    assert download.bill.apdus > 50
    assert 50_000 < download.bill.heap_peak < 96 * 1024 * 2
    events = read((tmp_path / "run" / "virtual" / download.events).read_text(), "")
    assert {"log", "at", "apdu", "esipa"} <= {event.kind for event in events}
    assert not any("+CCHO: " in event.fields.get("text", "") for event in events)


DEEP = """
[deep]
form = "romfs"
settings = { sleep = "deep", psm_periodic_s = 345600 }
"""


def test_a_board_that_sleeps_deep_is_woken_for_each_case_out_of_psm(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(DEEP)
    done = hil(tmp_path, "--bench", "bench.toml", "-k", "joins_and_leaves or again_and_again or card_is_and_what")
    assert done.returncode == 0, done.stdout
    folder = tmp_path / "hil-run" / "deep"
    _, cases = load(folder)
    first, *later = [read((folder / case.events).read_text(), "") for case in cases]
    assert len(later) == 2
    for events in later:
        kinds = [(event.kind, event.fields.get("state")) for event in events if event.kind == "rrc"]
        assert kinds[0] == ("rrc", "idle")  # out of PSM
        assert any("sleep: deep, for" in event.fields["text"] for event in events if event.kind == "log")
    assert not [event for events in later for event in events if event.kind == "network"]
    assert first


def test_workers_share_a_report_and_what_ran_earlier_is_not_in_it(tmp_path: Path) -> None:
    left_by_an_earlier_session(tmp_path / "hil-run")
    place = '[{}]\nboard = "walter"\nport = "/dev/none{}"\neim_url = "coaps://eim.example"\neim_port = {}\n'
    (tmp_path / "bench.toml").write_text(place.format("left", 1, 5684) + place.format("right", 2, 5685))
    needy = "without_coverage"  # there is no coverage to control: skipped before a port is opened
    done = hil(tmp_path, "-n", "2", "--dist", "loadgroup", "--bench", "bench.toml", "-k", needy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report: hil-run/report.html" in done.stdout
    suites = ElementTree.parse(tmp_path / "hil-run" / "junit.xml").getroot()
    assert [suite.get("hostname") for suite in suites] == ["left", "right"]
    assert ["the bench has no" in str(one.get("message")) for one in suites.iter("skipped")] == [True, True]


def test_a_session_without_a_board_writes_no_report(tmp_path: Path) -> None:
    left_by_an_earlier_session(tmp_path / "hil-run")
    done = hil(tmp_path, "-k", "no_such_case")
    assert "report:" not in done.stdout
    assert not (tmp_path / "hil-run" / "report.html").exists()


@pytest.mark.parametrize(("options", "words"), [
    (["--bench", "none.toml"], "cannot read none.toml"),
    (["--quirk", "sulks"], "there is no quirk 'sulks'"),
    (["--board", "walter", "--port", "/dev/none", "--eim-url", "coaps://eim.example"], "there is no port /dev/none"),
])  # fmt: skip
def test_a_wrong_option_is_told_in_one_sentence(tmp_path: Path, options: list[str], words: str) -> None:
    done = hil(tmp_path, *options)
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if words in line]
    assert said, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


WAITS = """
import os, pathlib, time

def test_that_does_not_end(station):
    boards = " ".join(one.read_text() for one in pathlib.Path("/proc/self/task").glob("*/children"))
    pathlib.Path("boards.new").write_text(boards)
    os.rename("boards.new", "boards")
    time.sleep(60)
"""


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="/proc tells the children")
def test_a_run_that_is_ended_by_sigterm_leaves_no_board(tmp_path: Path) -> None:
    (tmp_path / "test_waits.py").write_text(WAITS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--run=run", "test_waits.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as running:
        while not (tmp_path / "boards").exists():
            assert running.poll() is None
            time.sleep(0.05)
        boards = (tmp_path / "boards").read_text().split()
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == pytest.ExitCode.INTERRUPTED
    assert boards
    try:
        assert not [board for board in boards if Path(f"/proc/{board}").exists()]
    finally:
        for board in boards:
            if Path(f"/proc/{board}").exists():
                os.kill(int(board), signal.SIGKILL)


OWN = '''
import pytest

def helper():
    raise ValueError("odd")

@pytest.fixture
def broken(station):
    raise ValueError("not ready")

def test_fails(station):
    helper()

def test_is_not_ready(station, broken):
    pass
'''


def test_a_case_of_ones_own_tells_the_line_at_which_it_fails_and_an_error_before_it(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(OWN)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_own.py", "--run=run"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    run, (failed, error) = load(tmp_path / "run" / "virtual")
    assert len(run.build) == 8
    assert (failed.outcome, failed.where) == ("failed", "test_own.py:12, raised at test_own.py:5")
    assert (error.outcome, error.where, error.reason) == ("error", "test_own.py:9", "ValueError: not ready")
    [mark] = [event for event in read((tmp_path / "run" / "virtual" / failed.events).read_text(), "")
              if event.kind == "failed"]  # fmt: skip
    assert mark.fields["text"] == "test_own.py:12, raised at test_own.py:5: ValueError: odd"
