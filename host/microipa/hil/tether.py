"""The bench's end of tools/tether.py: a board's datagrams come out of its serial port, and go to its place's eIM.

The lines are described there. A board's stdin may hold as few as 259 bytes, and a serial port may have no flow control:
so one piece of a datagram is typed, and the next when the board has said that it read it.
"""

from __future__ import annotations

import re
import socket
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress

from microipa.board.repl import BoardLost

LARGEST = 1472
"""Bytes of a datagram that a board takes."""
PIECE = 160
"""Letters of a line that is typed, a multiple of 4."""

_LINE = re.compile(r"~t([A-Z])([?=+!])([ -~]*)")
_READ_S = 10.0  # for a board to read a line, busy as it may be with its card or with a signature

Address = tuple[str, int]


class Tether:
    """One while a board's program runs; it has one link at a time, to one of the eIMs that ``way`` knows."""

    def __init__(
        self,
        way: Callable[[str, int], Address | None],
        write: Callable[[bytes], None],
        record: Callable[..., None],
        patience_s: float = _READ_S,
    ) -> None:
        """``way``: where the eIM of this name and port listens, None for all others. ``write`` types something.

        ``record`` notes what happens, as Trace.record, from any thread.
        """
        self._way = way
        self._write = write
        self._record = record
        self._patience_s = patience_s
        self._link: _Link | None = None
        self._closed = False
        self._turn = threading.Lock()

    def takes(self, line: str) -> bool:
        """Do what the board asks for in this line. False when it asks for nothing: the line is one of its log."""
        found = _LINE.fullmatch(line)
        if not found:
            return False
        letter, what, rest = found.groups()
        with self._turn:
            if what == "?":
                self._open(letter, rest)
            elif self._link and self._link.letter == letter.encode():
                if what == "=":
                    self._link.send(rest)
                elif what == "+":
                    self._link.typed.set()
                else:
                    self._end()
        return True

    def close(self) -> None:
        """Type nothing more, and send nothing more. The second time nothing happens."""
        with self._turn:
            self._closed = True
            self._end()

    def _end(self) -> None:
        if self._link:
            self._link.close()
            self._link = None

    def _open(self, letter: str, rest: str) -> None:
        self._end()
        if self._closed:
            return
        host, _, port = rest.strip().rpartition(" ")
        address = self._way(host, int(port)) if port.isdecimal() else None
        if address is None:
            text = f"tether: {host} port {port} is not an eIM of this place, no datagram is sent there"
            self._record("tether", "step", text=text)
            with suppress(BoardLost):
                self._write(b"~t" + letter.encode() + b"!\n")
            return
        self._record("tether", "step", text=f"tether: datagrams to {host} port {port} go over the board's serial port")
        self._link = _Link(letter.encode(), address, self._write, self._note, self._patience_s)

    def _note(self, direction: str, datagram: bytes, lost: bool = False) -> None:
        self._record("tether", "datagram", direction=direction, bytes=len(datagram), lost=lost,
                     payload=datagram)


class _Link:
    """A UDP socket of its own, as each of a modem's, and a thread that types what comes to it."""

    def __init__(self, letter: bytes, address: Address, write: Callable[[bytes], None],
                 note: Callable[..., None], patience_s: float) -> None:
        self.letter = letter
        self.typed = threading.Event()
        """Whether the board has read all that was typed."""
        self.typed.set()
        self._write = write
        self._note = note
        self._patience_s = patience_s
        self._over = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(address)
        self._thread = threading.Thread(target=self._carry, name="tether", daemon=True)
        self._thread.start()

    def send(self, letters: str) -> None:
        try:
            datagram = b64decode(letters, validate=True)
        except ValueError:  # a line that came garbled
            return
        self._note("up", datagram)
        with suppress(OSError):  # nobody there, as an ICMP message tells
            self._socket.send(datagram)

    def close(self) -> None:
        self._over = True
        self.typed.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # which ends recv()
        self._thread.join()
        self._socket.close()

    def _carry(self) -> None:
        while not self._over:
            try:
                datagram = self._socket.recv(LARGEST + 1)
            except ConnectionError:  # what send() had no answer to
                continue
            except OSError:
                return
            if self._over:
                return
            try:
                arrived = len(datagram) <= LARGEST and self._type(datagram)
            except BoardLost:  # which the terminal finds out as well
                return
            self._note("down", datagram, lost=not arrived)

    def _type(self, datagram: bytes) -> bool:
        """In pieces. Whether the board has taken them: one that reads nothing loses datagrams as a modem does."""
        letters = b64encode(datagram)
        for number, start in enumerate(range(0, len(letters), PIECE)):
            last = start + PIECE >= len(letters)
            if not self.typed.wait(self._patience_s):
                self.typed.set()  # the piece got lost, or the board will not read it before a link is opened anew
                return False
            self.typed.clear()
            if self._over:  # looked at last, since close() sets both
                return False
            self._write(b"~t%b%c%b%b\n" % (self.letter, 0x30 + number, b"." if last else b"+",
                                           letters[start : start + PIECE]))
        return True
