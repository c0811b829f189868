"""The data context and its APN; what a family has no commands of its own for is TS 27.007 10.1.1 and 10.1.10."""

from ipa.compat import INFO, const, log, words
from ipa.modem import SocketError, fit
from ipa.modem.at import AtError
from ipa.modem.common import Modem

_ACTIVATE_MS = const(150000)


class ContextModem(Modem):
    """A family whose sockets need more than the context of the attach overrides `_is_up` and `_bring_up`.

    An APN is a str; "" leaves it to the network, which then takes the default of the subscription.
    """

    context = 1  # number of the context that comes with the attach

    def __init__(self, uart, board=None):
        super().__init__(uart, board)
        self._apn = None  # the APN that is wanted
        self._defined = None  # the APN that we defined for the attach

    async def has_context(self):
        """Whether the data context is up with the APN that open_context was given. Raises AtError, AtTimeout."""
        apn = self._apn
        return apn is not None and await self._is_up(apn) and not await self.apn_differs(apn)

    async def open_context(self, apn):
        """Bring the data context up with this APN. One that is up with it stays, one with another is made anew.

        Raises SocketError with the modem's reason, or when the attach has another APN; AtTimeout.
        """
        self._apn = fit(apn)
        if await self.apn_differs(apn):
            raise SocketError("the attach has another APN than '%s', define it first" % apn)
        if await self._is_up(apn):
            return
        try:
            await self._bring_up(apn)
        except (AtError, SocketError) as error:
            raise SocketError("no data connection with APN '%s': %s%s" % (apn, error, await self._cause())) from None

    async def close_context(self):
        """Take the data context down, so that the next open_context makes it anew. Raises AtTimeout.

        The context of an attach goes with that alone: families that have no other stay as they are.
        """
        self._fail_all()
        try:
            await self._take_down()
        except (AtError, SocketError) as error:
            log(INFO, "modem:", error)  # it was down

    async def _take_down(self):
        pass

    async def apn_differs(self, apn):
        """Whether the attach context has another APN, which define_apn can change while the radio is off.

        What the network made of the APN that we defined counts as that. Raises AtError, AtTimeout.
        """
        told = await self._told_apn()
        wanted = apn.lower().encode()
        # Some networks add their own domain to it (TS 23.003 9.1.2).
        if told == wanted or wanted and told.startswith(wanted + b".mnc"):
            return False
        if not apn:  # the network's own is shown while it is up
            return self._defined != apn and not await self._is_up(apn)
        return not told or self._defined != apn

    async def define_apn(self, apn):
        """Set the APN of the next attach. The radio must be off (AT+CFUN=4 or 0). Raises AtError, AtTimeout."""
        await self.at.command(('AT+CGDCONT=%d,"IP","%s"' % (self.context, fit(apn))).encode())
        self._defined = apn

    async def _told_apn(self):
        for line in await self.at.command(b"AT+CGDCONT?", prefix=b"+CGDCONT:"):
            fields = line.lower().split(b",")
            if len(fields) > 2 and fields[0] == b"%d" % self.context:
                return fields[2].strip(b'" ') if fields[1] == b'"ip"' else b"(not IP)"
        return b""

    async def _is_up(self, apn):
        for line in await self.at.command(b"AT+CGACT?", prefix=b"+CGACT:"):
            if line == b"%d,1" % self.context:
                return True
        return False

    async def _bring_up(self, apn):
        await self.at.command(b"AT+CGACT=1,%d" % self.context, timeout_ms=_ACTIVATE_MS)

    async def _cause(self):
        """What the modem says of its last failure (TS 27.007 6.10), for the end of a message."""
        try:
            lines = await self.at.command(b"AT+CEER", prefix=b"+CEER:")
        except AtError:
            return ""
        return ", " + words(lines[-1]) if lines else ""
