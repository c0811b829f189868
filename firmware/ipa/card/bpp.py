"""Streams a bound profile package from the network into the card, part by part (SGP.22 2.5.5, 5.7.6).

BF36{ BF23, A0{87*}, A1{88*}, A2{87*}?, A3{86*} }. It is never completely in memory: the header of each part is read
and checked against the length of its parent, and the rest is copied from the stream into STORE DATA.
"""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import const

BOUND_PROFILE_PACKAGE = const(0xBF36)
PROFILE_INSTALLATION_RESULT = const(0xBF37)

_INITIALISE_SECURE_CHANNEL = const(0xBF23)
_CONFIGURE_ISDP = const(0xA0)  # firstSequenceOf87, in one STORE DATA
_STORE_METADATA = const(0xA1)  # sequenceOf88: header alone, then each 88
_REPLACE_SESSION_KEYS = const(0xA2)  # secondSequenceOf87, in one STORE DATA; absent without PPK
_PROFILE_ELEMENTS = const(0xA3)  # sequenceOf86: header alone, then each 86

_SEGMENT_OF = {_STORE_METADATA: 0x88, _PROFILE_ELEMENTS: 0x86}
_METADATA_MISMATCH = const(4)  # CancelSessionReason
_MAC = const(8)  # after the data of a segment
_METADATA = const(0xBF25)
_LARGEST_METADATA = const(4096)  # largest metadata that are compared
# What the user, or whoever decides in his place, was shown: ICCID, names, class, policy rules, owner, and what the
# profile may be on the device.
_SHOWN = (0x5A, 0x91, 0x92, 0x95, 0x99, 0xB7, 0x9F67, 0x9F7B)
_FOLLOWS = {
    _INITIALISE_SECURE_CHANNEL: (_CONFIGURE_ISDP,),
    _CONFIGURE_ISDP: (_STORE_METADATA,),
    _STORE_METADATA: (_REPLACE_SESSION_KEYS, _PROFILE_ELEMENTS),
    _REPLACE_SESSION_KEYS: (_PROFILE_ELEMENTS,),
    _PROFILE_ELEMENTS: (),
}


class BppError(CardError):
    pass


class BppOutOfOrder(BppError):
    pass


class BppLength(BppError):
    """A length inside the package contradicts the one around it."""


class BppNoResult(BppError):
    pass


class MetadataDiffers(BppError):
    """The package would install another profile than the metadata shown before (SGP.22 3.1.3)."""

    cancel = _METADATA_MISMATCH


def shown(metadata):
    """The fields that must be the same in the value of each BF25 of a download."""
    return b"".join([bytes(tlv.find_raw(metadata, tag) or b"") for tag in _SHOWN])


class Loader:
    """`reader` is positioned after the header of BF36; `head` is that header, `length` the length of its value.

    `progress(done, total)` is called after each part, in bytes of BF36's value. `metadata`: the
    result of shown() for the metadata shown before, or None.
    """

    def __init__(self, channel, reader, head, length, progress=None, metadata=None):
        self._channel = channel
        self._reader = self._source = reader
        self._expected = metadata
        self._head = bytes(head)
        self._total = self._left = length
        self._progress = progress

    async def load(self):
        """The ProfileInstallationResult (BF37), success or error, as a view valid until the next card command.

        The card may return it before the last part: the rest is then not sent. Raises MetadataDiffers before
        anything of the profile itself is sent to the card.
        """
        tag, length, head = await self._next(self._left)
        if tag != _INITIALISE_SECURE_CHANNEL:
            raise BppOutOfOrder("{:X} where {:X} was due".format(tag, _INITIALISE_SECURE_CHANNEL))
        result = await self._send(self._head, head, length=length)
        while not result:
            if not self._left:
                result = await self._channel.kept()
                if not result:
                    raise BppNoResult("the card took the whole package and gave no result")
                break
            before = tag
            tag, length, head = await self._next(self._left)
            if tag not in _FOLLOWS[before]:
                raise BppOutOfOrder("{:X} after {:X}".format(tag, before))
            if tag in _SEGMENT_OF:
                metadata = None
                if tag == _STORE_METADATA and self._expected is not None:
                    metadata = self._source = _Kept(self._reader)
                result = await self._segments(tag, head, length, metadata)
                self._source = self._reader
                if metadata is not None and not result:
                    if shown(tlv.find(metadata.bytes, _METADATA)) != self._expected:
                        raise MetadataDiffers("the package has other metadata than were shown")
            else:
                result = await self._send(head, length=length)
        got, _, end = tlv.header(result)
        if got != PROFILE_INSTALLATION_RESULT:
            raise BppNoResult("{:X} where the installation result was due".format(got))
        return result[:end]

    async def _segments(self, tag, head, length, kept):
        result = await self._send(head)
        while length and not result:
            child, size, head = await self._next(length)
            if child != _SEGMENT_OF[tag]:
                raise BppOutOfOrder("{:X} inside {:X}".format(child, tag))
            length -= len(head) + size
            result = await self._send(head, length=size)
            if kept is not None:
                kept.bytes = kept.bytes[:-_MAC]
        return result

    async def _next(self, room):
        """The header of the next TLV, which must fit into `room` bytes."""
        tag, length = await self._reader.header()
        head = self._reader.head
        if len(head) + length > room:
            raise BppLength("{:X} of {} bytes in a room of {}".format(tag, len(head) + length, room))
        return tag, length, head

    async def _send(self, *parts, length=0):
        result = await self._channel.store(*parts, stream=self._source, length=length)
        self._left -= len(parts[-1]) + length
        if self._progress:
            self._progress(self._total - self._left, self._total)
        return result


class _Kept:
    """A stream that keeps the bytes that were read, which are not encrypted."""

    def __init__(self, reader):
        self._reader = reader
        self.bytes = bytearray()

    async def readinto(self, buf):
        n = await self._reader.readinto(buf)
        if len(self.bytes) + n > _LARGEST_METADATA:
            raise MetadataDiffers("the package has more metadata than can have been shown")
        self.bytes.extend(memoryview(buf)[:n])
        return n
