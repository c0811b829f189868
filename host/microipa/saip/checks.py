"""What a card or an operator would object to in a package that decodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from microipa.saip.values import SaipError, iccid_from_bytes

if TYPE_CHECKING:
    from microipa.saip.package import ProfilePackage

SUPPORTED = ((2, 0), (3, 3))  # versions of the TCA specification whose elements the schema knows
NEEDED_SERVICE = {"usim": "usim", "isim": "isim", "csim": "csim", "cdmaParameter": "cave", "iot": "usim"}
ALGORITHM_SERVICES = {
    "milenage": {"milenage"},
    "tuak": {"tuak128", "tuak256"},
    "usim-test-algorithm": {"usim-test-algorithm"},
}


@dataclass(frozen=True)
class Finding:
    """One objection: ``name`` to match on, ``text`` for people."""

    name: str
    text: str


def checks(package: ProfilePackage) -> list[Finding]:
    """Everything found, in the order of looking; empty for a package without fault."""
    return [*_order(package), *_header(package), *_mandatory(package), *_contents(package)]


def _order(package: ProfilePackage) -> Iterator[Finding]:
    names = [element.name for element in package.elements]
    if names[0] != "header":
        yield Finding("missing-header", f"the package begins with {names[0]}, not with header")
    if names[-1] != "end":
        yield Finding("missing-end", f"the package stops at {names[-1]}, without end")
    for name in ("header", "end"):
        if names.count(name) > 1:
            yield Finding(f"repeated-{name}", f"{names.count(name)} elements are called {name}")
    seen: dict[int, str] = {}
    for element in package.elements:
        number = element.header.get("identification")
        if number is not None and number in seen:
            text = f"{seen[number]} and {element.name} both have identification {number}"
            yield Finding("repeated-identification", text)
        elif number is not None:
            seen[number] = element.name
    if package.encode() != package.der:
        yield Finding("extension", "holds bytes that the schema does not know or that are not DER")


def _header(package: ProfilePackage) -> Iterator[Finding]:
    element = package.first("header")
    if element is None:
        return
    version = element.value["major-version"], element.value["minor-version"]
    if not SUPPORTED[0] <= version <= SUPPORTED[1]:
        yield Finding("version", f"version {version[0]}.{version[1]}, 2.0 to 3.3 are understood")
    services = element.value["eUICC-Mandatory-services"]
    for name, service in NEEDED_SERVICE.items():
        if package.first(name) and service not in services:
            yield Finding("missing-service", f"has {name} but the header does not ask for service {service}")
    templates = {e.value["templateID"] for e in package.elements if "templateID" in e.value}
    for template in sorted(templates - set(element.value["eUICC-Mandatory-GFSTEList"])):
        yield Finding("missing-template", f"template {template} is used but not in eUICC-Mandatory-GFSTEList")


def _mandatory(package: ProfilePackage) -> Iterator[Finding]:
    names = {element.name for element in package.elements}
    if "iot" not in names:
        for name, why in (("mf", "no file system"), ("usim", "no network application")):
            if name not in names and not (name == "usim" and names & {"isim", "csim"}):
                yield Finding("missing-element", f"{name} is missing: {why}")
    if "securityDomain" not in names:
        yield Finding("missing-element", "securityDomain is missing: the operator has no key to the profile")
    if "pinCodes" not in names:
        yield Finding("missing-element", "pinCodes is missing: access rules refer to keys that do not exist")


def _contents(package: ProfilePackage) -> Iterator[Finding]:
    try:
        files = package.files()
    except SaipError as error:
        yield Finding("files", str(error))
        return
    stored = files.get("3F00/2FE2")
    if stored is None:
        yield Finding("missing-iccid", "EF.ICCID is missing")
    elif package.first("header") and iccid_from_bytes(stored.content) != package.iccid:
        digits = iccid_from_bytes(stored.content)
        yield Finding("iccid-mismatch", f"the header says ICCID {package.iccid}, EF.ICCID says {digits}")
    if package.first("usim") or package.first("iot"):
        yield from _subscriber(package)


def _subscriber(package: ProfilePackage) -> Iterator[Finding]:
    try:
        _ = package.imsi
    except SaipError as error:
        yield Finding("imsi", str(error))
    try:
        algorithm = package.aka.algorithm
    except SaipError as error:
        yield Finding("aka", str(error))
        return
    header = package.first("header")
    if header and not ALGORITHM_SERVICES[algorithm] & set(header.value["eUICC-Mandatory-services"]):
        yield Finding("missing-service", f"uses {algorithm} but the header does not ask for it")
    if algorithm == "usim-test-algorithm":
        yield Finding("test-algorithm", "authenticates with the XOR test algorithm: for test networks only")
