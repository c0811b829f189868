"""Files that somebody asked for by name or path, put into the profile elements of a template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from microipa.saip.blocks import ADF_FID, ISIM_FID, Body, File, access, created, octets
from microipa.saip.files import MAX_FILE, MF, file_name
from microipa.saip.templates import TEMPLATES, FileTemplate
from microipa.saip.values import SaipError

ADF = f"{MF}/{ADF_FID.hex().upper()}"
ADFS = {"usim": ADF, "isim": f"{MF}/{ISIM_FID.hex().upper()}"}
# The elements in which a file is looked for, in the order in which they must come.
FULL = ("mf", "telecom", "usim", "opt-usim", "gsm-access", "df-5gs", "df-saip", "isim", "opt-isim")
MINIMAL = ("iot", "opt-iot")
NEEDS_ADF = {"isim", "opt-isim"}  # whose ADF is not made for the sake of one file
_PATH = re.compile(r"(?:[0-9A-F]{4}/)*[0-9A-F]{4}")


@dataclass(frozen=True)
class Place:
    """Where the templates have a file."""

    element: str
    template: FileTemplate
    path: str

    @property
    def name(self) -> str:
        return file_name(self.template.field, "")


def fulfil(bodies: list[Body], files: Mapping[str, bytes]) -> list[Body]:
    """``bodies`` with ``files`` (name or path: content) in them. Raises SaipError naming the wish."""
    offered = MINIMAL if any(name == "iot" for name, _ in bodies) else FULL
    for wish, content in files.items():
        bodies = _fulfil_one(bodies, offered, wish, content)
    return bodies


def filled(template: FileTemplate, existing: File, content: bytes) -> File:
    """A File with ``content`` in place of what it had, as large as that needs. Raises SaipError."""
    name = file_name(template.field, "")
    if len(content) > MAX_FILE:
        raise SaipError(name, None, f"has {len(content)} bytes, {MAX_FILE} is the limit")
    if template.kind == "B" or template.is_directory:
        raise SaipError(name, None, "is no transparent or record file, only those can be given")
    fcp: dict[str, Any] = next((dict(value) for kind, value in existing if kind == "fileDescriptor"), {})
    if not content:
        if template.size is None and "efFileSize" not in fcp:
            raise SaipError(name, None, "has no content of its own in the standard: give some")
        return [("fileDescriptor", fcp)] if fcp else []
    size, length = template.size, len(content)
    if template.kind in "LC":
        given = fcp.get("fileDescriptor", b"")[2:4]
        record = int.from_bytes(given, "big") if given else (template.size or length)
        if length % record:
            raise SaipError(name, None, f"has records of {record} bytes, {length} bytes are no number of them")
        fcp["fileDescriptor"] = (b"\x42" if template.kind == "L" else b"\x46") + b"\x21" + record.to_bytes(2, "big")
        size = None
    fcp.pop("efFileSize", None)
    if size is None or length > size:
        fcp["efFileSize"] = octets(length)
    return [*([("fileDescriptor", fcp)] if fcp else []), ("fillFileContent", content)]


def _fulfil_one(bodies: list[Body], offered: tuple[str, ...], wish: str, content: bytes) -> list[Body]:
    there = {name for name, _ in bodies}
    places = [place for place in _places(offered, there) if _means(wish, place)]
    present = [place for place in places if place.element in there]
    places = present or places
    if len(places) > 1:
        choice = " or ".join(f"{place.path} ({place.element})" for place in places)
        raise SaipError(wish, None, f"is more than one file: say {choice}")
    if not places:
        return _create(bodies, wish, content)
    place = places[0]
    if place.element not in there:
        bodies = _insert(bodies, offered, place.element)
    fields = next(fields for name, fields in bodies if name == place.element)
    for directory in _directories(place):
        fields.setdefault(directory, _new(place.element))
    known = fields.get(place.template.field, [])
    known = _new(place.element) if known in ([], [("doNotCreate", None)]) else known
    fields[place.template.field] = filled(place.template, known, content)
    return bodies


def _places(offered: tuple[str, ...], there: set[str]) -> Iterator[Place]:
    for element in offered:
        if element in NEEDS_ADF and element not in there:
            continue
        template = TEMPLATES[element]
        adf = ADFS.get(template.application, MF)
        level1 = folder = adf
        for found in template.files.values():
            if found.field.startswith("adf-"):
                level1 = folder = adf
            elif found.kind == "D1":
                level1 = folder = MF if found.fid == MF else f"{MF}/{found.fid}"
            elif found.kind == "D2":
                folder = f"{level1}/{found.fid}"
            elif found.fid is not None:
                yield Place(element, found, f"{folder}/{found.fid}")


def _means(wish: str, place: Place) -> bool:
    wanted = wish.upper()
    if not _PATH.fullmatch(wanted):
        return wanted.removeprefix("EF.") == place.name.removeprefix("EF.")
    wanted = re.sub("^(3F00/)?7FFF", ADF, wanted)
    return place.path == wanted or (not wanted.startswith(MF) and place.path.endswith("/" + wanted))


def _directories(place: Place) -> Iterator[str]:
    """The fields of the directories that the file is in."""
    parents = place.path.split("/")[1:-1]
    for found in TEMPLATES[place.element].files.values():
        if found.is_directory and found.fid in parents and not found.field.startswith("adf-"):
            yield found.field


def _new(element: str) -> File:
    """A file nobody has described: in a full profile with the operator's access rule."""
    return [] if element in MINIMAL else [("fileDescriptor", access("operator", "6F06"))]


def _insert(bodies: list[Body], offered: tuple[str, ...], element: str) -> list[Body]:
    """Put a new element after those that must come before it."""
    before = offered[: offered.index(element)]
    last = max(index for index, (name, _) in enumerate(bodies) if name in before)
    if element == "telecom":  # PUKs and PINs belong to the MF as long as no other directory has come
        last = max(index for index, (name, _) in enumerate(bodies) if name in ("mf", "pukCodes", "pinCodes"))
    return [*bodies[: last + 1], (element, {}), *bodies[last + 1 :]]


def _create(bodies: list[Body], wish: str, content: bytes) -> list[Body]:
    """A transparent EF that no template has, by PE-GenericFileManagement."""
    path = re.sub("^(3F00/)?7FFF", ADF, wish.upper())
    fids = path.removeprefix(MF + "/").split("/")
    if not _PATH.fullmatch(path) or path == MF:
        raise SaipError(wish, None, "is not a file this template knows: say EF.SPN, or 7FF0/6F46")
    if len(fids) == 1 and not path.startswith(MF):
        raise SaipError(wish, None, f"is in no template: say in which directory, as in {MF}/{wish} or 7FF0/{wish}")
    if not content:
        raise SaipError(wish, None, "is in no template and so has no content of its own: give some")
    minimal_profile = any(name == "iot" for name, _ in bodies)
    rule = {} if minimal_profile else access("operator", "6F06" if len(fids) > 1 else "2F06")
    commands = [("filePath", bytes.fromhex("".join(fids[:-1]))), *created(bytes.fromhex(fids[-1]), content, rule)]
    element = ("genericFileManagement", {"fileManagementCMD": [commands]})
    last = max(index for index, (name, _) in enumerate(bodies) if name in FULL + MINIMAL)
    return [*bodies[: last + 1], element, *bodies[last + 1 :]]
