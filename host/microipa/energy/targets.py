"""The bill in joules: what the traffic that was just measured takes of a battery, and the targets for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from microipa.energy import battery
from microipa.energy.battery import Cell, Plan, Work
from microipa.energy.figures import load
from microipa.energy.model import Device, Part, Settings, Spent, Traffic, connection

MODEMS, CHIP, NETWORK = ("nrf91", "bg95"), "esp32s3", "nbiot"
EXCHANGE = Traffic(up=228, down=228, trips=1)  # 200 bytes each way with IP and UDP, DTLS kept by its connection ID
_NEAR = 0.25  # of what was published
TWO_AA, D_CELL = Cell(3, 3), Cell(19, 3.6)
_COLUMNS = {
    "attach or wake": (Part.ATTACH, Part.WAKE),
    "exchange": (Part.SENDING, Part.RECEIVING, Part.WAITING),
    "tail": (Part.TAIL,),
    "listening": (Part.LISTENING,),
    "card": (Part.CARD,),
    "microcontroller": (Part.AWAKE,),
}


@dataclass(frozen=True)
class Verdict:
    """A target in words, the forecast for it, and whether that meets it."""

    words: str
    forecast: str
    met: bool


def device(modem: str, network: str = NETWORK, own: Mapping[str, Mapping[str, float]] = {}) -> Device:
    """The targets' board: an ESP32-S3 with that modem."""
    return Device(load("modem", modem, network, own), load("chip", CHIP, network, own),
                  load("network", network, network, own), load("device", "common", network, own))


def checks() -> Iterator[Verdict]:
    """The model against what was measured of an nRF9160 (boaks/zephyr-coaps-client, POWERCONSUMPTION-2022-06.md)."""
    for words, network, extra, rai, measured in (
        ("NB-IoT with RAI", "nbiot", {"connected_drx": 1.0}, True, 0.27),
        ("LTE-M without RAI", "ltem", {}, False, 0.55),
    ):
        nrf9160 = device("nrf91", network, {"network": {"active_s": 8.0, **extra}})
        joules = connection(nrf9160, Settings(rai=rai), EXCHANGE).modem_j
        yield Verdict(f"exchange of an nRF9160 after PSM, {words}: {measured} J ± 25 %", f"{joules:.2f} J",
                      abs(joules - measured) <= _NEAR * measured)


def verdicts(modem: str, work: Work) -> Iterator[Verdict]:
    """What a device is to take and how long it is to last, with everything asleep that can be."""
    board, settings = device(modem), Settings()
    idle, load_j = battery.poll(board, settings, work), battery.download(board, settings, work).total_j
    for who, joules, most in (("modem", idle.modem_j, 1.5), ("microcontroller", idle.joules[Part.AWAKE], 2.5)):
        yield Verdict(f"idle poll, {who} ≤ {most} J", f"{joules:.2f} J", joules <= most)
    yield Verdict("poll with download of TS.48 ≤ 12 J", f"{load_j:.2f} J", load_j <= 12)
    for words, plan, cell, least in (
        ("two AA (3 Ah, 3 V), a poll a day, a download and a switch a year", Plan(86400, 1, 1), TWO_AA, 10),
        ("19 Ah, a poll an hour", Plan(3600), D_CELL, 6),
    ):
        years = battery.life(board, settings, work, plan, cell).years
        yield Verdict(f"{words} ≥ {least} years", f"{years:.1f} years", years >= least)


def joules(work: Work) -> Table:
    """Where the joules of one connection go, for both modems."""
    title = "The bill in joules: forecast with an ESP32-S3, deep sleep, PSM and RAI"
    table = Table("", *_COLUMNS, "sum", title=title, box=SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for modem in MODEMS:
        board, settings = device(modem), Settings()
        for what, spent in (
            ("poll, nothing to do", battery.poll(board, settings, work)),
            ("the same with an attach", battery.poll(board, Settings(reattaches=True), work)),
            ("the same without RAI", battery.poll(board, Settings(rai=False), work)),
            ("poll with download", battery.download(board, settings, work)),
        ):
            table.add_row(f"{modem}: {what}", *_cells(spent), f"{spent.total_j:.2f} J")
    return table


def _cells(spent: Spent) -> Iterator[str]:
    for parts in _COLUMNS.values():
        yield f"{sum(spent.joules[part] for part in parts):.2f} J"


def for_programs(work: Work) -> Iterator[dict[str, Any]]:
    """Every target with each modem as JSON."""
    for modem in MODEMS:
        for one in verdicts(modem, work):
            yield {"target": one.words, "modem": modem, "forecast": one.forecast, "met": one.met}
    for one in checks():
        yield {"check": one.words, "forecast": one.forecast, "met": one.met}


def met_or_not(work: Work) -> Table:
    """Every target with both modems."""
    table = Table("target", *MODEMS, title="Targets for the battery, by the same forecast", box=SIMPLE)
    for row in zip(*(verdicts(modem, work) for modem in MODEMS), strict=True):
        table.add_row(row[0].words, *(one.forecast if one.met else f"{one.forecast}, missed" for one in row))
    return table


def checked() -> Table:
    """Whether the model gives what was measured."""
    table = Table("measured", "model", title="The model against published measurements", box=SIMPLE)
    for one in checks():
        table.add_row(one.words, one.forecast if one.met else f"{one.forecast}, missed")
    return table
