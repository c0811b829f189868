"""Which PINs a package defines where, and which its directories name (TCA clauses 8.1.3 and 8.5.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from microipa.saip.elements import Element
from microipa.saip.files import MF, CardFile

LOCAL = 129  # PIN references from here on belong to one directory and those below it
# What the card has without being told in an IoT Minimal Profile: PIN 1 and ADM 1, and the USIM's second PIN.
DEFAULT_GLOBAL, DEFAULT_LOCAL = {1, 10}, {129}


@dataclass(frozen=True)
class MissingPin:
    """``element`` (index in the package) makes directory ``path``, which names PIN ``reference``: there is none."""

    element: int
    path: str
    reference: int


def contexts(elements: Sequence[Element], files: Mapping[str, CardFile]) -> Iterator[tuple[int, str, set[int]]]:
    """(index, directory, references) of each PE-PINCodes: the first directory of the element before that made any."""
    directory = MF
    pins: dict[str, set[int]] = defaultdict(set)
    for index, element in enumerate(elements):
        if element.name == "pinCodes":
            kind, codes = element.value["pinCodes"]
            shared = kind == "filePath"  # with another directory
            found = pins[_path(codes)] if shared else {pin["keyReference"] for pin in codes}
            pins[directory] |= found
            yield index, directory, found
        else:
            made = (f.path for f in files.values() if f.element == index and f.structure == "df" and f.path != MF)
            directory = MF if element.name == "mf" else next(made, directory)


def missing_pins(elements: Sequence[Element], files: Mapping[str, CardFile]) -> list[MissingPin]:
    """Every PIN that a directory's pinStatusTemplateDO names and no PE-PINCodes defines in a place it can see."""
    pins: dict[str, set[int]] = defaultdict(set)
    for index, element in enumerate(elements):
        if element.name == "iot":
            pins[MF] |= DEFAULT_GLOBAL
            for file in files.values():
                if file.element == index and file.aid:
                    pins[file.path] |= DEFAULT_LOCAL
    for _, directory, references in contexts(elements, files):
        pins[directory] |= references
    return [
        MissingPin(file.element, file.path, reference)
        for file in files.values()
        for reference in file.pins
        if reference not in _visible(pins, file.path, reference)
    ]


def _visible(pins: Mapping[str, set[int]], path: str, reference: int) -> set[int]:
    """What is defined for a reference of that kind where ``path`` is."""
    if reference < LOCAL:
        return pins.get(MF, set())
    above = [path[: 5 * depth + 4] for depth in range(path.count("/") + 1)]
    return set().union(*(pins.get(one, set()) for one in above))


def _path(file_path: bytes) -> str:
    return "/".join([MF, *(file_path[i : i + 2].hex().upper() for i in range(0, len(file_path), 2))])
