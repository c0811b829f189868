"""A recorded session, message by message: what ``microipa trace`` prints."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from microipa.asn1 import describe, sgp32
from microipa.common.console import Terminal, json_line
from microipa.common.errors import MicroipaError
from microipa.trace.event import Event
from microipa.trace.reading import Wanted, began, utc
from microipa.trace.timeline import in_words, line, plain_line, summary, understood

SHOWN = 32  # bytes of socket data in a line of text

# A bound profile package goes into the card in pieces (SGP.22 2.5.5); a piece is known by its first tag.
BPP_PIECES = {
    "bf36": "InitialiseSecureChannel",
    "a0": "ConfigureISDP, protected",
    "a1": "the metadata's header",
    "88": "metadata, authenticated",
    "a2": "ReplaceSessionKeys, protected",
    "a3": "the profile elements' header",
    "86": "profile elements, protected",
}

STORE_DATA = 0xE2
GET_RESPONSE = 0xC0
LAST_BLOCK = 0x91


@dataclass
class Es10:
    """Puts STORE DATA blocks and GET RESPONSE answers together into one ES10 exchange (SGP.22 5.7.2)."""

    command: bytes = b""
    response: bytes = b""
    complete: bool = False

    def feed(self, command: bytes, response: bytes) -> tuple[bytes, bytes] | None:
        """Take one APDU pair; returns (command, response) when an exchange is over."""
        if len(command) > 5 and command[1] == STORE_DATA:
            if command[3] == 0:
                self.command = self.response = b""
            self.command += command[5 : 5 + command[4]]
            self.complete = command[2] == LAST_BLOCK
        elif len(command) < 2 or command[1] != GET_RESPONSE or not self.complete:
            return None
        self.response += response[:-2]
        if not self.complete or response[-2:-1] == b"\x61":
            return None
        self.complete = False
        return self.command, self.response


def print_session(
    events: Iterable[Event], out: Terminal, as_json: bool, wanted: Wanted | None = None, at_once: bool = False
) -> None:
    """One line an event as they come, for people or, with ``as_json``, for machines (messages decoded).

    The first line is written out at once, with ``at_once`` each one.
    """
    wanted = wanted or Wanted()
    stream = sys.stdout if as_json else out.file
    coloured = out.is_terminal
    start: datetime | None = None
    written = False
    for event in with_es10(event for event in events if wanted(event)):
        if event.kind == "session":
            start = began(event)
        if as_json:
            stream.write(json_line(_decoded(event, start)))
        elif coloured:
            out.print(line(event, words(event)))
        else:
            stream.write(plain_line(event, words(event)))
        if at_once or not written:
            stream.flush()
            written = True


def with_es10(events: Iterable[Event]) -> Iterator[Event]:
    """The events, and behind the last APDU of each ES10 exchange the exchange itself (kind ``es10``)."""
    exchange = Es10()
    for event in events:
        yield event
        if event.kind != "apdu":
            continue
        done = exchange.feed(bytes.fromhex(event.fields["command"]), bytes.fromhex(event.fields["response"]))
        if done:
            fields = {"command": done[0].hex(), "response": done[1].hex()}
            yield Event(event.seconds, event.part, "es10", fields)


def words(event: Event) -> str:
    """What an event says in one line, messages decoded; binary values are hex."""
    fields = event.fields
    match event.kind:
        case "apdu":
            return f"{fields['command']} → {fields['response']}"
        case "es10":
            return f"ES10 {_piece(fields['command']) or summary(fields['command'])} → {_answer(fields)}"
        case "at":
            return f"{'→' if fields['direction'] == 'in' else '←'} {fields.get('text', '')}{_data(fields)}"
    return in_words(event) or " ".join(f"{name}={value}" for name, value in fields.items())


def _piece(command: str) -> str | None:
    """Which piece of a bound profile package this is, None for any other command."""
    what = next((name for tag, name in BPP_PIECES.items() if command.startswith(tag)), None)
    return what and f"BoundProfilePackage, {len(command) // 2} bytes: {what}"


def _answer(fields: dict[str, Any]) -> str:
    return summary(fields["response"], _response_type(fields["command"])) if fields["response"] else "ok"


def _response_type(command: str) -> str | None:
    """What answers this command. Request and response of a function have one tag and can look alike."""
    name = (understood(command)[0] or "").replace("Request", "Response")
    return name if name in sgp32.types and name.endswith("Response") else None


def _data(fields: dict[str, Any]) -> str:
    """What went through a socket beside the text."""
    data = str(fields.get("data", ""))
    size = fields.get("bytes", len(data) // 2)  # a record has the beginning only
    cut = "…" if len(data) > 2 * SHOWN or "bytes" in fields else ""
    return f" [{size} bytes: {data[: 2 * SHOWN]}{cut}]" if data else ""


def _decoded(event: Event, start: datetime | None) -> dict[str, Any]:
    decoded = {"t": round(event.seconds, 6), "part": event.part, "kind": event.kind, **event.fields}
    if start:
        decoded["utc"] = utc(start, event).isoformat(timespec="milliseconds")
    fields = event.fields
    if event.kind == "esipa" and fields["message"]:
        decoded |= _message("message", fields["message"])
    elif event.kind == "es10":
        piece = _piece(fields["command"])
        decoded |= {"command_piece": piece} if piece else _message("command", fields["command"])
        if fields["response"]:
            decoded |= _message("response", fields["response"], _response_type(fields["command"]))
    return decoded


def _message(name: str, message: str, type_name: str | None = None) -> dict[str, Any]:
    try:
        description = describe.describe(bytes.fromhex(message), type_name)
    except MicroipaError as error:
        return {f"{name}_error": str(error)}
    return {f"{name}_type": description.type_name, f"{name}_value": description.json()["value"]}
