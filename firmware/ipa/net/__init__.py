"""Between the assistant and its servers: channels (DTLS and CoAP, HTTPS) and the messages they carry."""

import gc

from ipa.compat import const

# What an eIM may have for a device (SGP.32 6.3.2.5), and what it says of a result
EUICC_PACKAGE = const(0xBF51)
IPA_EUICC_DATA = const(0xBF52)
EIM_ACKNOWLEDGEMENTS = const(0xBF53)
PROFILE_DOWNLOAD_TRIGGER = const(0xBF54)

_LARGEST_PACKAGE = const(512)  # of those that are read as a whole


tls_bytes = 0  # of the block that TLS needs in this heap (board.py); 0: it allocates its memory elsewhere
_room = None


def keep_room():
    """Reserve that block, until the next handshake. Raises MemoryError."""
    global _room
    if _room is None and tls_bytes:
        _room = bytearray(tls_bytes)


def free_room():
    """Give it back, right before a handshake allocates it, or where there is none."""
    global _room
    _room = None
    gc.collect()


class NetError(Exception):
    """A channel to a server could not be had or broke; the next try may go better."""


class DtlsError(NetError):
    """The association failed or cannot be made; it is closed."""


class DtlsTimeout(DtlsError):
    """The peer did not answer in time."""


class DtlsClosed(DtlsError):
    """The peer closed the association, or we did."""


class ClockUnset(NetError):
    """A certificate cannot be checked against a clock that was never set."""


class PeerNotTrusted(NetError):
    """The server's certificate or key is not what we were told to trust, or there is nothing to trust it by."""


class ChannelRefused(NetError):
    """CoAP or HTTP themselves answered with an error; a `temporary` one may be another at the next try."""

    temporary = False


class ServerError(Exception):
    """A server answered, but not with what it was asked for; `temporary` as a ChannelRefused has it."""

    temporary = False


class Refused(ServerError):
    """It said no; `code` is its own way to say why."""

    code = None


class EsipaRefused(Refused):
    """The eIM answered with an error: `code` is that of the function, a number or the subject and reason of the
    JSON binding, or the ChannelRefused."""

    def __init__(self, function, code):
        super().__init__("{}: the eIM refused with {}".format(function, code))
        self.code = code
        self.temporary = getattr(code, "temporary", False)


class EsipaMalformed(ServerError):
    """The answer is not what the function may answer."""

    def __init__(self, function, reason):
        super().__init__("{}: {}".format(function, reason))


class Package:
    """One eIM package: `reader` stands behind its header, `length` bytes of value follow."""

    def __init__(self, tag, length, reader):
        self.tag = tag
        self.length = length
        self.reader = reader

    async def read(self):
        return await self.reader.read(self.length, _LARGEST_PACKAGE)
