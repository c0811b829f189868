"""From a profile package to what a terminal finds: files and the functions of authentication."""

from __future__ import annotations

from dataclasses import dataclass

from microipa.crypto.aka import Functions, functions
from microipa.euicc.filesystem import BER_TLV, CYCLIC, DIRECTORY, LINEAR, TRANSPARENT, FileSystem, Node
from microipa.euicc.nvm import Profile
from microipa.euicc.usim import ARRAY
from microipa.saip import CardFile, ProfilePackage, SaipError

ALGORITHMS = ("milenage", "usim-test-algorithm")
_KINDS = {"df": DIRECTORY, "transparent": TRANSPARENT, "linear": LINEAR, "cyclic": CYCLIC, "ber-tlv": BER_TLV}
_MF = "3F00"


@dataclass(frozen=True)
class Personality:
    """What the enabled profile makes of the card. ``delta`` limits how far SEQ may jump."""

    files: FileSystem
    aka: Functions | None = None
    delta: int = 0


def personality(profile: Profile | None) -> Personality:
    """Of an installed profile; without one there is only an empty MF."""
    if profile is None:
        return Personality(FileSystem(Node(0x3F00, DIRECTORY)))
    package = ProfilePackage.parse(profile.package)
    files = _files(package, profile.files)
    if package.first("akaParameter") is None:
        return Personality(files)
    aka = package.aka
    return Personality(files, functions(aka.algorithm, aka.k, aka.opc), aka.sqn_delta)


def check(package: ProfilePackage) -> list[int]:
    """The SEQ that the package starts with, per IND. Raises SaipError for what no card can be made of."""
    _files(package, {})
    package.file("EF.ICCID")
    if package.first("akaParameter") is None:
        return [0] * ARRAY
    aka = package.aka
    if aka.algorithm not in ALGORITHMS:
        raise SaipError("akaParameter", None, f"{aka.algorithm} is none of {', '.join(ALGORITHMS)}")
    if len(aka.sqn_init) != ARRAY:
        raise SaipError("akaParameter", None, f"{len(aka.sqn_init)} sequence numbers, not {ARRAY}")
    return list(aka.sqn_init)


def _files(package: ProfilePackage, written: dict[str, bytes]) -> FileSystem:
    """The tree of all files, with what the terminal has written into some."""
    nodes: dict[str, Node] = {}
    for path, file in sorted(package.files().items(), key=lambda item: item[0].count("/")):
        if file.structure in _KINDS:
            parent = nodes.get(path.rpartition("/")[0])
            nodes[path] = _node(file, parent, written.get(path, file.content))
            if parent is not None:
                parent.children.append(nodes[path])
    return FileSystem(nodes[_MF])


def _node(file: CardFile, parent: Node | None, body: bytes) -> Node:
    kind = _KINDS[file.structure]
    return Node(int(file.fid, 16), kind, parent, file.aid, file.sfi, file.record_length, body)
