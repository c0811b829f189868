"""The components of the assistant: which of its modules a device needs for what its settings and its modem are.

One table for all that leaves something out: `microipa flash`, manifests (`--freeze-manifest`) and mip packages.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from microipa.common import paths


class Component(NamedTuple):
    """Modules (their paths without suffix) that a device loads only where the setting ``key`` is ``value``."""

    key: str
    value: Any
    modules: tuple[str, ...]


_JSON_MODULES = ("ipa/net/json_functions", "ipa/net/jsonstream")
OPTIONAL: Mapping[str, Component] = {
    "compact": Component("compact", True, ("ipa/net/compact",)),
    "direct": Component("download", "direct", (
        "ipa/net/es11", "ipa/net/es9", "ipa/net/https", *_JSON_MODULES, "ipa/net/role", "ipa/steps/direct")),
    "emulation": Component("emulation", True, (
        "ipa/card/certified", "ipa/card/emulated_eims", "ipa/card/emulation", "ipa/card/es10c", "ipa/card/p256")),
    "https": Component("transport", "https", ("ipa/net/https", "ipa/net/https_link", *_JSON_MODULES)),
    "json": Component("binding", "json", ("ipa/net/esipa_json", *_JSON_MODULES)),
    "qblock": Component("q_block", True, ("ipa/net/qblock",)),
}
"""What settings switch on, by the name of its mip package; a module may be part of several."""
_SHARED = {"simcom": ("sim7000", "sim7080")}  # a module of several drivers: the families that have it


def is_on(component: str, settings: Mapping[str, Any]) -> bool:
    """Whether a device with these settings (ipa.json) needs it."""
    part = OPTIONAL[component]
    return bool(settings.get(part.key) == part.value)


def unused(settings: Mapping[str, Any]) -> set[str]:
    """The modules that these settings leave unused."""
    wanted = {module for name, part in OPTIONAL.items() if is_on(name, settings) for module in part.modules}
    return {module for part in OPTIONAL.values() for module in part.modules} - wanted


def families() -> dict[str, str]:
    """The family, which is the module of the driver, by the name of the modem."""
    drivers = runpy.run_path(str(paths.firmware() / "ipa" / "modem" / "__init__.py"))["_DRIVERS"]
    entries = [entry.partition("=") for entry in drivers.split()]
    return {name: driver.partition(".")[0] for name, _, driver in entries}


def driver_modules(family: str, modules: Iterable[str]) -> set[str]:
    """Which of these modules are the driver of a family: ipa/modem/quectel, ipa/modem/quectel_dtls."""
    names = {family, *(shared for shared, users in _SHARED.items() if family in users)}
    return {module for module in modules
            if module.startswith("ipa/modem/") and Path(module).name.partition("_")[0] in names}


def modules() -> set[str]:
    """All modules of the assistant."""
    firmware = paths.firmware()
    return {path.relative_to(firmware).with_suffix("").as_posix() for path in firmware.glob("ipa/**/*.py")}


def components() -> dict[str, set[str]]:
    """All components by their names, with their modules: the core, a driver for each family, and the optional ones."""
    whole = modules()
    drivers = {family: driver_modules(family, whole) for family in families().values()}
    optional = {name: set(part.modules) for name, part in OPTIONAL.items()}
    return {"core": whole.difference(*drivers.values(), *optional.values()), **drivers, **optional}
