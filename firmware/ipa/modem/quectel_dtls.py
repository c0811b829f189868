"""DTLS that a BG95 speaks itself, for boards whose MicroPython has none (SSL and FILE application notes)."""

from ipa.compat import INFO, const, log
from ipa.modem import SocketError, fit
from ipa.modem.at import AtError
from ipa.modem.sockets import Datagram
from ipa.modem.stored import digest, pem

_ABOVE = const(100)  # the SSL stack counts its connections for itself; ours are known by one number
_CLIENTS = range(_ABOVE, _ABOVE + 12)
_SEND_MS = const(10000)
_UPLOAD_MS = const(15000)
_SETTINGS = (
    b'"dtls",1,1',
    b'"dtlsversion",1,1',  # 1.2
    b'"ciphersuite",1,0XC02B',  # ECDHE-ECDSA with AES-128-GCM and SHA-256
    b'"seclevel",1,1',  # the server has to prove itself
    b'"sni",1,1',
    b'"ignorelocaltime",1,0',
)


async def connect(modem, host, port, certificate):
    """A Datagram secured under this CA (DER). Raises SocketError, AtError, AtTimeout."""
    return await Secure(modem).connect(host, port, certificate)


class Secure:
    """What a Datagram asks of a modem, from the modem's SSL stack."""

    spare = None
    last = _ends = False  # its SSL stack has no release assistance

    def __init__(self, modem):
        self.at = modem.at
        self.largest = modem.largest
        self.read_again_ms = modem.read_again_ms
        self._sockets = modem._sockets  # which end together when the network goes
        self._modem = modem
        modem.at.on(b"+QSSLOPEN:", self._on_open)
        modem.at.on(b"+QSSLURC:", self._on_event)

    async def connect(self, host, port, certificate):
        modem = self._modem
        fit(host)
        async with modem._turn:
            await self._configure(certificate)
            number = modem._free(_CLIENTS)
            await modem.try_command(b"AT+QSSLCLOSE=%d" % (number - _ABOVE))  # left open by a run before ours
            text = 'AT+QSSLOPEN=1,1,%d,"%s",%d,0' % (number - _ABOVE, host, port)
            error = await modem._ask_open(text.encode())
            if error:
                raise SocketError("no DTLS with %s port %d: error %d" % (host, port, error), error)
            socket = self._sockets[number] = Datagram(self, number)
        return socket

    async def _configure(self, certificate):
        content = pem(certificate)
        name = b"ipa-%s.pem" % digest(content)[:8]
        try:
            await self.at.command(b'AT+QFLST="%s"' % name, prefix=b"+QFLST:")
        except AtError:
            log(INFO, "modem: storing the certificate that the eIM is trusted under")
            text = b'AT+QFUPL="%s",%d' % (name, len(content))
            await self.at.command(text, prefix=b"+QFUPL:", payload=content, timeout_ms=_UPLOAD_MS)
        for setting in _SETTINGS:
            await self.at.command(b"AT+QSSLCFG=" + setting)
        await self.at.command(b'AT+QSSLCFG="cacert",1,"%s"' % name)
        try:
            await self.at.command(b'AT+QSSLCFG="checkhost",1,1')
        except AtError:  # not every firmware has it
            log(INFO, "modem: compares no name with a certificate: any server under that CA counts as the eIM")

    async def _send(self, number, data):
        text = b"AT+QSSLSEND=%d,%d" % (number - _ABOVE, len(data))
        await self.at.command(text, payload=data, timeout_ms=_SEND_MS)
        return len(data)

    async def _receive(self, number, buf):
        text = b"AT+QSSLRECV=%d,%d" % (number - _ABOVE, len(buf))
        lines = await self.at.command(text, prefix=b"+QSSLRECV:", into=buf)
        return int(lines[0]) if lines and lines[0].isdigit() else 0

    async def _shut(self, number):
        await self.at.command(b"AT+QSSLCLOSE=%d" % (number - _ABOVE), timeout_ms=_SEND_MS)

    def _on_open(self, rest):
        self._modem._set_outcome(int(rest.split(b",")[1]))

    def _on_event(self, rest):
        fields = rest.split(b",")
        number = _ABOVE + int(fields[1])
        if fields[0] == b'"recv"':
            self._modem._on_data(number)
        elif fields[0] == b'"closed"':
            self._modem._on_closed(number)
