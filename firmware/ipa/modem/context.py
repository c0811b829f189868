"""The data connection that comes with the attach, for families that have no commands of their own for it."""

from ipa.compat import const
from ipa.modem.common import RADIO_MS

_ACTIVATE_MS = const(150000)


async def define(modem):
    """Set its APN, which cannot change while the radio is on: that is off afterwards.

    Raises AtError, AtTimeout.
    """
    wanted = ('%d,"IP","%s' % (modem.context, modem._apn)).encode()
    for line in await modem.at.command(b"AT+CGDCONT?", prefix=b"+CGDCONT:"):
        # Some networks add their own domain to it.
        if line.startswith(wanted) and line[len(wanted) : len(wanted) + 1] in (b'"', b"."):
            return
    await modem.at.command(b"AT+CFUN=4", timeout_ms=RADIO_MS)
    await modem.at.command(b'AT+CGDCONT=%s"' % wanted)


async def activate(modem):
    """See that it is up. Raises AtError, AtTimeout."""
    for line in await modem.at.command(b"AT+CGACT?", prefix=b"+CGACT:"):
        if line == b"%d,1" % modem.context:
            return
    await modem.at.command(b"AT+CGACT=1,%d" % modem.context, timeout_ms=_ACTIVATE_MS)
