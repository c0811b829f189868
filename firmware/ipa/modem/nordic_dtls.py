"""DTLS that an nRF91 speaks itself, for boards whose MicroPython has none (Serial Modem, %CMNG of the AT manual)."""

from ipa.compat import INFO, const, log
from ipa.modem import SocketError, fit
from ipa.modem.at import AtError
from ipa.modem.sockets import Datagram
from ipa.modem.stored import digest, pem

_TAG = const(5684)  # under which our certificate lies among others in the modem
_WRITE_MS = const(15000)


async def connect(modem, host, port, certificate):
    """A Datagram secured under this CA (DER). Raises SocketError, NoRegistration, AtError, AtTimeout."""
    fit(host)
    async with modem._turn:
        content = pem(certificate)
        listed = await modem.at.command(b"AT%%CMNG=1,%d" % _TAG, prefix=b"%CMNG:")
        if not any(digest(content) in line.upper() for line in listed):
            await _store(modem, content)
        name = ('AT#XSSOCKETOPT=%%d,1,2,"%s"' % host).encode()
        create = b"AT#XSSOCKET=1,2,0,%d,2" % _TAG  # with the server's proof required
        try:
            handle = await modem._dial(create, b"#XSSOCKET:", host, port, name)
        except AtError as error:
            raise SocketError("no DTLS with %s port %d: %s" % (host, port, error), error.code) from None
        socket = modem._sockets[handle] = Datagram(modem, handle)
    return socket


async def _store(modem, content):
    """The modem takes certificates only while its radio is off."""
    log(INFO, "modem: storing the certificate that the eIM is trusted under")
    await modem.radio(4)
    try:
        await modem.at.command(b'AT%%CMNG=0,%d,0,"%s"' % (_TAG, content), timeout_ms=_WRITE_MS)
    finally:
        await modem.attach(modem._apn)
