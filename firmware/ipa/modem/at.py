"""AT commands over a UART: one task reads lines, commands take turns, everything else is a URC.

The UART is any stream with readinto, write and poll: machine.UART with timeout=0, or a pty.
"""

import asyncio
import gc
from binascii import hexlify

from ipa.compat import DEBUG, ERROR, const, log, sleep_ms, ticks_add, ticks_diff, ticks_ms, wait_for_ms, words
from ipa.modem import ModemError

_LINE = const(640)  # +CGLA with 258 bytes in hexadecimal, and a margin
_LINES = const(16)
_CHUNK = const(128)
_HEAD = const(64)  # bytes of a line after which data follow
_HEX_SLICE = const(32)
_TIMEOUT_MS = const(5000)
_SETTLING_MS = const(30000)  # after AT+CFUN some modems do not answer at first
_LOST_MS = const(2000)  # after an answer: an OK that has not come by then was lost
_SYNC_MS = const(300)
_SYNC_TRIES = const(10)
_QUIET_MS = const(100)
_QUIET_TRIES = const(30)  # the longest possible answer takes a tenth of that
_EMPTY_MS = const(20)  # pause if poll() reports data and there are none, to avoid a busy loop
_WRITE_MS = const(2)
_TX_BUFFER = const(2048)  # of the UART: ipa/board.py
_BLANKS = b"\0\t\r\x0b\x0c "
_ERRORS = (b"ERROR", b"+CME ERROR", b"+CMS ERROR", b"SEND FAIL", b"NO CARRIER")
_CARD_ERRORS = ("SIM NOT INSERTED", "SIM FAILURE", "SIM BUSY")  # with AT+CMEE=2, which some modems always use
# Final lines of some families, in some with the number of the connection before them
_DONE = (b"SEND OK", b"CLOSE OK", b"SHUT OK", b"NORMAL POWER DOWN")


class AtError(ModemError):
    """The modem refused a command. `result` is its final line, `code` the number in it or None.

    `card`: it is an error of the card, which may be busy or not ready yet (TS 27.007 9.2).
    """

    def __init__(self, command, result):
        super().__init__("%s: %s" % (command, result))
        self.command = command
        self.result = result
        number = result[result.find(":") + 1 :].strip()
        self.code = int(number) if number.isdigit() else None
        self.card = self.code in (10, 13, 14) or number.upper() in _CARD_ERRORS


class AtTimeout(ModemError):
    """No final line in time: it is not known whether the modem has executed the command."""


class AtOverflow(ModemError):
    """A line without end, too many lines for a command, or more data than fit in the buffer."""


class At:
    def __init__(self, uart, line_limit=_LINE):
        self._uart = uart
        # Of machine.UART. While CTS is high the ESP32's write() waits for room in its buffer without a time limit.
        self._sent_all = getattr(uart, "txdone", None)
        self._sent = 0  # bytes that may still be in that buffer
        self._stream = asyncio.StreamReader(uart)
        self._task = None
        self._line = bytearray(line_limit)
        self._n = 0
        self._skip = False  # the line was too long: drop the rest of it
        self._urcs = {}
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._heard = ticks_ms()
        self._unsure = False  # a late answer to an earlier command may still come
        self._settling = None  # ticks_ms() of the last AT+CFUN
        self._pending = False
        self.too_long = None  # called with what there is of a line that is too long; returns what to keep, or None
        self.prompt = 0x3E  # ">", with which a modem asks for data
        self.prompt_ms = 0  # and how long it then needs before it accepts them
        self._prompt = False  # waiting for it
        self._room = None  # how many bytes the modem then accepts, if it says so
        self._prefix = None
        self._lines = None
        self._into = None
        self._field = 0  # field with that number in a line of prefix
        self._inline = 0
        self._decode = None
        self._raw = 0  # bytes still to come that are data and not lines
        self._result = None
        self._answered = False  # the answer seems complete except for its final line

    def start(self):
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def stop(self):
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def on(self, prefix, handler):
        """Call handler(rest of the line) for each unsolicited line that begins with prefix; None: remove it."""
        if handler is None:
            self._urcs.pop(prefix, None)
        else:
            self._urcs[prefix] = handler

    def abandon(self, reason):
        """Let the running command, if any, end in AtTimeout: its answer will not come."""
        if self._pending and self._result is None:
            self._fail(AtTimeout(reason))

    def answered(self):
        """The running command has been answered, by its own line or a URC: only its final line is still to come."""
        self._answered = True
        self._wake.set()

    async def sync(self, tries=_SYNC_TRIES):
        """Wait until the modem answers and has sent everything of earlier commands. Raises AtTimeout."""
        async with self._lock:
            await self._sync(tries)

    async def command(
        self, text, prefix=None, timeout_ms=_TIMEOUT_MS, apdu=None, tail=b"", payload=None, into=None, field=0,
        inline=0, decode=None,
    ):
        """Send one command and wait for OK. Returns what followed prefix, one bytes a line.

        prefix: lines of the answer begin with it; b"" takes every line that is no URC.
        apdu: goes behind text in hexadecimal, with the closing quote (+CGLA), and then `tail`.
        decode: called with a view of the rest of each line of prefix; what it returns is kept in place of that.
        payload: sent as it is once the modem prompts, says CONNECT or, with `field`, tells in that field of a
        line of prefix how many of the bytes it takes.
        into: a line of prefix has a number in this field, and so many raw bytes land in this buffer: those
        behind the line or, with inline, those behind the `inline` characters after the number (`,` or `,"`).
        Raises AtError, AtTimeout, AtOverflow.
        """
        async with self._lock:
            if self._unsure:
                await self._sync(_SYNC_TRIES)
            deadline = ticks_add(ticks_ms(), max(timeout_ms, self._settles_in()))
            self._begin(prefix, payload is not None, into)
            self._field = field
            self._inline = inline
            self._decode = decode
            try:
                await self._write(text, deadline)
                if apdu is not None:
                    await self._write_hex(apdu, deadline)
                    await self._write(tail, deadline)
                await self._write(b"\r", deadline)
                if payload is not None:
                    while self._prompt and self._result is None:
                        await self._woken(text, deadline)
                    if self._result is None:
                        if self.prompt_ms:
                            await sleep_ms(self.prompt_ms)
                        taken = payload if self._room is None else memoryview(payload)[: self._room]
                        await self._write(taken, deadline)
                await self._ended(text, deadline)
                return self._finish(text)
            finally:
                # Timeout, cancelled by the caller, or unreadable: its final line is still to come.
                self._unsure = self._unsure or self._result is not True and not isinstance(self._result, str)
                if text.startswith(b"AT+CFUN="):
                    self._settling = ticks_ms()
                elif self._result is not None:
                    self._settling = None
                self._pending = self._prompt = False
                self._raw = 0
                self._into = self._lines = self._decode = None

    def _begin(self, prefix, prompt, into):
        self._prefix = prefix
        self._lines = []
        self._prompt = prompt
        self._room = None
        self._into = into
        self._raw = self._field = self._inline = 0
        self._result = None
        self._answered = False
        self._wake.clear()
        self._pending = True

    def _finish(self, text):
        result = self._result
        if result is True:
            return self._lines
        if isinstance(result, Exception):
            raise result
        raise AtError(_name(text), result)

    async def _ended(self, text, deadline):
        """Wait for the final line. If it was lost after the answer, another command is sent to find out."""
        lost_ms = 5 * _LOST_MS if self._prefix == b"" else _LOST_MS  # any line counts: it may not be the answer
        while self._result is None:
            until = ticks_add(ticks_ms(), lost_ms)
            asked = self._unsure or not self._answered or ticks_diff(deadline, until) <= 0
            try:
                await self._woken(text, deadline if asked else until)
            except AtTimeout:
                if asked:
                    raise
                self._unsure = True  # there may be two final lines now
                await self._write(b"AT\r", deadline)

    def _settles_in(self):
        """Milliseconds in which the modem may still be busy with AT+CFUN."""
        if self._settling is None:
            return 0
        left = _SETTLING_MS - ticks_diff(ticks_ms(), self._settling)
        if not 0 < left <= _SETTLING_MS:
            self._settling = None
            return 0
        return left

    async def _woken(self, text, deadline):
        left = ticks_diff(deadline, ticks_ms())
        try:
            if left <= 0:
                raise asyncio.TimeoutError
            await wait_for_ms(self._wake.wait(), left)
        except asyncio.TimeoutError:
            raise AtTimeout("no answer to %s" % _name(text)) from None
        self._wake.clear()

    async def _sync(self, tries):
        tries = max(tries, self._settles_in() // _SYNC_MS)
        for _ in range(tries):
            self._n = 0
            self._begin(None, False, None)
            try:
                deadline = ticks_add(ticks_ms(), _SYNC_MS)
                await self._write(b"AT\r", deadline)
                await self._woken(b"AT", deadline)
                # That may have been the late answer. Read until the modem is quiet.
                for _ in range(_QUIET_TRIES):
                    quiet = ticks_diff(ticks_ms(), self._heard) >= _QUIET_MS
                    if quiet:
                        break
                    await sleep_ms(_QUIET_MS)
                if quiet and self._result is True:
                    self._unsure = False
                    return
            except AtTimeout:
                pass
            finally:
                self._pending = False
        raise AtTimeout("modem does not answer AT")

    async def _write(self, data, deadline):
        view = memoryview(data)
        done = 0
        while done < len(view):
            n = self._uart.write(view[done:]) if self._has_room(len(view) - done) else 0
            if n:
                done += n
            elif ticks_diff(deadline, ticks_ms()) > 0:
                await sleep_ms(_WRITE_MS)
            else:
                raise AtTimeout("the modem takes no more bytes")

    def _has_room(self, count):
        """Whether write() will return immediately."""
        if self._sent_all is not None:
            if self._sent_all():
                self._sent = 0
            elif self._sent + count > _TX_BUFFER:
                return False
            self._sent += count
        return True

    async def _write_hex(self, data, deadline):
        view = memoryview(data)
        for i in range(0, len(view), _HEX_SLICE):
            # Upper case: some basebands refuse lower case.
            await self._write(hexlify(view[i : i + _HEX_SLICE]).upper(), deadline)
        await self._write(b'"', deadline)

    async def _run(self):
        chunk = bytearray(_CHUNK)
        while True:
            try:
                n = await self._stream.readinto(chunk)
            except OSError:  # a pty whose other end was closed
                n = 0
            if not n:
                await sleep_ms(_EMPTY_MS)
                continue
            self._heard = ticks_ms()
            try:
                pos = 0
                while pos < n:
                    pos = self._take_raw(chunk, pos, n) if self._raw else self._take_line(chunk, pos, n)
            except Exception as error:  # noqa: BLE001 - one command fails; without this task all would
                self._raw = self._n = 0
                self._skip = True
                gc.collect()
                if not isinstance(error, MemoryError):
                    error = AtOverflow("what the modem says is lost: %r" % error)
                self._fail(error)

    def _take_raw(self, chunk, pos, end):
        count = min(self._raw, end - pos)
        if self._into is not None:
            self._into[self._n : self._n + count] = memoryview(chunk)[pos : pos + count]
            self._n += count
        self._raw -= count
        if not self._raw:
            self._n = 0
        return pos + count

    def _take_line(self, chunk, pos, end):
        newline = chunk.find(b"\n", pos, end)
        stop = end if newline < 0 else newline
        if self._inline and self._pending:
            data = self._data_behind(chunk, pos, stop)
            if data:
                return data
        count = stop - pos
        if self._n + count > len(self._line):
            left = self.too_long and not self._skip and self.too_long(bytes(memoryview(self._line)[: self._n]))
            if left:
                self._n = len(left)
                self._line[: self._n] = left
                return pos
            if not self._skip:
                self._skip = True
                self._fail(AtOverflow("line of more than %d bytes" % len(self._line)))
            self._n = 0
        elif not self._skip:
            self._line[self._n : self._n + count] = memoryview(chunk)[pos:stop]
            self._n += count
        if newline < 0:
            self._look_for_prompt()
            return end
        n = self._n
        self._n = 0
        if self._skip:
            self._skip = False
        elif n:
            self._whole(n)
        return newline + 1

    def _whole(self, end):
        """The line that ends there is complete. One with an APDU has 530 bytes: it is decoded where it stands."""
        line = self._line
        start = 0
        while start < end and line[start] in _BLANKS:
            start += 1
        while start < end and line[end - 1] in _BLANKS:
            end -= 1
        line = memoryview(line)[start:end]
        if self._decode and self._result is None:
            prefix = len(self._prefix)
            if bytes(line[:prefix]) == self._prefix:
                self._collect(self._decode(line[prefix:]))
                return
        line = bytes(line).replace(b"\0", b"")
        while b":  " in line:
            line = line.replace(b":  ", b": ")
        if line:
            self._dispatch(line)

    def _data_behind(self, chunk, pos, stop):
        """Handle the head of a line after which data follow. Returns where they begin, 0 if it is no such line."""
        whole = bytes(memoryview(self._line)[: self._n]) + chunk[pos : min(stop, pos + _HEAD)]
        head = whole.lstrip(b"\0 ")
        if not head.startswith(self._prefix):
            return 0
        comma = -1
        for _ in range(self._field + 1):
            comma = head.find(b",", comma + 1)
            if comma < 0:
                return 0
        begin = comma + self._inline
        if len(head) < begin:
            return 0  # its last character is still to come
        begin += pos - self._n + len(whole) - len(head)
        self._n = 0
        self._dispatch(head[:comma].rstrip())
        return begin

    def _look_for_prompt(self):
        if self._prompt and self._n and self._line[0] == self.prompt:  # which has no line end
            self._prompt = False
            self._n = 0
            self._wake.set()

    def _dispatch(self, line):
        if self._prompt and line == b"CONNECT":  # asks for data in a line of its own
            self._prompt = False
            self._wake.set()
            return
        if self._pending and self._result is None and self._answer(line):
            return
        for prefix, handler in self._urcs.items():
            if line.startswith(prefix):
                try:
                    handler(_fields(line, prefix))
                except (ValueError, IndexError, ModemError):
                    log(ERROR, "modem: unreadable", line)
                return
        if self._pending and self._prefix == b"" and not line.startswith(b"AT"):  # AT: the echo of the command
            self._collect(line)
        else:
            log(DEBUG, "modem:", line)

    def _answer(self, line):
        """Whether the line belongs to the running command."""
        if line == b"OK" or line.endswith(_DONE):
            self._result = True
            self._wake.set()
        elif line.startswith(_ERRORS) or line.endswith(b"SEND FAIL"):
            self._fail(words(line))
        elif self._prefix and line.startswith(self._prefix):
            line = _fields(line, self._prefix)
            if self._prompt and self._field and not self._invites(line):
                return False
            self._collect(line)
            if self._into is not None:
                self._expect_raw(line)
        else:
            return False
        return True

    def _invites(self, line):
        """Whether the line asks for data. A line that ends with the number is a URC of the same name."""
        fields = line.split(b",")
        if len(fields) <= self._field + 1 or not fields[self._field].isdigit():
            return False
        self._room = int(fields[self._field])
        self._prompt = False
        self._wake.set()
        return True

    def _collect(self, line):
        if len(self._lines) < _LINES:
            self._lines.append(line)
            self.answered()
        else:
            self._fail(AtOverflow("answer of more than %d lines" % _LINES))

    def _expect_raw(self, line):
        fields = line.split(b",")
        number = fields[self._field] if self._field < len(fields) else b""
        self._raw = int(number) if number.isdigit() else 0
        if self._raw > len(self._into):
            self._fail(AtOverflow("%d bytes where %d have room" % (self._raw, len(self._into))))
            self._into = None  # and drop them

    def _fail(self, result):
        if self._pending and self._result is None:
            self._result = result
            self._wake.set()
        else:
            log(ERROR, "modem:", result)


def _fields(line, prefix):
    """What follows the prefix, without the blanks that some modems put before it and behind commas."""
    start = len(prefix)
    while line[start : start + 1] == b" ":
        start += 1
    return line[start:].replace(b", ", b",")


def _name(text):
    """A command without its arguments, for the log."""
    for i, octet in enumerate(text):
        if octet in b"=?":
            text = text[:i]
            break
    return words(text)
