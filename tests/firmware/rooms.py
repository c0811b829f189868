"""Stands for the rooms below in firmware tests, run by MicroPython: a carrier, a stream and a link."""

import asyncio

from ipa.modem.at import AtError


def run(coroutine):
    return asyncio.run(coroutine)


async def failing(awaitable):
    """The error as "Name text", so that a test can compare it."""
    try:
        value = await awaitable
    except Exception as error:  # noqa: BLE001 (whichever it is, the test compares it)
        return f"{type(error).__name__} {error}"
    return f"no error but {value}"


def octets(parts):
    """What a link sends; a part has a length and can be sliced."""
    return b"".join([bytes(part[0 : len(part)]) for part in parts])


class Stream:
    """Bytes that come in pieces of at most `piece`, or until an exception among them."""

    def __init__(self, data, piece=100, error=None):
        self._data = memoryview(data)
        self._piece = piece
        self._error = error
        self.closed = False

    async def readinto(self, view):
        n = min(len(view), len(self._data), self._piece)
        if not n and self._error:
            raise self._error
        view[:n] = self._data[:n]
        self._data = self._data[n:]
        return n

    def close(self):
        self.closed = True


class Carrier:
    """A card at APDU level: takes STORE DATA chains, hands them whole to `answer(command)`, gives the answer
    in pieces by GET RESPONSE.

    `answer` returns bytes, or an int as status word. APDUs longer than `most` data bytes are a modem ERROR;
    `last` is the status word behind the data.
    """

    def __init__(self, answer, most=255, last=b"\x90\x00"):
        self._answer = answer
        self._most = most
        self._last = last
        self._command = bytearray()
        self._left = b""
        self._block = 0
        self.apdus = []
        self.longest = 0
        self.resets = 0
        self.opened = 0

    async def open(self, aid):
        self.opened += 1
        self.aid = aid
        return b""

    async def close(self):
        self.opened -= 1

    async def reset(self):
        self.resets += 1

    async def transmit(self, apdu):
        apdu = bytes(apdu)
        if len(apdu) - 5 > self._most:
            raise AtError(b"AT+CGLA", "ERROR")
        self.apdus.append(apdu)
        self.longest = max(self.longest, len(apdu) - 5)
        if apdu[1] == 0xAA:
            return b"\x90\x00"
        if apdu[1] == 0xC0:
            return self._give(apdu[4] or 256)
        if apdu[1] != 0xE2 or len(apdu) != 5 + apdu[4]:
            return b"\x6d\x00"
        if apdu[3] == 0:
            self._command = bytearray()
            self._block = 0
        if apdu[3] != self._block:
            return b"\x6a\x86"
        self._block += 1
        self._command.extend(apdu[5:])
        if apdu[2] == 0x11:
            return b"\x90\x00"
        answer = self._answer(bytes(self._command))
        if isinstance(answer, int):
            return bytes((answer >> 8, answer & 255))
        self._left = answer
        return self._status() if answer else self._last

    def _give(self, n):
        if not self._left:
            return b"\x69\x85"
        if n > len(self._left):
            return bytes((0x6C, len(self._left)))
        data, self._left = self._left[:n], self._left[n:]
        return data + self._status()

    def _status(self):
        if not self._left:
            return self._last
        return bytes((0x61, len(self._left) if len(self._left) < 256 else 0))


class Link:
    """Answers requests from a list of (expected request or None, answer bytes or exception)."""

    def __init__(self, *script):
        self._script = list(script)
        self.requests = []
        self.streams = []

    async def exchange(self, parts, function=None):
        request = octets(parts)
        self.requests.append(request if function is None else (function, request))
        if not self._script:
            raise AssertionError("nothing expected after " + request.hex())
        expected, answer = self._script.pop(0)
        if expected is not None and expected != request:
            raise AssertionError(f"{request.hex()} where {expected.hex()} was due")
        if isinstance(answer, Exception):
            raise answer
        self.streams.append(Stream(answer, 64))
        return self.streams[-1]

    def done(self):
        return not self._script and all(stream.closed for stream in self.streams)
