"""What happened in a lab, on one clock: every part records, listeners print, a file keeps."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from microipa.trace.redaction import Redactor

log = logging.getLogger(__name__)
Listener = Callable[["Event"], None]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    ``seconds`` counts from the start of the trace, ``part`` says who saw it (board, modem, radio, tether, card,
    eim, eim2, smdpp, lab), ``kind`` what it is (apdu, at, datagram, esipa, es9, log, step, …). ``fields`` is
    JSON-able; binary values are lower-case hex.
    """

    seconds: float
    part: str
    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"t": round(self.seconds, 6), "part": self.part, "kind": self.kind, **self.fields})

    @classmethod
    def from_json(cls, line: str) -> Event:
        fields = json.loads(line)
        return cls(fields.pop("t"), fields.pop("part"), fields.pop("kind"), fields)


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

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


class Record:
    """A file of events, one a line. Raises OSError when it cannot be made, and nothing later."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)  # it may have been there before
        self._path = path
        self._file: BinaryIO | None = os.fdopen(descriptor, "wb", buffering=0)
        self._redact = Redactor()
        self._size = 0

    def add(self, event: Event) -> None:
        """Write an event as it may be kept."""
        if self._file is None:
            return
        row = replace(event, fields=self._redact(event.kind, event.fields)).to_json().encode() + b"\n"
        try:
            if self._file.write(row) != len(row):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size += len(row)
        except OSError as error:
            log.warning("%s ends here: %s", self._path, error.strerror)
            with suppress(OSError):
                self._file.truncate(self._size)  # half a line cannot be read
            self.close()

    def close(self) -> None:
        if self._file:
            with suppress(OSError):
                self._file.close()
            self._file = None


class SecondTrace(Trace):
    """The trace of a lab for the second of two equal parts: ``eim`` is recorded as ``eim2``."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def record(self, part: str, kind: str, **fields: Any) -> None:
        self._trace.record(f"{part}2", kind, **fields)
