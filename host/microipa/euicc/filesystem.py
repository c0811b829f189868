"""The file system of the enabled profile as a terminal sees it (TS 102 221 clauses 8 and 11)."""

from __future__ import annotations

from dataclasses import dataclass, field

from microipa.asn1.tlv import tlv
from microipa.euicc.status import (
    FILE_NOT_FOUND,
    RECORD_NOT_FOUND,
    WRONG_FILE_STRUCTURE,
    WRONG_LENGTH,
    WRONG_OFFSET,
    StatusWord,
)

MF, CURRENT_ADF = 0x3F00, 0x7FFF
DIRECTORY, TRANSPARENT, LINEAR, CYCLIC, BER_TLV = 0x38, 0x01, 0x02, 0x06, 0x39  # descriptor byte, clause 11.1.1.4.3
SHAREABLE = 0x40
DATA_CODING = 0x21
OPERATIONAL = 0x05  # life cycle status


@dataclass
class Node:
    """A directory or an elementary file. ``body`` holds the records one after the other."""

    fid: int
    kind: int
    parent: Node | None = None
    aid: bytes | None = None  # of an ADF
    sfi: int | None = None
    record_length: int = 0
    body: bytes = b""
    children: list[Node] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Where the file is: ``3F00/7FF0/6F07``."""
        return (self.parent.path + "/" if self.parent else "") + f"{self.fid:04X}"

    @property
    def directory(self) -> Node:
        """The directory this is or is in."""
        return self if self.kind == DIRECTORY or self.parent is None else self.parent

    def child(self, fid: int) -> Node | None:
        return next((child for child in self.children if child.fid == fid), None)


class FileSystem:
    """``root`` is the MF; ADFs are children of it as well."""

    def __init__(self, root: Node) -> None:
        self.root = root

    def by_fid(self, fid: int, current: Node, adf: Node | None) -> Node:
        """SELECT by file identifier, with the places clause 8.4.1 allows. Raises StatusWord."""
        if fid == MF:
            return self.root
        if fid == CURRENT_ADF and adf is not None:
            return adf
        here = current.directory
        around = [*here.children, here]
        if here.parent is not None:
            around += [here.parent, *(child for child in here.parent.children if child.kind == DIRECTORY)]
        return _found(next((node for node in around if node.fid == fid and node.aid is None), None))

    def by_path(self, path: bytes, start: Node, adf: Node | None) -> Node:
        """SELECT by path from ``start``; 7FFF at its beginning is the current ADF. Raises StatusWord."""
        fids = [int.from_bytes(path[index : index + 2], "big") for index in range(0, len(path), 2)]
        node = start
        for index, fid in enumerate(fids):
            if index == 0 and fid == MF:
                node = self.root
            elif index == 0 and fid == CURRENT_ADF:
                node = _found(adf)
            else:
                node = _found(node.child(fid))
        return node

    def by_aid(self, aid: bytes) -> Node | None:
        """The ADF whose AID begins with ``aid``."""
        applications = (node for node in self.root.children if node.aid is not None)
        return next((node for node in applications if node.aid and node.aid.startswith(aid)), None)


def by_sfi(directory: Node, sfi: int) -> Node:
    """The file with a short identifier in ``directory``. Raises StatusWord."""
    return _found(next((node for node in directory.children if node.sfi == sfi), None))


def read_binary(node: Node, offset: int, le: int | None) -> bytes:
    """Raises StatusWord: 6981, 6B00, or 6Cxx when fewer bytes are left than asked for."""
    if node.kind != TRANSPARENT:
        raise StatusWord(WRONG_FILE_STRUCTURE)
    if offset > len(node.body) or (offset == len(node.body) and offset):
        raise StatusWord(WRONG_OFFSET)
    left = node.body[offset : offset + 256]
    if le and le > len(left):
        raise StatusWord(0x6C00 | len(left))
    return left[:le] if le else left


def update_binary(node: Node, offset: int, data: bytes) -> bytes:
    """The new body. Raises StatusWord."""
    if node.kind != TRANSPARENT:
        raise StatusWord(WRONG_FILE_STRUCTURE)
    if offset + len(data) > len(node.body):
        raise StatusWord(WRONG_OFFSET if offset > len(node.body) else WRONG_LENGTH)
    return node.body[:offset] + data + node.body[offset + len(data) :]


def read_record(node: Node, record: int) -> bytes:
    """Record ``record``, counted from 1. Raises StatusWord."""
    start = _record(node, record)
    return node.body[start : start + node.record_length]


def update_record(node: Node, record: int, data: bytes) -> bytes:
    """The new body of a linear fixed file. Raises StatusWord."""
    start = _record(node, record)
    if len(data) != node.record_length:
        raise StatusWord(WRONG_LENGTH)
    return node.body[:start] + data + node.body[start + len(data) :]


def _record(node: Node, record: int) -> int:
    if node.kind not in (LINEAR, CYCLIC):
        raise StatusWord(WRONG_FILE_STRUCTURE)
    start = (record - 1) * node.record_length
    if record < 1 or start >= len(node.body):
        raise StatusWord(RECORD_NOT_FOUND)
    return start


def fcp(node: Node) -> bytes:
    """The file control parameters that SELECT and STATUS return (clause 11.1.1.3)."""
    descriptor = bytes([SHAREABLE | node.kind, DATA_CODING])
    if node.kind == DIRECTORY:
        return tlv(
            0x62,
            tlv(0x82, descriptor),
            tlv(0x84, node.aid) if node.aid else tlv(0x83, node.fid.to_bytes(2, "big")),
            tlv(0xA5, tlv(0x80, b"\x71")),  # UICC characteristics: clock stop allowed, 3 V and lower
            tlv(0x8A, bytes([OPERATIONAL])),
            tlv(0xC6, tlv(0x90, b"\x00"), tlv(0x83, b"\x01")),  # PIN 1 is there and disabled
        )
    if node.record_length:
        count = len(node.body) // node.record_length
        descriptor += node.record_length.to_bytes(2, "big") + bytes([count])
    return tlv(
        0x62,
        tlv(0x82, descriptor),
        tlv(0x83, node.fid.to_bytes(2, "big")),
        tlv(0x8A, bytes([OPERATIONAL])),
        tlv(0x80, len(node.body).to_bytes(2, "big")),
        tlv(0x88, bytes([node.sfi << 3])) if node.sfi else b"",
    )


def _found(node: Node | None) -> Node:
    if node is None:
        raise StatusWord(FILE_NOT_FOUND)
    return node
