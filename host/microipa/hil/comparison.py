"""What has changed since an earlier run of the same board: outcomes, cases, costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from microipa.hil.markup import element
from microipa.hil.record import Bill, Case, Run
from microipa.hil.story import SIGNS

_NOTABLE = 0.1  # part of a cost by which it has to differ
_COSTS = {"bytes up": "bytes_up", "bytes down": "bytes_down", "APDUs": "apdus", "heap peak": "heap_peak"}


def comparison(earlier: tuple[Run, list[Case]], run: Run, cases: Sequence[Case]) -> Element:
    """A section for the front of the page."""
    then, before = earlier[0], {case.id: case for case in earlier[1]}
    now = {case.id: case for case in cases}
    lines = list(_lines(before, now))
    gone = [case.title for name, case in before.items() if name not in now]
    old, new = (one.build or one.firmware for one in (then, run))
    firmware = "the same firmware" if old == new else f"firmware {old or 'not known'}"
    head = (element("th", name) for name in ("case", "", "then", "now"))
    body = (element("tr", *(element("td", cell) for cell in line)) for line in lines)
    return element(
        "div",
        element("h3", f"Since the run of {then.started.replace('T', ' ').replace('+00:00', ' UTC')}, {firmware}"),
        element("table", element("thead", element("tr", *head)), element("tbody", *body), class_="listing wide")
        if lines else element("p", "No outcome has changed, and no cost by more than a tenth."),
        element("p", f"Not run this time: {'; '.join(gone)}", class_="soft") if gone else None,
    )  # fmt: skip


def _lines(before: dict[str, Case], now: dict[str, Case]) -> Iterator[tuple[str, str, str, str]]:
    for name, case in now.items():
        old = before.get(name)
        if old is None:
            yield case.title, "outcome", "not run", SIGNS.get(case.outcome, case.outcome)
            continue
        if old.outcome != case.outcome:
            then, this = (SIGNS.get(one.outcome, one.outcome) for one in (old, case))
            yield case.title, "outcome", then, this
            continue  # what a case cost that did not get to its end says nothing
        yield from ((case.title, what, then, this) for what, then, this in _costs(old.bill, case.bill))


def _costs(then: Bill, now: Bill) -> Iterator[tuple[str, str, str]]:
    for what, name in _COSTS.items():
        old, new = getattr(then, name), getattr(now, name)
        if abs(new - old) > _NOTABLE * old:
            yield what, f"{old:,}", f"{new:,}"
