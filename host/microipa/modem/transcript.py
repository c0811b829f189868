"""What a driver and a modem said to each other, in a file that a person can read, and a modem that says it again.

    # a remark
    > AT+CEREG?
    < +CEREG: 0,1
    < OK
    >> 7069 6e67  | ping
    << 0d0a 3e20  | ..>.

``>`` is the driver, ``<`` the modem. A line of the driver ends with CR, one of the modem stands between two CR LF; what
is anything else is hexadecimal, so that a transcript is true to the byte. Behind the bar are the same bytes for people,
a dot for each that nobody sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from microipa.common.errors import MicroipaError
from microipa.common.outside_text import visible

_CR, _CRLF = b"\r", b"\r\n"
_TEXT = re.compile(rb"[\x20-\x7e]*[\x21-\x7e]")
_LINE = re.compile(rb"\r\n([A-Z0-9+#%*^$][\x20-\x7e]*)(?<! )\r\n")
_UNSEEN = re.compile(rb"[^\x21-\x7e]")
_HEX_COLUMNS = 32  # bytes
_ERROR = b"\r\nERROR\r\n"


class BadTranscript(MicroipaError):
    """A file that is no transcript."""


@dataclass
class Turn:
    """What the driver sent at one go, and all that the modem said before the driver's next word."""

    sent: bytes = b""
    said: bytes = b""


@dataclass
class Transcript:
    """``title``: remarks at the top of the file. The first turn's ``sent`` is empty when the modem speaks first."""

    title: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def driver(self, data: bytes) -> None:
        """Add what the driver sends."""
        if not self.turns or self.turns[-1].said or self.turns[-1].sent.endswith(_CR):
            self.turns.append(Turn())
        self.turns[-1].sent += data

    def modem(self, data: bytes) -> None:
        """Add what the modem says."""
        if not self.turns:
            self.turns.append(Turn())
        self.turns[-1].said += data

    def text(self) -> str:
        """The file's content."""
        lines = [f"# {visible(line)}" for line in self.title]
        for turn in self.turns:
            sent = turn.sent
            if sent.endswith(_CR) and _TEXT.fullmatch(sent[:-1]):
                lines.append(f"> {sent[:-1].decode()}")
            else:
                lines += _hex(">>", sent)
            lines += _said(turn.said)
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str, name: str = "transcript") -> Transcript:
        """Raises BadTranscript with the line that is none."""
        found = cls()
        for number, line in enumerate(text.splitlines(), 1):
            mark, _, rest = line.partition(" ")
            try:
                if mark == "#":
                    found.title.append(rest)
                elif mark == ">":
                    found.driver(rest.encode() + _CR)
                elif mark == "<":
                    found.modem(_CRLF + rest.encode() + _CRLF)
                elif mark == ">>":
                    found.driver(bytes.fromhex(rest.partition("|")[0]))
                elif mark == "<<":
                    found.modem(bytes.fromhex(rest.partition("|")[0]))
                elif line.strip():
                    raise ValueError
            except ValueError:
                raise BadTranscript(f"{name} line {number} begins with none of > < >> << #: {line[:60]!r}") from None
        return found

    @classmethod
    def read(cls, path: Path) -> Transcript:
        """Raises BadTranscript and OSError."""
        return cls.parse(path.read_text(), str(path))


def _said(data: bytes) -> Iterable[str]:
    """What the modem said, as lines where it is exactly that."""
    position = 0
    for line in _LINE.finditer(data):
        yield from _hex("<<", data[position : line.start()])
        yield f"< {line[1].decode()}"
        position = line.end()
    yield from _hex("<<", data[position:])


def _hex(mark: str, data: bytes) -> Iterable[str]:
    for start in range(0, len(data), _HEX_COLUMNS):
        piece = data[start : start + _HEX_COLUMNS]
        yield f"{mark} {piece.hex(' ', -2)}  | {_UNSEEN.sub(b'.', piece).decode()}"


class Player:
    """A modem that knows one conversation. Feed it what a driver sends; ``say`` gets what the modem says.

    A driver asks some things again, in its own time: a command that the conversation has is answered with the next
    answer to it, or the last. ``strange`` are the lines that it does not have; they are answered with ERROR.
    """

    def __init__(self, transcript: Transcript, say: Callable[[bytes], None]) -> None:
        self._turns = transcript.turns
        self._say = say
        self._next = 0
        self._input = bytearray()
        self.strange: list[bytes] = []
        if self._turns and not self._turns[0].sent:
            self._next = 1
            say(self._turns[0].said)

    @property
    def finished(self) -> bool:
        """Has the whole conversation been had?"""
        return self._next >= len(self._turns)

    def feed(self, data: bytes) -> None:
        self._input += data
        while self._input:
            due = self._turns[self._next].sent if not self.finished else b""
            is_data = bool(due) and not due.endswith(_CR)
            if is_data:
                if len(self._input) < len(due):
                    return
                size = len(due)  # data: whichever they are, they have their length
            else:
                size = self._input.find(_CR) + 1
                if not size:
                    return
            sent = bytes(self._input[:size])
            del self._input[:size]
            self._answer(sent, is_data)

    def _answer(self, sent: bytes, is_data: bool) -> None:
        due = not self.finished and (is_data or self._turns[self._next].sent == sent)
        later = [place for place in range(self._next, len(self._turns)) if self._turns[place].sent == sent]
        earlier = [place for place in range(self._next) if self._turns[place].sent == sent]
        if due or later:
            place = self._next if due else later[0]
            self._next = place + 1
        elif earlier:
            place = earlier[-1]
        else:
            self.strange.append(sent)
            self._say(_ERROR)
            return
        self._say(self._turns[place].said)
