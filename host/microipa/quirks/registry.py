"""What a quirk is, how one is named on a command line, and how it changes the behaviour of a part of the lab."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from microipa.common.errors import MicroipaError

NUMBER = object()
"""Stands for the number of a quirk among the values of ``Quirk.changes``."""
MOST = 1_000_000
PARTS = {
    "modem": "the modem",
    "card": "the card",
    "network": "operators, their cells and the internet behind them",
    "smdpp": "the SM-DP+",
    "eim": "the eIM",
    "eim2": "a second eIM, which the card then knows as well",
    "board": "the board and its flash",
}
_NEAR = 4  # names that an unknown one is told of

T = TypeVar("T")


class UnknownQuirk(MicroipaError):
    """There is no quirk of that name, or the number after its name cannot be."""

    exit_status = 2


@dataclass(frozen=True)
class Quirk:
    """A way in which a part of the field differs from the book.

    ``changes`` are fields of the part's behaviour and their values, where NUMBER stands for the quirk's number.
    ``says`` is one sentence, ``source`` who reported it. ``families``: the modems it makes sense for, empty for all.
    ``number`` is the default, None for a quirk without; ``unit`` says what it counts.
    """

    name: str
    part: str
    changes: Mapping[str, object]
    says: str
    source: str
    number: float | None = None
    unit: str = ""
    families: tuple[str, ...] = ()

    def suits(self, family: str) -> bool:
        """Whether a modem of this family can be like that."""
        return not self.families or family in self.families

    @property
    def form(self) -> str:
        """How it is written: its name, and its number where it has one."""
        return _form(self.name, self.number)


@dataclass(frozen=True)
class Chosen:
    """A quirk that is switched on, with its number."""

    quirk: Quirk
    number: float | None

    @property
    def changes(self) -> dict[str, object]:
        return {field: self.number if value is NUMBER else value for field, value in self.quirk.changes.items()}


    @property
    def form(self) -> str:
        """How it is written."""
        return _form(self.quirk.name, self.number)


class Registry(dict[str, Quirk]):
    """All quirks by name."""

    def __init__(self, quirks: Iterable[Quirk]) -> None:
        for quirk in quirks:
            if quirk.name in self or quirk.part not in PARTS:
                raise ValueError(f"{quirk.name} is twice, or of no part")
            self[quirk.name] = quirk

    def of(self, part: str) -> list[str]:
        """The names of a part's quirks."""
        return [quirk.name for quirk in self.values() if quirk.part == part]

    def choose(self, names: Iterable[str]) -> Iterator[Chosen]:
        """The quirks of these names, each with its number: ``sim-busy-after-cfun:7``. Raises UnknownQuirk."""
        for text in names:
            name, colon, number = text.partition(":")
            if name not in self:
                raise UnknownQuirk(f"there is no quirk {text[:64]!r}: near are {', '.join(self._near(name))}; "
                                   "`microipa lab quirks` lists all")
            yield Chosen(self[name], _number(self[name], number) if colon else self[name].number)

    def _near(self, name: str) -> list[str]:
        """The names that are most like this one, or begin so."""
        def likeness(known: str) -> float:
            beginning = known[: len(name)]
            return max(difflib.SequenceMatcher(None, name[:64], other).ratio() for other in (known, beginning))

        return sorted(self, key=likeness, reverse=True)[:_NEAR]

    def behaviour(self, part: str, default: T, names: Iterable[str]) -> T:
        """``default``, a dataclass, with what the quirks of this part among ``names`` change. Raises UnknownQuirk."""
        changed: Any = default
        for chosen in self.choose(names):
            if chosen.quirk.part == part:
                changed = replace(changed, **chosen.changes)
        behaviour: T = changed
        return behaviour


def _form(name: str, number: float | None) -> str:
    return name if number is None else f"{name}:{number:g}"


def _number(quirk: Quirk, text: str) -> float:
    """Raises UnknownQuirk."""
    if quirk.number is None:
        raise UnknownQuirk(f"the quirk {quirk.name} takes no number: write {quirk.name}, not {quirk.name}:{text[:32]}")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= MOST:
        raise UnknownQuirk(f"{text[:32]!r} after {quirk.name} is not a number from 0 to {MOST}: it counts {quirk.unit}")
    return number
