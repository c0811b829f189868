"""Functions in JSON as RSP servers have them (SGP.22 6.5, SGP.32 6.4): one object there, one object back.

What a card signed goes out as the card wrote it; nothing that is long is ever whole in memory.
"""

from binascii import b2a_base64

from ipa import tlv
from ipa.compat import const, words
from ipa.net.jsonstream import Reader

_PIECE = const(256)  # letters, 192 bytes in base64
_LARGEST_FIELD = const(4096)  # metadata with an icon
_LARGEST_ANSWER = const(16384)  # but for a package
_CODE = const(16)
_TRANSACTION_LETTERS = const(32)
_TEXT = const(255)
_MESSAGE = const(120)
_UTF8_STRING = const(0x0C)
_BOUND_PROFILE_PACKAGE = const(0xBF36)


class JsonFunctions:
    """What the functions of an interface share.

    It defines `_post(function, parts, length)`, which gives the answer's body, `_refused(function, code, message)`,
    which gives an error, and the error `malformed(function, reason)` for an answer that is none.
    """

    def __init__(self):
        self._transaction = b""  # in hexadecimal

    async def _call(self, function, *members):
        """POST one function, members by name: text, Der, a number or True. Returns the reader of its answer."""
        parts = []
        for name, value in members:
            bare = isinstance(value, (int, bool))
            parts.append((b',"' if parts else b'{"') + name + (b'":' if bare else b'":"'))
            parts.append(str(value).lower().encode() if bare else value)
            parts.append(b"" if bare else b'"')
        parts.append(b"}" if parts else b"{}")
        return Reader(await self._post(function, parts, sum([len(part) for part in parts])), _LARGEST_ANSWER)

    async def _done(self, function, json):
        """An answer that tells success or refusal and nothing else; to say nothing is success."""
        if not await json.is_over():
            await self._fields(function, json, ())

    async def _fields(self, function, json, wanted, stop=None, needed=True):
        """The members of the answer by name, up to `stop`, at which the reader then stands.

        Raises what `_refused` gives and `malformed`, for a member that is missing as well when it is `needed`.
        """
        found = {}
        tags = dict(wanted)
        await json.enter()
        while True:
            name = await json.name()
            if name is None:
                break
            if name == stop:
                return found
            if name == b"header":
                await self._header(function, json)
            elif name == b"transactionId":
                found[name] = await json.text(_TRANSACTION_LETTERS)
            elif tags.get(name) == _UTF8_STRING:
                found[name] = tlv.encode(_UTF8_STRING, await json.text(_TEXT))
            elif name in tags:
                found[name] = await self._der(function, name, tags[name], json)
            else:
                await json.skip()
        for name in ([name for name, _ in wanted] if needed else []) + ([stop] if stop else []):
            if name not in found:
                raise self.malformed(function, "no {}".format(name.decode()))
        return found

    async def _package(self, function, json):
        """(reader behind the header of BF36, length of its value) out of an answer with a boundProfilePackage."""
        self._check_transaction(function, await self._fields(function, json, (), b"boundProfilePackage"))
        json.room = None
        reader = tlv.Reader(await json.base64())
        tag, length = await reader.header()
        if tag != _BOUND_PROFILE_PACKAGE:
            raise self.malformed(function, "{:X} where the package was due".format(tag))
        return reader, length

    async def _header(self, function, json):
        """functionExecutionStatus, wherever it stands in the header."""
        status, subject, reason, message = await _status(json)
        if status[:8] != b"Executed":
            raise self._refused(function, words(subject + b"/" + reason), words(message))

    def _check_transaction(self, function, found):
        # Where it is missing, or stands behind the package, the card still compares the signed one.
        if found.get(b"transactionId", self._transaction).lower() != self._transaction.lower():
            raise self.malformed(function, "answers another transaction")

    async def _der(self, function, name, tag, json):
        """The one TLV of that tag in a string of base64. Some servers wrap it in itself once more."""
        reader = tlv.Reader(await json.base64())
        try:
            got, length = await reader.header()
            if length > _LARGEST_FIELD:
                raise self.malformed(function, "a field of more than {} bytes".format(_LARGEST_FIELD))
            size = len(reader.head)
            der = bytearray(size + length)
            der[:size] = reader.head
            whole = await reader.readinto(memoryview(der)[size:]) == length
            if whole and got == tag and not await reader.readinto(bytearray(1)):
                twice = tag in (0x04, 0x5F37) and _is_tlv(tag, der[size:])
                return der[size:] if twice else der
        except tlv.TlvError:
            pass
        raise self.malformed(function, "{} is no {:X}".format(name.decode(), tag))


class Der:
    """Bytes that go out in base64: a part whose length and slices are those of the letters."""

    def __init__(self, *parts):
        self._parts = parts
        self._size = sum([len(part) for part in parts])

    def __len__(self):
        return (self._size + 2) // 3 * 4

    def __getitem__(self, wanted):
        first = wanted.start // 4 * 3
        letters = b2a_base64(self._bytes(first, min((wanted.stop + 3) // 4 * 3, self._size)))
        skip = wanted.start & 3
        return letters[skip : skip + wanted.stop - wanted.start]

    def _bytes(self, first, last):
        out = bytearray(last - first)
        done = 0
        for part in self._parts:
            if first < len(part):
                taken = min(len(part) - first, len(out) - done)
                out[done : done + taken] = memoryview(part)[first : first + taken]
                done += taken
                first = 0
            else:
                first -= len(part)
        return out


def pieces(parts):
    """The parts one after the other, in pieces that are small enough to be made."""
    for part in parts:
        for start in range(0, len(part), _PIECE):
            yield part[start : min(start + _PIECE, len(part))]


def joined(found, names):
    """The members that were found, in the order of names."""
    return b"".join([found[name] for name, _ in names if name in found])


def _is_tlv(tag, der):
    """Is it one TLV of that tag, and nothing else?"""
    try:
        got, _, end = tlv.header(der)
    except tlv.TlvError:
        return False
    return got == tag and end == len(der)


async def _status(json):
    """status, subjectCode, reasonCode, message of a header, b"" where absent."""
    found = {}
    depth = 1
    await json.enter()
    while depth:
        name = await json.name()
        if name is None:
            depth -= 1
        elif name in (b"functionExecutionStatus", b"statusCodeData"):
            await json.enter()
            depth += 1
        elif name in (b"status", b"subjectCode", b"reasonCode"):
            found[name] = await json.text(_CODE)
        elif name == b"message":
            found[name] = await json.text(_MESSAGE)
        else:
            await json.skip()
    return [found.get(name, b"") for name in (b"status", b"subjectCode", b"reasonCode", b"message")]
