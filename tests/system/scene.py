"""What system tests share: a whole lab without radio delay, its recorded events, and a look into the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microipa.asn1.tlv import Tlv, parse
from microipa.euicc import Euicc
from microipa.lab import Lab
from microipa.lab.demo import Outcome, first_light
from microipa.trace import Event, Trace

ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
QUICK = {"stop_when_idle": True, "backoff_s": 1, "backoff_max_s": 2}


@dataclass
class Recording:
    """A finished first light: what came of it, all events in order, and the folder it left behind."""

    folder: Path
    outcome: Outcome
    events: list[Event]

    def of(self, part: str, kind: str, **fields: Any) -> list[Event]:
        """The events of a kind whose fields have these values."""
        return [
            event
            for event in self.events
            if (event.part, event.kind) == (part, kind)
            and all(event.fields.get(name) == value for name, value in fields.items())
        ]

    def place(self, matches: Callable[[Event], bool]) -> int:
        """Where the first such event stands."""
        return next(place for place, event in enumerate(self.events) if matches(event))


async def record(folder: Path, **lab_options: Any) -> Recording:
    """Run first light in a quick lab and keep everything it said."""
    trace = Trace()
    events: list[Event] = []
    trace.listen(events.append)
    config = {**QUICK, **lab_options.pop("board_config", {})}
    options: dict[str, Any] = {"radio": "none", "measure_heap": True, "form": "mpy", **lab_options}
    async with Lab(folder, trace=trace, board_config=config, **options) as lab:
        outcome = await first_light(lab)
    return Recording(folder, outcome, events)


def es10(folder: Path, request: str) -> Tlv:
    """Ask the card in a lab at rest one ES10 question (hex)."""
    card = Euicc.open(folder / "card.nvm")
    card.power_on()
    channel = card.transmit(bytes.fromhex("0070000001"))[0]
    card.transmit(bytes([channel, 0xA4, 4, 0, len(ISD_R)]) + ISD_R)
    data = bytes.fromhex(request)
    answer = card.transmit(bytes([0x80 | channel, 0xE2, 0x91, 0, len(data)]) + data)
    whole = answer[:-2]
    while answer[-2] == 0x61:
        answer = card.transmit(bytes([channel, 0xC0, 0, 0, answer[-1]]))
        whole += answer[:-2]
    card.power_off()
    assert answer[-2:] == b"\x90\x00", answer[-2:].hex()
    return parse(whole)


def answered(tag: int) -> Callable[[Event], bool]:
    """Matches the APDU with which the card begins to answer an ES10 function."""
    return lambda event: event.kind == "apdu" and event.fields["response"].startswith(f"{tag:04x}")


def order(kind: str, state: str) -> Callable[[Event], bool]:
    """Matches the moment in which an order of the eIM moves to a state."""
    return lambda event: event.kind == "order" and event.fields.get("what") == kind and event.fields["state"] == state
