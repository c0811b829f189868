"""The scenarios of ``microipa demo --scenario NAME``: each module of this folder is one.

A scenario has ``async def run(folder: Path, radio: str, console: Terminal) -> int``. It runs in a lab of its own in
``folder`` and returns the exit status, which is 0 only if the scenario ended as its docstring says. The name of a
scenario is that of its module with hyphens for underscores. Modules whose names begin with an underscore are none.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from microipa.common.console import Terminal
from microipa.common.errors import MicroipaError


class UnknownScenario(MicroipaError):
    """There is no scenario of that name."""


def names() -> list[str]:
    """The names of all scenarios."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in modules if not name.startswith("_"))


async def run(name: str, folder: Path, radio: str, console: Terminal) -> int:
    """Run a scenario. Returns its exit status. Raises UnknownScenario and what the scenario raises."""
    if name not in names():
        raise UnknownScenario(f"no scenario {name!r}: choose one of {', '.join(names())}")
    scenario = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    status: int = await scenario.run(folder, radio, console)
    return status
