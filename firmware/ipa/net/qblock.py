"""Q-Block2 (RFC 9177): a body comes in bursts of blocks, and only what got lost is asked for again.

The request and each question for more are confirmable, as SGP.32 6.2 wants them: the first block comes in the
acknowledgement, the others of a burst follow by themselves. What overtakes a lost block waits in the heap.
"""

from ipa.compat import DEBUG, const, log
from ipa.net.coap_message import CoapMalformed, CoapTimeout, block_option, block_value, check, put_option

_BURST = const(10)  # MAX_PAYLOADS, which both sides know (RFC 9177 7.2)
_ETAG = const(4)
_Q_BLOCK2 = const(31)
_SIZE2 = const(28)
_SILENCE_MS = const(1000)  # so long nothing comes: the burst is over
_FRUITLESS = const(4)  # questions in a row that brought nothing new


class Blocks:
    """A response's body as coap.Body is one."""

    def __init__(self, coap, options, payload):
        if not coap.q_block:
            raise CoapMalformed("a burst that nobody asked for")
        self._coap = coap
        self._etag = options.get(_ETAG)
        number, _, self._szx = block_option(options, _Q_BLOCK2)
        self._count = None  # of blocks, once known
        size = options.get(_SIZE2)
        if size is not None:
            self._count = (int.from_bytes(size, "big") + (16 << self._szx) - 1) >> self._szx + 4
        self._left = b""
        self._next = 0
        self._due = self._most(0)  # blocks before this one were asked for
        self._early = {}
        self._fruitless = 0
        self._take(options, payload)

    async def readinto(self, buf):
        """Bytes read into buf, 0 at the end. Raises as Coap.exchange does."""
        while not len(self._left):
            if self._next == self._count:
                return 0
            if self._next in self._early:
                self._left = self._early.pop(self._next)
                self._next += 1
            else:
                await self._receive()
        n = min(len(buf), len(self._left))
        buf[:n] = self._left[:n]
        self._left = self._left[n:]
        return n

    def close(self):
        """Forget what was not read."""
        self._left = b""
        self._early.clear()
        self._next = self._count = 0

    async def _receive(self):
        """One message, or a question for what is missing when none comes."""
        answer = None
        if self._next < self._due:
            answer = await self._coap.answer(max(_SILENCE_MS, self._coap.dtls.rtt_ms or 0))
        if answer is None:
            answer = await self._ask()
            self._fruitless += 1
            if self._fruitless > _FRUITLESS:
                raise CoapTimeout("block {} never comes".format(self._next))
        code, options, payload = answer
        check(code, payload)
        self._take(options, payload)

    async def _ask(self):
        self._coap.count()
        return await self._coap.ask(self._write, self._wanted())

    def _write(self, *wanted):
        used = self._coap.put_path()
        delta = _Q_BLOCK2 - 11  # behind the path
        for number, more in wanted:
            used = put_option(self._coap.buffer, used, delta, block_value(number, more, self._szx))
            delta = 0
        return used

    def _wanted(self):
        """(number, more) of what to ask for: the next burst, or single blocks of this one."""
        if self._next == self._due:
            self._due = self._most(self._next)
            return ((self._next, True),)
        missing = [number for number in range(self._next, self._due) if number not in self._early]
        log(DEBUG, "coap: blocks", *missing, "are missing")
        return [(number, False) for number in missing]

    def _most(self, first):
        """The end of the burst that begins with a block."""
        end = first + _BURST
        return end if self._count is None else min(end, self._count)

    def _take(self, options, payload):
        block = block_option(options, _Q_BLOCK2)
        if block is None or block[2] != self._szx or options.get(_ETAG) != self._etag:
            raise CoapMalformed("a block of another body")
        number, more, _ = block
        if number >= self._due or more and len(payload) != 16 << self._szx:
            raise CoapMalformed("{} bytes in block {} of {}".format(len(payload), number, 16 << self._szx))
        if not more:
            if self._count not in (None, number + 1):
                raise CoapMalformed("block {} is the last of {}".format(number, self._count))
            self._count = self._due = number + 1
        if number == self._next and not len(self._left):
            self._left = payload
            self._next += 1
        elif number >= self._next and number not in self._early:
            try:
                self._early[number] = bytes(payload)
            except MemoryError:
                return  # asked for again when its turn has come
        else:
            return
        self._fruitless = 0
