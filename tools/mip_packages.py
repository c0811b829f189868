"""Writes the packages for mip, of the whole assistant and by component, into firmware/: `make mip-packages`."""

from __future__ import annotations

from collections.abc import Iterable

from microipa.board.components import components, modules
from microipa.common import paths

VERSION = "0.1.0"
BESIDE_MAIN = ("restart", "starts")
"""Modules outside of ipa/ that main.py needs, whatever the components."""


def packages() -> dict[str, str]:
    """The text of each file by its name. They lie beside ipa/, since no server is sure to understand `..`."""
    parts = components()
    named = {"package.json": _package({*modules(), *BESIDE_MAIN})}
    for name, part in parts.items():
        named[f"package-{name}.json"] = _package({*part, *BESIDE_MAIN} if name == "core" else part)
    return named


def _package(names: Iterable[str]) -> str:
    urls = ",\n".join(f'  ["{name}.py", "{name}.py"]' for name in sorted(names))
    return f'{{\n "version": "{VERSION}",\n "urls": [\n{urls}\n ],\n "deps": []\n}}\n'


def main() -> None:
    for old in paths.firmware().glob("package*.json"):
        old.unlink()
    for name, text in packages().items():
        (paths.firmware() / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
