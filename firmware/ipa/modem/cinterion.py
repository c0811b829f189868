"""Thales (Telit) Cinterion TX62-W: sockets of the Internet services (AT command set, AT^SIS… and AT^SICA).

Written from what is public of its sister EXS62-W and of ENS22, EHS6 and ELS61; no TX62 has said any of it to us.
"""

from ipa.compat import const
from ipa.modem import SocketError, integer
from ipa.modem.at import AtError
from ipa.modem.sockets import SocketModem

_PROFILES = range(10)
_MOST = const(1500)  # bytes a command takes or gives
_ACTIVATE_MS = const(150000)
_SEND_MS = const(15000)
_EVENT = b"0"  # causes of ^SIS: something happened,
_READY = b"5"  # the service can be used
_LAST_ERROR = const(2000)  # of the numbers of events; above are notes and warnings


class Tx62(SocketModem):
    reset_command = b"AT+CFUN=1,1"
    power_down_command = b"AT^SMSO"
    # While RTS0 is inactive (TX62-W Hardware Interface Description 3.3.1.1; the times are those that oFono gives)
    sleep_command = b'AT^SCFG="MEopMode/PwrSave","enabled",52,50'
    ready = b"^SYSSTART"

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self._opening = -1
        self.at.on(b"^SISW:", self._on_writable)
        self.at.on(b"^SISR:", self._on_readable)
        self.at.on(b"^SIS:", self._on_event)

    async def _is_up(self, apn):
        for line in await self.at.command(b"AT^SICA?", prefix=b"^SICA:"):
            if line == b"%d,1" % self.context:
                return True
        return False

    async def _bring_up(self, apn):
        await self.at.command(b"AT^SICA=1,%d" % self.context, timeout_ms=_ACTIVATE_MS)

    async def _open(self, service, host, port):
        number = self._opening = self._free(_PROFILES)
        try:
            await self._describe(number, service, host, port)
        except AtError:
            await self.try_command(b"AT^SISC=%d" % number)  # left open by a run before ours
            await self._describe(number, service, host, port)
        error = await self._ask_open(b"AT^SISO=%d" % number)
        if error:
            await self.try_command(b"AT^SISC=%d" % number)
            raise SocketError("no socket to %s port %d: error %d" % (host, port, error), error)
        return number

    async def _describe(self, number, service, host, port):
        address = '"sock%s://%s:%d"' % (service.lower(), host, port)
        text = b'AT^SISS=%d,"srvType","Socket";^SISS=%d,"conId",%d;^SISS=%d,"address",%s'
        await self.at.command(text % (number, number, self.context, number, address.encode()))

    async def _send(self, number, data):
        text = b"AT^SISW=%d,%d" % (number, len(data))
        lines = await self.at.command(text, prefix=b"^SISW:", payload=data, field=1, timeout_ms=_SEND_MS)
        return integer(lines[0], 1) if lines else 0

    async def _receive(self, number, buf):
        text = b"AT^SISR=%d,%d" % (number, min(len(buf), _MOST))
        lines = await self.at.command(text, prefix=b"^SISR:", into=buf, field=1)
        # A URC looks like the answer, whose place it cannot take: the "data" behind it are an empty line.
        for line in lines[:-1]:
            self._on_readable(line)
        return max(0, integer(lines[-1], 1)) if lines else 0  # -2: no more will come

    async def _shut(self, number):
        await self.at.command(b"AT^SISC=%d" % number, timeout_ms=_SEND_MS)

    def _on_writable(self, rest):
        if integer(rest) == self._opening:
            self._opened_or_not(0)

    def _on_readable(self, rest):
        self._on_data(integer(rest))

    def _on_event(self, rest):
        number, kind = integer(rest), rest.split(b",")[1:2]
        error = integer(rest, 2) if kind == [_EVENT] else 0
        if number == self._opening:
            if kind == [_READY] or 0 < error <= _LAST_ERROR:
                self._opened_or_not(error)
        elif 0 < error <= _LAST_ERROR:
            self._on_closed(number)

    def _opened_or_not(self, error):
        self._opening = -1
        self._set_outcome(error)
