"""Reads records line by line: one file or several, to their end or on while they grow, the events that are wanted."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from microipa.common.errors import MicroipaError
from microipa.trace import recording
from microipa.trace.event import Event

# What an event of a kind must have to be printed: fields of hex, fields of text.
HEX_FIELDS = {"apdu": ("command", "response"), "es10": ("command", "response"), "esipa": ("message",)}
TEXT_FIELDS = {"at": ("direction",), "esipa": ("direction",), "log": ("text",), "step": ("text",)}
EIMS = ("eim", "eim2")
DEVICE = ("board", "modem", "radio", "tether", "card")
"""Parts that belong to the device of the session."""
SETTLED = ("done", "failed", "expired", "cancelled")
LONGEST_LINE = 1024 * 1024  # bytes
_LOOK_S = 0.2  # so often a file that is followed is looked at
_LOWEST_T, _HIGHEST_T = -1e9, 1e9
_FIRST_YEAR, _LAST_YEAR = 1970, 9000  # with such a time before or after it is still a date


class BadTrace(MicroipaError):
    """A file that is not a trace."""


def read(text: str, name: str) -> list[Event]:
    """The events of a trace file's content. Raises BadTrace with the line that is none."""
    return list(parsed(text.splitlines(), name))


def parsed(rows: Iterable[str], name: str) -> Iterator[Event]:
    """The events of a trace file's lines, one by one. Raises BadTrace with the line that is none."""
    for number, row in enumerate(rows, 1):
        try:
            yield _checked(Event.from_json(row))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise BadTrace(
                f"{name} line {number} is not an event: {row.rstrip()[:60]!r}; give the trace.jsonl of a lab"
            ) from None


def _checked(event: Event) -> Event:
    """The event, when everything is there that its kind needs. Raises KeyError, TypeError and their like."""
    math.isfinite(event.seconds)  # a number that floats can hold
    kind, fields = event.kind, event.fields
    if not (isinstance(kind, str) and isinstance(event.part, str)):
        return replace(event, part=str(event.part), kind=str(kind))
    for name in HEX_FIELDS.get(kind, ()):
        bytes.fromhex(fields[name])
    for name in TEXT_FIELDS.get(kind, ()):
        if not isinstance(fields[name], str):
            raise TypeError
    if kind == "datagram":
        bytes.fromhex(fields.get("payload", ""))
    if kind == "order":
        fields["state" if event.part in EIMS else "text"]
    return event


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant: of a folder its whole record, the oldest file first. Raises BadTrace."""
    found: list[Path] = []
    for path in paths:
        of_folder = recording.files(path / recording.NAME) if path.is_dir() else [path]
        if not of_folder:
            raise BadTrace(f"there is no {recording.NAME} in {path}: give a trace or the folder of a lab")
        found += of_folder
    return found


def events(paths: Iterable[Path], *, follow: bool = False) -> Iterator[Event]:
    """The events of several files in turn; of the last one also those that come, when it is to be followed.

    Raises BadTrace.
    """
    files = files_of(paths)
    for number, path in enumerate(files, 1):
        try:
            with path.open("rb") as file:
                yield from parsed(_followed(path, file) if follow and number == len(files) else _lines(file), str(path))
        except OSError as error:
            raise BadTrace(f"cannot read {path}: {error.strerror}") from None


def _lines(file: BinaryIO) -> Iterator[str]:
    while row := file.readline(LONGEST_LINE):
        yield row.decode("utf-8", "replace")


def _followed(path: Path, file: BinaryIO) -> Iterator[str]:
    """The lines of a file and of those that take its place when it has been renamed, without end."""
    begun = b""
    while True:
        while row := file.readline(LONGEST_LINE):
            begun += row
            if begun.endswith(b"\n"):
                yield begun.decode("utf-8", "replace")
                begun = b""
        if not begun and _is_another(path, file):
            newer = path.open("rb")
            file.close()
            file = newer
        else:
            time.sleep(_LOOK_S)


def _is_another(path: Path, file: BinaryIO) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:  # between two names
        return False


@dataclass
class Wanted:
    """Which events somebody wants to see; with nothing given, all.

    ``parts``: those who tell. ``since``: not earlier ones. ``order``: from its delivery to its end, and what is said of
    it. ``eid``: those of one device; a message that names none counts for the device named before.
    """

    parts: frozenset[str] = frozenset()
    since: datetime | None = None
    order: int | None = None
    eid: str | None = None
    _began: datetime | None = field(default=None, init=False)
    _device: str | None = field(default=None, init=False)
    _named: str | None = field(default=None, init=False)
    _in_order: bool = field(default=False, init=False)
    _ends: bool = field(default=False, init=False)

    def __call__(self, event: Event) -> bool:
        """Has to see all events in turn. Raises BadTrace where a date is asked for and the trace has none."""
        if event.kind == "session":
            self._begin(event)
        wanted = not self.parts or event.part in self.parts
        if self.since:
            wanted = self._is_since(event) and wanted
        if self.order is not None:
            wanted = self._is_of_order(event) and wanted
        if self.eid is not None:
            wanted = self._is_of_device(event) and wanted
        return wanted

    def _begin(self, event: Event) -> None:
        self._began = began(event)
        self._device = self._named = event.fields.get("eid")
        self._in_order = self._ends = False

    def _is_since(self, event: Event) -> bool:
        assert self.since
        if self._began is None:
            raise BadTrace("this trace has no dates (it is of an earlier version): leave out --since")
        return utc(self._began, event) >= self.since

    def _is_of_order(self, event: Event) -> bool:
        about = event.kind == "order" and event.part in EIMS and event.fields.get("order") == self.order
        if about:
            state = event.fields["state"]
            self._in_order = self._in_order or state == "delivered"
            self._ends = state in SETTLED
        wanted = about or self._in_order or event.kind == "session"
        if self._ends and event.kind == "esipa" and event.fields["direction"] == "out":
            self._in_order = self._ends = False  # the acknowledgement was its last message
        return wanted

    def _is_of_device(self, event: Event) -> bool:
        if event.kind == "session":
            return self._device in (None, self.eid)
        if event.part in DEVICE:
            return self._device in (None, self.eid)
        named = event.fields.get("eid") or _eid_in(event)
        self._named = named or self._named
        return self._named in (None, self.eid)


def _eid_in(event: Event) -> str | None:
    """The EID that a message begins with (SGP.32 6.3.2: 5A)."""
    message = str(event.fields.get("message", "")) if event.kind == "esipa" else ""
    found = message.find("5a10", 4, 16)
    return message[found + 4 : found + 36] if found >= 0 else None


def began(event: Event) -> datetime | None:
    """When the clock of a session was 0, by its first event."""
    try:
        moment = datetime.fromisoformat(str(event.fields.get("began")))
    except ValueError:
        return None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def utc(start: datetime, event: Event) -> datetime:
    """The time of an event of a session that began at ``start``."""
    return start + timedelta(seconds=min(max(event.seconds, _LOWEST_T), _HIGHEST_T))

