"""SIMCom SIM7080G: data connection and sockets of AT+CN… and AT+CA… (AT command manual)."""

from ipa.compat import INFO, const, log
from ipa.modem import SocketError, integer
from ipa.modem.simcom import Simcom

_SEND_MS = const(15000)
_CONNECTIONS = range(12)


class Sim7080(Simcom):
    largest = 1459

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self.at.on(b"+APP PDP:", self._on_context)
        self.at.on(b"+CAOPEN:", lambda rest: self._set_outcome(int(rest.split(b",")[1])))
        self.at.on(b"+CADATAIND:", lambda rest: self._on_data(int(rest)))
        self.at.on(b"+CASTATE:", self._on_state)

    async def _is_active(self):
        for line in await self.at.command(b"AT+CNACT?", prefix=b"+CNACT:"):
            if line.startswith(b"0,1"):
                return True
        return False

    async def _is_up(self, apn):
        if await self._is_active():
            for line in await self.at.command(b"AT+CNCFG?", prefix=b"+CNCFG:"):
                if line.startswith(b"0,"):
                    return (line + b",").split(b",")[2].strip(b'"') == apn.encode()
        return False

    async def _take_down(self):
        if await self._is_active():
            await self._ask_open(b"AT+CNACT=0,0")

    async def _bring_up(self, apn):
        await self._take_down()
        await self.at.command(('AT+CNCFG=0,1,"%s"' % apn).encode())
        if not await self._ask_open(b"AT+CNACT=0,1"):
            raise SocketError("it stays inactive")

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
        return integer(lines[0]) if lines else 0

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
