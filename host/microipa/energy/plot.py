"""One day's current as a picture: the day, and below it one poll, both on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from microipa.energy import battery
from microipa.energy.battery import Cell, Plan, Work
from microipa.energy.model import MODEM, Device, Part, Settings, Spent, asleep

DAY_S = 86400
Step = tuple[float, float]
"""From when in seconds, and amperes of the cell."""

_WIDTH, _HEIGHT, _LEFT, _TOP = 800, 200, 80, 40  # of one panel, and its margins
_LOWEST, _HIGHEST = -6, 0  # decades of amperes: 1 µA to 1 A
_DECADES = ("1 µA", "10 µA", "100 µA", "1 mA", "10 mA", "100 mA", "1 A")


def day(device: Device, settings: Settings, work: Work, plan: Plan, cell: Cell) -> str:
    """An SVG of a day with polls that find nothing to do; the states of a poll one after the other."""
    whole = current(device, settings, work, plan, cell)
    spent = battery.poll(device, settings, work)
    one_s = min(plan.poll_s, 1.5 * max(spent.modem_s, spent.seconds[Part.AWAKE]))
    title = f"{device.chip.title} and {device.modem.title}, {device.network.title}: model, not measured"
    panels = (_panel(whole, DAY_S, "one day", [(hour * 3600, f"{hour} h") for hour in range(0, 25, 4)], 0),
              _panel([step for step in whole if step[0] < one_s], one_s, "one poll", _seconds(one_s), 1))
    height = 2 * (_HEIGHT + _TOP) + _TOP
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{_LEFT}" y="16">{escape(title)}</text>',
        *panels, "</svg>", ""])


def current(device: Device, settings: Settings, work: Work, plan: Plan, cell: Cell) -> list[Step]:
    """The steps of one day that begins with a poll, without card, registration updates and self-discharge."""
    amperes = 1 / (cell.volts * device.rest["efficiency"])
    leaks = device.rest["quiescent_ma"] / 1000
    poll = [(at, watts * amperes + leaks)
            for at, watts in _poll(device, settings, battery.poll(device, settings, work))]
    polls = (number * plan.poll_s for number in range(math.ceil(DAY_S / plan.poll_s)))
    return [(start + at, ampere) for start in polls for at, ampere in poll if start + at < DAY_S]


def _poll(device: Device, settings: Settings, spent: Spent) -> list[Step]:
    """Watts of one poll, from its begin until everything sleeps. The microcontroller wakes first."""
    modem_w = sum(asleep(device, settings, 1, 0).values())
    chip_w = device.chip.watts("awake" if settings.sleep == "none" else settings.sleep)
    extra_w = device.chip.watts("awake") - chip_w
    changes = [(0.0, extra_w), (spent.seconds[Part.AWAKE], -extra_w)]
    at = device.chip["boot_s"] if settings.sleep == "deep" else 0
    for part in MODEM:
        if seconds := spent.seconds[part]:
            watts = spent.joules[part] / seconds - modem_w
            changes += [(at, watts), (at + seconds, -watts)]
            at += seconds
    steps, total = [], modem_w + chip_w
    for moment in sorted({moment for moment, _ in changes}):
        total += sum(change for when, change in changes if when == moment)
        steps.append((moment, total))
    return steps


def _seconds(whole: float) -> list[tuple[float, str]]:
    step = next(step for step in (1, 2, 5, 10, 20, 60, 600, 3600) if whole / step <= 12)
    return [(second, f"{second} s") for second in range(0, int(whole) + 1, step)]


def _panel(steps: Sequence[Step], whole_s: float, title: str, ticks: Iterable[tuple[float, str]], place: int) -> str:
    top = _TOP + place * (_HEIGHT + _TOP)
    bottom = top + _HEIGHT

    def x(second: float) -> float:
        return _LEFT + _WIDTH * second / whole_s

    def y(current: float) -> float:
        decade = min(max(math.log10(max(current, 1e-12)), _LOWEST), _HIGHEST)
        return bottom - _HEIGHT * (decade - _LOWEST) / (_HIGHEST - _LOWEST)

    drawn = [f'<text x="{_LEFT}" y="{top - 6}">{title}</text>']
    for decade, words in enumerate(_DECADES, _LOWEST):
        line = y(10.0**decade)
        drawn.append(f'<path d="M{_LEFT} {line:.1f}h{_WIDTH}" stroke="#ccc"/>'
                     f'<text x="{_LEFT - 6}" y="{line + 4:.1f}" text-anchor="end">{words}</text>')
    drawn += [f'<text x="{x(at):.1f}" y="{bottom + 16}" text-anchor="middle">{words}</text>' for at, words in ticks]
    path = f"M{x(0):.1f} {bottom}" + "".join(
        f"H{x(at):.1f}V{y(current):.1f}" for at, current in steps) + f"H{x(whole_s):.1f}"
    return "\n".join([*drawn, f'<path d="{path}" fill="none" stroke="#06c"/>'])
