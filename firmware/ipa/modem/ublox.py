"""u-blox SARA-R5 and SARA-R422: data connection and sockets (AT commands manual, +USO…)."""

from ipa.compat import INFO, const, log
from ipa.modem import ModemError, SocketError, integer
from ipa.modem.at import AtError
from ipa.modem.sockets import SocketModem

_SOCKETS = range(7)
_MOST = const(1024)  # bytes a command takes or gives
_PROTOCOL = {"UDP": 17, "TCP": 6}
_CONNECT_MS = const(130000)
_SEND_MS = const(15000)


class SaraR4(SocketModem):
    device_capabilities = b"\x80\x03\x0e\x00\x00\x85\x03\x0e\x00\x00"  # R422: and GSM
    # The greeting tells when a restart is over, and stays for the next.
    setup = (b"AT+CTZR=2", b"AT+CTZU=1", b'AT+CSGT=1,"RDY"')
    largest = _MOST
    reset_command = b"AT+CFUN=15"
    power_down_command = b"AT+CPWROFF"

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self.at.prompt = 0x40  # "@"
        self.at.prompt_ms = 50
        self.at.on(b"+UUSORD:", self._on_readable)
        self.at.on(b"+UUSORF:", self._on_readable)
        self.at.on(b"+UUSOCL:", lambda rest: self._on_closed(int(rest)))
        self.at.on(b"+UUPSDD:", self._on_context_lost)

    async def _open(self, service, host, port):
        create = b"AT+USOCR=%d" % _PROTOCOL[service]
        try:
            line = await self._line(create, b"+USOCR:")
        except AtError:
            for number in _SOCKETS:
                if number not in self._sockets:  # left open by a run before ours
                    await self.try_command(b"AT+USOCL=%d" % number)
            line = await self._line(create, b"+USOCR:")
        number = integer(line)
        text = 'AT+USOCO=%d,"%s",%d' % (number, host, port)
        try:
            await self.at.command(text.encode(), timeout_ms=_CONNECT_MS)
        except ModemError:
            await self.try_command(b"AT+USOCL=%d" % number)
            raise
        return number

    async def _send(self, number, data):
        text = b"AT+USOWR=%d,%d" % (number, len(data))
        lines = await self.at.command(text, prefix=b"+USOWR:", payload=data, timeout_ms=_SEND_MS)
        return integer(lines[0], 1) if lines else 0

    async def _receive(self, number, buf):
        n = await self._read(number, memoryview(buf)[:_MOST])
        if n == _MOST and len(buf) > n:  # the rest of a longer datagram
            n += await self._read(number, memoryview(buf)[n:])
        return n

    async def _read(self, number, view):
        text = b"AT+USORD=%d,%d" % (number, len(view))
        lines = await self.at.command(text, prefix=b"+USORD:", into=view, field=1, inline=2)
        fields = lines[0].split(b",") if lines else ()
        return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0

    async def _shut(self, number):
        await self.at.command(b"AT+USOCL=%d" % number, timeout_ms=_SEND_MS)

    def _on_readable(self, rest):
        self._on_data(int(rest.split(b",")[0]))

    def _on_context_lost(self, _rest):
        log(INFO, "modem: data connection closed by the network")
        self._fail_all()


class SaraR5(SaraR4):
    device_capabilities = b"\x85\x03\x0e\x00\x00"
    reset_command = b"AT+CFUN=16"
    # While DTR is off (+UPSV mode 3; ubxlib, u_cell_pwr.c). SARA-R4 has no such mode.
    sleep_command = b"AT+UPSV=3"

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self.at.on(b"+UUPSDA:", lambda rest: self._set_outcome(rest.startswith(b"0")))

    async def _is_up(self, apn):
        lines = await self.at.command(b"AT+UPSND=0,8", prefix=b"+UPSND:")
        return bool(lines) and lines[0].endswith(b",1")

    async def _take_down(self):
        await self.at.command(b"AT+UPSDA=0,4", timeout_ms=_CONNECT_MS)

    async def _bring_up(self, apn):
        """Give the sockets a profile of their own on the context of the attach."""
        # IPv4, the context, and active
        if not await self._ask_open(b"AT+UPSD=0,0,0;+UPSD=0,100,%d;+UPSDA=0,3" % self.context):
            raise SocketError("its profile stays inactive")
