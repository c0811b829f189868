"""APDUs by +CSIM, for modems that open no channel themselves (3GPP TS 27.007 8.17)."""

from ipa.compat import const
from ipa.modem.at import AtError
from ipa.modem.carrier import APDU_MS, ChannelError, answer, decoded

_FIRST_EXTENDED = const(4)  # logical channels from here on are written into CLA another way


class Csim:
    """APDUs as they are: the channel is ours to open and to write into CLA (8.17; TS 102 221 11.1.17)."""

    def __init__(self, at):
        self._at = at

    async def open(self, aid):
        reply = await self._command(0x00, b"\x00\x70\x00\x00\x01")
        if len(reply) != 3 or reply[1] != 0x90:
            raise ChannelError("no channel: card answered %s" % _status(reply))
        session = b"%d" % reply[0]
        select = bytearray(5 + len(aid))
        select[:5] = b"\x00\xa4\x04\x00%c" % len(aid)
        select[5:] = aid
        reply = await self.transmit(session, select)
        if reply[-2] not in (0x90, 0x61, 0x62, 0x63, 0x91):
            await self.close(session)
            raise ChannelError("no such application: card answered %s" % _status(reply))
        return session

    async def transmit(self, session, apdu):
        channel = int(session)
        bits = channel if channel < _FIRST_EXTENDED else 0x40 | (channel - _FIRST_EXTENDED)
        return await self._command(apdu[0] | bits, apdu)

    async def close(self, session):
        try:
            await self._command(0x00, b"\x00\x70\x80%c" % int(session))
        except AtError:
            pass  # the card is gone, and its channels with it

    async def _command(self, cla, apdu):
        text = b'AT+CSIM=%d,"%02X' % (2 * len(apdu), cla)
        rest = memoryview(apdu)[1:]
        found = await self._at.command(text, prefix=b"+CSIM:", apdu=rest, timeout_ms=APDU_MS, decode=decoded)
        return answer(found, "+CSIM")


def _status(reply):
    return "%02X%02X" % (reply[-2], reply[-1])
