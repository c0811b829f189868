"""How many years a cell lasts, where its charge goes, and what one more setting would gain."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from microipa.common.errors import MicroipaError
from microipa.energy.model import Device, Joules, Part, Settings, Spent, Traffic, asleep, connection, update

YEAR_S = 365.25 * 86400
TODAY = Settings(sleep="none", between="drx", rai=False)
"""The firmware as it is: nothing sleeps, the modem stays registered, the network ends each connection."""
TODAY_PSM = Settings(sleep="none", between="psm", rai=False, reattaches=True)
"""The firmware as it is with ``psm_periodic_s``: every poll attaches anew."""
COLD_APDUS = 36  # of an idle poll after an attach, counted 29 November 2026


class TooBusy(MicroipaError):
    """What is planned takes more time than there is."""

    exit_status = 2


class TakesNothing(MicroipaError):
    """By the figures given, nothing ever takes charge."""

    exit_status = 2


@dataclass(frozen=True)
class Work:
    """Traffic of the things a device does, as `microipa bill` measures it."""

    poll: Traffic
    package: Traffic
    download: Traffic


@dataclass(frozen=True)
class Cell:
    """A primary cell or several."""

    ampere_hours: float
    volts: float

    @property
    def joules(self) -> float:
        return self.ampere_hours * 3600 * self.volts


@dataclass(frozen=True)
class Plan:
    """What the device is to do: seconds between polls, downloads and switches of profile a year."""

    poll_s: float
    downloads: float = 0.0
    switches: float = 0.0


@dataclass(frozen=True)
class Life:
    """How long it lasts, and the joules of one year by part, taken from the cell."""

    years: float
    year: Joules

    @property
    def average_w(self) -> float:
        return sum(self.year.values()) / YEAR_S


def poll(device: Device, settings: Settings, work: Work) -> Spent:
    """A poll with nothing to do, handshake included."""
    traffic = replace(work.poll, apdus=COLD_APDUS) if settings.reattaches else work.poll
    return connection(device, settings, traffic)


def download(device: Device, settings: Settings, work: Work) -> Spent:
    """A poll that finds a profile to download."""
    return connection(device, settings, work.poll + work.download)


def switch(device: Device, settings: Settings, work: Work) -> Iterator[Spent]:
    """A poll that finds a profile to enable, and the attach with that profile and its result."""
    yield connection(device, settings, work.poll + work.package)
    yield connection(device, settings, work.poll + work.package, attach=True)


def life(device: Device, settings: Settings, work: Work, plan: Plan, cell: Cell) -> Life:
    """How long a cell lasts. The self-discharge takes the same part of the full cell each year.

    Raises TooBusy and TakesNothing.
    """
    polls = YEAR_S / plan.poll_s
    idle = poll(device, settings, work)
    period_s = device.network["psm_update_s" if settings.between == "psm" else "update_s"]
    updates = max(0, math.ceil(plan.poll_s / period_s) - 1)
    events = [(idle, polls), (update(device, settings), polls * updates),
              (download(device, settings, work), plan.downloads)]
    events += [(spent, plan.switches) for spent in switch(device, settings, work)]
    year: Joules = defaultdict(float)
    for spent, times in events:
        for part, joules in spent.joules.items():
            year[part] += times * joules
    modem_s = YEAR_S - sum(times * spent.modem_s for spent, times in events)
    chip_s = YEAR_S - sum(times * spent.seconds[Part.AWAKE] for spent, times in events)
    if min(modem_s, chip_s) < 0:
        raise TooBusy(f"a poll each {plan.poll_s:g} s and what else is planned takes longer than there is time: "
                      f"a poll keeps the modem busy for {idle.modem_s:.0f} s, so poll or download less often")
    for part, joules in asleep(device, settings, modem_s, chip_s).items():
        year[part] += joules
    return _from_cell(device, year, cell)


def _from_cell(device: Device, year: Joules, cell: Cell) -> Life:
    rest = device.rest
    used = sum(year.values())
    year[Part.SUPPLY] = used * (1 / rest["efficiency"] - 1) + rest["quiescent_ma"] / 1000 * cell.volts * YEAR_S
    year[Part.SELF_DISCHARGE] = cell.joules * rest["self_discharge"]
    if not sum(year.values()):
        raise TakesNothing("every figure is 0, so that the cell lasts for ever: give figures that were measured")
    return Life(cell.joules / sum(year.values()), year)


def changes(settings: Settings, plan: Plan) -> Iterator[tuple[str, Settings, Plan]]:
    """Each setting that could be better by one step, in words, and settings and plan with it."""
    if settings.sleep != "deep":
        yield "deep sleep", replace(settings, sleep="deep"), plan
    if settings.between != "psm":
        yield "PSM", replace(settings, between="psm"), plan
    if settings.reattaches:
        yield "registration kept over PSM", replace(settings, reattaches=False), plan
    if not settings.rai:
        yield "release assistance (RAI)", replace(settings, rai=True), plan
    yield "twice the interval", settings, replace(plan, poll_s=2 * plan.poll_s)
