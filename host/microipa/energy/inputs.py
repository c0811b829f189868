"""What people give `microipa battery`: cells, intervals, how often, and the files of a bill."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from microipa.board.known import UnknownBoard, find_board
from microipa.common.console import BadInput, read
from microipa.energy.battery import Cell, Work
from microipa.energy.figures import FOLDER, chip_of, load, own_figures
from microipa.energy.model import Device, Traffic

CELL_VOLTS = 3.6  # of a lithium thionyl chloride cell, where --cell names none
_NUMBER = r"([0-9]{1,7}(?:\.[0-9]{1,6})?)"
_AMPERE_HOURS = {"Ah": 1.0, "mAh": 0.001}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_A_YEAR = {"year": 1.0, "month": 12.0, "week": 365.25 / 7, "day": 365.25}
_LONGEST_POLL_S = 31536000  # as the firmware's poll_interval_s
_MOST = 10_000_000  # bytes or round trips of one thing on a bill


class BadPlan(BadInput):
    """A cell, an interval or a bill that cannot be calculated with."""

    exit_status = 2


def cell(text: str) -> Cell:
    """19Ah, 3000mAh or 3Ah@3V. Raises BadPlan."""
    found = re.fullmatch(f"{_NUMBER}(m?Ah)(?:@{_NUMBER}V)?", text, re.ASCII)
    if not found:
        raise BadPlan(f"--cell {text[:64]!r} is no cell: give its charge with the unit, 19Ah, 3000mAh or 3Ah@3V")
    ampere_hours = float(found[1]) * _AMPERE_HOURS[found[2]]
    volts = float(found[3]) if found[3] else CELL_VOLTS
    if not ampere_hours or not volts:
        raise BadPlan(f"--cell {text} is an empty cell: give more than 0")
    return Cell(ampere_hours, volts)


def interval(option: str, text: str) -> int:
    """Seconds of 30s, 15m, 24h or 7d, as the firmware allows them. Raises BadPlan."""
    found = re.fullmatch("([0-9]{1,9})([smhd])", text, re.ASCII)
    if not found:
        raise BadPlan(f"{option} {text[:64]!r} is no interval: give 15m, 24h or 7d")
    seconds = int(found[1]) * _SECONDS[found[2]]
    if not 0 < seconds <= _LONGEST_POLL_S:
        raise BadPlan(f"{option} {text} is {seconds} s: give from 1s to 365d")
    return seconds


def times_a_year(option: str, text: str) -> float:
    """1/year, 2/month, 1/week or 1/day; 0/year is never. Raises BadPlan."""
    found = re.fullmatch(f"{_NUMBER}/(year|month|week|day)", text, re.ASCII)
    if not found or float(found[1]) * _A_YEAR[found[2]] > _LONGEST_POLL_S:
        raise BadPlan(f"{option} {text[:64]!r} does not tell how often: give 1/year, 2/month, 1/week or 1/day")
    return float(found[1]) * _A_YEAR[found[2]]


def work(file: Path | None) -> Work:
    """The traffic that `microipa bill` measured; without a file, as on 29 November 2026. Raises BadPlan."""
    file = file or FOLDER / "traffic.json"
    try:
        return work_of(json.loads(read(file)))
    except BadInput as error:
        raise BadPlan(str(error)) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadPlan(f"{file} is not the traffic.json that microipa bill writes") from None


def work_of(given: dict[str, dict[str, int]]) -> Work:
    """What traffic.json holds. Raises ValueError, KeyError and TypeError."""
    return Work(*(_traffic(given[name]) for name in ("poll", "package", "download")))


def _traffic(given: dict[str, Any]) -> Traffic:
    numbers = [given[key] for key in ("up", "down", "trips")]
    # Not in the bills of before 29 November 2026
    numbers += [given.get(key, default) for key, default in (("apdus", 0), ("connections", 1), ("assisted", 1))]
    if not all(type(number) is int and 0 <= number <= _MOST for number in numbers):
        raise ValueError
    return Traffic(*numbers)


def device(board: str, modem: str | None, network: str, own: Path | None) -> Device:
    """The figures of a board and a modem, the board's own without one. Raises BadPlan, BadFigures, BadBoard."""
    try:
        known = find_board(board)
    except UnknownBoard as error:
        raise BadPlan(str(error)) from None
    measured = own_figures(own) if own else {}
    return Device(
        load("modem", modem or known.modem, network, measured),
        load("chip", chip_of(known.build) or known.port, network, measured),
        load("network", network, network, measured),
        load("device", "common", network, measured),
    )
