"""DTLS 1.2 with MicroPython's `tls` over any datagram stream (SGP.32 6.2, RFC 6347).

mbedTLS cannot be told a retransmission time, an MTU or a pinned key; the stream below it and the verify
callback do that. Budget about 30 kB outside the Python heap or inside it, by port, for an open association.
"""

import io

from ipa.compat import DEBUG, INFO, const, log, ticks_add, ticks_diff, ticks_ms
from ipa.net import DtlsClosed, DtlsError, DtlsTimeout, NetError, free_room

try:
    import tls
except ImportError:  # CPython, which only looks at this module
    tls = None

HANDSHAKE_MS = const(90000)
MTU = const(1200)  # UDP payload that every NB-IoT network carries in one piece
_SEND_MS = const(20000)
_TICK_MS = const(100)  # mbedTLS looks at its timers only when called
_OVERHEAD = const(37)  # record header 13, explicit nonce 8, tag 16
_EMSGSIZE = const(90)
_RTO_MS = const(2500)  # before anything is known of the link
_RTO_LEAST_MS = const(800)
_HANDSHAKE = const(22)  # record content type
_RECORD_HEADER = const(13)
_FATAL_ALERT = const(-0x7780)
# The one SGP.33-3 tests first is offered alone; after a refusal also its larger sister, and what RFC 7252
# asks for where the port has it.
_SUITES = (
    "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256",
    "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384",
    "TLS-ECDHE-ECDSA-WITH-AES-128-CCM-8",
)


class Dtls:
    """One association with host over a connected datagram stream, which it closes with itself.

    trust is ("ca", certificate) or ("pin", SubjectPublicKeyInfo), DER, from trustedPublicKeyDataTls. The
    certificate is a CA's or the server's own. A pin needs neither clock nor name.
    client: the files of a certificate and its key to show, None without.
    datagram: `readinto(buf)` and `write(buf)` as of a stream that never waits, `async wait(ms)`, `close()`;
    perhaps `largest`, the most bytes it sends at once.
    """

    every_suite = False  # some server wanted another one than the first

    def __init__(self, datagram, host, trust, mtu=MTU, client=None):
        self._datagram = datagram
        mtu = min(mtu, getattr(datagram, "largest", mtu))
        self._stream = _Stream(datagram, mtu)
        self.host = host
        self._anchors = trust
        self._trust = None  # during the handshake
        self._client = client
        self.room = mtu - _OVERHEAD
        self._tls = None

    @property
    def rtt_ms(self):
        """Round trip of the last handshake flight, None before."""
        return self._stream.rtt_ms

    async def connect(self, timeout_ms=HANDSHAKE_MS):
        """Do the handshake. Raises ClockUnset before a byte is sent, PeerNotTrusted, DtlsTimeout."""
        from ipa.net.trust import Trust

        try:
            self._trust = Trust(*self._anchors)
            context = self._context()
            free_room()
            self._tls = context.wrap_socket(
                self._stream, server_hostname=self.host, do_handshake_on_connect=False)
        except (NetError, MemoryError):
            self.close()
            raise
        except (OSError, ValueError) as error:
            self.close()
            from ipa.net import memory

            memory.check(error)
            raise DtlsError("no DTLS: %s" % error) from None
        deadline = ticks_add(ticks_ms(), timeout_ms)
        while True:
            self._io(self._tls.recv, 1)  # nothing comes before we ask: this only drives the handshake
            if self._stream.finished and self._trust.accepted:
                log(DEBUG, "dtls: up, round trip", self.rtt_ms, "ms")
                self._trust = context.verify_callback = None
                return
            await self._wait(deadline, "handshake")

    async def send(self, buf, timeout_ms=_SEND_MS):
        """Protect and send one message."""
        if len(buf) > self.room:
            raise DtlsError("message of %d bytes, %d fit the path" % (len(buf), self.room))
        deadline = ticks_add(ticks_ms(), timeout_ms)
        while self._io(self._open().send, buf) is None:
            await self._wait(deadline, "send")

    async def recv(self, buf, timeout_ms):
        """One message into buf, which must be larger than any: its length, 0 when none came in time."""
        deadline = ticks_add(ticks_ms(), timeout_ms)
        size = len(buf)
        while True:
            n = self._read(buf)
            if n is None:
                left = ticks_diff(deadline, ticks_ms())
                if left <= 0:
                    return 0
                await self._datagram.wait(left)
            elif not n:
                self.close()
                raise DtlsClosed("closed by the peer")
            elif n < size:
                return n
            else:
                log(INFO, "dtls: message too long, dropped")
                while n == size:
                    n = self._io(self._tls.readinto, buf)

    def _read(self, buf):
        """What one datagram has, into buf: readinto() would go on to the next one."""
        self._stream.may_read = True
        try:
            return self._io(self._open().readinto, buf)
        finally:
            self._stream.may_read = not self._stream.finished

    def close(self):
        """Forget the association; mbedTLS says no good-bye. The second time nothing happens."""
        wrapped = self._tls
        self._tls = None
        if wrapped is not None:
            wrapped.close()
        if self._datagram is not None:
            self._datagram.close()
            self._datagram = None

    def _open(self):
        if self._tls is None:
            raise DtlsClosed("no association")
        return self._tls

    def _io(self, call, argument):
        try:
            return call(argument)
        except (ValueError, OSError) as error:
            self.close()
            if error.args[0] == _FATAL_ALERT and not self._stream.finished:
                Dtls.every_suite = True
            if self._trust is not None:
                raise self._trust.refusal(error) or DtlsError("DTLS: %s" % error) from None
            from ipa.net import memory

            memory.check(error)
            raise DtlsError("DTLS: %s" % error) from None

    async def _wait(self, deadline, what):
        left = ticks_diff(deadline, ticks_ms())
        if left <= 0:
            self.close()
            if what == "handshake" and self.rtt_ms is not None:
                what += ", of which datagrams of up to %d bytes came: are larger ones lost?" % self._stream.largest
            raise DtlsTimeout("no end of DTLS %s" % what)
        await self._datagram.wait(min(left, _TICK_MS))

    def _context(self):
        if not hasattr(tls, "PROTOCOL_DTLS_CLIENT"):
            raise DtlsError("this MicroPython has no DTLS: 1.26 or later with mbedTLS is needed")
        context = tls.SSLContext(tls.PROTOCOL_DTLS_CLIENT)
        try:
            context.set_ciphers(_SUITES if Dtls.every_suite else _SUITES[:1])
        except (ValueError, OSError):  # a port without CCM; its list of 190 names would cost 15 kB here
            context.set_ciphers(_SUITES[:-1])
        self._trust.prepare(context)
        if self._client is not None:
            from ipa.net import client

            client.show(context, self._client)
        return context


class _Stream(io.IOBase):
    """What mbedTLS reads and writes: the datagrams, minus retransmissions that come too early.

    mbedTLS repeats a flight after 1 s whatever the link; with 2 s of round trip everything would go twice.
    """

    def __init__(self, datagram, mtu):
        self._datagram = datagram
        self._mtu = mtu
        self._rto_ms = _RTO_MS
        self._flight = None  # message_seq and type of the first message on its way, None when answered
        self._first_ms = 0
        self._last_ms = 0
        self.rtt_ms = None
        self.largest = 0  # that came during the handshake
        self.finished = False  # the server's Finished came: the first handshake record of epoch 1
        self.may_read = True  # one datagram more; during the handshake all that come

    def readinto(self, buf):
        if not self.may_read:
            return None
        n = self._datagram.readinto(buf)
        if n is None or n <= 0:
            return n
        if self.finished:
            self.may_read = False
            # Of several records the first is taken, as if the others had been lost: nobody could tell them apart.
            return min(n, _RECORD_HEADER + (buf[11] << 8 | buf[12]))
        self.largest = max(self.largest, n)
        if self._flight is not None:
            self._flight = None
            self.rtt_ms = ticks_diff(ticks_ms(), self._first_ms)
            self._rto_ms = max(_RTO_LEAST_MS, 2 * self.rtt_ms)
        self._look_for_finished(buf, n)
        return n

    def write(self, buf):
        n = len(buf)
        if n > self._mtu:
            return -_EMSGSIZE
        flight = None
        if buf[0] == _HANDSHAKE and not (buf[3] or buf[4]) and n > 18:
            flight = buf[17] << 16 | buf[18] << 8 | buf[13]
            if flight == self._flight and ticks_diff(ticks_ms(), self._last_ms) < self._rto_ms:
                return n
        written = self._datagram.write(buf)
        if flight is not None and written is not None and written > 0:
            self._last_ms = ticks_ms()
            if flight != self._flight:
                self._first_ms = self._last_ms
            self._flight = flight
        return written

    def ioctl(self, _request, _arg):
        return 0

    def _look_for_finished(self, buf, n):
        pos = 0
        while pos + _RECORD_HEADER <= n:
            if buf[pos] == _HANDSHAKE and (buf[pos + 3] or buf[pos + 4]):
                self.finished = True
            pos += _RECORD_HEADER + (buf[pos + 11] << 8 | buf[pos + 12])
