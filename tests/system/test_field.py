"""`make field`: which cells there are, and that a cell tells the truth (issue: a device that heals itself)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from microipa.field import cell, run
from microipa.field.trial import DRIVERS, TRIALS, trial
from microipa.modem import UnknownFamily
from microipa.quirks import QUIRKS, UnknownQuirk


def test_every_quirk_is_tried_on_every_driver_where_modem_or_network_have_a_part_in_it() -> None:
    cells = run.cells([], [])
    for name, quirk in QUIRKS.items():
        tried = {family for one, family, _ in cells if one == name}
        if quirk.part == "modem" and not trial(name).families:
            assert tried == {family for family in DRIVERS if quirk.suits(family)}
        assert tried
    assert {family for one, family, _ in cells if one == "none"} == set(DRIVERS)


def test_every_trial_is_of_a_quirk_there_is() -> None:
    assert set(TRIALS) <= set(QUIRKS)


def test_servers_are_tried_with_both_ways_of_downloading() -> None:
    assert run.cells(["smdpp-503-package"], []) == [
        ("smdpp-503-package", "bg95", ""), ("smdpp-503-package", "bg95", "direct")]


def test_one_cell_may_be_chosen_with_another_number() -> None:
    assert run.cells(["sim-busy-after-cfun:7"], ["nrf91"]) == [("sim-busy-after-cfun:7", "nrf91", "")]


def test_what_cannot_be_tried_is_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownQuirk):
        run.cells(["sulks"], [])
    with pytest.raises(UnknownFamily):
        run.cells([], ["hayes"])
    with pytest.raises(run.NothingToTry, match="cgreg-only makes no sense for nrf91"):
        run.cells(["cgreg-only"], ["nrf91"])


def test_a_device_without_quirks_is_done_with_two_attaches(tmp_path: Path) -> None:
    tried = cell.run(tmp_path / "lab", "none", "bg95", "")
    assert tried.is_good, tried.reason
    assert (tried.done, tried.attaches, tried.failed_polls, tried.boots) == (2, 2, 0, 1)
    assert tried.commands > 50


def test_a_device_that_cannot_come_through_is_red_and_says_why(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A modem that never takes AT+CFUN=1 and boots without radio: nobody comes through that."""
    from rich.console import Console

    tried = cell.Cell("refuses-cfun", "bg95", done=0, seconds=60.0, reason="not done in time; last: E agent: no")
    monkeypatch.setattr(run, "_results", lambda *_: iter([tried]))
    assert run.run(tmp_path, ["refuses-cfun"], ["bg95"], 1, Console()) == 1
    [line] = (tmp_path / "field.jsonl").read_text().splitlines()
    assert json.loads(line)["good"] is False
    said = capsys.readouterr().out
    assert "RED" in said
    assert "0 of 2" in said
    assert "0 of 1 cells are good" in said
    assert run.run(tmp_path, ["refuses-cfun"], ["bg95"], 1, Console(), as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["reason"] == tried.reason


@pytest.mark.parametrize("quirk", [
    "eim-busy",  # an eIM that answers is no reason to switch the radio
    "no-le",  # the result of an installation too is kept by such a card until it is asked for
    "no-release-assistance",
    "card-off-in-psm",
    "release-assistance-ignored",
    "keeps-datagrams",
])
async def test_a_device_comes_through(quirk: str, tmp_path: Path) -> None:
    tried = await asyncio.to_thread(cell.run, tmp_path / "lab", quirk, "bg95", "")
    assert tried.is_good, tried.reason
