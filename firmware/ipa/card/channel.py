"""One logical channel to the ISD-R: APDUs, STORE DATA chains, their answers (SGP.22 5.7.2, ETSI TS 102 221).

A command goes out of one reusable buffer and its answer comes back into another. What `store` returns is a
view of the second, valid until the next command: whoever needs it longer copies it.
"""

from ipa import tlv
from ipa.compat import DEBUG, INFO, const, log
from ipa.modem import ModemError
from ipa.modem.at import AtError

ISD_R = b"\xa0\x00\x00\x05\x59\x10\x10\xff\xff\xff\xff\x89\x00\x00\x01\x00"  # SGP.22 annex H

# IoT capabilities, IPAd active (SGP.32 3.8.2): without it a card that has an IPAe may start that one.
_TERMINAL_CAPABILITY = b"\x80\xaa\x00\x00\x05\xa9\x03\x84\x01\x01"

_SELECT = b"\x00\xa4\x04\x00\x10"

_HEADER = const(5)
_MORE_BLOCKS = const(0x11)
_LAST_BLOCK = const(0x91)
_MOST_BLOCKS = const(256)
_LARGEST_SEGMENT = const(255)
_SMALLEST_SEGMENT = const(32)
_RESPONSE = const(512)  # AuthenticateServer alone answers more, two certificates: about 1.7 kB
_LARGEST_RESPONSE = const(8192)
_MOST_ANSWERS = const(64)  # 61xx and 6Cxx in a row: 32 answers of 256 bytes fill the largest response


class CardError(Exception):
    pass


class StatusError(CardError):
    """`sw` is the status word, `command` says in words or as a tag what it answered."""

    def __init__(self, sw, command):
        super().__init__("card answered {:04X} to {}".format(sw, command))
        self.sw = sw
        self.command = command


class CommandTooLong(CardError):
    pass


class ResponseTooLong(CardError):
    pass


class CommandCut(CardError):
    """The stream that fed a command ended before the length it had announced."""


class Channel:
    def __init__(self, carrier, segment=_LARGEST_SEGMENT):
        self._carrier = carrier
        self._segment = segment
        self._proven = 0  # a segment as long as this has gone through
        self._apdu = bytearray(_HEADER + _LARGEST_SEGMENT + 1)  # one more for the Le of a repeated command
        self._get_response = bytearray(b"\x00\xc0\x00\x00\x00")
        self._response = bytearray(_RESPONSE)
        self._length = 0
        self._le = False  # the card answers only those last blocks that have an expected length
        self._cut = False
        self.is_open = False
        self.announces = True  # this IPA; without it one in the card stays in charge (SGP.32 3.8.2)

    async def open(self):
        """Raises what the carrier raises when the card has no ISD-R."""
        self.is_open = False
        await self._carrier.open(ISD_R)
        if self.announces:
            # Many modems send it themselves at power-on and let it through no more.
            try:
                sw = await self._command(_TERMINAL_CAPABILITY)
                if sw != 0x9000:
                    log(DEBUG, "card: {:04X} to TERMINAL CAPABILITY".format(sw))
            except AtError as error:
                log(DEBUG, "card:", error)
        self.is_open = True

    async def announce_on_basic(self):
        """TERMINAL CAPABILITY on channel 0, for cards that heed it nowhere else. Raises what the carrier raises."""
        await self._carrier.basic(_TERMINAL_CAPABILITY)

    async def select(self):
        """Select the ISD-R once more: a view of its FCI, which opening a channel did not give."""
        self._length = 0
        sw = await self._command(_SELECT + ISD_R)
        if sw != 0x9000:
            raise StatusError(sw, "SELECT")
        return memoryview(self._response)[: self._length]

    async def close(self):
        self.is_open = False
        await self._carrier.close()

    async def store(self, *parts, stream=None, length=0, cut=False, answered=False):
        """One ES10 command: the parts, then `length` bytes of `stream` (anything with `async readinto`).

        Returns a view of the answer, empty when the card has none. `answered`: the function has one, which is asked
        for when it does not come. With `cut` its beginning, where there is no room for more; else raises
        ResponseTooLong.
        """
        self._cut = cut
        self.let_go()
        total = sum(len(part) for part in parts) + length
        name = _name(parts[0])
        if total > _MOST_BLOCKS * self._segment:
            raise CommandTooLong("{} of {} bytes".format(name, total))
        source = _Source(parts, stream, length)
        data = memoryview(self._apdu)[_HEADER : _HEADER + _LARGEST_SEGMENT]
        segment = self._segment
        self._length = 0
        sent = have = block = 0
        while sent < total:
            while have < segment and sent + have < total:
                have += await source.readinto(data[have : min(segment, total - sent)], name)
            size = min(have, segment)
            last = sent + size == total
            try:
                sw = await self._block(block, size, last)
            except AtError as error:
                # Some modems refuse long APDUs with a bare ERROR: 60 to 120 bytes are common limits. Any other
                # error leaves it open what the card has got: then the whole procedure begins again.
                if error.card or block or size <= self._proven or segment <= _SMALLEST_SEGMENT:
                    raise
                self._segment = segment = segment // 2
                continue
            if sw != 0x9000:
                raise StatusError(sw, name)
            self._proven = max(self._proven, size)
            sent += size
            have -= size
            data[:have] = data[size : size + have]
            block += 1
            if block == _MOST_BLOCKS and sent < total:
                raise CommandTooLong("{} in segments of {}".format(name, segment))
        if answered and not self._length:
            sw = await self._ask_again(block - 1, size)
            if sw != 0x9000:
                raise StatusError(sw, name)
            if not self._length:
                raise CardError("no answer to {}".format(name))
        return memoryview(self._response)[: self._length]

    def let_go(self):
        """Nobody needs the last answer any more: the room for a large one is free."""
        if len(self._response) > _RESPONSE:
            self._response = b""  # it may be where the next one gets its room
            self._response = bytearray(_RESPONSE)

    async def read(self, *parts, cut=False):
        """As store, of a function that changes nothing: what got lost between card and board is asked for once more."""
        try:
            return await self.store(*parts, cut=cut, answered=True)
        except ModemError as error:
            log(INFO, "card: {}, once more".format(error))
        return await self.store(*parts, cut=cut, answered=True)

    async def _block(self, number, size, last):
        apdu = self._apdu
        apdu[0] = 0x80
        apdu[1] = 0xE2
        apdu[2] = _LAST_BLOCK if last else _MORE_BLOCKS
        apdu[3] = number
        apdu[4] = size
        end = _HEADER + size
        if last and self._le:
            apdu[end] = 0
            end += 1
        return await self._command(memoryview(apdu)[:end])

    async def kept(self):
        """What a card that has said 9000 keeps for GET RESPONSE: a view, empty where it keeps nothing."""
        self._get_response[4] = 0
        await self._command(self._get_response)
        return memoryview(self._response)[: self._length]

    async def _ask_again(self, number, size):
        """Some cards say 9000 and keep the answer: for GET RESPONSE, or the command had to have an expected length.

        The first command of a session changes nothing on the card, so that it may come twice.
        """
        if await self.kept() or self._le:
            return 0x9000
        self._le = True
        sw = await self._block(number, size, True)
        self._le = self._length > 0
        return sw

    async def _command(self, apdu):
        """Send one APDU, follow 61xx and 6Cxx, gather the data. Returns the status word, 9000 for 91xx."""
        for _ in range(_MOST_ANSWERS):
            answer = await self._carrier.transmit(apdu)
            n = len(answer) - 2
            if n < 0:
                raise CardError("answer without a status word")
            sw1 = answer[n]
            sw2 = answer[n + 1]
            if n and not self._collect(answer, n):
                return 0x9000
            if sw1 == 0x61:
                apdu = self._get_response
                apdu[4] = sw2
            elif sw1 == 0x6C:
                apdu = self._with_le(apdu, sw2)
            elif sw1 == 0x91:
                return 0x9000  # and a proactive command waits, which is the modem's to fetch
            else:
                return sw1 << 8 | sw2
        raise CardError("the answer has no end")

    def _with_le(self, apdu, le):
        if apdu is self._get_response:
            apdu[4] = le
            return apdu
        size = len(apdu)
        if size != _HEADER + apdu[4]:
            apdu[size - 1] = le  # has one already and must not grow with every 6Cxx
            return apdu
        whole = bytearray(size + 1)
        whole[:size] = apdu
        whole[size] = le
        return whole

    def _collect(self, answer, n):
        """Take n bytes of the answer. Returns False when it is cut here."""
        end = self._length + n
        if end > len(self._response):
            if end > _LARGEST_RESPONSE:
                if self._cut:
                    return False
                raise ResponseTooLong("more than {} bytes".format(_LARGEST_RESPONSE))
            try:
                larger = self._larger(end)
            except MemoryError:
                if self._cut:
                    return False
                raise
            larger[: self._length] = memoryview(self._response)[: self._length]
            self._response = larger
        self._response[self._length : end] = memoryview(answer)[:n]
        self._length = end
        return True

    def _larger(self, end):
        """Room for the whole of the answer, as its beginning tells it; at least for `end` bytes."""
        try:
            return bytearray(min(_LARGEST_RESPONSE, max(end, _announced(self._response))))
        except MemoryError:
            return bytearray(end)


class _Source:
    """The bytes of a command, wherever they are."""
    def __init__(self, parts, stream, length):
        self._parts = parts
        self._at = 0  # part
        self._offset = 0  # in the part
        self._stream = stream
        self._left = length

    async def readinto(self, view, name):
        while self._at < len(self._parts):
            part = self._parts[self._at]
            n = min(len(view), len(part) - self._offset)
            if n:
                view[:n] = memoryview(part)[self._offset : self._offset + n]
                self._offset += n
                return n
            self._at += 1
            self._offset = 0
        if len(view) > self._left:
            view = view[: self._left]
        n = await self._stream.readinto(view) if self._left else 0
        if not n:
            raise CommandCut("{} ends {} bytes early".format(name, self._left))
        self._left -= n
        return n


def _announced(answer):
    """The length of an answer of which the beginning is there, 0 where it is no TLV."""
    try:
        return tlv.header(answer, 0, _LARGEST_RESPONSE)[2]
    except tlv.TlvError:
        return 0


def _name(command):
    """The tag in front of a command, for error messages."""
    two = command[0] & 0x1F == 0x1F
    return "{:02X}{:02X}".format(command[0], command[1]) if two else "{:02X}".format(command[0])
