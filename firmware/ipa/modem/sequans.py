"""Sequans Monarch 2 GM02S: sockets in command mode (AT commands reference manual, AT+SQNS…)."""

from ipa.compat import const
from ipa.modem import integer
from ipa.modem.at import AtError
from ipa.modem.sockets import SocketModem

_CONNECTIONS = range(1, 7)
_OPEN_MS = const(75000)
_SEND_MS = const(15000)
_MOST = const(1500)  # what SQNSRECV gives
_LOCAL_PORT = const(49152)


class Gm02s(SocketModem):
    power_down_command = b"AT+SQNSSHDN"
    # While RTS0 is high, 1 s after the last character (TinyGSM, TinyGsmClientSequansMonarch.h; Toit's driver)
    sleep_command = b"AT+SQNIPSCFG=1,1000"
    reset_command = b"AT^RESET"
    ready = b"+SYSSTART"
    edrx_command = b'AT+SQNEDRX=2,%d,"%s","0000"'

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self._rung = set()  # connections of which a line has told that data wait
        self.at.on(b"+SQNSRING:", self._on_ring)
        self.at.on(b"+SQNSH:", lambda rest: self._on_closed(int(rest)))

    async def _open(self, service, host, port):
        number = self._free(_CONNECTIONS)
        udp = int(service == "UDP")
        local = _LOCAL_PORT + number if udp else 0
        dial = 'AT+SQNSD=%d,%d,%d,"%s",0,%d,1,0' % (number, udp, port, host, local)
        try:
            await self._dial(number, dial.encode())
        except AtError:
            await self.try_command(b"AT+SQNSH=%d" % number)  # left open by a run before ours
            await self._dial(number, dial.encode())
        return number

    async def _dial(self, number, text):
        # Context, no end for want of traffic, 60 s to connect; lengths in +SQNSRING, binary both ways.
        settings = b"AT+SQNSCFG=%d,%d,300,0,600,50;+SQNSCFGEXT=%d,1,0,0,0,0"
        await self.at.command(settings % (number, self.context, number))
        await self.at.command(text, timeout_ms=_OPEN_MS)

    async def _send(self, number, data, rai=b""):
        text = b"AT+SQNSSENDEXT=%d,%d%s" % (number, len(data), rai)
        await self.at.command(text, payload=data, timeout_ms=_SEND_MS)
        return len(data)

    async def _send_last(self, number, data):
        # <RAI> 2: a single answer is expected (WalterModemRAI of QuickSpot's walter-arduino, WalterDefines.h).
        if self._assists:
            try:
                return await self._send(number, data, b",2")
            except AtError as error:
                self._does_not_assist(error)
        return await self._send(number, data)

    async def _receive(self, number, buf):
        # Reading an empty buffer is an error like any other: look first where nothing has told of data.
        if number not in self._rung:
            lines = await self.at.command(b"AT+SQNSI=%d" % number, prefix=b"+SQNSI:")
            fields = lines[0].split(b",") if lines else ()
            if len(fields) < 4 or fields[3] == b"0":  # <connection>,<sent>,<received>,<buffered>,…
                return 0
        self._rung.discard(number)
        text = b"AT+SQNSRECV=%d,%d" % (number, min(len(buf), _MOST))
        lines = await self.at.command(text, prefix=b"+SQNSRECV:", into=buf, field=1)
        return integer(lines[0], 1) if lines else 0

    def _on_ring(self, rest):
        number = integer(rest, 0)
        self._rung.add(number)
        self._on_data(number)

    async def _shut(self, number):
        self._rung.discard(number)
        await self.at.command(b"AT+SQNSH=%d" % number, timeout_ms=_SEND_MS)
