"""BER-TLV (X.690) on memoryviews and streams. Nothing is copied that can be sliced.

A tag is the integer its bytes spell: 0x5A, 0xBF51. Definite lengths only.
"""

from ipa.compat import const

_TAG_BYTES = const(3)
_LENGTH_BYTES = const(4)


class TlvError(Exception):
    """Bytes that are not the TLV they claim to be; `offset` counts from the start of what was parsed."""

    def __init__(self, reason, offset):
        super().__init__("%s at offset %d" % (reason, offset))
        self.reason = reason
        self.offset = offset


class TlvCut(TlvError):
    """A stream that ended in the middle: the next time the whole may come."""


def header(buf, pos=0, end=None):
    """The TLV that begins at pos and must fit before end: (tag, value_start, value_end).

    With an end behind that of buf the value may be longer than what is there of it.
    """
    last = len(buf)
    if end is None:
        end = last
    elif end < last:
        last = end
    start = pos
    if pos >= last:
        raise TlvError("no tag", pos)
    tag = buf[pos]
    pos += 1
    if tag & 0x1F == 0x1F:
        more = 0x80
        while more:
            if pos - start >= _TAG_BYTES:
                raise TlvError("tag too long", start)
            if pos >= last:
                raise TlvError("tag cut short", start)
            more = buf[pos] & 0x80
            tag = tag << 8 | buf[pos]
            pos += 1
    if pos >= last:
        raise TlvError("no length after tag %X" % tag, pos)
    length = buf[pos]
    pos += 1
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _LENGTH_BYTES:
            raise TlvError("length form %02X of %X" % (length, tag), pos - 1)
        if pos + count > last:
            raise TlvError("length of %X cut short" % tag, pos)
        length = 0
        for _ in range(count):
            length = length << 8 | buf[pos]
            pos += 1
    if pos + length > end:
        raise TlvError("%X wants %d bytes, %d there" % (tag, length, end - pos), pos)
    return tag, pos, pos + length


def items(buf):
    """Yield (tag, value, raw) of each TLV in buf, none in None; value and raw are memoryviews into it."""
    view = memoryview(buf or b"")
    pos = 0
    while pos < len(view):
        tag, start, end = header(view, pos)
        yield tag, view[start:end], view[pos:end]
        pos = end


def find(buf, *path):
    """The value of the first TLV of each tag of path inside the one before, or None. In None nothing is found."""
    return _find(buf, path, False)


def find_raw(buf, *path):
    """As find, but the whole TLV with its tag and length."""
    return _find(buf, path, True)


def _find(buf, path, raw):
    view = memoryview(buf or b"")
    start = first = 0
    end = len(view)
    for wanted in path:
        while True:
            if start == end:
                return None
            first = start
            tag, start, value_end = header(view, start, end)
            if tag == wanted:
                end = value_end
                break
            start = value_end
    return view[first if raw else start : end]


def integer(value):
    """The INTEGER whose contents octets are value (X.690 8.3). Raises TlvError where there are none."""
    if not value:
        raise TlvError("INTEGER without contents", 0)
    number = -1 if value[0] & 0x80 else 0
    for octet in value:
        number = number << 8 | octet
    return number


def put_header(buf, pos, tag, length):
    """Write tag and length at pos of buf; the position after them."""
    for shift in (16, 8, 0):
        if tag >> shift or not shift:
            buf[pos] = tag >> shift & 0xFF
            pos += 1
    if length >= 0x80:
        count = _octets(length)
        buf[pos] = 0x80 | count
        for shift in range(count * 8 - 8, -8, -8):
            pos += 1
            buf[pos] = length >> shift & 0xFF
    else:
        buf[pos] = length
    return pos + 1


def head(tag, length):
    """Tag and length alone: what goes before parts that are not joined."""
    out = bytearray(size(tag, length) - length)
    put_header(out, 0, tag, length)
    return bytes(out)


def size(tag, length):
    """Bytes a TLV takes whose value takes length."""
    return _octets(tag) + (1 if length < 0x80 else 1 + _octets(length)) + length


def encode(tag, *parts):
    """One TLV of the parts of its value, each anything with a buffer."""
    length = 0
    for part in parts:
        length += len(part)
    out = bytearray(size(tag, length))
    pos = put_header(out, 0, tag, length)
    for part in parts:
        out[pos : pos + len(part)] = part
        pos += len(part)
    return bytes(out)


def sequence(body):
    """A body under an IMPLICIT tag with its SEQUENCE header, which some stacks leave on."""
    _, _, end = header(body)
    return bytes(body) if end == len(body) else encode(0x30, body)


def encode_integer(tag, number):
    """A signed INTEGER in the fewest octets (X.690 8.3.2)."""
    length = 1
    while not -(1 << 8 * length - 1) <= number < 1 << 8 * length - 1:
        length += 1
    out = bytearray(length)
    for i in range(length):
        out[length - 1 - i] = number >> 8 * i & 0xFF
    return encode(tag, out)


def _octets(number):
    count = 1
    while number >> 8 * count:
        count += 1
    return count


class Reader:
    """TLVs from a stream with `async readinto(buf) -> n`, 0 at its end; so is a Reader itself.

    `position` counts the bytes taken so far, which is how a caller knows that a constructed TLV is over.
    """

    def __init__(self, stream):
        self._stream = stream
        self._buf = bytearray(1 + _TAG_BYTES + _LENGTH_BYTES)
        self.position = 0
        self.head = memoryview(b"")  # raw tag and length of the last header; valid until the next

    async def header(self):
        """Read one tag and length: (tag, length)."""
        start = self.position
        view = memoryview(self._buf)
        await self._exact(view[:2], start)
        used = 2
        if view[0] & 0x1F == 0x1F:
            while view[used - 1] & 0x80:
                if used == _TAG_BYTES:
                    raise TlvError("tag too long", start)
                await self._exact(view[used : used + 1], start)
                used += 1
            await self._exact(view[used : used + 1], start)
            used += 1
        length = view[used - 1]
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= _LENGTH_BYTES:
                raise TlvError("length form %02X" % length, self.position - 1)
            await self._exact(view[used : used + count], start)
            length = _unsigned(view[used : used + count])
            used += count
            tag = _unsigned(view[: used - 1 - count])
        else:
            tag = _unsigned(view[: used - 1])
        self.head = view[:used]
        return tag, length

    async def readinto(self, buf):
        """Fill buf; the number of bytes read, fewer only at the end of the stream."""
        view = memoryview(buf)
        done = 0
        while done < len(view):
            n = await self._stream.readinto(view[done:])
            if not n:
                break
            done += n
        self.position += done
        return done

    async def read(self, n, limit):
        """Exactly n bytes, which must not be more than limit."""
        if n > limit:
            raise TlvError("%d bytes where at most %d may be" % (n, limit), self.position)
        out = bytearray(n)
        await self._exact(out, self.position)
        return out

    async def skip(self, n):
        """Read n bytes and forget them."""
        scratch = memoryview(bytearray(min(n, 64)))
        while n:
            part = scratch[: min(n, 64)]
            await self._exact(part, self.position)
            n -= len(part)

    async def _exact(self, view, start):
        if await self.readinto(view) != len(view):
            raise TlvCut("stream ends inside a TLV", start)


def _unsigned(view):
    number = 0
    for octet in view:
        number = number << 8 | octet
    return number
