"""What happened in a case as rows of a sequence diagram: who said what to whom, in one line each.

Messages of ESipa, ES10 and ES9+ are decoded. What carries them (AT commands, APDUs, datagrams) and what repeats is
folded into one row with a count, so that a case of thousands of events stays readable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from microipa.hil.at_lines import with_apdus
from microipa.hil.banner import is_banner
from microipa.hil.markup import clean_line
from microipa.trace import Event, session

CARD, MODEM, BOARD, EIM, SMDPP = LANES = ("Card", "Modem", "Board", "eIM", "SM-DP+")
SMDS = "SM-DS"
TETHER = "tether"
PARTS = {
    "card": CARD, "modem": MODEM, "radio": MODEM, "board": BOARD, "eim": EIM, "eim2": "eIM 2", "smdpp": SMDPP,
    "smds": SMDS, TETHER: BOARD,
}  # fmt: skip
FAILED_HERE = "FAILED"
"""Tag of the row that says where a case failed."""
SERVERS = {"es9": "ES9+", "es11": "ES11", "es12": "ES12", "es2plus": "ES2+"}
NOTES = {"log": "log", "network": "network", "order": "order", "step": "bench", "alarm": "ALARM", "failed": FAILED_HERE}

LIMIT, LAST = 240, 60  # rows of a diagram, and how many of them are the last ones where some are left out
TEXT_LIMIT = 320  # characters of a row
FEW_DATAGRAMS = 4  # go without saying: each message takes some

_INSTRUCTIONS = {
    0x10: "TERMINAL PROFILE", 0x12: "FETCH", 0x14: "TERMINAL RESPONSE", 0x20: "VERIFY", 0x70: "MANAGE CHANNEL",
    0x88: "AUTHENTICATE", 0xA4: "SELECT", 0xAA: "TERMINAL CAPABILITY", 0xB0: "READ BINARY", 0xB2: "READ RECORD",
    0xC0: "GET RESPONSE", 0xC2: "ENVELOPE", 0xCA: "GET DATA", 0xD6: "UPDATE BINARY", 0xE2: "STORE DATA",
    0xF2: "STATUS",
}  # fmt: skip
# AT commands that carry APDUs or socket data: the diagram shows what they carry.
_CARRIES = re.compile(r"C(GLA|CHO|CHC|SIM|RSM)$|SEND|RECV|IRD$|RXGET|USO(ST|WR|RD|RF)$")
_PIECE = re.compile(r"ES10 BoundProfilePackage, (\d+) bytes: (.*) → (.*)")
_LOUD = re.compile(r"E \(\d+\) |Traceback \(|\w+Error:")
_STORE_DATA, _GET_RESPONSE = 0xE2, 0xC0


@dataclass
class Row:
    """One row: ``source`` says ``text`` to ``target``, or notes it (no target), or it is nobody's (no source).

    ``answered``: the answer is in the text too. ``heavy``: a message between the device and its servers; ``faint``:
    traffic that is only counted. ``octets`` of a folded row add up.
    """

    seconds: float
    tag: str
    text: str
    source: str = ""
    target: str = ""
    answered: bool = False
    heavy: bool = False
    faint: bool = False
    loud: bool = False
    count: int = 1
    octets: int = 0

    def follows(self, other: Row) -> bool:
        """Whether it is the same once more."""
        return (self.tag, self.text, self.source, self.target) == (other.tag, other.text, other.source, other.target)


@dataclass
class _Pile:
    """Traffic since the last row, counted by name."""

    seconds: float = 0.0
    names: Counter[str] = field(default_factory=Counter)

    def add(self, seconds: float, name: str, count: int = 1) -> None:
        self.seconds = self.seconds if self.names else seconds
        self.names[name] += count


def rows(events: Iterable[Event]) -> list[Row]:
    """The rows of a case; with more than LIMIT of them, one in the middle says how many were left out."""
    told = list(session.with_es10(list(with_apdus(list(events)))))
    reader = _Reader(_server_calls(told))
    for place, event in enumerate(told):
        reader.feed(place, event)
    reader.end()
    found = reader.rows
    if len(found) <= LIMIT:
        return found
    first = LIMIT - LAST
    left_out = len(found) - LIMIT
    gap = Row(found[first].seconds, "", f"{left_out:,} more rows are left out here; the events' file has them all")
    marks = [row for row in found[first:-LAST] if row.tag == FAILED_HERE]
    return [*found[:first], gap, *marks, *found[-LAST:]]


def lanes(shown: Iterable[Row]) -> list[str]:
    """The five parts of SGP.32, and what else has a say."""
    named = {lane for row in shown for lane in (row.source, row.target) if lane}
    return [*LANES, *sorted(named.difference(LANES))]


def _server_calls(events: list[Event]) -> dict[int, int | None]:
    """Of a call between servers both tell, who asks with an address: the place of one to that of the other.

    A server's own word stays alone (None) where a device asked that tells nothing.
    """
    alone: dict[tuple[str, str], list[int]] = {}
    pairs: dict[int, int | None] = {}
    for place, event in enumerate(events):
        if event.kind not in SERVERS:
            continue
        key = event.kind, str(event.fields.get("function"))
        if "address" not in event.fields:
            alone.setdefault(key, []).append(place)
            pairs[place] = None
        elif alone.get(key):
            answer = alone[key].pop(0)
            pairs[answer], pairs[place] = place, answer
    return pairs


class _Reader:
    """Turns events into rows."""

    def __init__(self, calls: dict[int, int | None]) -> None:
        self.rows: list[Row] = []
        self._calls = calls
        self._parts: dict[int, str] = {}
        self._at, self._apdus, self._datagrams, self._tethered = _Pile(), _Pile(), _Pile(), _Pile()

    def feed(self, place: int, event: Event) -> None:
        match event.kind:
            case "at":
                self._at_command(event)
            case "apdu":
                self._apdu(event)
            case "datagram":
                self._datagram(event)
            case "es10":
                self._es10(event)
            case "esipa":
                up = event.fields["direction"] == "in"
                ends = (BOARD, _lane(event)) if up else (_lane(event), BOARD)
                self._add(event, "ESipa", session.words(event)[2:], *ends, heavy=True)
            case "power":
                self._add(event, "power", "on" if event.fields.get("on") else "off", BOARD)
            case kind if kind in SERVERS:
                self._server_call(place, event)
            case "log" if is_banner(event.fields["text"]):
                pass
            case kind:
                loud = kind in ("alarm", "failed") or (kind == "log" and bool(_LOUD.match(event.fields["text"])))
                self._add(event, NOTES.get(kind, kind), session.words(event), _lane(event), loud=loud)

    def end(self) -> None:
        self._flush()

    def _add(self, event: Event, tag: str, text: str, source: str, target: str = "", octets: int = 0,
             answered: bool = False, heavy: bool = False, loud: bool = False) -> None:
        words = clean_line(text, TEXT_LIMIT)
        row = Row(event.seconds, tag, words, source, target, answered, heavy, False, loud, 1, octets)
        if self.rows and row.follows(self.rows[-1]) and not (self._at.names or self._apdus.names):
            self.rows[-1].count += 1
            self.rows[-1].octets += octets
            return
        self._flush()
        self.rows.append(row)

    def _es10(self, event: Event) -> None:
        words = session.words(event)
        if piece := _PIECE.fullmatch(words):
            text = f"BoundProfilePackage, {piece[2]} → {piece[3]}"
            self._add(event, "ES10", text, BOARD, CARD, int(piece[1]), answered=True)
        else:
            self._add(event, "ES10", words.removeprefix("ES10 "), BOARD, CARD, answered=True)

    def _server_call(self, place: int, event: Event) -> None:
        fields, other = event.fields, self._calls.get(place)
        lane = _lane(event)
        text = f"{fields.get('function')} → {fields.get('outcome')}"
        if "address" not in fields:
            if other is None and event.kind in ("es9", "es11"):
                self._add(event, _interface(event, lane), text, BOARD, lane, answered=True, heavy=True)
            elif other is None:
                self._add(event, _interface(event, lane), text, lane)
            else:
                self._parts[place] = lane
            return
        server = self._parts.get(other, "") if other is not None else ""
        text = f"{fields.get('function')} at {fields['address']} → {fields.get('outcome')}"
        self._add(event, _interface(event, server), text, lane, server, answered=True, heavy=True)

    def _at_command(self, event: Event) -> None:
        text = str(event.fields.get("text", ""))
        if event.fields["direction"] == "in" and text[:2].upper() == "AT" and "data" not in event.fields:
            name = re.split("[=?]", text, maxsplit=1)[0][:24]  # no values: there are PINs and passwords among them
            if not _CARRIES.search(name):
                self._at.add(event.seconds, name)

    def _apdu(self, event: Event) -> None:
        command = bytes.fromhex(event.fields["command"])
        instruction = command[1] if len(command) > 1 else 0
        # ES10 is STORE DATA and what follows it, on a channel of its own, and is shown in one.
        if instruction not in (_STORE_DATA, _GET_RESPONSE):
            self._apdus.add(event.seconds, _INSTRUCTIONS.get(instruction, f"INS {instruction:02X}"))

    def _datagram(self, event: Event) -> None:
        fields = event.fields
        direction = "up" if fields.get("direction") == "up" else "down"
        pile = self._tethered if event.part == TETHER else self._datagrams
        pile.add(event.seconds, direction)
        octets = fields.get("bytes")
        pile.add(event.seconds, f"bytes {direction}", octets if isinstance(octets, int) else 0)
        if fields.get("lost"):
            pile.add(event.seconds, f"lost {direction}")

    def _flush(self) -> None:
        """Put what has piled up before the next row."""
        kinds = (
            _counted(self._at, "AT", BOARD, MODEM),
            _counted(self._apdus, "APDU", MODEM, CARD),
            _carried(self._datagrams, "IP"),
            _carried(self._tethered, TETHER),
        )
        piled = [row for row in kinds if row]
        self.rows += sorted(piled, key=lambda row: row.seconds)
        self._at, self._apdus, self._datagrams, self._tethered = _Pile(), _Pile(), _Pile(), _Pile()


def _counted(pile: _Pile, tag: str, source: str, target: str) -> Row | None:
    if not pile.names:
        return None
    text = ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in pile.names.items())
    return Row(pile.seconds, tag, clean_line(text, TEXT_LIMIT), source, target, answered=True, faint=True)


def _carried(pile: _Pile, tag: str) -> Row | None:
    count = pile.names
    lost = count["lost up"] + count["lost down"]
    if count["up"] + count["down"] < FEW_DATAGRAMS and not lost:
        return None
    text = "; ".join(f"{count[one]} datagrams {one}, {count[f'bytes {one}']:,} bytes" for one in ("up", "down"))
    if lost:
        text += f"; lost {count['lost up']} up and {count['lost down']} down"
    return Row(pile.seconds, tag, text, BOARD, EIM, answered=True, faint=True, loud=bool(lost))


def _lane(event: Event) -> str:
    return PARTS.get(event.part, "" if event.part == "lab" else clean_line(event.part, 12))


def _interface(event: Event, server: str) -> str:
    return "ES11" if event.kind == "es9" and server == SMDS else SERVERS[event.kind]
