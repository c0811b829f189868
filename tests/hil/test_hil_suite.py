"""`pytest --pyargs microipa.hil`: a few cases on the virtual board, and what is said of wrong options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from microipa.hil.record import load
from microipa.session import read


def hil(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--pyargs", "microipa.hil", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_a_board_is_flashed_tried_and_kept_on_record(tmp_path: Path) -> None:
    done = hil(tmp_path, "--run=run", "-k", "joins_and_leaves or downloaded_and_everyone")
    assert done.returncode == 0, done.stdout
    run, cases = load(tmp_path / "run" / "virtual")
    assert (run.modem, run.heap, run.tether) == ("bg95", "96wK", False)
    assert run.firmware.startswith("ipa-")
    assert run.card_versions
    assert [case.outcome for case in cases] == ["passed", "passed", "skipped"]
    assert "heap for direct downloads" in cases[2].reason
    download = cases[1]
    assert download.bill.datagrams_up > 5
    assert download.bill.apdus > 50
    assert 50_000 < download.bill.heap_peak < 96 * 1024 * 2
    events = read((tmp_path / "run" / "virtual" / download.events).read_text(), "")
    assert {"log", "at", "apdu", "esipa"} <= {event.kind for event in events}


@pytest.mark.parametrize(("options", "words"), [
    (["--bench", "none.toml"], "cannot read none.toml"),
    (["--board", "walter", "--port", "/dev/none", "--eim-url", "coaps://eim.example"], "there is no port /dev/none"),
])  # fmt: skip
def test_a_wrong_option_is_told_in_one_sentence(tmp_path: Path, options: list[str], words: str) -> None:
    done = hil(tmp_path, *options)
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if words in line]
    assert said, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
