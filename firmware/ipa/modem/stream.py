"""TCP sockets of a modem, for those who speak HTTPS."""

from errno import EIO

from ipa.compat import const, sleep_ms
from ipa.modem import ModemError, Unreadable
from ipa.modem.sockets import Socket

_PIECE = const(1024)
_FULL_MS = const(500)  # the modem has no room for more


class Stream(Socket):
    """TCP: bytes in order or an error; readinto gives 0 once the peer has closed and all was read."""

    def __init__(self, modem, number):
        super().__init__(modem, number, bytearray(_PIECE))
        self._tx = bytearray(_PIECE)
        self._taken = 0  # of what was received
        self._ended = False

    def readinto(self, buf):
        n = min(self._received - self._taken, len(buf))
        if not n:
            if self._ended:
                return 0
            return -self._error if self._error else None
        memoryview(buf)[:n] = memoryview(self._rx)[self._taken : self._taken + n]
        self._taken += n
        if self._taken == self._received:
            self._received = self._taken = 0
            self._work.set()
        return n

    def write(self, buf):
        if self._error:
            return -self._error
        if self._to_send:
            return None
        n = min(len(buf), _PIECE)
        self._tx[:n] = memoryview(buf)[:n]
        self._to_send = n
        self._work.set()
        return n

    async def _send(self):
        try:
            n = await self._modem._send(self._number, memoryview(self._tx)[: self._to_send])
            if not 0 <= n <= self._to_send:
                raise Unreadable("%d bytes sent" % n)
        except ModemError:
            self.fail(EIO)  # what went out is not known
            raise
        if not n:
            await sleep_ms(_FULL_MS)
            return  # and try again
        self._to_send -= n
        self._tx[: self._to_send] = self._tx[n : n + self._to_send]
        if not self._to_send:
            self._changed.set()

    async def _receive(self):
        try:
            await super()._receive()
        except ModemError:
            self.fail(self._error or EIO)  # what was lost of the stream is not known
            raise

    def _end(self):
        self._ended = True
        super()._end()
