"""CoAP the other way round: the eIM asks over the association that the assistant opened (SGP.32 3.1.1.2).

The one resource is the one an eIM has as well. Requests come one at a time, their bodies block by block in both
directions (RFC 7959); a repeated message gets the same answer again (RFC 7252 4.2). Loaded by who listens.
"""

from ipa.compat import DEBUG, const, log, ticks_add, ticks_diff, ticks_ms
from ipa.net.coap_message import CoapMalformed, CoapTimeout, block_option, block_value, parse, put_header, put_option

_BLOCK_MS = const(60000)  # for the next block of a request that has begun

_CON = const(0)
_ACK = const(2)
_RST = const(3)
_POST = const(0x02)

_CHANGED = const(0x44)
_CONTINUE = const(0x5F)
_NOT_FOUND = const(0x84)
_METHOD_NOT_ALLOWED = const(0x85)
_INCOMPLETE = const(0x88)

_URI_PATH = const(11)
_BLOCK2 = const(23)
_BLOCK1 = const(27)
_CRITICAL = (3, 7, _URI_PATH, _BLOCK2, _BLOCK1)  # Uri-Host and Uri-Port: there is nobody else here
_LAST_SEGMENT = b"asn1"

_SZX = const(6)


class Server:
    """Answers over the association and with the buffers of `coap`, while that asks nothing itself."""

    def __init__(self, coap):
        self._coap = coap
        self._options = None
        self._message = None  # message id and token of the newest request
        self._answered = None  # the answer to it, as _write() takes it
        self._parts = ()  # what of the last answer may still be fetched

    async def request(self, ms):
        """The next request within `ms`: its body, to be read with readinto; None without one."""
        deadline = ticks_add(ticks_ms(), ms)
        while True:
            payload = await self._receive(deadline)
            if payload is None:
                return None
            block = block_option(self._options, _BLOCK2)
            if block is not None and block[0]:
                await self._answer_block(*block)
                continue
            block = block_option(self._options, _BLOCK1)
            if block is not None and block[0]:
                await self._send(_INCOMPLETE)
                continue
            self._parts = ()
            return Request(self, payload, block)

    async def answer(self, *parts):
        """Answer the newest request with 2.04 and the bytes of parts, which must stay what they are for a while."""
        self._parts = parts
        block = block_option(self._options, _BLOCK2)
        await self._answer_block(0, False, _SZX if block is None else block[2])

    async def next_block(self, last):
        """Ask for the block behind `last` = (number, more, szx) of the request; its payload and its block."""
        await self._send(_CONTINUE, None, last)
        payload = await self._receive(ticks_add(ticks_ms(), _BLOCK_MS))
        if payload is None:
            raise CoapTimeout("the eIM does not send the rest of its request")
        block = block_option(self._options, _BLOCK1)
        if block is None or block[0] != last[0] + 1 or block[2] != last[2]:
            await self._send(_INCOMPLETE)
            raise CoapMalformed("the eIM leaves its request unfinished")
        return payload, block

    async def _receive(self, deadline):
        """The payload of the next POST to our resource, None when none came in time. Answers all others."""
        coap = self._coap
        while True:
            left = ticks_diff(deadline, ticks_ms())
            n = await coap.dtls.recv(coap.buffer, left) if left > 0 else 0
            if not n:
                return None
            message = coap.buffer[:n]
            try:
                kind, code, message_id, token, options, payload = parse(message, _CRITICAL)
            except CoapMalformed as error:
                log(DEBUG, "coap:", error)
                if n >= 4 and message[0] >> 4 & 3 == _CON:
                    await self._reset(message[2] << 8 | message[3])
                continue
            if kind != _CON:
                continue
            if not code or code >> 5:  # a ping, or an answer to nothing that was asked
                await self._reset(message_id)
                continue
            request = (message_id, bytes(token))
            if request == self._message:
                if self._answered:
                    await coap.dtls.send(coap.buffer[: self._write(*self._answered)])
                continue
            self._message = request
            self._answered = None
            self._options = options
            if code != _POST:
                await self._send(_METHOD_NOT_ALLOWED)
            elif options.get(_URI_PATH) != _LAST_SEGMENT:
                await self._send(_NOT_FOUND)
            else:
                return payload

    async def _answer_block(self, number, _more, szx):
        """Send one block of the parts, and with it the news whether there are more."""
        total = sum([len(part) for part in self._parts])
        if szx > self._coap.szx:  # more than the path takes (RFC 7959 2.3)
            number <<= szx - self._coap.szx
            szx = self._coap.szx
        size = 16 << szx
        offset = number * size
        if number and offset >= total:
            await self._send(_INCOMPLETE)
            return
        more = offset + size < total
        block2 = (number, more, szx) if more or number else None
        block1 = None if number else block_option(self._options, _BLOCK1)
        await self._send(_CHANGED, block2, block1, offset, min(size, total - offset))

    async def _send(self, *answer):
        self._answered = answer
        await self._coap.dtls.send(self._coap.buffer[: self._write(*answer)])

    def _write(self, code, block2=None, block1=None, offset=0, size=0):
        coap = self._coap
        message_id, token = self._message
        put_header(coap.buffer, _ACK, code, message_id, len(token))
        used = 4 + len(token)
        coap.buffer[4:used] = token
        last = 0
        if block2 is not None:
            used = put_option(coap.buffer, used, _BLOCK2, block_value(*block2))
            last = _BLOCK2
        if block1 is not None:
            used = put_option(coap.buffer, used, _BLOCK1 - last, block_value(*block1))
        return coap.put_payload(used, self._parts, offset, size)

    async def _reset(self, message_id):
        empty = bytearray(4)
        put_header(empty, _RST, 0, message_id, 0)
        await self._coap.dtls.send(empty)


class Request:
    """The body of a request: read it with readinto, what is not there yet is asked for block by block."""

    def __init__(self, server, payload, block):
        self._server = server
        self._left = payload
        self._block = block

    async def readinto(self, buf):
        """Bytes read into buf, 0 at the end. Raises CoapTimeout, CoapMalformed, and what dtls raises."""
        while not len(self._left):
            if self._block is None or not self._block[1]:
                return 0
            self._left, self._block = await self._server.next_block(self._block)
        n = min(len(buf), len(self._left))
        buf[:n] = self._left[:n]
        self._left = self._left[n:]
        return n
