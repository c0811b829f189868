"""Profile packages for tests: ours, GSMA's, and ours with something changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from microipa.asn1 import saip
from microipa.saip import ProfilePackage, ProfileSpec, build

SPEC = ProfileSpec(
    iccid="8990170000000000008",
    imsi="901700000000015",
    k=bytes(range(16)),
    opc=bytes(range(16, 32)),
    name="Meter 7",
    service_provider="microipa",
    notification_address="smdpp.microipa.example",
)
TS48_NAMES = ("ts48-v7-bertlv-suci", "ts48-v7-nobertlv")
Change = Callable[[dict[str, Any]], dict[str, Any] | None]


@cache
def built(template: str = "iot") -> bytes:
    """SPEC as a package."""
    return build(ProfileSpec(**{**vars(SPEC), "template": template}))


def ts48_package(name: str) -> bytes:
    """A TS.48 package from ``shared`` beside this checkout or a folder around it; skips the test without."""
    for folder in Path(__file__).parents:
        path = folder / "shared" / "data" / "ts48" / f"{name}.der"
        if path.exists():
            return path.read_bytes()
    pytest.skip("GSMA TS.48 profiles are not beside this checkout")


def edited(name: str, change: Change, package: bytes | None = None) -> bytes:
    """The package with ``change`` applied to the value of the first element called ``name``; None removes it."""
    out, done = b"", False
    for element in ProfilePackage.parse(package or built()).elements:
        value: dict[str, Any] | None = element.value
        if element.name == name and not done:
            value, done = change(element.value), True
        out += b"" if value is None else saip.encode("ProfileElement", (element.name, value))
    assert done, f"the package has no {name}"
    return out


def without(name: str, package: bytes | None = None) -> bytes:
    return edited(name, lambda value: None, package)


def elements(package: bytes | None = None) -> dict[str, bytes]:
    """Name to bytes of each element; of several with one name the last."""
    return {element.name: element.raw for element in ProfilePackage.parse(package or built()).elements}


def ordered(*names: str, package: bytes | None = None) -> bytes:
    """A package of those elements in that order."""
    there = elements(package)
    return b"".join(there[name] for name in names)


def findings(package: bytes) -> set[str]:
    return {finding.name for finding in ProfilePackage.parse(package).checks()}
