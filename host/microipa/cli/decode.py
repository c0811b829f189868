"""`microipa decode`: any object, from any form in which people have it at hand."""

from __future__ import annotations

import base64
import binascii
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from microipa.common.console import hex_bytes, out, print_json, read

_SEPARATORS = re.compile(r"0[xX]|\\x|[\s:,;.\-_'\"\[\](){}]")
_ARMOUR = re.compile(r"-----[A-Z ]+-----")


def decode(
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA…", help="The object in hex or base64, a file with it (also DER), or - for stdin."),
    ],
    type_name: Annotated[
        str | None, typer.Option("--type", help="ASN.1 type; by default it is found by the tag.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    reencode: Annotated[
        bool, typer.Option("--reencode", help="Print the decoded object encoded again in DER.")
    ] = False,
) -> None:
    """Decode any ESipa, ES10, ES9+ or SAIP object.

    Hex digits may be separated by spaces, colons, commas, 0x and \\x.
    """
    from microipa.asn1.describe import describe

    description = describe(_given(data), type_name)
    if reencode:
        print(description.reencode().hex())
    elif as_json:
        print_json(description.json(), indent=2)
    else:
        out.print(*description.text().split("\n"), sep="\n")


def _given(words: list[str]) -> bytes:
    """The object that the words are, or that stands where they say. Raises BadInput."""
    if words == ["-"]:
        return _content(sys.stdin.buffer.read())
    text = "".join(words)
    if len(words) == 1 and _as_text(text) is None and _is_file(text):
        return _content(read(Path(text)))
    return _digits(text)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _content(content: bytes) -> bytes:
    """Of a file: DER, or text with digits of it."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        return content
    if not content or all(letter.isprintable() or letter.isspace() for letter in text):
        return _digits(text)
    return content


def _digits(text: str) -> bytes:
    found = _as_text(text)
    return hex_bytes("HEX", text) if found is None else found  # the error says what is wrong


def _as_text(text: str) -> bytes | None:
    """Hex or base64; None when the text is neither."""
    digits = _SEPARATORS.sub("", text)
    if digits and len(digits) % 2 == 0 and re.fullmatch("[0-9A-Fa-f]+", digits):
        return bytes.fromhex(digits)
    letters = "".join(_ARMOUR.sub("", text).split()).translate(str.maketrans("-_", "+/"))
    if not letters or len(letters) % 4:
        return None
    try:
        return base64.b64decode(letters, validate=True)
    except binascii.Error:
        return None
