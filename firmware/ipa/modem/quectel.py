"""Quectel BG95, BG77 and BG96: data connection, UDP and TCP sockets (TCP/IP application note)."""

import asyncio
import io
from errno import EIO, ENOTCONN

from ipa.compat import ERROR, INFO, const, log, sleep_ms, wait_for_ms
from ipa.modem import ModemError, SocketError
from ipa.modem.at import AtError
from ipa.modem.common import Modem

_LARGEST = const(1460)  # what QISEND takes
_PIECE = const(1024)  # of a TCP stream
_EMSGSIZE = const(90)
_CONTEXT = const(1)
_SOCKETS = const(12)
_ACTIVATE_MS = const(150000)
_OPEN_MS = const(150000)
_SEND_MS = const(10000)
_FLUSH_MS = const(15000)
_READ_AGAIN_MS = const(5000)  # +QIURC: "recv" can get lost
_FULL_MS = const(500)  # the modem has no room for more of a TCP stream
_ID_IN_USE = const(563)


class Bg95(Modem):
    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self._sockets = {}
        self._opening = None  # connectID whose +QIOPEN has yet to come
        self._opened = asyncio.Event()
        self._open_error = 0
        self.at.on(b"+QIOPEN:", self._on_open)
        self.at.on(b"+QIURC:", self._on_event)

    async def udp(self, host, port):
        """A connected UDP socket: see Datagram. Raises SocketError, AtError, AtTimeout."""
        return await self._connect("UDP", host, port, Datagram)

    async def tcp(self, host, port):
        """A connected TCP socket: see Stream. Raises SocketError, AtError, AtTimeout."""
        return await self._connect("TCP", host, port, Stream)

    async def _connect(self, service, host, port, kind):
        if not all(0x20 < ord(letter) < 0x7F and letter != '"' for letter in host):
            raise SocketError("not a host name: %r" % host)
        self._lost = False
        connect_id = 0
        while connect_id in self._sockets:
            connect_id += 1
        if connect_id == _SOCKETS:
            raise SocketError("all %d sockets are open" % _SOCKETS)
        error = await self._open(connect_id, service, host, port)
        if error == _ID_IN_USE:  # by a run before ours
            await self.try_command(b"AT+QICLOSE=%d" % connect_id)
            error = await self._open(connect_id, service, host, port)
        if error:
            raise SocketError("no socket to %s port %d: error %d" % (host, port, error), error)
        socket = self._sockets[connect_id] = kind(self, connect_id)
        return socket

    async def refresh(self, *args):
        """As Modem.refresh."""
        for socket in self._sockets.values():
            socket.fail(ENOTCONN)
        await super().refresh(*args)

    async def _open(self, connect_id, service, host, port):
        self._opening = connect_id
        self._opened.clear()
        text = 'AT+QIOPEN=%d,%d,"%s","%s",%d,0,0' % (_CONTEXT, connect_id, service, host, port)
        await self.at.command(text.encode(), timeout_ms=_OPEN_MS)
        try:
            await wait_for_ms(self._opened.wait(), _OPEN_MS)
        except asyncio.TimeoutError:
            raise SocketError("no +QIOPEN for %s port %d" % (host, port)) from None
        return self._open_error

    async def _activate(self):
        for line in await self.at.command(b"AT+QIACT?", prefix=b"+QIACT:"):
            if line.startswith(b"%d,1" % _CONTEXT):
                return
        await self.at.command(('AT+QICSGP=%d,1,"%s"' % (_CONTEXT, self._apn)).encode())
        activate = b"AT+QIACT=%d" % _CONTEXT
        try:
            await self.at.command(activate, timeout_ms=_ACTIVATE_MS)
        except AtError:
            # A context that the network closed stays broken until it is deactivated (+QIURC: "pdpdeact").
            await self.at.command(b"AT+QIDEACT=%d" % _CONTEXT, timeout_ms=_ACTIVATE_MS)
            await self.at.command(activate, timeout_ms=_ACTIVATE_MS)

    def _on_open(self, rest):
        connect_id, error = rest.split(b",")[:2]
        if int(connect_id) == self._opening:
            self._opening = None
            self._open_error = int(error)
            self._opened.set()

    def _on_event(self, rest):
        fields = rest.split(b",")
        if fields[0] == b'"pdpdeact"':
            log(INFO, "modem: data connection closed by the network")
            for socket in self._sockets.values():
                socket.fail(ENOTCONN)
            return
        socket = self._sockets.get(int(fields[1]))
        if socket is not None:
            if fields[0] == b'"recv"':
                socket.on_data()
            elif fields[0] == b'"closed"':
                socket.on_closed()


class _Socket(io.IOBase):
    """A socket whose calls never wait: one piece each way stands here, the rest stays in the modem.

    readinto(buf) and write(buf) return the length, None when there is nothing or no room now, or -errno,
    which is what MicroPython's `tls` wants of a stream. A task carries the bytes.
    """

    def __init__(self, modem, connect_id, room):
        self._at = modem.at
        self._sockets = modem._sockets
        self._id = connect_id
        self._rx = bytearray(room)
        self._tx = bytearray(room)
        self._received = 0
        self._to_send = 0
        self._more = True  # the modem may hold something
        self._error = 0
        self._closing = False
        self._work = asyncio.Event()  # for the task
        self._news = asyncio.Event()  # for wait() and flush()
        asyncio.create_task(self._run())

    def ioctl(self, _request, _arg):
        return 0

    async def wait(self, timeout_ms):
        """Until something came, what was written went, or the time is over."""
        if (self._to_send or not self._received) and not self._error:
            self._news.clear()
            try:
                await wait_for_ms(self._news.wait(), timeout_ms)
            except asyncio.TimeoutError:
                pass

    async def flush(self):
        """Until what was written is with the modem."""
        while self._to_send and not self._error:
            self._news.clear()
            await wait_for_ms(self._news.wait(), _FLUSH_MS)

    def close(self):
        """The task closes the modem's socket as soon as the modem is free."""
        self._closing = True
        self.fail(ENOTCONN)

    def on_data(self):
        self._more = True
        self._work.set()

    def on_closed(self):
        self.fail(ENOTCONN)

    def fail(self, error):
        self._error = error
        self._work.set()
        self._news.set()

    async def _run(self):
        while not self._closing:
            self._work.clear()
            try:
                if self._to_send and not self._error:
                    await self._send()
                elif self._more and not self._received and not self._error:
                    await self._receive()
                else:
                    await wait_for_ms(self._work.wait(), _READ_AGAIN_MS)
            except asyncio.TimeoutError:
                self._more = True
            except ModemError as error:
                log(ERROR, "modem:", error)
        await self._close()

    async def _transmit(self):
        text = b"AT+QISEND=%d,%d" % (self._id, self._to_send)
        await self._at.command(text, payload=memoryview(self._tx)[: self._to_send], timeout_ms=_SEND_MS)

    async def _receive(self):
        self._more = False  # before asking: the next URC may come with the answer
        text = b"AT+QIRD=%d,%d" % (self._id, len(self._rx))
        try:
            lines = await self._at.command(text, prefix=b"+QIRD:", into=self._rx)
        except AtError:  # no such socket any more
            self.fail(ENOTCONN)
            raise
        n = int(lines[0].split(b",")[0]) if lines and lines[0][:1].isdigit() else 0
        if n:
            self._received = n
            self._more = True  # the URC comes again only after an empty answer
            self._news.set()
        return n

    async def _close(self):
        try:
            await self._at.command(b"AT+QICLOSE=%d" % self._id, timeout_ms=_SEND_MS)
        except ModemError as error:
            log(INFO, "modem:", error)
        if self._sockets.get(self._id) is self:
            del self._sockets[self._id]


class Datagram(_Socket):
    """UDP: one call, one datagram."""

    def __init__(self, modem, connect_id):
        super().__init__(modem, connect_id, _LARGEST)
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
        if n > _LARGEST:
            return -_EMSGSIZE
        if self._to_send:
            return None
        self._tx[:n] = buf
        self._to_send = n
        self._work.set()
        return n

    async def _send(self):
        try:
            await self._transmit()
        except AtError as error:
            self.dropped += 1
            if error.result != "SEND FAIL":
                self.fail(EIO)
                raise
        finally:
            self._to_send = 0
            self._news.set()


class Stream(_Socket):
    """TCP: bytes in order or an error; readinto gives 0 once the peer has closed and all was read."""

    def __init__(self, modem, connect_id):
        super().__init__(modem, connect_id, _PIECE)
        self._taken = 0  # of what was received
        self._closed = False  # by the peer; the modem may still hold what came before
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

    def on_closed(self):
        self._closed = True
        self.on_data()

    async def _send(self):
        try:
            await self._transmit()
        except ModemError as error:
            if isinstance(error, AtError) and error.result == "SEND FAIL":
                await sleep_ms(_FULL_MS)
                return  # and try again
            self.fail(EIO)  # what went out is not known
            raise
        self._to_send = 0
        self._news.set()

    async def _receive(self):
        closed = self._closed  # before asking: nothing comes after that
        if not await super()._receive() and closed:
            self._ended = True
            self.fail(ENOTCONN)
