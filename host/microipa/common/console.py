"""What every part of the `microipa` command uses: the lab's options, files and digits people give, where to print."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from microipa.common import addresses
from microipa.common.activation_codes import shortened_codes
from microipa.common.eid import checked
from microipa.common.errors import MicroipaError
from microipa.common.outside_text import visible


class Terminal(Console):
    """Where the command prints. A string is data and one line: no markup, no emoji codes, every character visible.

    Of activation codes the beginning is shown. What is to have a style, or to be shown whole, is a Text; what is to
    have several lines is several strings, or in a table ``lines``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """What Rich makes of every string, be it printed or in a table."""
        return super().render_str(shortened_codes(visible(text)), **options)


out = Terminal()
errors = Terminal(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

Folder = Annotated[Path, typer.Option("--lab", help="The lab's folder.", file_okay=False)]
Eid = Annotated[str | None, typer.Option(callback=checked, help="The device's EID; the lab's own card by default.")]
Expires = Annotated[
    str | None, typer.Option(help="Time limit for delivery: 30m, 12h, 7d, or 2027-01-31T12:00.")
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until the device has executed it; exit status 1 if it could not.")
]
LAB = Path(".lab")
T = TypeVar("T")

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=3653)  # nobody orders for later than in ten years


class BadInput(MicroipaError):
    """Something on the command line that cannot be used as it is."""


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Carry out what is asynchronous. asyncio is loaded by those commands alone that need it: it takes a while."""
    import asyncio

    return asyncio.run(work)


def lines(*texts: str) -> Text:
    """Several lines in one cell of a table."""
    return Text("\n").join(Text(shortened_codes(visible(text))) for text in texts)


def print_json(value: Any, indent: int | None = None) -> None:
    """One JSON object for programs, in visible ASCII."""
    print(json_line(value, indent), end="")


def json_line(value: Any, indent: int | None = None) -> str:
    """What print_json prints, with the line's end."""
    return json.dumps(value, indent=indent, default=str).replace("\x7f", "\\u007f") + "\n"


def verdict(good: bool) -> Text:
    """The last word of a demonstration."""
    return Text("done", "bold green") if good else Text("not done", "bold red")


def hex_bytes(name: str, text: str) -> bytes:
    """Bytes from hex digits; ``name`` is what the user knows them by. Raises BadInput."""
    digits = "".join(text.split())
    wrong = re.search("[^0-9A-Fa-f]", digits)
    if wrong:
        raise BadInput(f"{name} has {wrong[0]!r} after {wrong.start()} digits: give 0 to 9 and A to F only")
    if len(digits) % 2:
        raise BadInput(f"{name} has an odd number of digits, {len(digits)}: give two for each byte")
    return bytes.fromhex(digits)


def host_and_port(name: str, text: str) -> tuple[str, int]:
    """HOST:PORT, with a port from 1 on; ``name`` is what the user knows it by. Raises BadInput."""
    try:
        host, port = addresses.split(text)
    except ValueError as error:
        raise BadInput(f"{name} {error}") from None
    if not port:
        raise BadInput(f"{name} {text[:64]} is not HOST:PORT")
    return host, port


def read(file: Path) -> bytes:
    """Raises BadInput."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from None


def write(file: Path, content: bytes, *, private: bool = False) -> None:
    """``private``: nobody but its owner may read the file. Raises BadInput."""
    with writing(file, private=private) as opened:
        opened.write(content)


@contextmanager
def writing(file: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write into, as ``write`` makes it. Raises BadInput."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "wb") as opened:
            if private and stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchmod(descriptor, 0o600)  # it may have been there before
            yield opened
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}") from None


def require_writable(file: Path) -> None:
    """Before work that would be in vain otherwise; what the file holds stays. Raises BadInput."""
    try:
        file.open("ab").close()
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}") from None


def moment(text: str | None) -> datetime | None:
    """When an order expires: from now on (30m, 12h, 7d) or at a time, local without a zone. Raises BadInput."""
    if text is None:
        return None
    now = datetime.now(UTC)
    if span := re.fullmatch("([0-9]{1,7})([mhd])", text, re.ASCII):
        end = now + min(timedelta(**{_UNITS[span[2]]: int(span[1])}), 2 * _LONGEST)
    else:
        try:
            end = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            raise BadInput(f"--expires {text[:64]!r} is not a time: give 30m, 12h, 7d or 2027-01-31T12:00") from None
    if not now < end < now + _LONGEST:
        raise BadInput(f"--expires {text} is {'past' if end <= now else 'more than ten years away'}")
    return end


def past(name: str, text: str | None) -> datetime | None:
    """A time before now (30s, 10m, 12h, 7d), or a date, local without a zone. Raises BadInput."""
    if text is None:
        return None
    if span := re.fullmatch("([0-9]{1,7})([smhd])", text, re.ASCII):
        return datetime.now(UTC) - min(timedelta(**{_UNITS[span[2]]: int(span[1])}), 2 * _LONGEST)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInput(f"{name} {text[:64]!r} is not a time: give 30s, 10m, 12h, 7d or 2026-11-29T14:00") from None
