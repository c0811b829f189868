"""Runs on a board of a bench: its datagrams go over the serial port of its REPL to the bench, not over the modem.

Put it beside main.py and import it before main.py. Card, registration, clock and TCP stay with the modem, and only
while that is registered is there a datagram, so that a lost network is one here as well. The lines, each a whole one
among those of the log; A is the link's letter, host/microipa/hil/tether.py types the other end:

    ~tA? eim.example 5684    it is open: the bench decides where to. Said again until something was typed: a port
                             comes after its board
    ~tA=Fv79AAAA...          a datagram
    ~tA+                     a line was read: type the next one
    ~tA!                     it is over; typed: it leads nowhere
    ~tA0+Fv79AAAA...         typed: piece 0 of a datagram; the last one has . for +

Base64 has no Ctrl-C, which stays what it is. Whatever else is typed is passed over.
"""

import io
import select
import sys
from binascii import a2b_base64, b2a_base64
from errno import ENOTCONN

from ipa import modem
from ipa.compat import INFO, const, log, sleep_ms, ticks_add, ticks_diff, ticks_ms
from ipa.modem import SocketError

_DATAGRAM = const(1472)
_LINE = const(200)  # typed at once: the stdin of an ESP32 holds 259 bytes, and loses the next
_AT_ONCE = const(96)  # bytes that are made to letters, a multiple of 3
_LOOK_MS = const(10)
_STALE = const(4096)

_driver = modem.driver
_stdin = select.poll()
_stdin.register(sys.stdin, select.POLLIN)
_key = bytearray(1)
_last = 0x40  # letter of the last link


class Tether(io.IOBase):
    """A datagram stream as ipa.modem.sockets.Datagram."""

    def __init__(self, modem, host, port):
        global _last
        _last = _last + 1 if _last < 0x5A else 0x41
        self._mark = b"~t" + bytes((_last,))
        self._to = "? %s %d" % (host, port)
        self._heard = False
        self._modem = modem
        self._rx = bytearray(_DATAGRAM)
        self._filled = 0
        self._next = 0  # the piece that is due
        self._whole = False
        self._line = bytearray(_LINE)
        self._length = 0
        self._error = 0
        for _ in range(_STALE):  # what was typed for the link before
            if not _typed():
                break

    def ioctl(self, _request, _arg):
        return 0

    def readinto(self, buf):
        self._take()
        if not self._whole:
            return -self._error if self._error else None
        n = min(self._filled, len(buf))
        memoryview(buf)[:n] = memoryview(self._rx)[:n]
        self._whole = False
        return n

    def write(self, buf):
        if self._error:
            return -self._error
        if self._modem.registered():
            if not self._heard:
                self._say(self._to)
            self._say("=", buf)
        return len(buf)

    async def wait(self, timeout_ms):
        """Until a datagram came or the time is over."""
        deadline = ticks_add(ticks_ms(), timeout_ms)
        while True:
            self._take()
            left = ticks_diff(deadline, ticks_ms())
            if self._whole or self._error or left <= 0:
                return
            await sleep_ms(min(left, _LOOK_MS))

    def close(self):
        if not self._error:
            self._say("!")
        self._error = ENOTCONN

    def _say(self, what, data=b""):
        out = sys.stdout.buffer
        out.write(b"\n")  # after what somebody printed without ending the line
        out.write(self._mark)
        out.write(what.encode())
        view = memoryview(data)
        for i in range(0, len(view), _AT_ONCE):
            out.write(b2a_base64(view[i : i + _AT_ONCE], newline=False))
        out.write(b"\n")

    def _take(self):
        """Read what was typed, but nothing behind the end of a datagram."""
        while not (self._whole or self._error) and _typed():
            if _key[0] != 0x0A:
                if self._length < _LINE:
                    self._line[self._length] = _key[0]
                    self._length += 1
                continue
            n = self._length
            self._length = 0
            if not 3 < n < _LINE or self._line[:3] != self._mark:
                continue
            self._heard = True
            if self._line[3] == 0x21:
                self._error = ENOTCONN
            elif n > 4:
                self._say("+")
                self._piece(self._line[3] - 0x30, self._line[4] == 0x2E, memoryview(self._line)[5:n])

    def _piece(self, number, is_last, letters):
        """What misses a piece, or is too long, is dropped: datagrams get lost."""
        if not number:
            self._next = self._filled = 0
        if number != self._next:
            return
        try:
            data = a2b_base64(letters)
        except ValueError:
            data = b""
        end = self._filled + len(data)
        if not data or end > _DATAGRAM:
            self._next = -1
            return
        self._rx[self._filled : end] = data
        self._filled = end
        self._next += 1
        if is_last:
            self._whole = True
            self._next = -1


def _typed():
    """Put the next key that was typed into _key: False when there is none."""
    for _ in _stdin.ipoll(0):
        return sys.stdin.buffer.readinto(_key)  # more would wait for them
    return False


async def udp(modem, host, port):
    if not modem.registered():
        raise SocketError("tether: the modem has no network")
    return Tether(modem, host, port)


async def dtls(modem, host, port, certificate):
    raise SocketError("tether: it carries what the board's own DTLS makes, set dtls to board")


def driver(name):
    """As ipa.modem.driver, without that modem's UDP."""
    kind = _driver(name)
    kind.udp = udp
    kind.dtls = dtls
    log(INFO, "tether: datagrams go over this serial port, not over the modem")
    return kind


modem.driver = driver
