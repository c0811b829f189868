"""What a card or an operator would object to in a package that decodes. Clauses are those of the TCA specification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from microipa.saip.files import MF
from microipa.saip.pins import LOCAL, contexts, missing_pins
from microipa.saip.templates import TEMPLATES
from microipa.saip.values import SaipError, iccid_from_bytes

if TYPE_CHECKING:
    from microipa.saip.package import ProfilePackage

ERROR, WARNING = "error", "warning"
# Every finding there is. An error: cards refuse the package, or what they make of it does not work.
FINDINGS = {
    "missing-header": ERROR,  # 8.2.1: the first element
    "missing-end": ERROR,  # 8.10: the last element
    "repeated-element": ERROR,  # 8.1.3: once in a package
    "repeated-identification": ERROR,  # 8.1.3
    "misplaced-element": ERROR,  # 8.1.3: comes before what it builds on
    "misplaced-puks": WARNING,  # 8.5.2: right after the MF, in an IoT Minimal Profile right after the header
    "unknown-content": WARNING,  # 7.3: cards answer invalid-parameter
    "version": ERROR,  # 8.2.1
    "missing-service": WARNING,  # 8.2.1
    "missing-template": WARNING,  # 8.2.1
    "wrong-template": ERROR,  # annex B
    "not-minimal": ERROR,  # 7.4: PE-IoT without iotOptions
    "not-full": ERROR,  # 7.5: iotOptions without PE-IoT, or with PE-MF
    "no-file-system": ERROR,
    "no-network-application": ERROR,
    "no-security-domain": ERROR,
    "files": ERROR,  # contents that do not fit, paths that lead nowhere
    "missing-pin": ERROR,  # 8.1.3: cards answer pin-code-missing
    "misplaced-pin": ERROR,  # 8.5.1: local in the MF, or global elsewhere
    "missing-puk": ERROR,  # 8.5.1
    "repeated-key": ERROR,  # 8.6.3
    "missing-iccid": ERROR,
    "iccid-mismatch": WARNING,
    "imsi": ERROR,
    "aka": ERROR,
    "test-algorithm": WARNING,
}

SUPPORTED = ((2, 0), (3, 3))  # versions whose elements the schema knows
ONCE = ("header", "mf", "cd", "telecom", "iot", "pukCodes", "end")
AFTER = {  # element: one of those must have come before
    "cd": ("mf", "iot"), "telecom": ("mf", "iot"), "usim": ("mf",), "isim": ("mf", "iot"), "csim": ("mf",),
    "opt-usim": ("usim", "iot"), "opt-isim": ("isim",), "opt-csim": ("csim",), "gsm-access": ("usim", "iot"),
    "phonebook": ("usim", "iot"), "df-5gs": ("usim", "iot"), "df-saip": ("usim", "iot"), "df-snpn": ("usim", "iot"),
    "df-5gprose": ("usim", "iot"), "opt-iot": ("iot",), "akaParameter": ("usim", "isim", "csim", "iot"),
    "cdmaParameter": ("csim",), "application": ("securityDomain",), "rfm": ("securityDomain",),
}  # fmt: skip
NEEDED_SERVICE = {"usim": "usim", "isim": "isim", "csim": "csim", "cdmaParameter": "cave", "iot": "usim"}
ALGORITHM_SERVICES = {
    "milenage": {"milenage"},
    "tuak": {"tuak128", "tuak256"},
    "usim-test-algorithm": {"usim-test-algorithm"},
}


@dataclass(frozen=True)
class Finding:
    """One objection: ``name`` to match on, one of FINDINGS, ``text`` for people."""

    name: str
    text: str

    @property
    def severity(self) -> str:
        return FINDINGS[self.name]


def checks(package: ProfilePackage) -> list[Finding]:
    """Everything found, in the order of looking; empty for a package without fault."""
    return [
        *_order(package),
        *_header(package),
        *_kind_of_profile(package),
        *_presence(package),
        *_keys(package),
        *_contents(package),
    ]


def _order(package: ProfilePackage) -> Iterator[Finding]:
    names = [element.name for element in package.elements]
    if names[0] != "header":
        yield Finding("missing-header", f"the package begins with {names[0]}, not with header")
    if names[-1] != "end":
        yield Finding("missing-end", f"the package stops at {names[-1]}, without end")
    for name in ONCE:
        if names.count(name) > 1:
            yield Finding("repeated-element", f"{names.count(name)} elements are called {name}, one may be")
    seen: dict[int, str] = {}
    for place, element in enumerate(package.elements):
        number = element.header.get("identification")
        if number is not None and number in seen:
            text = f"{seen[number]} and {element.name} both have identification {number}"
            yield Finding("repeated-identification", text)
        elif number is not None:
            seen[number] = element.name
        needed = AFTER.get(element.name, ())
        # A file system of PE-GenericFileManagement can have made whatever it wants.
        if needed and not {*needed, "genericFileManagement"} & set(names[:place]):
            yield Finding("misplaced-element", f"{element.name} comes before {' or '.join(needed)}")
    yield from _puk_place(names)
    for element in package.elements:
        if element.encode() != element.raw:
            text = f"{element.name} at byte {element.offset} holds what the schema does not know or is not DER"
            yield Finding("unknown-content", text)


def _puk_place(names: list[str]) -> Iterator[Finding]:
    if "pukCodes" not in names:
        return
    right = "header" if "iot" in names else "mf"
    before = names[max(names.index("pukCodes") - 1, 0)]
    if before not in (right, "genericFileManagement"):
        yield Finding("misplaced-puks", f"pukCodes comes after {before}, right after {right} is its place")


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
    used = {e.name: e.value["templateID"] for e in package.elements if "templateID" in e.value}
    for template in sorted(set(used.values()) - set(element.value["eUICC-Mandatory-GFSTEList"])):
        yield Finding("missing-template", f"template {template} is used but not in eUICC-Mandatory-GFSTEList")
    for name, template in used.items():
        if template not in TEMPLATES[name].oids:
            yield Finding("wrong-template", f"{name} names template {template}, its own is {TEMPLATES[name].oid}")


def _kind_of_profile(package: ProfilePackage) -> Iterator[Finding]:
    """Full or IoT Minimal: each forbids what belongs to the other."""
    header = package.first("header")
    minimal = header is not None and "iotOptions" in header.value
    for name in ("iot", "opt-iot"):
        if package.first(name) and header and not minimal:
            yield Finding("not-minimal", f"has {name} but no iotOptions in its header")
    if minimal and not package.first("iot"):
        yield Finding("not-full", "has iotOptions in its header but no iot element")
    if package.first("mf") and (minimal or package.first("iot")):
        yield Finding("not-full", "has mf, which an IoT Minimal Profile may not have")


def _presence(package: ProfilePackage) -> Iterator[Finding]:
    names = {element.name for element in package.elements}
    if not names & {"mf", "iot", "genericFileManagement"}:
        yield Finding("no-file-system", "neither mf nor iot makes a file system")
    if not names & {"usim", "isim", "csim", "iot"}:
        yield Finding("no-network-application", "has none of usim, isim, csim and iot")
    if "securityDomain" not in names:
        yield Finding("no-security-domain", "securityDomain is missing: the operator has no key to the profile")


def _keys(package: ProfilePackage) -> Iterator[Finding]:
    """PUKs that PINs refer to, and keys of security domains."""
    puks: set[int] = set()
    for element in package.elements:
        if element.name == "pukCodes":
            puks |= {code["keyReference"] for code in element.value["pukCodes"]}
    for element in package.elements:
        if element.name == "pinCodes" and element.value["pinCodes"][0] == "pinconfig":
            for pin in element.value["pinCodes"][1]:
                puk = pin.get("unblockingPINReference")
                if puk is not None and puk not in puks and not package.first("iot"):
                    yield Finding("missing-puk", f"PIN {pin['keyReference']} is unblocked by PUK {puk}: there is none")
        elif element.name == "securityDomain":
            keys = Counter((k["keyVersionNumber"], k["keyIdentifier"]) for k in element.value.get("keyList", ()))
            for (version, number), count in keys.items():
                if count > 1:
                    text = f"key {number.hex()} of version {version.hex()} is given {count} times"
                    yield Finding("repeated-key", text)


def _contents(package: ProfilePackage) -> Iterator[Finding]:
    try:
        files = package.files()
    except SaipError as error:
        yield Finding("files", str(error))
        return
    for missing in missing_pins(package.elements, files):
        text = f"{missing.path} names PIN {missing.reference}, which no pinCodes defines for it"
        yield Finding("missing-pin", text)
    for _, directory, references in contexts(package.elements, files):
        for reference in sorted(references):
            local = LOCAL <= reference < LOCAL + 8
            if local == (directory == MF):
                kind = "local" if local else "global"
                yield Finding("misplaced-pin", f"PIN {reference} is {kind} and is defined for {directory}")
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
