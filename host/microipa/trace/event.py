"""One event of a trace, and the line that a file has of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


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
