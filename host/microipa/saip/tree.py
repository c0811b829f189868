"""A profile package as text for people. Secrets are counted, not shown, unless asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from microipa.asn1.secrets import SECRET_FIELDS, SECRET_FILES
from microipa.common.outside_text import visible
from microipa.saip.checks import checks
from microipa.saip.elements import ALGORITHMS, Element
from microipa.saip.files import CardFile
from microipa.saip.values import (
    SaipError,
    iccid_from_bytes,
    imsi_from_bytes,
    plmn_from_bytes,
    text_from_bytes,
)

if TYPE_CHECKING:
    from microipa.saip.package import ProfilePackage

LABELS = {"key": "K", "opc": "OPc"}
WIDTH = 32  # bytes of a value shown as hex before it is cut


def tree(package: ProfilePackage, *, show_keys: bool = False) -> str:
    """One line a fact, indented by element. ``show_keys`` prints keys, PINs and PUKs in clear."""
    try:
        files, problem = package.files(), None
    except SaipError as error:
        files, problem = {}, error
    lines = [f"profile package, {len(package.der)} bytes, {len(package.elements)} elements"]
    for index, element in enumerate(package.elements):
        lines.append(_title(element))
        own = [file for file in files.values() if file.element == index and file.name != "MF"]
        facts = _files(own, show_keys) if own else _facts(element, show_keys)
        lines += ["  " + fact for fact in facts]
    findings = checks(package)
    lines.append(f"findings: {len(findings) or 'none'}")
    lines += [f"  {finding.severity} {finding.name}: {finding.text}" for finding in findings]
    if problem:
        lines.append("  the files above are not shown, see files")
    return "\n".join(map(visible, lines))


def _title(element: Element) -> str:
    header = element.header
    number = f" #{header['identification']}" if header else ""
    mandated = ", mandated" if "mandated" in header else ""
    return f"{element.name}{number}  ({len(element.raw)} bytes at {element.offset}{mandated})"


def _facts(element: Element, show_keys: bool) -> Iterator[str]:
    value = element.value
    if element.name == "header":
        yield from _header(value)
    elif element.name == "pukCodes":
        yield from (_code(puk, "PUK", puk["pukValue"], show_keys) for puk in value["pukCodes"])
    elif element.name == "pinCodes" and value["pinCodes"][0] == "pinconfig":
        yield from (_code(pin, "PIN", pin["pinValue"], show_keys) for pin in value["pinCodes"][1])
    elif element.name == "akaParameter":
        kind, parameters = value["algoConfiguration"]
        if kind == "algoParameter":
            number = parameters["algorithmID"]
            yield f"algorithm: {ALGORITHMS.get(number, number)}"
            parameters = {key: item for key, item in parameters.items() if key != "algorithmID"}
        yield from _values(parameters, show_keys)
        yield from _values({key: value[key] for key in value if key.startswith("sqn")}, show_keys)
    else:
        yield from _values({k: v for k, v in value.items() if v is not element.header}, show_keys)


def _header(value: dict[str, Any]) -> Iterator[str]:
    yield f"ICCID: {value['iccid'].hex().upper().rstrip('F')}"
    yield f"version: {value['major-version']}.{value['minor-version']}"
    if "profileType" in value:
        yield f"type: {value['profileType']}"
    yield f"mandatory services: {', '.join(value['eUICC-Mandatory-services']) or 'none'}"
    yield f"mandatory templates: {', '.join(value['eUICC-Mandatory-GFSTEList']) or 'none'}"
    rest = ("pol", "connectivityParameters", "eUICC-Mandatory-AIDs", "iotOptions")
    yield from _values({name: value[name] for name in rest if name in value}, False)


def _code(code: dict[str, Any], kind: str, value: bytes, show_keys: bool) -> str:
    """A PIN, ADM or PUK: references from 129 on belong to one application (TS 102 221 clause 9.5.1)."""
    number = code["keyReference"]
    if kind == "PIN" and (10 <= number <= 14 or number >= 138):
        kind, number = "ADM", number - 9 if number < 128 else number - 132
    local = f"application's {kind} {number - 128}" if number > 128 else f"{kind} {number}"
    shown = value.rstrip(b"\xff").decode("ascii", "replace") if show_keys else f"{len(value)} bytes (hidden)"
    attempts = code.get("maxNumOfAttemps-retryNumLeft", 0xAA if kind == "PUK" else 0x33)
    off = ", disabled" if kind == "PIN" and not code.get("pinAttributes", 7) & 1 else ""
    return f"{local}: {shown}, {attempts & 15} of {attempts >> 4} attempts left{off}"


def _values(value: Any, show_keys: bool, name: str = "") -> Iterator[str]:
    """Any decoded value, nested things indented, secrets hidden."""
    label = LABELS.get(name, name)
    if isinstance(value, dict):
        if name:
            yield f"{label}:"
        for key, item in value.items():
            yield from (("  " if name else "") + line for line in _values(item, show_keys, key))
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, show_keys, name)
    elif isinstance(value, tuple):
        yield from _values(value[1], show_keys, value[0])
    elif isinstance(value, bytes):
        hidden = name in SECRET_FIELDS and not show_keys
        yield f"{label}: {len(value)} bytes (hidden)" if hidden else f"{label}: {_hex(value)}"
    else:
        yield label if value is None else f"{label}: {value}"


def _files(files: list[CardFile], show_keys: bool) -> Iterator[str]:
    for file in files:
        if file.structure == "df":
            aid = f"  AID {file.aid.hex().upper()}" if file.aid else ""
            yield f"{file.path}  {file.name}{aid}"
        else:
            hidden = file.name in SECRET_FILES and not show_keys
            content = f"{len(file.content)} bytes (hidden)" if hidden else _content(file)
            yield f"{file.path}  {file.name}  {_shape(file)}  {content}"


def _shape(file: CardFile) -> str:
    if file.record_length:
        return f"{file.structure} {len(file.records)} x {file.record_length}"
    return f"{file.structure} {len(file.content)}"


def _content(file: CardFile) -> str:
    data = file.content
    if file.name == "EF.ICCID":
        return iccid_from_bytes(data)
    if file.name == "EF.IMSI":
        try:
            return imsi_from_bytes(data)
        except SaipError:
            return _hex(data)
    if file.name == "EF.ACC":
        bits = int.from_bytes(data, "big")
        return "access class " + (", ".join(str(n) for n in range(16) if bits >> n & 1) or "none")
    if file.name == "EF.SPN":
        return repr(text_from_bytes(data[1:]))
    if file.name in ("EF.FPLMN", "EF.EHPLMN"):
        return _plmns(data, 3)
    if file.name in ("EF.PLMNWACT", "EF.OPLMNWACT", "EF.HPLMNWACT"):
        return _plmns(data, 5)
    return _hex(data)


def _plmns(data: bytes, step: int) -> str:
    found = [plmn_from_bytes(data[i : i + 3]) for i in range(0, len(data), step)]
    return ", ".join(plmn for plmn in found if plmn) or "empty"


def _hex(data: bytes) -> str:
    if data and not data.strip(b"\xff"):
        return "empty"
    return data.hex() if len(data) <= WIDTH else f"{data[:WIDTH].hex()}… ({len(data)} bytes)"
