"""Where firmware, boards, tools and examples are: beside host/ in a checkout, in the package when it is installed."""

from __future__ import annotations

from pathlib import Path

from microipa.common.errors import MicroipaError

_PACKAGE = Path(__file__).resolve().parent.parent
_CHECKOUT = _PACKAGE.parent.parent


class DataMissing(MicroipaError):
    """The firmware or the boards that belong to this lab cannot be found."""


def firmware() -> Path:
    """The folder that holds main.py and ipa/. Raises DataMissing."""
    return _data("firmware")


def boards() -> Path:
    """The folder that holds one folder for each board. Raises DataMissing."""
    return _data("boards")


def examples() -> Path:
    """The folder of what a user may begin with. Raises DataMissing."""
    return _data("examples")


def tools() -> Path:
    """The folder of what a firmware engineer runs on a board by hand. Raises DataMissing."""
    return _data("tools")


def _data(name: str) -> Path:
    # The wheel's own copy comes first: beside an installed package there is no firmware/ of ours.
    for folder in (_PACKAGE / "_data" / name, _CHECKOUT / name):
        if folder.is_dir():
            return folder
    raise DataMissing(f"no {name}/ in {_PACKAGE / '_data'} or {_CHECKOUT}: install microipa again")
