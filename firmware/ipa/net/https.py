"""HTTP/1.1 over TLS with one server: POST, and answers of any length as a stream (RFC 9112, SGP.22 6.1).

Over any stream whose calls never wait: `readinto(buf)` and `write(buf)` that give None for "not now",
`async wait(ms)`, `close()`. mbedTLS takes about 30 kB while a connection is open, as with DTLS.
"""


from ipa.compat import DEBUG, const, log, ticks_add, ticks_diff, ticks_ms
from ipa.modem import SocketError
from ipa.net import ChannelRefused, NetError, free_room, keep_room

try:
    import tls
except ImportError:  # CPython, which only looks at this module
    tls = None

_HANDSHAKE_MS = const(90000)
_SEND_MS = const(60000)
_ANSWER_MS = const(60000)  # until the next bytes of an answer
_WHOLE_MS = const(1800000)  # until its end, however little comes at a time
_TICK_MS = const(1000)

_OF_TLS_1_3 = const(2)
_SUITES = (
    "TLS1-3-AES-128-GCM-SHA256",
    "TLS1-3-AES-256-GCM-SHA384",
    "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256",
    "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384",
    "TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256",
    "TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384",
)
_OUT = const(960)  # a TLS record, which with its 29 bytes of overhead fits into one AT command
_IN = const(256)
_LINE = const(128)  # what is kept of a line; long headers are none that we read
_HEADERS = const(16384)  # all header lines of an answer together
_TRAILER = const(1024)
_DIGITS = const(8)  # of a length


class HttpsError(NetError):
    """The connection failed or cannot be made; it is closed."""


class HttpsTimeout(HttpsError):
    """The server did not answer in time."""


class HttpsClosed(HttpsError):
    """The connection broke, or the server closed it before its answer was complete."""


class HttpsMalformed(HttpsError):
    """What came is not what RFC 9112 lets come."""


class HttpsRefused(ChannelRefused):
    """An answer without success; `status` is its number."""

    def __init__(self, status):
        super().__init__("HTTP {}".format(status))
        self.status = status
        self.temporary = status >= 500 or status in (408, 425, 429)


class Https:
    """Requests to host, one after the other, over one connection while the server keeps it open.

    connect: `async (host, port) -> stream`, a modem's `tcp`. trust: the arguments of a Trust.
    headers: lines for every request, each with its CRLF. client: the files of a certificate and its key, or None.
    """

    def __init__(self, connect, host, port, trust, headers=b"", client=None):
        self._connect = connect
        self._host = host
        self._port = port
        self._trust = trust
        self._headers = headers
        self._client = client
        self._channel = None
        self._body = None

    async def post(self, path, length, chunks):
        """POST `length` bytes, which each call of `chunks` yields anew in pieces. Returns the answer's Body.

        Raises HttpsRefused for every status but 2xx, the other errors above, ClockUnset, PeerNotTrusted and
        what connect raises.
        """
        if self._channel is not None:
            await self._body.finish()
            if not (self._body.is_reusable() and self._channel.is_idle()):
                self.close()
        kept = self._channel
        try:
            return await self._exchange(path, length, chunks)
        except HttpsClosed:
            if kept is None or kept.answered:
                raise
        # The server closed it between two requests, and ours met it on the way.
        log(DEBUG, "https: the connection was closed, once more")
        return await self._exchange(path, length, chunks)

    def close(self):
        """Close the connection; the next request opens another."""
        self._body = None
        channel = self._channel
        self._channel = None
        if channel is not None:
            channel.close()

    async def _exchange(self, path, length, chunks):
        try:
            if self._channel is None:
                self._channel = await self._open()
            await self._channel.write(self._head(path, length))
            for chunk in chunks():
                await self._channel.write(chunk)
            await self._channel.flush()
            self._body = Body(self._channel)
            status = await self._body.begin()
        except BaseException:  # a timeout of the caller as well: nothing can go on after half a request
            self.close()
            raise
        if not 200 <= status < 300:
            self.close()
            raise HttpsRefused(status)
        return self._body

    async def _open(self):
        from ipa.net.trust import Trust

        keep_room()
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        try:
            context.set_ciphers(_SUITES)
        except (ValueError, OSError):  # mbedTLS without TLS 1.3; its list of 190 names would cost 15 kB here
            context.set_ciphers(_SUITES[_OF_TLS_1_3:])
        trust = Trust(*self._trust)
        trust.prepare(context)
        if self._client is not None:
            from ipa.net import client

            client.show(context, self._client)
        try:
            stream = await self._connect(self._host, self._port)
        except SocketError as error:
            raise HttpsError(str(error)) from None
        try:
            free_room()
            wrapped = context.wrap_socket(stream, server_hostname=self._host, do_handshake_on_connect=False)
        except MemoryError:
            stream.close()
            raise
        except (OSError, ValueError) as error:
            stream.close()
            from ipa.net import memory

            memory.check(error)
            raise HttpsError("no TLS: %s" % error) from None
        return _Channel(wrapped, stream, trust)

    def _head(self, path, length):
        host = self._host if self._port == 443 else "{}:{}".format(self._host, self._port)
        line = "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n".format(path, host, length)
        return line.encode() + self._headers + b"\r\n"


class Body:
    """The body of an answer: `async readinto(buf) -> n`, 0 at its end. Valid until the next request."""

    def __init__(self, channel):
        self._channel = channel
        self._left = 0  # of the body or of the chunk
        self._chunked = False
        self._until_close = False
        self._kept = True  # the connection lasts beyond this answer
        self._over = False

    async def begin(self):
        """Read status and headers. Returns the status."""
        room = _HEADERS
        while True:
            line = await self._channel.line()
            version, _, rest = line.partition(b" ")
            if version[:7] != b"HTTP/1." or not rest[:3].isdigit():
                raise HttpsMalformed("no HTTP/1 status line")
            status = int(rest[:3])
            self._kept = version != b"HTTP/1.0"
            length = None
            while line:
                room -= len(line)
                if room < 0:
                    raise HttpsMalformed("more than {} bytes of headers".format(_HEADERS))
                line = await self._channel.line()
                name, _, value = line.partition(b":")
                length = self._take_header(name.strip().lower(), value.strip().lower(), length)
            if status >= 200:
                break
        self._measure(status, length)
        return status

    def _take_header(self, name, value, length):
        if name == b"content-length":
            if not value.isdigit() or len(value) > _DIGITS or length not in (None, int(value)):
                raise HttpsMalformed("Content-Length {}".format(value))
            return int(value)
        if name == b"transfer-encoding":
            if value != b"chunked":
                raise HttpsMalformed("Transfer-Encoding {}".format(value))
            self._chunked = True
        elif name == b"connection":
            self._kept = self._kept and value != b"close"
        elif name == b"content-encoding" and value != b"identity":
            raise HttpsMalformed("Content-Encoding {}".format(value))
        return length

    def _measure(self, status, length):
        if status == 204 or status == 304:
            self._chunked = False
            length = 0
        if self._chunked:
            return
        if length is None:
            self._until_close = True
            self._kept = False
        else:
            self._left = length
            self._over = not length

    async def readinto(self, buf):
        """Some bytes, at least one before the end. Raises HttpsTimeout, HttpsClosed, HttpsMalformed."""
        if not self._over and not self._left and self._chunked:
            await self._next_chunk()
        if self._over:
            return 0
        view = memoryview(buf)
        if not self._until_close:
            view = view[: min(len(view), self._left)]
        n = await self._channel.readinto(view)
        if self._until_close:
            self._over = not n
            return n
        if not n:
            raise HttpsClosed("the answer ends early")
        self._left -= n
        if not self._left:
            if self._chunked:
                await self._blank_line()
            else:
                self._over = True
        return n

    async def _next_chunk(self):
        digits = (await self._channel.line()).split(b";")[0].strip()
        try:
            if not 0 < len(digits) <= _DIGITS or digits[:1] in b"+-":
                raise ValueError
            self._left = int(digits, 16)
        except ValueError:
            raise HttpsMalformed("chunk of length {}".format(digits)) from None
        if not self._left:
            room = _HEADERS
            while True:  # trailers
                line = await self._channel.line()
                room -= len(line)
                if not line:
                    break
                if room < 0:
                    raise HttpsMalformed("trailers without end")
            self._over = True

    async def _blank_line(self):
        if await self._channel.line():
            raise HttpsMalformed("chunk longer than its length")

    async def finish(self):
        """Read over what is left, when that is less than a new connection costs."""
        scratch = bytearray(64)
        try:
            for _ in range(_TRAILER // 64):
                if not await self.readinto(scratch):
                    break
        except NetError:
            self._kept = False

    def close(self):
        """Nothing more will be read; the connection goes on for the next request, if it can."""

    def is_reusable(self):
        """Was it read to its end on a connection that lasts?"""
        return self._over and self._kept


class _Channel:
    """Bytes over TLS; the first of them do the handshake."""

    def __init__(self, wrapped, stream, trust):
        self._tls = wrapped
        self._stream = stream
        self._trust = trust  # until something came under it
        self._limit_ms = _HANDSHAKE_MS
        self._end = 0  # ticks, of the answer
        self._out = bytearray(_OUT)
        self._filled = 0
        self._in = bytearray(_IN)
        self._first = 0
        self._last = 0
        self.answered = False  # something came since the last request

    def is_idle(self):
        """Has the server neither closed the connection nor said something nobody asked for?"""
        try:
            return self._first == self._last and self._tls.readinto(self._in) is None
        except (OSError, ValueError):
            return False

    async def write(self, data):
        self.answered = False
        view = memoryview(data)
        while len(view):
            n = min(len(view), _OUT - self._filled)
            self._out[self._filled : self._filled + n] = view[:n]
            self._filled += n
            view = view[n:]
            if self._filled == _OUT:
                await self.flush()

    async def flush(self):
        view = memoryview(self._out)[: self._filled]
        deadline = ticks_add(ticks_ms(), self._limit_ms)
        while len(view):
            n = self._io(self._tls.write, view)
            if n is None:
                await self._wait(deadline, "handshake or request")
            else:
                view = view[n:]
        self._limit_ms = _SEND_MS
        self._filled = 0
        self._end = ticks_add(ticks_ms(), _WHOLE_MS)

    async def readinto(self, view):
        """Some bytes, 0 when the server has closed."""
        n = min(len(view), self._last - self._first)
        if n:
            view[:n] = memoryview(self._in)[self._first : self._first + n]
            self._first += n
            return n
        return await self._receive(view)

    async def line(self):
        """The beginning of the next line, without its end."""
        line = b""
        room = _HEADERS
        while True:
            if self._first == self._last:
                self._first = 0
                self._last = await self._receive(self._in)
                if not self._last:
                    raise HttpsClosed("closed before the end of the answer")
            end = self._in.find(b"\n", self._first, self._last)
            stop = self._last if end < 0 else end
            line += self._in[self._first : min(stop, self._first + _LINE - len(line))]
            room -= stop - self._first
            if room < 0:
                raise HttpsMalformed("a line of more than {} bytes".format(_HEADERS))
            self._first = stop if end < 0 else end + 1
            if end >= 0:
                return line.rstrip(b"\r")

    async def _receive(self, view):
        deadline = ticks_add(ticks_ms(), min(_ANSWER_MS, ticks_diff(self._end, ticks_ms())))
        while True:
            # A close_notify right behind data is swallowed here; then the end of the TCP connection tells.
            n = self._io(self._tls.readinto, view)
            if n is not None:
                if n:
                    self.answered = True
                    self._trust = None
                return n
            await self._wait(deadline, "answer")

    def _io(self, call, argument):
        try:
            return call(argument)
        except (ValueError, OSError) as error:
            if self._trust is not None:
                raise self._trust.refusal(error) or HttpsClosed("TLS: %s" % error) from None
            from ipa.net import memory

            memory.check(error)
            raise HttpsClosed("TLS: %s" % error) from None

    async def _wait(self, deadline, what):
        left = ticks_diff(deadline, ticks_ms())
        if left <= 0:
            raise HttpsTimeout("no end of the {}".format(what))
        await self._stream.wait(min(left, _TICK_MS))

    def close(self):
        self._tls.close()
        self._stream.close()
