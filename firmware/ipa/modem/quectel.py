"""Quectel BG95, BG77 and BG96: data connection and UDP sockets (TCP/IP application note)."""

import asyncio
import io
from errno import EIO, ENOTCONN

from ipa.compat import ERROR, INFO, const, log, wait_for_ms
from ipa.modem import ModemError
from ipa.modem.at import AtError
from ipa.modem.common import Modem

_LARGEST = const(1460)  # what QISEND takes
_EMSGSIZE = const(90)
_CONTEXT = const(1)
_SOCKETS = const(12)
_ACTIVATE_MS = const(150000)
_OPEN_MS = const(150000)
_SEND_MS = const(10000)
_FLUSH_MS = const(15000)
_READ_AGAIN_MS = const(5000)  # +QIURC: "recv" can get lost
_ID_IN_USE = const(563)


class SocketError(ModemError):
    """The modem did not open a socket; `code` is Quectel's number or None."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


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
        if not all(0x20 < ord(letter) < 0x7F and letter != '"' for letter in host):
            raise SocketError("not a host name: %r" % host)
        self._lost = False
        connect_id = 0
        while connect_id in self._sockets:
            connect_id += 1
        if connect_id == _SOCKETS:
            raise SocketError("all %d sockets are open" % _SOCKETS)
        error = await self._open(connect_id, host, port)
        if error == _ID_IN_USE:  # by a run before ours
            await self.try_command(b"AT+QICLOSE=%d" % connect_id)
            error = await self._open(connect_id, host, port)
        if error:
            raise SocketError("no socket to %s port %d: error %d" % (host, port, error), error)
        datagram = self._sockets[connect_id] = Datagram(self, connect_id)
        return datagram

    async def refresh(self, *args):
        """As Modem.refresh."""
        for datagram in self._sockets.values():
            datagram.fail(ENOTCONN)
        await super().refresh(*args)

    async def _open(self, connect_id, host, port):
        self._opening = connect_id
        self._opened.clear()
        text = 'AT+QIOPEN=%d,%d,"UDP","%s",%d,0,0' % (_CONTEXT, connect_id, host, port)
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
        await self.at.command(b"AT+QIACT=%d" % _CONTEXT, timeout_ms=_ACTIVATE_MS)

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
            for datagram in self._sockets.values():
                datagram.fail(ENOTCONN)
            return
        datagram = self._sockets.get(int(fields[1]))
        if datagram is not None:
            if fields[0] == b'"recv"':
                datagram.on_data()
            elif fields[0] == b'"closed"':
                datagram.fail(ENOTCONN)


class Datagram(io.IOBase):
    """A UDP socket whose calls never wait: one datagram each way stands here, the rest stays in the modem.

    readinto(buf) and write(buf) return the length, None when there is nothing or no room now, or -errno,
    which is what MicroPython's `tls` wants of a stream. A task carries the bytes.
    """

    def __init__(self, modem, connect_id):
        self._at = modem.at
        self._sockets = modem._sockets
        self._id = connect_id
        self._rx = bytearray(_LARGEST)
        self._tx = bytearray(_LARGEST)
        self._received = 0
        self._to_send = 0
        self._more = True  # the modem may hold datagrams
        self._error = 0
        self._closing = False
        self.dropped = 0  # datagrams the modem refused to send
        self._work = asyncio.Event()  # for the task
        self._news = asyncio.Event()  # for wait() and flush()
        asyncio.create_task(self._run())

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

    def ioctl(self, _request, _arg):
        return 0

    async def wait(self, timeout_ms):
        """Until a datagram came, the last one went, or the time is over."""
        if not self._received and not self._error:
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

    async def _send(self):
        text = b"AT+QISEND=%d,%d" % (self._id, self._to_send)
        try:
            await self._at.command(text, payload=memoryview(self._tx)[: self._to_send], timeout_ms=_SEND_MS)
        except AtError as error:
            self.dropped += 1
            if error.result != "SEND FAIL":
                self.fail(EIO)
                raise
        finally:
            self._to_send = 0
            self._news.set()

    async def _receive(self):
        self._more = False  # before asking: the next URC may come with the answer
        text = b"AT+QIRD=%d,%d" % (self._id, _LARGEST)
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

    async def _close(self):
        try:
            await self._at.command(b"AT+QICLOSE=%d" % self._id, timeout_ms=_SEND_MS)
        except ModemError as error:
            log(INFO, "modem:", error)
        if self._sockets.get(self._id) is self:
            del self._sockets[self._id]
