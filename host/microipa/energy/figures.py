"""Power figures of modems, chips, networks and the rest of a device: one TOML each, every figure with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microipa.common.console import BadInput, read

FOLDER = Path(__file__).parent / "figures"
ASSUMED = "assumed"
NETWORKS = ("nbiot", "ltem")
_STATES = ("transmit_ma", "receive_ma", "connected_ma", "connected_drx_ma", "idle_ma", "edrx_ma")
KEYS = {
    "modem": ("volts", "psm_ma", "awake_ma", *_STATES, "wake_j", "wake_s", "attach_j", "attach_s"),
    "chip": ("volts", "awake_ma", "light_ma", "deep_ma", "boot_s"),
    "network": ("rate_up", "rate_down", "delay_s", "inactivity_s", "released_s", "connected_drx", "active_s",
                "update_s", "psm_update_s"),
    "device": ("efficiency", "quiescent_ma", "self_discharge", "card_volts", "card_ma", "card_idle_ma", "apdu_s",
               "computing_s"),
}
"""What each kind of part needs. ``_ma`` at its ``volts``; ``connected_drx`` is 1 where the network grants it."""
_POSITIVE = ("volts", "card_volts", "efficiency", "rate_up", "rate_down", "update_s", "psm_update_s")
_MOST = 1e9
_UP_TO_ONE = ("efficiency", "self_discharge", "connected_drx")


class BadFigures(BadInput):
    """A part without figures, or a file of own figures that cannot be used."""

    exit_status = 2


@dataclass(frozen=True)
class Figure:
    """A number in the unit that its key ends with, and where it comes from."""

    value: float
    source: str

    @property
    def assumed(self) -> bool:
        """Neither from a data sheet nor measured."""
        return self.source.startswith(ASSUMED)


class Figures(Mapping[str, float]):
    """The figures of one part, by key; ``sources`` tells where each comes from."""

    def __init__(self, kind: str, title: str, figures: dict[str, Figure]) -> None:
        """Raises BadFigures when one is missing."""
        missing = [key for key in KEYS[kind] if key not in figures]
        if missing:
            raise BadFigures(f"there is no figure {missing[0]} for the {kind} {title}: give it in --figures FILE, "
                             f"[{kind}] {missing[0]} = …")
        self.kind, self.title, self.sources = kind, title, figures

    def __getitem__(self, key: str) -> float:
        return self.sources[key].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def watts(self, state: str) -> float:
        """What the part draws in a state, from its current ``<state>_ma``."""
        return self[f"{state}_ma"] * self["volts"] / 1000


def names(kind: str) -> list[str]:
    """The parts that microipa has figures of."""
    return sorted(file.stem for file in (FOLDER / kind).glob("*.toml"))


def load(kind: str, name: str, network: str, own: Mapping[str, Mapping[str, float]]) -> Figures:
    """A part's figures on a network, own measurements before those that come with microipa. Raises BadFigures."""
    measured = {key: Figure(value, "own measurement") for key, value in own.get(kind, {}).items()}
    if name not in names(kind):
        if measured:  # a part of which only its owner knows
            return Figures(kind, name, measured)
        raise BadFigures(f"no {kind} {name!r} has power figures: there are {', '.join(names(kind))}; "
                         f"those of another go into a file for --figures")
    title, figures = _shipped(kind, name, network)
    return Figures(kind, title, figures | measured)


def _shipped(kind: str, name: str, network: str) -> tuple[str, dict[str, Figure]]:
    table = tomllib.loads((FOLDER / kind / f"{name}.toml").read_text(encoding="utf-8"))
    figures: dict[str, Figure] = {}
    if like := table.get("like"):
        for key, figure in _shipped(kind, like, network)[1].items():
            source = figure.source if figure.assumed else f"{ASSUMED}: as {like}: {figure.source}"
            figures[key] = Figure(figure.value, source)
    for key, given in (table | table.get(network, {})).items():
        if isinstance(given, dict) and "value" in given:
            figures[key] = Figure(given["value"], given["source"])
    return table["title"], figures


def chip_of(build: str) -> str | None:
    """The chip of a board, by MicroPython's name of its build; None when there are no figures of it."""
    for name in names("chip"):
        if build in tomllib.loads((FOLDER / "chip" / f"{name}.toml").read_text(encoding="utf-8"))["builds"]:
            return name
    return None


def own_figures(file: Path) -> dict[str, dict[str, float]]:
    """Tables ``[modem]``, ``[chip]``, ``[network]``, ``[device]`` of plain numbers. Raises BadFigures."""
    try:
        tables = tomllib.loads(read(file).decode())
    except (ValueError, RecursionError) as error:
        raise BadFigures(f"{file} is not TOML: {error}") from None
    except BadInput as error:
        raise BadFigures(str(error)) from None
    for kind, table in tables.items():
        if kind not in KEYS or not isinstance(table, dict):
            raise BadFigures(f"{file}: {kind} is no table of figures: choose of {', '.join(KEYS)}")
        for key, value in table.items():
            if key not in KEYS[kind]:
                raise BadFigures(f"{file}: [{kind}] has no figure {key}: choose of {', '.join(KEYS[kind])}")
            _check(f"{file}: [{kind}] {key}", key, value)
    return tables


def _check(where: str, key: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MOST:
        raise BadFigures(f"{where} is {str(value)[:32]}: give a number from 0 to {_MOST:g}")
    if key in _POSITIVE and not value:
        raise BadFigures(f"{where} is 0: give a number above 0")
    if key in _UP_TO_ONE and value > 1:
        raise BadFigures(f"{where} is {value}: give a number up to 1")
