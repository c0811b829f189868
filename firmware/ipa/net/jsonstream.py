"""One JSON object from a stream, member by member, in whatever order and pieces it comes (RFC 8259).

Nothing of it is whole in memory but what the caller asks for: after `name()` call exactly one of `text`,
`enter`, `enter_array`, `skip` or `base64`, then `name()` again.
"""

from binascii import a2b_base64

from ipa.compat import const
from ipa.net import ServerError

_WINDOW = const(256)
_QUADS = const(256)
_NAME = const(64)
_WORD = const(16)
_DEPTH = const(16)
_SPACE = b" \t\r\n"
_ESCAPES = b'"\\/bfnrt'
_ESCAPED = b'"\\/\x08\x0c\n\r\t'
_QUOTE = const(0x22)
_BACKSLASH = const(0x5C)
_N = const(0x6E)  # with which only null begins
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonError(ServerError):
    """The bytes are not the JSON they should be, or `temporary` fewer."""

    def __init__(self, reason, temporary=False):
        super().__init__(reason)
        self.temporary = temporary


class Reader:
    """`stream` has `async readinto(buf) -> n`, 0 at its end. `room` is how much may come, None no matter."""

    def __init__(self, stream, room):
        self._stream = stream
        self.room = room
        self._buf = bytearray(_WINDOW)
        self._first = 0
        self._last = 0
        self._fresh = False  # nothing of the object has been read yet
        self._in_string = False

    async def is_over(self):
        """Has the stream nothing at all to give?"""
        if self._first == self._last:
            self._first = 0
            self._last = await self._stream.readinto(self._buf)
        return not self._last

    async def enter(self):
        """Into the object that comes next."""
        octet = await self._visible()
        if octet == _BYTE_ORDER_MARK[0]:  # before everything, as some servers put it
            for expected in _BYTE_ORDER_MARK:
                octet = await self._next()
                if octet != expected:
                    break
            else:
                octet = await self._visible()
        if octet != 0x7B:
            raise JsonError("no JSON object where one was due")
        self._first += 1
        self._fresh = True

    async def enter_array(self):
        """Into the array that comes next: `item()` before each of its elements."""
        if await self._visible() != 0x5B:
            raise JsonError("no JSON array where one was due")
        self._first += 1
        self._fresh = True

    async def item(self):
        """Does an element come next? The array is left after its last."""
        octet = await self._visible()
        if octet == 0x5D:
            self._first += 1
        elif not self._fresh:
            if octet != 0x2C:
                raise JsonError("neither a comma nor the end of an array")
            self._first += 1
        self._fresh = False
        return octet != 0x5D

    async def name(self):
        """The next member's name as bytes; None at the end of the object, which is left thereby.

        One that is null is as good as absent.
        """
        while True:
            name = await self._name()
            if name is None or await self._visible() != _N:
                return name
            await self.word()

    async def _name(self):
        while self._in_string:  # the caller has had enough of a string
            await self._characters(memoryview(bytearray(_NAME)))
        octet = await self._visible()
        if octet == 0x7D:
            self._first += 1
            self._fresh = False
            return None
        if not self._fresh:
            if octet != 0x2C:
                raise JsonError("neither a comma nor the end of an object")
            self._first += 1
        self._fresh = False
        name = await self.text(_NAME)
        if await self._visible() != 0x3A:
            raise JsonError("no colon after a name")
        self._first += 1
        return name

    async def text(self, limit):
        """The first `limit` bytes of a string in UTF-8; the rest of it is read over."""
        await self._open_string()
        out = memoryview(bytearray(limit))
        size = 0
        while self._in_string and size < limit:
            size += await self._characters(out[size:])
        scratch = memoryview(bytearray(_NAME))
        while self._in_string:
            await self._characters(scratch)
        return bytes(out[:size])

    async def base64(self):
        """The bytes that a string encodes, as a stream: see Base64."""
        await self._open_string()
        return Base64(self)

    async def skip(self):
        """Any value, read over."""
        depth = 0
        while True:
            octet = await self._visible()
            if octet == _QUOTE:
                await self.text(0)
            elif octet in b"{[":
                depth += 1
                if depth > _DEPTH:
                    raise JsonError("JSON nested deeper than {}".format(_DEPTH))
                self._first += 1
            elif octet in b"}]":
                if not depth:
                    raise JsonError("a value is missing")
                depth -= 1
                self._first += 1
            elif depth and octet in b",:":
                self._first += 1
                continue
            else:
                await self.word()
            if not depth:
                return

    async def word(self):
        """A number, true, false or null: its first letters as bytes."""
        octet = await self._visible()
        word = bytearray()
        while 0x30 <= octet <= 0x39 or 0x61 <= octet <= 0x7A or octet in b"+-.E":
            if len(word) < _WORD:
                word.append(octet)
            self._first += 1
            octet = await self._peek()
        if not word:
            raise JsonError("no JSON value begins with {!r}".format(chr(octet)))
        return bytes(word)

    async def _open_string(self):
        if await self._visible() != _QUOTE:
            raise JsonError("no string where one was due")
        self._first += 1
        self._in_string = True

    async def _characters(self, out):
        """Some bytes of the string we are in, escapes resolved; 0 may also mean that it has ended."""
        octet = await self._peek()
        if octet == _QUOTE:
            self._first += 1
            self._in_string = False
            return 0
        if octet == _BACKSLASH:
            return await self._escape(out)
        end = min(self._last, self._first + len(out))
        for stop in b'"\\':
            at = self._buf.find(bytes((stop,)), self._first, end)
            if at >= 0:
                end = at
        n = end - self._first
        out[:n] = memoryview(self._buf)[self._first : end]
        self._first = end
        return n

    async def _escape(self, out):
        """What a backslash stands for. Outside ASCII it is only for people to read: a question mark."""
        self._first += 1
        octet = await self._next()
        if octet == 0x75:
            digits = bytearray(4)
            for i in range(4):
                digits[i] = await self._next()
            try:
                code = int(bytes(digits), 16)
            except ValueError:
                raise JsonError("an escape that JSON does not have") from None
            out[0] = code if code < 0x80 else 0x3F
        else:
            at = _ESCAPES.find(bytes((octet,)))
            if at < 0:
                raise JsonError("an escape that JSON does not have")
            out[0] = _ESCAPED[at]
        return 1

    async def _visible(self):
        """The next byte that is no white space; it stays there."""
        while True:
            octet = await self._peek()
            if octet not in _SPACE:
                return octet
            self._first += 1

    async def _next(self):
        octet = await self._peek()
        self._first += 1
        return octet

    async def _peek(self):
        if self._first == self._last:
            if await self.is_over():
                raise JsonError("JSON ends early", True)
            if self.room is not None:
                self.room -= self._last
                if self.room < 0:
                    raise JsonError("JSON without end")
        return self._buf[self._first]


class Base64:
    """`async readinto(buf) -> n`, 0 at the end of the string."""

    def __init__(self, reader):
        self._reader = reader
        self._quads = bytearray(_QUADS)
        self._have = 0  # characters in it
        self._out = memoryview(b"")  # decoded and not yet taken
        self._padded = False

    async def readinto(self, buf):
        if not self._out:
            await self._decode()
        n = min(len(buf), len(self._out))
        buf[:n] = self._out[:n]
        self._out = self._out[n:]
        return n

    async def _decode(self):
        reader = self._reader
        view = memoryview(self._quads)
        have = 0
        while have < _QUADS and reader._in_string:
            n = await reader._characters(view[have:])
            have += n
            for octet in _SPACE:
                if n and self._quads.find(bytes((octet,)), have - n, have) >= 0:
                    kept = b"".join(bytes(view[:have]).split())
                    have = len(kept)
                    view[:have] = kept
                    break
        if not have:
            return
        if self._padded or have % 4:
            raise JsonError("base64 of {} characters".format(have))
        padding = 0
        while padding < 2 and self._quads[have - 1 - padding] == 0x3D:
            padding += 1
        self._padded = padding > 0
        try:
            out = a2b_base64(view[:have])
        except ValueError:
            out = b""
        if len(out) != have // 4 * 3 - padding:
            raise JsonError("letters that base64 does not have")
        self._out = memoryview(out)
