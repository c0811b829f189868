"""What ``microipa demo --act NAME`` shows besides first light: one module of this folder an act.

An act has ``async def run(folder: Path, radio: str, console: Terminal) -> int``, which plays it in a lab of its
own in ``folder`` and returns the exit status: 0 only when the end is the one its docstring promises. The name
of the act is that of the module, with hyphens for underscores; names that begin with an underscore are no acts.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from microipa.common.console import Terminal
from microipa.common.errors import MicroipaError


class UnknownAct(MicroipaError):
    """There is no act of that name."""


def names() -> list[str]:
    """All acts there are."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in modules if not name.startswith("_"))


async def perform(name: str, folder: Path, radio: str, console: Terminal) -> int:
    """Play an act. Returns its exit status. Raises UnknownAct and what the act raises."""
    if name not in names():
        raise UnknownAct(f"no act {name!r}: choose one of {', '.join(names())}")
    act = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    status: int = await act.run(folder, radio, console)
    return status
