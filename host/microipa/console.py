"""What every part of the `microipa` command uses: the lab's options, files and digits people give, where to print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from microipa.errors import MicroipaError

out = Console(highlight=False, soft_wrap=True)

Folder = Annotated[Path, typer.Option("--lab", help="The lab's folder.", file_okay=False)]
Eid = Annotated[str | None, typer.Option(help="The device's EID; the lab's own card by default.")]
LAB = Path(".lab")


class BadInput(MicroipaError):
    """Something on the command line that cannot be used as it is."""


def hex_bytes(name: str, text: str) -> bytes:
    """Bytes from hex digits; ``name`` is what the user knows them by. Raises BadInput."""
    digits = "".join(text.split())
    wrong = re.search("[^0-9A-Fa-f]", digits)
    if wrong:
        raise BadInput(f"{name} has {wrong[0]!r} after {wrong.start()} digits: give 0 to 9 and A to F only")
    if len(digits) % 2:
        raise BadInput(f"{name} has an odd number of digits, {len(digits)}: give two for each byte")
    return bytes.fromhex(digits)


def read(file: Path) -> bytes:
    """Raises BadInput."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from None


def write(file: Path, content: bytes) -> None:
    """Raises BadInput."""
    try:
        file.write_bytes(content)
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}") from None
