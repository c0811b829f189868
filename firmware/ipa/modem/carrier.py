"""APDUs to one application of the card: +CCHO, +CGLA, +CCHC, or else +CSIM (3GPP TS 27.007 8)."""

from binascii import unhexlify

from ipa.compat import INFO, const, log
from ipa.modem import ModemError
from ipa.modem.at import AtError

_APDU_MS = const(60000)  # the last segment of a profile keeps a card busy for many seconds
_LEFT_OPEN = (b"1", b"2", b"3")
_FIRST_EXTENDED = const(4)  # logical channels from here on are written into CLA another way


class ChannelError(ModemError):
    """The card in the modem gives no logical channel to an application, or the modem garbles its answers."""


class Carrier:
    """The APDU carrier that ipa.card.channel stands on. Finds out by trying which commands the modem has."""

    def __init__(self, modem):
        self._modem = modem
        self._ways = (Cgla(modem.at), Csim(modem.at))
        self._session = None

    async def open(self, aid):
        """Open a channel to aid. Returns b"": +CCHO keeps the answer to SELECT to itself.

        Raises ChannelError when the card has no such application or no channel to give.
        """
        await self.close()
        for way in self._ways:
            try:
                self._session = await _open(way, aid)
                if way is not self._ways[0]:
                    self._ways = (way, self._ways[0])
                return b""
            except (AtError, ChannelError) as error:
                reason = str(error)
                log(INFO, "modem:", reason)
        raise ChannelError(reason)

    async def transmit(self, apdu):
        """One command, one answer with its status word. CLA without channel bits.

        Raises AtError when the modem refuses to carry it, ChannelError when its answer is unreadable.
        """
        if self._session is None:
            raise ChannelError("no channel open")
        return await self._ways[0].transmit(self._session, apdu)

    async def close(self):
        """Close the channel; none is open afterwards, even when the card lost it before."""
        session = self._session
        self._session = None
        if session is not None:
            await self._ways[0].close(session)

    async def reset(self):
        """Reset the card. The modem has no command for it alone: the network is gone as well."""
        self._session = None
        await self._modem.power_cycle_card()


class Cgla:
    """The modem opens the channel and writes it into CLA; a session is an opaque handle (8.43-8.47)."""

    def __init__(self, at):
        self._at = at

    async def open(self, aid):
        lines = await self._at.command(b'AT+CCHO="', prefix=b"", apdu=aid, timeout_ms=_APDU_MS)
        for line in lines:
            # With "+CCHO:" before it or, in some modems, without; anything else with a plus is a stray URC.
            session = line.replace(b"+CCHO:", b"").strip().strip(b'"')
            if session and session[0] != 0x2B:
                return session
        raise ChannelError("no session in +CCHO")

    async def transmit(self, session, apdu):
        text = b'AT+CGLA=%s,%d,"' % (session, 2 * len(apdu))
        lines = await self._at.command(text, prefix=b"+CGLA:", apdu=apdu, timeout_ms=_APDU_MS)
        return _answer(lines, "+CGLA")

    async def close(self, session):
        try:
            await self._at.command(b"AT+CCHC=%s" % session)
        except AtError:
            pass  # it was not open any more, which is what we want


class Csim:
    """APDUs as they are: the channel is ours to open and to write into CLA (8.17; TS 102 221 11.1.17)."""

    def __init__(self, at):
        self._at = at

    async def open(self, aid):
        answer = await self._command(0x00, b"\x00\x70\x00\x00\x01")
        if len(answer) != 3 or answer[1] != 0x90:
            raise ChannelError("no channel: card answered %s" % _status(answer))
        session = b"%d" % answer[0]
        select = bytearray(5 + len(aid))
        select[:5] = b"\x00\xa4\x04\x00%c" % len(aid)
        select[5:] = aid
        answer = await self.transmit(session, select)
        if answer[-2] not in (0x90, 0x61, 0x62, 0x63, 0x91):
            await self.close(session)
            raise ChannelError("no such application: card answered %s" % _status(answer))
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
        lines = await self._at.command(text, prefix=b"+CSIM:", apdu=rest, timeout_ms=_APDU_MS)
        return _answer(lines, "+CSIM")


async def _open(way, aid):
    try:
        return await way.open(aid)
    except (AtError, ChannelError):
        # Channels that a run before ours left open may be all the card has.
        for session in _LEFT_OPEN:
            await way.close(session)
        return await way.open(aid)


def _answer(lines, name):
    """Data and status word out of <length>,"<digits>". Raises ChannelError."""
    if not lines:
        raise ChannelError("no answer in %s" % name)
    line = lines[-1]
    comma = line.find(b",")
    digits = memoryview(line)[comma + 1 :]
    if len(digits) and digits[0] == 0x22:
        digits = digits[1:-1]
    try:
        if int(line[:comma]) != len(digits) or len(digits) < 4:
            raise ValueError
        return unhexlify(digits)
    except ValueError:
        raise ChannelError("unreadable %s of %d characters" % (name, len(line))) from None


def _status(answer):
    return "%02X%02X" % (answer[-2], answer[-1])
