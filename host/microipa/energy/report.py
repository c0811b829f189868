"""What `microipa battery` prints: years, where the charge goes, what one setting more would bring, and today."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from microipa.common.console import Terminal
from microipa.energy import battery, plot
from microipa.energy.battery import TODAY, TODAY_PSM, Cell, Life, Plan, TooBusy, Work
from microipa.energy.figures import Figures
from microipa.energy.model import Device, Joules, Part, Settings

FORECAST = (
    "What is said of sleep of the microcontroller, of a registration kept over PSM and of release assistance is a "
    "forecast of the model. Nothing here was measured on hardware by this project."
)
_SLEEPS = {"none": "awake", "light": "light sleep", "deep": "deep sleep"}
_BETWEEN = {"psm": "PSM", "edrx": "eDRX of 81.92 s", "drx": "DRX"}


Compared = tuple[str, Life | None]
"""Other settings in words, and how long the cell would last; None where that leaves no time between polls."""


@dataclass(frozen=True)
class Forecast:
    """All that is calculated from."""

    device: Device
    settings: Settings
    work: Work
    plan: Plan
    cell: Cell

    def life(self) -> Life:
        """As it is set. Raises TooBusy and TakesNothing."""
        return battery.life(self.device, self.settings, self.work, self.plan, self.cell)

    def today(self) -> Iterator[Compared]:
        """The firmware as it is."""
        yield self._with("today: nothing sleeps, modem in DRX", TODAY)
        yield self._with("today with psm_periodic_s: attaches for each poll", TODAY_PSM)

    def changes(self) -> Iterator[Compared]:
        """Each setting that could be better, alone."""
        for what, settings, plan in battery.changes(self.settings, self.plan):
            yield self._with(what, settings, plan)

    def ladder(self) -> Iterator[Compared]:
        """From today to everything, one after the other."""
        settings = replace(TODAY, sleep="deep")
        yield self._with("deep sleep, modem in DRX", settings)
        settings = replace(settings, between="psm")
        yield self._with("deep sleep and PSM, registration kept", settings)
        yield self._with("deep sleep, PSM and release assistance", replace(settings, rai=True))

    def _with(self, what: str, settings: Settings, plan: Plan | None = None) -> Compared:
        try:
            return what, battery.life(self.device, settings, self.work, plan or self.plan, self.cell)
        except TooBusy:
            return what, None

    def picture(self) -> str:
        """One day's current as SVG."""
        return plot.day(self.device, self.settings, self.work, self.plan, self.cell)

    def parts(self) -> list[Figures]:
        device = self.device
        return [device.modem, device.chip, device.network, device.rest]


def words(forecast: Forecast, console: Terminal) -> None:
    """Print it for people."""
    device, settings, life = forecast.device, forecast.settings, forecast.life()
    rai = "with" if settings.rai else "without"
    console.print(f"{device.chip.title} ({_SLEEPS[settings.sleep]}), {device.modem.title} "
                  f"({_BETWEEN[settings.between]}, {rai} release assistance), {device.network.title}")
    console.print(f"{years(life.years)} on {forecast.cell.ampere_hours:g} Ah at {forecast.cell.volts:g} V"
                  f"{'; its age ends a cell before that' if life.years > 20 else ''}")
    idle = battery.poll(device, settings, forecast.work)
    load = battery.download(device, settings, forecast.work)
    console.print(f"idle poll: {idle.modem_j:.2f} J modem, {idle.joules[Part.AWAKE]:.2f} J microcontroller; "
                  f"poll with download: {load.total_j:.2f} J in all")
    console.print(_parts(life))
    console.print(_lives("one setting more", [("as it is", life), *forecast.changes()]))
    console.print(_lives("from the firmware of today", [*forecast.today(), *forecast.ladder()]))
    every = [(part, key) for part in forecast.parts() for key in part]
    assumed = [f"{part.kind} {key}" for part, key in every if part.sources[key].assumed]
    console.print(f"{len(assumed)} of {len(every)} figures are assumed, not of this part's data sheet or measured: "
                  f"{', '.join(assumed)}. All sources: --json; your own measurements: --figures.")
    console.print(FORECAST)


def for_programs(forecast: Forecast) -> dict[str, Any]:
    """The same as JSON: years, joules a year by part, and every figure with its source."""
    life = forecast.life()
    return {
        "years": life.years,
        "joules_a_year": _joules(life.year),
        "poll_joules": _joules(battery.poll(forecast.device, forecast.settings, forecast.work).joules),
        "download_joules": _joules(battery.download(forecast.device, forecast.settings, forecast.work).joules),
        "one_setting_more": _years(forecast.changes()),
        "from_today": _years([*forecast.today(), *forecast.ladder()]),
        "figures": {
            part.kind: {
                "title": part.title,
                **{key: {"value": figure.value, "source": figure.source} for key, figure in part.sources.items()},
            }
            for part in forecast.parts()
        },
        "note": FORECAST,
    }


def _years(lives: Iterable[Compared]) -> dict[str, float | None]:
    return {what: life.years if life else None for what, life in lives}


def _joules(parts: Joules) -> dict[str, float]:
    return {part.value: joules for part, joules in parts.items() if joules}


def years(number: float) -> str:
    """In the unit that fits."""
    if number >= 1:
        return f"{number:.1f} years"
    return f"{number * 365.25 / 7:.1f} weeks" if number * 365.25 >= 14 else f"{number * 365.25:.1f} days"


def _parts(life: Life) -> Table:
    table = Table("where the charge goes", "J a day", "share", box=SIMPLE)
    table.columns[1].justify = table.columns[2].justify = "right"
    total = sum(life.year.values())
    for part, joules in sorted(life.year.items(), key=lambda item: -item[1]):
        if joules:
            table.add_row(part.value, f"{joules / 365.25:.3f}", f"{100 * joules / total:.1f} %")
    return table


def _lives(title: str, lives: Iterable[Compared]) -> Table:
    table = Table(title, "lasts", "average", box=SIMPLE)
    table.columns[1].justify = table.columns[2].justify = "right"
    for what, life in lives:
        if life:
            table.add_row(what, years(life.years), f"{life.average_w * 1e6:,.0f} µW")
        else:
            table.add_row(what, "polls too often", "")
    return table
