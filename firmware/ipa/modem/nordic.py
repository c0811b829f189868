"""Nordic nRF91 as a modem with the Serial Modem application, sockets by handle (at_socket of its documentation)."""

from errno import ENOTCONN

from ipa.compat import const
from ipa.modem import ModemError, SocketError, integer
from ipa.modem.at import AtError
from ipa.modem.sockets import SocketModem

_CONNECT_MS = const(150000)
_SEND_MS = const(15000)
_STREAM = const(1)
_DATAGRAM = const(2)
_BINARY = const(0)
_HEX = const(1)
_DONT_WAIT = const(64)
_POLL_IN = const(1)
_POLL_CLOSED = const(16)
_POLL_ERROR = const(8 | 32)
_RSRP_0 = const(-141)  # dBm (TS 27.007 8.69)
_NO_SIGNAL = const(255)


class Nrf91(SocketModem):
    device_capabilities = b"\x85\x03\x0d\x00\x00"  # release 13
    # Tell the network's time; tell of data, once until they were read; let sockets assist release (AT manual, %RAI)
    setup = (b"AT%XTIME=1", b"AT#XAPOLL=,1,1", b"AT%RAI=1")
    context = 0
    largest = 1400
    imei_command = b"AT+CGSN=1"
    card_command = b"AT+CFUN=41"
    reset_command = b"AT#XRESET"
    power_down_command = b"AT#XSHUTDOWN"
    ready = b"Ready"

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self.at.on(b"#XAPOLL:", self._on_poll)
        self.at.on(b"%XTIME:", self._on_time)

    async def rest(self):
        # Idle, until DTR is asserted again (Serial Modem, "Sleep #XSLEEP")
        if hasattr(self._board, "modem_may_sleep") and not self.off:
            await self.try_command(b"AT#XSLEEP=2")
            self.rests = True
            self._board.modem_may_sleep(True)

    async def signal(self):
        """Reference signal power in dBm, None when not known."""
        level = integer(await self._line(b"AT+CESQ", b"+CESQ:"), 5)
        return level + _RSRP_0 if level < _NO_SIGNAL else None

    async def dtls(self, host, port, certificate):
        from ipa.modem.nordic_dtls import connect  # only boards without DTLS need it

        return await connect(self, host, port, certificate)

    async def _open(self, service, host, port):
        kind = _DATAGRAM if service == "UDP" else _STREAM
        return await self._dial(b"AT#XSOCKET=1,%d,0" % kind, b"#XSOCKET:", host, port)

    async def _dial(self, text, prefix, host, port, option=None):
        handle = integer(await self._line(text, prefix))
        if handle < 0:
            raise SocketError("no more sockets", handle)
        text = 'AT#XCONNECT=%d,"%s",%d' % (handle, host, port)
        try:
            if option is not None:
                await self.at.command(option % handle)
            await self.at.command(text.encode(), timeout_ms=_CONNECT_MS)
        except ModemError:
            await self.try_command(b"AT#XCLOSE=%d" % handle)
            raise
        return handle

    async def _send(self, number, data):
        # In data mode its answers have no order: hexadecimal is slower and sure.
        text = b'AT#XSEND=%d,%d,0,"' % (number, _HEX)
        lines = await self.at.command(text, prefix=b"#XSEND:", apdu=data, timeout_ms=_SEND_MS)
        return integer(lines[0], 2) if lines else 0

    async def _send_last(self, number, data):
        # SO_RAI 61, RAI_ONE_RESP 3 (nRF Connect SDK, Socket AT commands)
        if self._assists:
            try:
                await self.at.command(b"AT#XSOCKETOPT=%d,1,61,3" % number)
            except AtError as error:
                self._does_not_assist(error)
        return await self._send(number, data)

    async def _receive(self, number, buf):
        text = b"AT#XRECV=%d,%d,%d,0,%d" % (number, _BINARY, _DONT_WAIT, len(buf))
        try:
            lines = await self.at.command(text, prefix=b"#XRECV:", into=buf, field=2)
        except AtError:
            return 0  # nothing there; that a socket died is told by #XAPOLL
        return integer(lines[0], 2) if lines else 0

    async def _shut(self, number):
        await self.at.command(b"AT#XCLOSE=%d" % number, timeout_ms=_SEND_MS)

    def _on_poll(self, rest):
        number, events = [int(field) for field in rest.split(b",")[:2]]
        if events & _POLL_IN:
            self._on_data(number)
        if events & _POLL_CLOSED:
            self._on_closed(number)
        if events & _POLL_ERROR:
            self._on_lost(number)

    def _on_lost(self, number):
        socket = self._sockets.get(number)
        if socket is not None:
            socket.fail(ENOTCONN)
