"""Quectel BG95, BG77 and BG96: data connection and sockets (TCP/IP application note)."""

from ipa.compat import INFO, const, log
from ipa.modem import SocketError, integer
from ipa.modem.at import AtError
from ipa.modem.sockets import SocketModem

_CONNECTIONS = range(12)
_ACTIVATE_MS = const(150000)
_SEND_MS = const(10000)
_ID_IN_USE = const(563)
_MOST_HEX = const(512)  # bytes of a datagram in hexadecimal digits


class Bg95(SocketModem):
    device_capabilities = b"\x80\x03\x0e\x00\x00\x85\x03\x0e\x00\x00"  # and GSM
    setup = (b"AT+CTZR=2", b"AT+CTZU=3")  # the network sets the clock, to local time with its zone
    power_down_command = b"AT+QPOWD"
    sleep_command = b"AT+QSCLK=1"  # while DTR is high (Quectel BG96 Hardware Design 3.4.1)
    ready = b"APP RDY"

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self._opening = None  # connectID whose +QIOPEN has yet to come
        self.at.on(b"+QIOPEN:", self._on_open)
        self.at.on(b"+QIURC:", self._on_event)

    async def apn_differs(self, apn):
        """As ContextModem. Once it is registered, open_context changes it in place."""
        return not self.registered() and await super().apn_differs(apn)

    async def _is_up(self, apn):
        for line in await self.at.command(b"AT+QIACT?", prefix=b"+QIACT:"):
            if line.startswith(b"%d,1" % self.context):
                told = await self._line(b"AT+QICSGP=%d" % self.context, b"+QICSGP:")
                return (told + b",").split(b",")[1].strip(b'"') == apn.encode()
        return False

    async def _take_down(self):
        await self.at.command(b"AT+QIDEACT=%d" % self.context, timeout_ms=_ACTIVATE_MS)

    async def _bring_up(self, apn):
        # One that is up with another APN, or that the network closed (+QIURC: "pdpdeact"), stays as it is until then.
        await self._take_down()
        await self.at.command(('AT+QICSGP=%d,1,"%s"' % (self.context, apn)).encode())
        await self.at.command(b"AT+QIACT=%d" % self.context, timeout_ms=_ACTIVATE_MS)

    async def dtls(self, host, port, certificate):
        from ipa.modem.quectel_dtls import connect  # only boards without DTLS need it

        return await connect(self, host, port, certificate)

    async def _open(self, service, host, port):
        number = self._free(_CONNECTIONS)
        text = 'AT+QIOPEN=%d,%d,"%s","%s",%d,0,0' % (self.context, number, service, host, port)
        self._opening = number
        error = await self._ask_open(text.encode())
        if error == _ID_IN_USE:  # by a run before ours
            await self.try_command(b"AT+QICLOSE=%d" % number)
            self._opening = number
            error = await self._ask_open(text.encode())
        if error:
            raise SocketError("no socket to %s port %d: error %d" % (host, port, error), error)
        return number

    async def _send(self, number, data):
        return await self._give(data, b"AT+QISEND=%d,%d" % (number, len(data)), payload=data)

    async def _send_last(self, number, data):
        # QISENDEX alone has <RAI_info>, for NB-IoT; 2: a single answer (TCP/IP application note 2.3.9).
        if self._assists and len(data) <= _MOST_HEX:
            try:
                return await self._give(data, b'AT+QISENDEX=%d,"' % number, apdu=data, tail=b",2")
            except AtError as error:
                self._does_not_assist(error)
        return await self._send(number, data)

    async def _give(self, data, text, **how):
        try:
            await self.at.command(text, timeout_ms=_SEND_MS, **how)
        except AtError as error:
            if error.result == "SEND FAIL":
                return 0
            raise
        return len(data)

    async def _receive(self, number, buf):
        text = b"AT+QIRD=%d,%d" % (number, len(buf))
        lines = await self.at.command(text, prefix=b"+QIRD:", into=buf)
        return integer(lines[0]) if lines and lines[0][:1].isdigit() else 0

    async def _shut(self, number):
        await self.at.command(b"AT+QICLOSE=%d" % number, timeout_ms=_SEND_MS)

    def _on_open(self, rest):
        number, error = rest.split(b",")[:2]
        if int(number) == self._opening:
            self._opening = None
            self._set_outcome(int(error))

    def _on_event(self, rest):
        fields = rest.split(b",")
        if fields[0] == b'"pdpdeact"':
            log(INFO, "modem: data connection closed by the network")
            self._fail_all()
        elif fields[0] == b'"recv"':
            self._on_data(int(fields[1]))
        elif fields[0] == b'"closed"':
            self._on_closed(int(fields[1]))


class Bg77(Bg95):
    device_capabilities = b"\x85\x03\x0e\x00\x00"
