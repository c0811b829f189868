"""A lab's trace as lines a person reads: who did what, when."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import Any

from rich.text import Text

from microipa.asn1 import describe
from microipa.common.activation_codes import shortened_codes
from microipa.common.console import Terminal
from microipa.common.errors import MicroipaError
from microipa.common.outside_text import visible
from microipa.trace.event import Event
from microipa.trace.reading import EIMS, began

# Of the 256 colours of terminals those of middle lightness: each has a contrast of 3 and more on black and on white.
COLOURS = {
    "lab": "bold",
    "board": "color(28)",  # green
    "modem": "color(31)",  # cyan
    "radio": "color(63)",  # blue
    "card": "color(130)",  # orange
    "eim": "color(133)",  # magenta
    "eim2": "color(96)",
    "smdpp": "color(160)",  # red
    "smds": "color(160)",
}

CACHED = 2048  # messages: polls and what is asked of cards are the same again and again
_LOG_PREFIX = re.compile(r"^[EID] \(\d+\) ")


class Timeline:
    """Prints the events worth a newcomer's eye; the rest is for ``microipa trace``."""

    def __init__(self, console: Terminal, quiet: bool = False) -> None:
        """``quiet``: only what the lab says itself, and alarms."""
        self._console = console
        self._quiet = quiet

    def __call__(self, event: Event) -> None:
        if self._quiet and event.part != "lab" and event.kind != "alarm":
            return
        words = in_words(event)
        if words:
            self._console.print(line(event, words))


def plain_line(event: Event, words: str) -> str:
    """The same line without colours, with its end."""
    return f"{event.seconds:8.3f}  {visible(event.part):6} {shortened_codes(visible(words))}\n"


def line(event: Event, words: str) -> Text:
    """``12.345  board   words``, in the part's colour."""
    text = Text(f"{event.seconds:8.3f}  ")
    text.append(f"{visible(event.part):6} ", style=COLOURS.get(event.part, ""))
    text.append(shortened_codes(visible(words)))
    return text


def in_words(event: Event) -> str | None:
    """The line of the live timeline for this event, None for traffic that would drown it.

    What an event lacks, of another version or from elsewhere, is "?".
    """
    fields = defaultdict(lambda: "?", event.fields)
    match event.kind:
        case "step":
            return str(fields["text"])
        case "log":
            return _LOG_PREFIX.sub("", str(fields["text"]))  # the timeline has a clock of its own
        case "program":
            return f"main.py has ended with status {fields['exit_code']}; the board is at its REPL"
        case "watchdog":
            return "the watchdog was not fed"
        case "reset":
            return "the board resets"
        case "trouble":
            return f"the device says: {fields['text']}"
        case "network":
            return " ".join(str(fields[name]) for name in ("event", "imsi", "operator", "cause") if name in fields)
        case "esipa":
            return f"{'←' if fields['direction'] == 'in' else '→'} {summary(fields['message'])}"
        case "es9" | "es2plus" | "es12":
            # Both ends tell: who calls whom, and what is answered.
            asks = f"asks {fields['address']}: " if "address" in fields else ""
            return f"{asks}{fields['function']} {fields['outcome']}"
        case "order" if event.part in EIMS:
            result = f": {fields['result']}" if fields.get("result") else ""
            return f"order {fields['order']} {fields['state']} ({fields['summary']}){result}"
        case "order":
            return str(fields["text"])
        case "failed":
            return str(fields["text"])
        case "session":
            start = began(event)
            return f"the session that began at {start:%Y-%m-%d %H:%M:%S} UTC" if start else "a session"
        case "idle":
            return f"{fields['polls']} polls with nothing to do since {fields['since']}"
        case "alarm":
            return f"ALARM: {fields['text']}"
        case _:
            return None


def summary(message: Any, type_name: str | None = None) -> str:
    """One line for a message given as hex; what cannot be understood is shown as it is."""
    if not message:
        return "(empty)"
    return understood(str(message), type_name)[1]


@lru_cache(maxsize=CACHED)
def understood(message: str, type_name: str | None = None) -> tuple[str | None, str]:
    """The type of a message given as hex, and one line for it; None and the reason when it cannot be understood."""
    try:
        description = describe.describe(bytes.fromhex(message), type_name)
        return description.type_name, description.summary()
    except (MicroipaError, ValueError) as error:
        return None, f"{message} ({error})"
