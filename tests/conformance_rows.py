"""The rows of the conformance table: what SGP.32 v1.2 can say, read off the schema.

    psmo.<operation>.<result>     eco.<operation>.<result>     what an eUICC package can do and come to
    result.<result>               results in a package that no operation asked for
    es10b.<function>.<result>     functions of 5.8 and 5.9
    pir.<result>                  what a profile installation can come to
    esipa.<message>               messages of 6.3.2
    package.<form>                what an eIM package or its result can be
    compact.<form>              compact forms of what a card signed (minimizeEsipaBytes)
    error.<message>.<code>        errors of ESipa messages and of results in them
    cause.<code>                  reasons why the profile state changed without the eIM
    <Type>.<component>            fields, alternatives and bits of the types that conformance.toml names in [parts]

A result is a code of the standard or, where there is none, the name of the alternative.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from microipa.asn1 import sgp32
from microipa.asn1.kinds import Kind, Member

NOTES = tomllib.loads(Path(__file__).with_name("conformance.toml").read_text())
_IS_CODE = re.compile("error|result|code|status", re.IGNORECASE)  # in the name of a component
_MESSAGE = 0xFF  # a longer tag is of a message of its own, whose results are its own as well
_IS_ANSWER = re.compile("(Response|Result)(Esipa)?$")  # at the end of a type's name
_PACKAGES = ("GetEimPackageResponse", "TransferEimPackageRequest")
_SHORTENED = ("AuthenticateServerResponse", "PrepareDownloadResponse", "CancelSessionResult", "PendingNotification")
_RESULTS = ("EimPackageResult", "TransferEimPackageResponse", "ProvideEimPackageResultResponse")


@dataclass(frozen=True)
class Row:
    """``code``: the number of a result, None without one. ``reason``: why the row does not apply, or ""."""

    key: str
    code: int | None = None

    @property
    def reason(self) -> str:
        return next((why for rows, why in NOTES["not_applicable"].items() if fnmatchcase(self.key, rows)), "")

    @property
    def group(self) -> str:
        return next(title for title, rows in NOTES["groups"].items() if any(fnmatchcase(self.key, one) for one in rows))


def rows() -> list[Row]:
    """All rows, in the order of the groups and, within one, of the schema."""
    found = [Row(*row) for row in dict.fromkeys([*_operations(), *_es10(), *_installation(), *_esipa(), *_parts()])]
    order = list(NOTES["groups"])
    return sorted(found, key=lambda row: order.index(row.group))


def resolve(key: str, known: dict[str, Row]) -> Row | None:
    """The row a test means: its key in any case, a code also by its number, ``ok`` for the good result."""
    folded = key.lower()
    if folded in known:
        return known[folded]
    function, _, last = folded.rpartition(".")
    siblings = [row for name, row in known.items() if name.rpartition(".")[0] == function]
    if last.isdecimal():
        return next((row for row in siblings if row.code == int(last)), None)
    return next((row for row in siblings if row.code is None), None) if last == "ok" else None


Found = Iterator[tuple[str, int | None]]


def _outcomes(kind: Kind, name: str) -> Found:
    """What a result can be: (code, number), or (alternative, None) where the standard has no code."""
    if kind.base == "INTEGER" and kind.names:
        yield from ((code, number) for number, code in kind.names.items())
    elif kind.base == "CHOICE":
        for member in kind.members:
            yield from ([(member.name, None)] if _is_message(member.kind) else _outcomes(member.kind, member.name))
    elif kind.base == "SEQUENCE" and (parts := [member for member in kind.members if _has_codes(member)]):
        if parts[0].optional:
            yield name, None
        yield from _outcomes(parts[0].kind, name)
        for further in parts[1:]:
            yield from ((f"{further.name}.{code}", number) for code, number in _outcomes(further.kind, name))
    else:
        yield name, None


def _has_codes(member: Member) -> bool:
    kind = member.kind
    if _is_message(kind):
        return False
    if kind.base == "INTEGER":
        return bool(kind.names) and bool(_IS_CODE.search(member.name))
    return kind.base in ("SEQUENCE", "CHOICE") and any(_has_codes(inner) for inner in kind.members)


def _is_message(kind: Kind) -> bool:
    return bool(kind.tags) and kind.tags[0] > _MESSAGE


def _operations() -> Found:
    results = {member.name: member.kind for member in sgp32.kind("EuiccResultData").members}
    for group, type_name in (("psmo", "Psmo"), ("eco", "Eco")):
        for operation in sgp32.kind(type_name).members:
            kind = results.pop(f"{operation.name}Result")
            yield from _under(f"{group}.{operation.name}", kind)
    for name, kind in results.items():  # a rollback, and the end of a package that was not carried out
        yield from _under(f"result.{name.removesuffix('Result')}", kind)


def _under(prefix: str, kind: Kind) -> Found:
    yield from ((f"{prefix}.{name}", number) for name, number in _outcomes(kind, "ok"))


def _es10() -> Found:
    elsewhere = {
        member.kind.type_name
        for choice in (*_directions(), "RemoteProfileProvisioningRequest", *_PACKAGES)
        for member in sgp32.kind(choice).members
    } - {"EuiccPackageRequest"}
    for name in sgp32.types:
        function, request, rest = name.partition("Request")
        if not request or rest or name in elsewhere or function in NOTES["outside"]["functions"]:
            continue
        response = _response(name)
        if response is not None:
            yield from _under(f"es10b.{NOTES['functions'].get(function, function)}", response)


def _response(request: str) -> Kind | None:
    """The type that answers a request: it has the same tag. ES8+ commands have no answer of their own."""
    tags = sgp32.kind(request).tags
    if not tags or tags[0] <= _MESSAGE:
        return None
    same = [name for name in sgp32.types if sgp32.kind(name).tags[:1] == tags[:1] and "Request" not in name]
    same.sort(key=lambda name: (name != request.replace("Request", "Response"), not sgp32.is_own(name)))
    return sgp32.kind(same[0]) if same else None


def _installation() -> Found:
    yield from _under("pir", sgp32.kind("ProfileInstallationResultData"))


def _directions() -> tuple[str, str]:
    return "EsipaMessageFromIpaToEim", "EsipaMessageFromEimToIpa"


def _esipa() -> Found:
    messages = [member.kind for direction in _directions() for member in sgp32.kind(direction).members]
    for kind in messages:
        yield f"esipa.{kind.type_name}", None
    forms = [member for name in (*_PACKAGES, *_RESULTS) for member in sgp32.kind(name).members]
    for form in forms:
        if form.kind.base != "INTEGER":
            yield f"package.{form.name}", None
    for name in _SHORTENED:
        yield from ((f"compact.{form.name}", None) for form in sgp32.kind(name).members if "compact" in form.name)
    for kind in [*messages, *(form.kind for form in forms)]:
        if _IS_ANSWER.search(kind.type_name) and kind.type_name != "EuiccPackageResult":  # the card's answer
            outcomes = _outcomes(kind, "")
            yield from ((f"error.{kind.type_name}.{code}", number) for code, number in outcomes if number is not None)
    for number, code in sgp32.kind("StateChangeCause").names.items():
        yield f"cause.{code}", number


def _parts() -> Found:
    for path in NOTES["parts"]["of"]:
        name, *components = path.split(".")
        kind = sgp32.kind(name)
        for component in components:
            kind = next(member.kind for member in kind.members if member.name == component)
        yield from ((f"{path}.{part}", None) for part in _components(kind))


def _components(kind: Kind) -> Iterator[str]:
    """Bits by name; alternatives, but for an error, which has its rows; fields, of which a choice or bits are split."""
    if kind.base == "BIT STRING":
        yield from kind.names.values()
    for member in kind.members:
        inner = [] if kind.base == "CHOICE" else [*_components(member.kind)] if _is_split(member.kind) else []
        if inner:
            yield from (f"{member.name}.{part}" for part in inner)
        elif not member.name.endswith(("Error", "ErrorEsipa")):
            yield member.name


def _is_split(kind: Kind) -> bool:
    return kind.base == "CHOICE" or kind.base == "BIT STRING" and bool(kind.names)
