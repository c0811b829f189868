"""DTLS that the modem speaks itself, in the shape of Dtls: for ports of MicroPython whose `tls` has none.

The modem verifies the server, with its own clock, under the certificate of trustedPublicKeyDataTls, which is
written into it. A bare public key it cannot pin.
"""

import asyncio

from ipa.compat import const, ticks_add, ticks_diff, ticks_ms, wait_for_ms
from ipa.modem import SocketError
from ipa.net import DtlsClosed, DtlsError, DtlsTimeout, free_room

_SEND_MS = const(20000)
_ROOM = const(1163)  # what a record leaves of 1200 bytes, as in Dtls


class ModemDtls:
    """One association with host: see Dtls for what its methods do and raise."""

    def __init__(self, modem, host, port, trust):
        self._modem = modem
        self.host = host
        self._port = port
        self._trust = trust
        self._socket = None
        self.room = min(modem.largest, _ROOM)
        self.rtt_ms = None  # from a message to the first that came after it: the modem tells nothing of its handshake
        self._asked = 0  # messages that nothing came after yet,
        self._asked_ms = 0  # and when the last of them went

    async def connect(self, timeout_ms):
        """Do the handshake. Raises DtlsError, DtlsTimeout."""
        free_room()  # the modem has its own
        kind, certificate = self._trust[:2]
        if len(self._trust) > 2:
            raise DtlsError("the modem's DTLS takes one trusted certificate, not {}".format(len(self._trust) - 1))
        if kind != "ca":
            raise DtlsError("the modem's DTLS pins no bare key: give the card a certificate to trust the eIM under")
        try:
            self._socket = await wait_for_ms(self._modem.dtls(self.host, self._port, certificate), timeout_ms)
        except SocketError as error:
            raise DtlsError(str(error)) from None
        except asyncio.TimeoutError:
            raise DtlsTimeout("no end of DTLS handshake") from None

    async def send(self, buf, timeout_ms=_SEND_MS):
        deadline = ticks_add(ticks_ms(), timeout_ms)
        while True:
            n = self._io(self._open().write, buf)
            if n is not None:
                self._asked += 1
                self._asked_ms = ticks_ms()
                return
            left = ticks_diff(deadline, ticks_ms())
            if left <= 0:
                self.close()
                raise DtlsTimeout("no end of DTLS send")
            await self._socket.wait(left)

    async def recv(self, buf, timeout_ms):
        deadline = ticks_add(ticks_ms(), timeout_ms)
        while True:
            n = self._io(self._open().readinto, buf)
            if n is not None:
                if self._asked == 1:  # which of several it answers is not known (RFC 6298 3)
                    self.rtt_ms = ticks_diff(ticks_ms(), self._asked_ms)
                self._asked = 0
                return n
            left = ticks_diff(deadline, ticks_ms())
            if left <= 0:
                return 0
            await self._socket.wait(left)

    def close(self):
        socket = self._socket
        self._socket = None
        if socket is not None:
            socket.close()

    def _open(self):
        if self._socket is None:
            raise DtlsClosed("no association")
        return self._socket

    def _io(self, call, buf):
        n = call(buf)
        if n is not None and n < 0:
            self.close()
            raise DtlsError("the modem's socket failed: errno {}".format(-n))
        return n
