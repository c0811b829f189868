"""A recorded session, message by message: what ``microipa trace`` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from microipa.asn1 import describe, sgp32
from microipa.common.console import Terminal, print_json
from microipa.common.errors import MicroipaError
from microipa.trace import Event
from microipa.trace.timeline import EIMS, in_words, line, summary

# What an event of a kind must have to be printed: fields of hex, fields of text.
HEX_FIELDS = {"apdu": ("command", "response"), "es10": ("command", "response"), "esipa": ("message",)}
TEXT_FIELDS = {"at": ("direction",), "esipa": ("direction",), "log": ("text",), "step": ("text",)}
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


class BadTrace(MicroipaError):
    """A file that is not a trace."""


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


def read(text: str, name: str) -> list[Event]:
    """The events of a trace file's content. Raises BadTrace with the line that is none."""
    events = []
    for number, row in enumerate(text.splitlines(), 1):
        try:
            events.append(_checked(Event.from_json(row)))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise BadTrace(
                f"{name} line {number} is not an event: {row[:60]!r}; give the trace.jsonl of a lab"
            ) from None
    return events


def _checked(event: Event) -> Event:
    """The event, when everything is there that its kind needs. Raises KeyError, TypeError and their like."""
    math.isfinite(event.seconds)  # a number that floats can hold
    for name in HEX_FIELDS.get(event.kind, ()):
        bytes.fromhex(event.fields[name])
    if not all(isinstance(event.fields[name], str) for name in TEXT_FIELDS.get(event.kind, ())):
        raise TypeError
    if event.kind == "order":
        event.fields["state" if event.part in EIMS else "text"]
    return replace(event, part=str(event.part), kind=str(event.kind))


def print_session(events: list[Event], out: Terminal, as_json: bool) -> None:
    """One line an event, for people or, with ``as_json``, for machines (messages decoded)."""
    for event in with_es10(events):
        if as_json:
            print_json(_decoded(event))
        else:
            out.print(line(event, words(event)))


def with_es10(events: list[Event]) -> Iterator[Event]:
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
    try:
        name = describe.describe(bytes.fromhex(command)).type_name.replace("Request", "Response")
    except MicroipaError:
        return None
    return name if name in sgp32.types and name.endswith("Response") else None


def _data(fields: dict[str, Any]) -> str:
    """What went through a socket beside the text."""
    data = str(fields.get("data", ""))
    size = fields.get("bytes", len(data) // 2)  # a record has the beginning only
    cut = "…" if len(data) > 2 * SHOWN or "bytes" in fields else ""
    return f" [{size} bytes: {data[: 2 * SHOWN]}{cut}]" if data else ""


def _decoded(event: Event) -> dict[str, Any]:
    decoded = json.loads(event.to_json())
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
