"""CoAP as a device needs it: POST to the resources of an eIM, bodies of any size block by block.

RFC 7252 messages, RFC 7959 blocks in both directions, RFC 9175 Request-Tag; SGP.32 6.2 for the path. Answers
in bursts (RFC 9177) where the eIM gives them and `q_block` is set. One
request is on its way at a time (NSTART = 1), so is one body: the next exchange ends it.
"""

import os

from ipa import compat
from ipa.compat import DEBUG, INFO, const, log, ticks_add, ticks_diff, ticks_ms
from ipa.net.coap_message import (
    CoapMalformed,
    CoapTimeout,
    block_option,
    block_value,
    check,
    parse,
    put_header,
    put_option,
)  # fmt: skip

# Times for NB-IoT, where a round trip may take ten seconds and a retransmission costs battery.
_WAIT_MS = const(10000)  # for the first answer while nothing is known of the path
_WAIT_LEAST_MS = const(2000)
_WAIT_IN_RTT = const(3)
_TRANSMISSIONS = const(5)
_TRANSMISSIONS_FULL = const(3)  # of a request with blocks as large as they were; the path may not take them
_TRANSMISSIONS_SMALLER = const(2)
_TRANSMISSIONS_IN_DOUBT = const(2)
_SEPARATE_MS = const(120000)  # after an empty ACK: the eIM may have to ask an SM-DP+ first

_ROOM = const(1280)  # more than a datagram holds, as Dtls.recv wants it
# 1024 bytes a block, the largest there is (RFC 7959 2.2). A message whole and larger is not tried even where the path
# would take it: nobody need have room for more than these (RFC 7252 4.6), nor has each modem in one AT command.
_SZX = const(6)
_PIECE = const(256)  # of a part that makes its slices when asked for them
_SZX_LEAST = const(3)  # 128 bytes fit into IP packets of 300, and those of more into what any IPv4 network carries
_HEADERS = const(64)  # of the longest request, in front of its payload
_SMALL = const(128)  # GetEimPackage, and what else leaves room for an option more
_TOKEN = const(1)  # as much as one exchange at a time needs within one association
_PATH = b"\xb4gsma\x04rsp2"
_ASN1 = b"\x04asn1"
_JSON = b"\x05esipa"

_CON = const(0)
_ACK = const(2)
_RST = const(3)
_POST = const(0x02)
_CONTINUE = const(0x5F)
_TOO_LARGE = const(0x8D)
_BAD_OPTION = const(0x82)

# Options
_ETAG = const(4)
_BLOCK2 = const(23)
_BLOCK1 = const(27)
_Q_BLOCK2 = const(31)


class Coap:
    """Exchanges over `dtls`: `async send(buf)`, `async recv(buf, ms) -> n` and `rtt_ms`.

    Requests and what comes lie in one buffer, which is made once: a request is written anew each time that it is sent.
    `dtls` may be another one for each association.
    """

    def __init__(self, dtls=None):
        self.dtls = dtls
        self.q_block = False  # ask for answers in bursts, until an eIM does not know what that is
        self.answered = False  # there was a response; whoever asks sets it back
        self.doubtful = False  # dtls may have ended long ago: give up early, until the first answer
        self.buffer = memoryview(bytearray(_ROOM))
        self._message_id = _random()
        self._token = _random() & 0xFF
        self._confirmed = None  # message id of the last separate response, which may come again
        self._body = None
        self._path = b""
        self.szx = self.szx_before = _SZX  # the largest blocks of this association, and of the one before
        self._proven = 0  # bytes of the largest payload that reached the eIM

    def begin(self, dtls, block_size):
        """Go on over a new association, with blocks of at most so many bytes (16 times a power of 2).

        What two associations in a row could not do, the path cannot do.
        """
        self.dtls = dtls
        self._proven = 0
        most = _SZX
        while 16 << most > block_size or (16 << most) + _HEADERS > dtls.room:
            most -= 1
        if self.szx != self.szx_before or self.szx > most:
            self.szx_before, self.szx = self.szx, most

    async def exchange(self, parts, function=None):
        """POST the bytes of parts, one after the other, to the path of all messages in ASN.1, or to that of one
        function in JSON. A part has a length and can be sliced. Returns the Body of the answer.

        Raises CoapRefused, CoapTimeout, CoapMalformed, and what dtls raises.
        """
        if self._body is not None:
            self._body.close()
        self._path = _PATH + (_ASN1 if function is None else _JSON + _segment(function.encode()))
        total = sum([len(part) for part in parts])
        before = szx = self.szx
        tag = os.urandom(2) if total > 16 << szx else None
        offset = 0
        answer = True
        while True:
            size = min(16 << szx, total - offset)
            more = offset + size < total
            # With the token of a request that nobody answered, so that the eIM knows it again.
            self.count(answer is not None)
            try:
                answer = await self.ask(self._write, (parts, offset, size, more, szx, tag), self.szx != before)
            except CoapTimeout:
                self.szx = before  # it was not the size
                raise
            if answer is None:
                self.szx -= 1
                log(INFO, "coap: no answer, next with blocks of", 16 << self.szx, "bytes")
                if size > self._proven and size > 16 << self.szx:  # it may be the request that is too large
                    szx = self.szx
                    tag = os.urandom(2)
                continue
            self._proven = max(self._proven, size)
            code, options, payload = answer
            theirs = block_option(options, _BLOCK1)
            if code == _CONTINUE and more:
                offset += size
                if theirs is not None:
                    szx = min(szx, theirs[2])
            elif code == _TOO_LARGE and theirs is not None and theirs[2] < szx:
                szx = theirs[2]
                offset = 0
                tag = os.urandom(2)
            elif code == _BAD_OPTION and self.q_block and tag is None:
                log(DEBUG, "coap: the eIM knows no Q-Block2")
                self.q_block = False
            else:
                check(code, payload)
                if more:
                    raise CoapMalformed("answered before the request was complete")
                kind = Body
                if _Q_BLOCK2 in options:
                    from ipa.net.qblock import Blocks as kind  # only some need it
                self._body = kind(self, options, payload)
                return self._body

    async def block(self, number, szx):
        """Ask for one more block of the answer: (code, options, payload) as exchange gets them."""
        self.count()
        return await self.ask(self._write_block, (number, szx))

    def count(self, new=True):
        """The message id of the next request and, where it is a `new` one, its token."""
        self._message_id = (self._message_id + 1) & 0xFFFF
        if new:
            self._token = (self._token + 1) & 0xFF

    def put_path(self):
        """Header, token and path of a request in the buffer; where they end."""
        put_header(self.buffer, _CON, _POST, self._message_id, _TOKEN)
        self.buffer[4] = self._token
        end = 5 + len(self._path)
        self.buffer[5:end] = self._path
        return end

    def _write_block(self, number, szx):
        return put_option(self.buffer, self.put_path(), _BLOCK2 - 11, block_value(number, False, szx))

    def _write(self, parts, offset, size, more, szx, tag):
        used = self._put_blocks(self.put_path(), offset, more, szx, tag)
        if compat.trouble and tag is None and size <= _SMALL:
            from ipa.net import trouble

            last = _Q_BLOCK2 if self.q_block else _BLOCK2 if self.szx < _SZX else 11
            used = trouble.put_option(self.buffer, used, last)
        return self.put_payload(used, parts, offset, size)

    def _put_blocks(self, used, offset, more, szx, tag):
        """What is said of blocks: of the request's own when it has a tag, of the answer's where it matters."""
        number = 11
        if not more and self.szx < _SZX and (tag is not None or not self.q_block):
            used = put_option(self.buffer, used, _BLOCK2 - number, block_value(0, False, self.szx))
            number = _BLOCK2
        if tag is not None:
            used = put_option(
                self.buffer, used, _BLOCK1 - number, block_value(offset >> szx + 4, more, szx))
            used = put_option(self.buffer, used, 292 - _BLOCK1, tag)
        elif self.q_block:
            used = put_option(self.buffer, used, _Q_BLOCK2 - number, block_value(0, True, self.szx))
        return used

    def put_payload(self, used, parts, offset, size):
        """`size` bytes from `offset` of all parts together."""
        if size <= 0:
            return used
        self.buffer[used] = 0xFF
        used += 1
        for part in parts:
            if isinstance(part, bytes):
                part = memoryview(part)
            while size and offset < len(part):
                taken = min(size, len(part) - offset, _PIECE)
                self.buffer[used : used + taken] = part[offset : offset + taken]
                used += taken
                size -= taken
                offset += taken
            if not size:
                break
            offset -= len(part)
        return used

    async def ask(self, write, message, smaller=None):
        """Send the request that write(*message) puts into the buffer until it is answered (RFC 7252 4.2).

        None where `smaller` says whether it is so already, and it may become smaller still.
        """
        rtt = self.dtls.rtt_ms
        wait = _WAIT_MS if rtt is None else max(_WAIT_LEAST_MS, _WAIT_IN_RTT * rtt)
        wait += wait * os.urandom(1)[0] // 512  # not the whole fleet in one moment
        transmissions = _TRANSMISSIONS
        if self.doubtful:
            transmissions = _TRANSMISSIONS_IN_DOUBT
        elif smaller is not None:
            transmissions = _TRANSMISSIONS_SMALLER if smaller else _TRANSMISSIONS_FULL
        for attempt in range(transmissions):
            if attempt:
                log(DEBUG, "coap: once more after", wait, "ms")
                wait *= 2
            await self.dtls.send(self.buffer[: write(*message)])
            answer = await self.answer(wait)
            if answer is not None:
                self.doubtful = False
                self.answered = True
                return answer
        if smaller is None or self.doubtful or self.szx <= _SZX_LEAST:
            raise CoapTimeout("nobody answers")
        return None

    async def answer(self, wait):
        """The response to the request that was sent: (code, options, payload), or None in time."""
        deadline = ticks_add(ticks_ms(), wait)
        separate = False
        while True:
            left = ticks_diff(deadline, ticks_ms())
            n = await self.dtls.recv(self.buffer, left) if left > 0 else 0
            if not n:
                if separate:
                    raise CoapTimeout("acknowledged, and then no answer")
                return None
            kind, code, message_id, token, options, payload = parse(self.buffer[:n])
            ours = message_id == self._message_id
            if code == 0:
                if kind == _ACK and ours and not separate:
                    separate = True
                    deadline = ticks_add(ticks_ms(), _SEPARATE_MS)
                elif kind == _RST and ours:
                    raise CoapMalformed("the eIM reset the exchange")
                elif kind == _CON:  # a ping
                    await self._send_empty(_RST, message_id)
            elif code >> 5 >= 2 and len(token) == _TOKEN and token[0] == self._token and (kind != _ACK or ours):
                if kind == _CON:
                    self._confirmed = message_id
                    await self._send_empty(_ACK, message_id)
                return code, options, payload
            elif kind == _CON:
                # Our ACK was lost, or nobody here asked.
                await self._send_empty(_ACK if message_id == self._confirmed else _RST, message_id)

    async def _send_empty(self, kind, message_id):
        empty = bytearray(4)
        put_header(empty, kind, 0, message_id, 0)
        await self.dtls.send(empty)


class Body:
    """A response's body: read it with readinto, what is not there yet is fetched block by block."""

    def __init__(self, coap, options, payload):
        self._coap = coap
        self._left = payload
        self._etag = options.get(_ETAG)
        self._position = 0
        self._next = None  # (number, szx)
        self._note(options, len(payload))

    def _note(self, options, size):
        """Check that a block is the one that was due, and note which is the next."""
        block = block_option(options, _BLOCK2)
        number, more, szx = block if block is not None else (0, False, 0)
        if number << szx + 4 != self._position or options.get(_ETAG) != self._etag:
            raise CoapMalformed("block {} of {} bytes at byte {}".format(number, 16 << szx, self._position))
        if more and size != 16 << szx:
            raise CoapMalformed("{} bytes in block {} of {}".format(size, number, 16 << szx))
        self._position += size
        self._next = (number + 1, szx) if more else None

    async def readinto(self, buf):
        """Bytes read into buf, 0 at the end. Raises as Coap.exchange does."""
        while not len(self._left):
            if self._next is None:
                return 0
            code, options, payload = await self._coap.block(*self._next)
            check(code, payload)
            self._note(options, len(payload))
            self._left = payload
        n = min(len(buf), len(self._left))
        buf[:n] = self._left[:n]
        self._left = self._left[n:]
        return n

    def close(self):
        """Forget what was not read."""
        self._left = b""
        self._next = None


def _segment(name):
    """One more Uri-Path option; function names have 13 letters or more."""
    return bytes((0x0D, len(name) - 13)) + name


def _random():
    octets = os.urandom(2)
    return octets[0] << 8 | octets[1]
