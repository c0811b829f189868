"""What happened in a lab, on one clock: every part records, listeners print, a file keeps.

A record is a file of lines, ``trace.jsonl``. Sessions follow one another in it; each begins with a line of kind
``session`` that has the date. A file that has grown to its limit is renamed to ``trace.1.jsonl``, the one before to
``trace.2.jsonl`` and so on, and a new one goes on with the session. Polls with nothing to do become one line, see
``idle``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from microipa.trace.event import Event
from microipa.trace.idle import Folding
from microipa.trace.redaction import Redactor

log = logging.getLogger(__name__)
Listener = Callable[[Event], None]

NAME = "trace.jsonl"
"""Of the record of a lab, in its folder."""
FILE_LIMIT = 16 * 1024 * 1024  # bytes
OLDER_FILES = 9
HELD_S = 60.0
"""For at most so long events wait until it is known whether their poll had anything to do."""


class Trace:
    """Collects events of all parts, in the file ``path`` too when one is given.

    The file is its owner's alone, and goes without keys, PINs, values of AKA and whole activation codes, see
    ``redaction``. Where it cannot be written any more it ends, with a warning; everything else goes on.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._start = time.monotonic()
        self._listeners: list[Listener] = []
        self._file = Record(path) if path else None

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with each event from now on, in the order they happen."""
        self._listeners.append(listener)

    def record(self, part: str, kind: str, **fields: Any) -> None:
        """Note one event; ``bytes`` among the fields become hex."""
        plain = {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}
        event = Event(time.monotonic() - self._start, part, kind, plain)
        if self._file:
            self._file.add(event)
        for listener in self._listeners:
            listener(event)

    def about(self, **facts: str) -> None:
        """What the first line of this session is to tell besides the date: ``eid``, the card of its device."""
        if self._file:
            self._file.about.update(facts)

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


def files(path: Path) -> list[Path]:
    """The files of a record that are there, the oldest first; ``path`` is the newest."""
    return [file for file in (*(_older(path, number) for number in range(OLDER_FILES, 0, -1)), path) if file.exists()]


def set_aside(path: Path) -> None:
    """Rename the files of a record, so that ``path`` is free; the oldest goes when there are too many.

    Raises OSError.
    """
    if not path.exists():
        return
    for number in range(OLDER_FILES, 1, -1):
        with suppress(FileNotFoundError):
            _older(path, number - 1).replace(_older(path, number))
    path.replace(_older(path, 1))


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


class Record:
    """A file of events, one a line, behind those that it has. Raises OSError when it cannot be made, and nothing later.

    ``limit``: bytes of one file.
    """

    def __init__(self, path: Path, limit: int = FILE_LIMIT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._limit = path, limit
        self.about: dict[str, str] = {}
        self._began = datetime.now(UTC)
        self._redact = Redactor()
        self._folding = Folding()
        self._deadline: asyncio.TimerHandle | None = None
        self._headed = False
        self._file: BinaryIO | None = None
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self._size = 0
        if _is_file(descriptor):
            os.fchmod(descriptor, 0o600)  # it may have been there before
            self._size = _end_of_lines(self._file)
            self._file.truncate(self._size)  # half a line, of a process that was killed, cannot be read
            self._file.seek(self._size)

    def add(self, event: Event) -> None:
        """Write an event as it may be kept; that of an idle poll later, or never."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # nobody would write later what waits
            self._write_all([*self._folding.flush(), event])
            return
        self._write_all(self._folding.feed(event))
        if self._deadline and not self._folding.waits:
            self._deadline.cancel()
            self._deadline = None
        elif self._folding.waits and not self._deadline:
            self._deadline = loop.call_later(HELD_S, self._wait_no_longer)

    def close(self) -> None:
        self._wait_no_longer()
        if self._file:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _wait_no_longer(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        self._write_all(self._folding.flush())

    def _write_all(self, events: list[Event]) -> None:
        for event in events:
            self._write(replace(event, fields=self._redact(event.kind, event.fields)))

    def _write(self, event: Event) -> None:
        if self._file is None:
            return
        row = _row(event)
        try:
            if self._headed and self._size + len(row) > self._limit and _is_file(self._file.fileno()):
                self._file.close()
                set_aside(self._path)
                self._open()
                self._headed = False
            if not self._headed:
                row = _row(self._header(event.seconds)) + row
                self._headed = True
            if self._file.write(row) != len(row):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size += len(row)
        except OSError as error:
            log.warning("%s ends here: %s", self._path, error.strerror)
            self._end()

    def _header(self, seconds: float) -> Event:
        """The first line of a session in a file: ``began`` is the time at which its clock, ``t``, was 0."""
        fields = {"began": self._began.isoformat(timespec="milliseconds"), **self.about}
        return Event(seconds, "lab", "session", fields)

    def _end(self) -> None:
        file, self._file = self._file, None
        if file and not file.closed:
            with suppress(OSError):
                file.truncate(self._size)  # half a line cannot be read
            with suppress(OSError):
                file.close()


def _row(event: Event) -> bytes:
    return event.to_json().encode() + b"\n"


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65_536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


class SecondTrace(Trace):
    """The trace of a lab for the second of two equal parts: ``eim`` is recorded as ``eim2``."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def record(self, part: str, kind: str, **fields: Any) -> None:
        self._trace.record(f"{part}2", kind, **fields)
