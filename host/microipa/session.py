"""A recorded session, message by message: what ``microipa trace`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from microipa.asn1 import describe
from microipa.errors import MicroipaError
from microipa.timeline import in_words, line, summary
from microipa.trace import Event

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
            events.append(Event.from_json(row))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadTrace(f"{name} line {number} is not an event of a trace: {row[:60]!r}") from None
    return events


def print_session(events: list[Event], out: Console, as_json: bool) -> None:
    """One line an event, for people or, with ``as_json``, for machines (messages decoded)."""
    for event in with_es10(events):
        if as_json:
            print(json.dumps(_decoded(event)))
        else:
            out.print(line(event, _words(event)))


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


def _words(event: Event) -> str:
    fields = event.fields
    match event.kind:
        case "apdu":
            return f"{fields['command']} → {fields['response']}"
        case "es10":
            answer = summary(fields["response"]) if fields["response"] else "ok"
            return f"ES10 {summary(fields['command'])} → {answer}"
        case "at":
            return f"{'→' if fields['direction'] == 'in' else '←'} {fields['text']}"
    return in_words(event) or " ".join(f"{name}={value}" for name, value in fields.items())


def _decoded(event: Event) -> dict[str, Any]:
    decoded = json.loads(event.to_json())
    for name in ("message", "command", "response"):
        if event.kind in ("esipa", "es10") and event.fields.get(name):
            try:
                description = describe.describe(bytes.fromhex(event.fields[name]))
            except MicroipaError as error:
                decoded[f"{name}_error"] = str(error)
            else:
                decoded[f"{name}_type"] = description.type_name
                decoded[f"{name}_value"] = description.json()
    return decoded
