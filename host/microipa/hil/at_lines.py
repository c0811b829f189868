"""AT lines where nothing else tells of a card: as tools/at_tap.py prints them on a board, and the APDUs in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from microipa.trace import Event

_TAPPED = re.compile(r"~m([<>])(.+)")
_COMMAND = re.compile(r'AT\+C(?:GLA=[^,]*,|SIM=)\d+,"((?:[0-9A-F]{2})+)"', re.IGNORECASE)
_RESPONSE = re.compile(r'\+C(?:GLA|SIM): *\d+,"?((?:[0-9A-F]{2}){2,})"?', re.IGNORECASE)


def heard(line: str) -> tuple[str, str, dict[str, Any]]:
    """What a line that a board has printed goes on record as: part, kind and fields."""
    if tapped := _TAPPED.fullmatch(line):
        return "modem", "at", {"direction": "in" if tapped[1] == ">" else "out", "text": tapped[2]}
    return "board", "log", {"text": line}


def with_apdus(events: Sequence[Event]) -> Iterator[Event]:
    """The events, and behind the AT line that ends it each APDU, unless the card's own contacts have told them."""
    tapped = not any(event.kind == "apdu" for event in events)
    command = ""
    for event in events:
        yield event
        if event.kind != "at" or not tapped:
            continue
        text = str(event.fields.get("text", ""))
        if event.fields["direction"] == "in":
            asked = _COMMAND.fullmatch(text)
            command = asked[1] if asked else ""
        elif command and (said := _RESPONSE.fullmatch(text)):
            yield Event(event.seconds, "card", "apdu", {"command": command, "response": said[1]})
            command = ""
