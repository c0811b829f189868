"""SIMCom SIM7000: data connection and sockets of AT+CIP…, one context for all (AT command manual)."""

from ipa.compat import INFO, const, log
from ipa.modem import integer
from ipa.modem.at import AtError
from ipa.modem.simcom import Simcom

_ACTIVATE_MS = const(90000)
_SEND_MS = const(15000)
_CONNECTIONS = range(8)


class Sim7000(Simcom):
    device_capabilities = b"\x80\x03\x0d\x00\x00\x85\x03\x0d\x00\x00"  # release 13, and GSM

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self._told = False  # how sockets are to work
        self.at.on(b"+CIPRXGET: 1,", lambda rest: self._on_data(int(rest)))
        self.at.on(b"+PDP: DEACT", self._on_context_lost)
        for number in _CONNECTIONS:
            self.at.on(b"%d," % number, lambda rest, number=number: self._on_connection(number, rest))

    def forget(self):
        super().forget()
        self._told = False

    async def _is_up(self, apn):
        if (self.sleeps or self.was_on) and not self._told:
            return False  # the context is left from before a sleep, and what its sockets need is not
        try:
            await self.at.command(b"AT+CIFSR;E0")  # the address alone would come without an OK
        except AtError:
            return False
        return (await self._line(b"AT+CSTT?", b"+CSTT:")).split(b",")[0].strip(b'"') == apn.encode()

    async def _take_down(self):
        await self.at.command(b"AT+CIPSHUT", timeout_ms=_ACTIVATE_MS)

    async def _bring_up(self, apn):
        text = ('AT+CIPMUX=1;+CIPRXGET=1;+CSTT="%s"' % apn).encode()
        try:
            await self.at.command(text)
        except AtError:  # they are for the state IP INITIAL, in which it is after a boot and after AT+CIPSHUT
            await self._take_down()
            await self.at.command(text)
        self._told = True
        await self.at.command(b"AT+CIICR", timeout_ms=_ACTIVATE_MS)
        await self.at.command(b"AT+CIFSR;E0")

    async def _open(self, service, host, port):
        number = self._free(_CONNECTIONS)
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
        return integer(lines[0], 1) if lines else 0

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
