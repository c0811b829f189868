"""Sockets of a modem: non-blocking calls; a task executes the AT commands of the family."""

import asyncio
import io
from errno import EIO, ENOMEM, ENOTCONN

from ipa.compat import ERROR, INFO, const, log, wait_for_ms
from ipa.modem import ModemError, SocketError, Unreadable, fit
from ipa.modem.at import AtError, AtTimeout
from ipa.modem.context import ContextModem

OPEN_MS = const(150000)
_DATAGRAM = const(1472)  # fits into an Ethernet frame on the path
_EMSGSIZE = const(90)
_FLUSH_MS = const(15000)
_LOST_LINES_MS = const(1000)


class SocketModem(ContextModem):
    """A family adds these methods for its sockets:

    `await _open(service, host, port)`: "UDP" or "TCP"; the modem's number of the socket. Raises SocketError.
    `await _send(number, data)`: how many bytes the modem accepted, 0 if it has no room now.
    `await _receive(number, buf)`: how many bytes were received, 0 if there are none.
    `await _shut(number)`: close.
    All raise AtError; the last three when the modem knows no such socket any more.

    Release assistance (TS 24.301 9.9.4.25) ends the connection without waiting for its inactivity timer:
    `await _send_last(number, data)`, where the family can say with a datagram that one answer is expected and nothing
    follows. Else AT+CNMPSD says so when the answer has come, where the firmware has that (TS 27.007, no more PS data).
    """

    largest = 1460  # bytes in a datagram that the modem can send
    read_again_ms = 5000  # the URC for received data can get lost

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self._sockets = {}
        self.last = False  # the next datagram is the last before a pause; the sender resets it
        self._assists = True  # until the firmware says that it has no release assistance
        self._ends = False  # the connection, with the next datagram that comes
        self.spare = None  # the buffer of the last UDP socket, for the next one
        self._turn = asyncio.Lock()  # sockets open one after the other
        self._opened = asyncio.Event()
        self._outcome = None

    async def udp(self, host, port):
        """A connected UDP socket: see Datagram. Raises SocketError, AtTimeout."""
        return await self._connect("UDP", host, port, Datagram)

    async def tcp(self, host, port):
        """A connected TCP socket: see stream.Stream. Raises SocketError, AtTimeout."""
        from ipa.modem.stream import Stream  # only some devices need it

        return await self._connect("TCP", host, port, Stream)

    async def dtls(self, host, port, certificate):
        """As udp, with DTLS in the modem and a CA (DER) that is written into it."""
        raise SocketError("this driver knows no DTLS of the modem's own: take the board's, or HTTPS")

    async def _send_last(self, number, data):
        self._ends = self._assists
        return await self._send(number, data)

    async def _end_connection(self):
        self._ends = False
        try:
            await self.at.command(b"AT+CNMPSD")
        except AtError as error:
            self._does_not_assist(error)

    def _does_not_assist(self, error):
        log(INFO, "modem: no release assistance:", error)
        self._assists = False

    async def _connect(self, service, host, port, kind):
        fit(host)
        async with self._turn:
            try:
                number = await self._open(service, host, port)
            except AtError as error:
                raise SocketError("no socket to %s port %d: %s" % (host, port, error), error.code) from None
            except Unreadable:
                raise SocketError("no socket to %s port %d: unreadable answer" % (host, port)) from None
            socket = self._sockets[number] = kind(self, number)
        return socket

    def has_sockets(self):
        """Whether some are open or still being closed."""
        return bool(self._sockets)

    def is_closing(self):
        """Whether some are being closed still."""
        for socket in self._sockets.values():
            if socket._closing:
                return True
        return False

    def _free(self, numbers):
        """A free socket number, for families in which the driver chooses it."""
        for number in numbers:
            if number not in self._sockets:
                return number
        raise SocketError("all %d sockets are open" % len(numbers))

    async def _ask_open(self, text):
        """Send a command whose result comes in a URC (_set_outcome), before or after its OK."""
        self._outcome = None
        self._opened.clear()
        await self.at.command(text, timeout_ms=OPEN_MS)
        try:
            await wait_for_ms(self._opened.wait(), OPEN_MS)
        except asyncio.TimeoutError:
            raise SocketError("no outcome of %s" % str(text, "utf-8")) from None
        return self._outcome

    def _set_outcome(self, result):
        self._outcome = result
        self._opened.set()
        self.at.answered()

    def _on_data(self, number):
        socket = self._sockets.get(number)
        if socket is not None:
            socket.on_data()

    def _on_closed(self, number):
        socket = self._sockets.get(number)
        if socket is not None:
            socket.on_closed()

    def _fail_all(self):
        for socket in self._sockets.values():
            socket.fail(ENOTCONN)


class Socket(io.IOBase):
    """A non-blocking socket: one piece in each direction is buffered here, the rest stays in the modem.

    readinto(buf) and write(buf) return the length, None if there are no data or no room now, or -errno, as
    MicroPython's `tls` expects of a stream. A task transfers the bytes.
    """

    def __init__(self, modem, number, buf):
        self._modem = modem
        self._number = number
        self._rx = buf
        self._tx = None  # bytes that are to be sent to the modem
        self._received = 0
        self._to_send = 0
        self._more = True  # the modem may have more data
        self._unasked = False  # without a URC for it
        self._error = 0
        self._closed = False  # by the peer; the modem may still have data received before
        self._closing = False
        self._work = asyncio.Event()  # for the task
        self._changed = asyncio.Event()  # for wait() and flush()
        asyncio.create_task(self._run())

    def ioctl(self, _request, _arg):
        return 0

    async def wait(self, timeout_ms):
        """Wait until data were received, all was written, or the time is over."""
        if (self._to_send or not self._received) and not self._error:
            self._changed.clear()
            try:
                await wait_for_ms(self._changed.wait(), timeout_ms)
            except asyncio.TimeoutError:
                pass

    async def flush(self):
        """Wait until all that was written has been passed to the modem."""
        while self._to_send and not self._error:
            self._changed.clear()
            await wait_for_ms(self._changed.wait(), _FLUSH_MS)

    def close(self):
        """Close it; the task closes the modem's socket as soon as the modem is free."""
        self._closing = True
        self.fail(ENOTCONN)

    def on_data(self):
        self._more = True
        self._work.set()

    def on_closed(self):
        self._closed = True
        self.on_data()

    def fail(self, error):
        self._error = error
        self._work.set()
        self._changed.set()

    async def _run(self):
        while not self._closing:
            self._work.clear()
            try:
                if self._to_send and not self._error:
                    await self._send()
                elif self._more and not self._received and not self._error:
                    await self._receive()
                else:
                    await wait_for_ms(self._work.wait(), self._modem.read_again_ms)
            except asyncio.TimeoutError:
                self._more = self._unasked = True
            except ModemError as error:
                log(ERROR, "modem:", error)
                if isinstance(error, Unreadable):  # data of this socket are incomplete now
                    self.fail(EIO)
                elif isinstance(error, AtTimeout) and self._modem.sleeps:  # it is asleep, and no answer will come
                    self.fail(ENOTCONN)
            except MemoryError as error:
                log(ERROR, "modem:", repr(error))
                self.fail(ENOMEM)
        await self._close()

    async def _receive(self):
        closed = self._closed  # read before asking: no data are received after that
        self._more = False  # reset before asking, too: the next URC may come with the answer
        try:
            n = await self._modem._receive(self._number, self._rx)
        except AtError:  # the socket does not exist any more
            if not self._closed:
                self.fail(ENOTCONN)
                raise
            n, closed = 0, True  # some modems delete a socket that the peer has closed
        if not 0 <= n <= len(self._rx):
            raise Unreadable("%d bytes received" % n)
        if closed and not n:
            self._end()
        if n and self._unasked:
            self._modem.read_again_ms = _LOST_LINES_MS  # for a modem whose URCs get lost
        self._unasked = False
        if n:
            self._modem.heard = True
            self._received = n
            self._more = True  # the next URC comes only after an empty answer
            self._changed.set()
            if self._modem._ends:
                await self._modem._end_connection()

    def _end(self):
        """All data before the end have been read."""
        self.fail(ENOTCONN)

    async def _close(self):
        try:
            await self._modem._shut(self._number)
        except ModemError as error:
            log(INFO, "modem:", error)
        sockets = self._modem._sockets
        if sockets.get(self._number) is self:
            del sockets[self._number]


class Datagram(Socket):
    """UDP: one call, one datagram."""

    def __init__(self, modem, number):
        super().__init__(modem, number, modem.spare or bytearray(_DATAGRAM))
        modem.spare = None
        self.largest = modem.largest
        self.dropped = 0  # datagrams the modem refused to send

    def readinto(self, buf):
        n = self._received
        if not n:
            return -self._error if self._error else None
        n = min(n, len(buf))
        memoryview(buf)[:n] = memoryview(self._rx)[:n]
        self._received = 0
        self._work.set()
        return n

    def write(self, buf):
        n = len(buf)
        if self._error:
            return -self._error
        if n > self.largest:
            return -_EMSGSIZE
        if self._to_send:
            return None
        self._tx = bytes(buf)
        self._to_send = n
        self._work.set()
        return n

    async def _send(self):
        modem = self._modem
        send = modem._send_last if modem.last else modem._send
        modem.last = False
        try:
            if not await send(self._number, self._tx):
                self.dropped += 1
        except AtError:
            self.dropped += 1
            self.fail(EIO)
            raise
        finally:
            self._to_send = 0
            self._tx = None
            self._changed.set()

    async def _close(self):
        await super()._close()
        self._modem.spare = self._rx
