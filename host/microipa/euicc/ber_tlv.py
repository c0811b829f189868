"""BER-TLV files: RETRIEVE DATA and SET DATA (TS 102 221 clauses 8.2.2.4, 11.3)."""

from __future__ import annotations

from microipa.asn1.tlv import TlvError, parse, parse_all, tag_bytes
from microipa.euicc.filesystem import BER_TLV, Node
from microipa.euicc.status import CONDITIONS, NOT_FOUND, WRONG_DATA, WRONG_FILE_STRUCTURE, StatusWord

LARGEST_OBJECT = 4096


def retrieve(node: Node, tag: bytes) -> bytes:
    """The data object of a file that has this tag, tag and length included. Raises StatusWord."""
    found = _objects(node).get(tag)
    if found is None:
        raise StatusWord(NOT_FOUND)
    return found


def with_object(node: Node, content: bytes) -> bytes | None:
    """The new body with a data object in place of the one with its tag; a tag alone deletes that one.

    None while ``content`` is not the whole object. Raises StatusWord.
    """
    objects = _objects(node)
    if content in objects:
        del objects[content]
        return b"".join(objects.values())
    wanted = _size(content)
    if len(content) < wanted <= LARGEST_OBJECT:
        return None
    try:
        objects[tag_bytes(parse(content).tag)] = content
    except TlvError:
        raise StatusWord(WRONG_DATA) from None
    return b"".join(objects.values())


def _size(content: bytes) -> int:
    """Bytes of a data object by its tag and length, as far as they are there."""
    head = 1
    if content[0] & 0x1F == 0x1F:
        head += next((n for n, octet in enumerate(content[1:], 1) if octet < 0x80), len(content))
    length = content[head : head + 1]
    if not length:
        return head + 1
    more = length[0] - 0x80 if length[0] > 0x80 else 0
    return head + 1 + more + (int.from_bytes(content[head + 1 : head + 1 + more], "big") if more else length[0])


def _objects(node: Node) -> dict[bytes, bytes]:
    """Tag to object. Raises StatusWord."""
    if node.kind != BER_TLV:
        raise StatusWord(WRONG_FILE_STRUCTURE)
    try:
        return {tag_bytes(found.tag): found.raw for found in parse_all(node.body)}
    except TlvError:
        raise StatusWord(CONDITIONS) from None
