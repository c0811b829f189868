"""`microipa bill` on the real chain: what each thing costs on the air, against the targets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from microipa.common.console import Terminal
from microipa.energy.inputs import work, work_of
from microipa.energy.targets import verdicts
from microipa.lab.bill import Row, measure, show, traffic


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return asyncio.run(measure(tmp_path_factory.mktemp("bill")))


def test_every_target_of_the_nbiot_preset_is_met(bill: list[Row]) -> None:
    verdicts = {(row.what, words): met for row in bill for words, met in row.verdicts()}
    assert len(verdicts) >= 6
    assert [what for what, met in verdicts.items() if not met] == []


def test_bytes_are_payload_and_headers_and_nothing_else(bill: list[Row]) -> None:
    for row in bill:
        if row.payload.both:
            up, down = row.cost.up, row.cost.down
            assert row.cost.bytes == up.payload_bytes + down.payload_bytes + 28 * row.cost.datagrams
            assert row.payload.both < row.cost.bytes


def test_a_missed_target_is_told_with_its_arithmetic(tmp_path: Path, bill: list[Row]) -> None:
    package = next(row for row in bill if row.what.startswith("one package"))
    missed = Row(package.what, package.cost, package.payload, target=type(package.target)(ratio=1.0))
    assert missed.verdicts() == [("ratio ≤ 1.0", False)]
    assert f"{package.payload.both:,} of ESipa" in missed.arithmetic()
    assert f"{package.cost.datagrams} datagrams × (28 IP and UDP + 37 DTLS)" in missed.arithmetic()


def test_a_battery_is_forecast_from_what_was_measured(bill: list[Row]) -> None:
    measured, shipped = work_of(traffic(bill)), work(None)
    assert measured.poll.up == pytest.approx(shipped.poll.up, rel=0.1)
    assert measured.package.down == pytest.approx(shipped.package.down, rel=0.1)
    assert all(verdict.met for verdict in verdicts("nrf91", measured))


def test_as_json_there_is_one_object_for_each_row_and_each_target(
        tmp_path: Path, bill: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    assert show(bill, tmp_path, Terminal(), as_json=True) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["what"] for row in rows if "what" in row] == [row.what for row in bill]
    assert {row["modem"] for row in rows if "target" in row} == {"nrf91", "bg95"}
