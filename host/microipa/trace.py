"""What happened in a lab, on one clock: every part records, listeners print, a file keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

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

    Keys, plaintext secrets and PINs are never recorded.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._start = time.monotonic()
        self._listeners: list[Listener] = []
        self._file: TextIO | None = None
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with each event from now on, in the order they happen."""
        self._listeners.append(listener)

    def record(self, part: str, kind: str, **fields: Any) -> None:
        """Note one event; ``bytes`` among the fields become hex."""
        plain = {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}
        event = Event(time.monotonic() - self._start, part, kind, plain)
        if self._file:
            self._file.write(event.to_json() + "\n")
            self._file.flush()
        for listener in self._listeners:
            listener(event)

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


class SecondTrace(Trace):
    """The trace of a lab for the second of two equal parts: ``eim`` is recorded as ``eim2``."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def record(self, part: str, kind: str, **fields: Any) -> None:
        self._trace.record(f"{part}2", kind, **fields)
