"""SIMCom SIM7080G and SIM7000: data connection and sockets (AT command manuals; two generations of commands)."""

from ipa.compat import INFO, const, log
from ipa.modem import SocketError
from ipa.modem.at import AtError
from ipa.modem.sockets import SocketModem

_ACTIVATE_MS = const(90000)
_SEND_MS = const(15000)
_CONNECTIONS = range(12)
_CONNECTIONS_7000 = range(8)


class _Simcom(SocketModem):
    setup = (b"AT+CLTS=1",)  # the network sets the clock, to local time with its zone
    power_down_command = b"AT+CPOWD=1"
    context = 1

    async def _open_number(self, number, text, close):
        """The outcome of opening a connection, which a run before ours may have left open."""
        try:
            outcome = await self._ask_open(text)
        except AtError:
            await self.try_command(close)
            outcome = await self._ask_open(text)
        if outcome:
            raise SocketError("no connection %d: %s" % (number, outcome))
        return number


class Sim7080(_Simcom):
    largest = 1459

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self.at.on(b"+APP PDP:", self._on_context)
        self.at.on(b"+CAOPEN:", lambda rest: self._set_outcome(int(rest.split(b",")[1])))
        self.at.on(b"+CADATAIND:", lambda rest: self._on_data(int(rest)))
        self.at.on(b"+CASTATE:", self._on_state)

    async def _activate(self):
        for line in await self.at.command(b"AT+CNACT?", prefix=b"+CNACT:"):
            if line.startswith(b"0,1"):
                return
        await self.at.command(('AT+CNCFG=0,1,"%s"' % self._apn).encode())
        if not await self._ask_open(b"AT+CNACT=0,1"):
            raise SocketError("no data connection to %s" % self._apn)

    async def _open(self, service, host, port):
        number = self._free(_CONNECTIONS)
        await self.at.command(b"AT+CACID=%d" % number)
        text = ('AT+CAOPEN=%d,0,"%s","%s",%d' % (number, service, host, port)).encode()
        return await self._open_number(number, text, b"AT+CACLOSE=%d" % number)

    async def _send(self, number, data):
        await self.at.command(b"AT+CASEND=%d,%d" % (number, len(data)), payload=data, timeout_ms=_SEND_MS)
        return len(data)

    async def _receive(self, number, buf):
        # The data follow on the same line, and the connection's number of the manual is not there.
        text = b"AT+CARECV=%d,%d" % (number, min(len(buf), self.largest))
        lines = await self.at.command(text, prefix=b"+CARECV:", into=buf, inline=1)
        return int(lines[0]) if lines else 0

    async def _shut(self, number):
        await self.at.command(b"AT+CACLOSE=%d" % number, timeout_ms=_SEND_MS)

    def _on_context(self, rest):
        active = rest.endswith(b",ACTIVE")
        self._set_outcome(active)
        if not active:
            log(INFO, "modem: data connection closed by the network")
            self._fail_all()

    def _on_state(self, rest):
        number, state = rest.split(b",")[:2]
        if state == b"0":
            self._on_closed(int(number))


class Sim7000(_Simcom):
    device_capabilities = b"\x80\x03\x0d\x00\x00\x85\x03\x0d\x00\x00"  # release 13, and GSM

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self.at.on(b"+CIPRXGET: 1,", lambda rest: self._on_data(int(rest)))
        self.at.on(b"+PDP: DEACT", self._on_context_lost)
        for number in _CONNECTIONS_7000:
            self.at.on(b"%d," % number, lambda rest, number=number: self._on_connection(number, rest))

    async def _activate(self):
        try:
            await self.at.command(b"AT+CIFSR;E0")  # the address alone would come without an OK
        except AtError:
            await self.at.command(b"AT+CIPSHUT", timeout_ms=_ACTIVATE_MS)
            await self.at.command(b"AT+CIPMUX=1")
            await self.at.command(b"AT+CIPRXGET=1")
            await self.at.command(('AT+CSTT="%s"' % self._apn).encode())
            await self.at.command(b"AT+CIICR", timeout_ms=_ACTIVATE_MS)
            await self.at.command(b"AT+CIFSR;E0")

    async def _open(self, service, host, port):
        number = self._free(_CONNECTIONS_7000)
        text = ('AT+CIPSTART=%d,"%s","%s",%d' % (number, service, host, port)).encode()
        return await self._open_number(number, text, b"AT+CIPCLOSE=%d" % number)

    async def _send(self, number, data):
        text = b"AT+CIPSEND=%d,%d" % (number, len(data))
        try:
            await self.at.command(text, payload=data, timeout_ms=_SEND_MS)
        except AtError as error:
            if error.result.endswith("SEND FAIL"):
                return 0
            raise
        return len(data)

    async def _receive(self, number, buf):
        text = b"AT+CIPRXGET=2,%d,%d" % (number, min(len(buf), self.largest))
        lines = await self.at.command(text, prefix=b"+CIPRXGET: 2,", into=buf, field=1)
        return int(lines[0].split(b",")[1]) if lines else 0

    async def _shut(self, number):
        await self.at.command(b"AT+CIPCLOSE=%d" % number, timeout_ms=_SEND_MS)

    def _on_connection(self, number, event):
        if event == b"CONNECT OK":
            self._set_outcome(None)
        elif event == b"CONNECT FAIL":
            self._set_outcome("CONNECT FAIL")
        elif event == b"CLOSED":
            self._on_closed(number)

    def _on_context_lost(self, _rest):
        log(INFO, "modem: data connection closed by the network")
        self._fail_all()
