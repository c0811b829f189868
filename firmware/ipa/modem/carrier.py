"""APDUs to one application of the card: +CCHO, +CGLA, +CCHC, or else +CSIM (3GPP TS 27.007 8)."""

from binascii import unhexlify

from ipa.compat import INFO, const, log, sleep_ms, ticks_add, ticks_diff, ticks_ms
from ipa.modem import ModemError
from ipa.modem.at import AtError

APDU_MS = const(60000)  # the last segment of a profile keeps a card busy for many seconds
_LEFT_OPEN = (b"1", b"2", b"3")
_BUSY_MS = const(15000)  # after AT+CFUN=1 a card is busy, or not there yet, for as long as ten seconds
_FIRST_PAUSE_MS = const(50)
_LONGEST_PAUSE_MS = const(1600)
_SIM_BUSY = const(14)
_LENGTH = const(8)  # characters of the length before the digits, and blanks
_DIGITS = b"0123456789abcdefABCDEF"


class ChannelError(ModemError):
    """The card in the modem gives no logical channel to an application, or the modem garbles its answers."""


class Carrier:
    """The APDU carrier that ipa.card.channel stands on. Finds out by trying which commands the modem has."""

    def __init__(self, modem):
        self._modem = modem
        self._way = Cgla(modem.at)
        self._session = None
        self._busy = None  # ticks until which a busy card is waited for, while it is busy

    async def open(self, aid):
        """Open a channel to aid. Returns b"": +CCHO keeps the answer to SELECT to itself.

        A card that is not ready yet is waited for. Raises ChannelError when it stays so, has no such application or
        no channel to give.
        """
        await self.close()
        try:
            await self._patiently(self._open, aid, _is_the_cards)
        except AtError as error:
            raise ChannelError(str(error)) from None
        return b""

    async def _open(self, aid):
        try:
            self._session = await _open(self._way, aid)
        except AtError as error:
            if _is_busy(error):
                raise
            log(INFO, "modem:", error)
            from ipa.modem.csim import Csim  # few modems need it

            other = (Csim if isinstance(self._way, Cgla) else Cgla)(self._modem.at)
            try:
                self._session = await _open(other, aid)
            except AtError as refusal:
                raise error if error.card else refusal from None
            self._way = other

    async def _patiently(self, function, argument, is_busy):
        """Call it again while the card is busy. What has been done cannot be told then, so that it must be nothing."""
        pause = _FIRST_PAUSE_MS
        while True:
            try:
                result = await function(argument)
                self._busy = None
                return result
            except AtError as error:
                if not is_busy(error):
                    raise
                if self._busy is None:
                    self._busy = ticks_add(ticks_ms(), _BUSY_MS)
                left = ticks_diff(self._busy, ticks_ms())
                if not 0 < left <= _BUSY_MS:  # and is not waited for again until it has answered
                    raise
            await sleep_ms(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE_MS)

    async def transmit(self, apdu):
        """One command, one answer with its status word. CLA without channel bits.

        Raises AtError when the modem refuses to carry it, ChannelError when its answer is unreadable.
        """
        if self._session is None:
            raise ChannelError("no channel open")
        return await self._patiently(self._transmit, apdu, _is_busy)

    async def _transmit(self, apdu):
        return await self._way.transmit(self._session, apdu)

    async def basic(self, apdu):
        """One command on the basic channel, by +CSIM. Raises AtError, ChannelError."""
        from ipa.modem.csim import Csim  # few cards need it

        return await Csim(self._modem.at).transmit(0, apdu)

    async def close(self):
        """Close the channel; none is open afterwards, even when the card lost it before."""
        session = self._session
        self._session = None
        if session is not None:
            await self._way.close(session)

    async def reset(self):
        """Reset the card. The modem has no command for it alone: the network is gone as well."""
        self._session = self._busy = None
        await self._modem.power_cycle_card()


class Cgla:
    """The modem opens the channel and writes it into CLA; a session is an opaque handle (8.43-8.47)."""

    def __init__(self, at):
        self._at = at

    async def open(self, aid):
        lines = await self._at.command(b'AT+CCHO="', prefix=b"", apdu=aid, timeout_ms=APDU_MS)
        for line in lines:
            # With "+CCHO:" before it or, in some modems, without; anything else is a stray line.
            session = line.replace(b"+CCHO:", b"").strip().strip(b'"')
            if session and all(octet in _DIGITS for octet in session):
                return session
        raise ChannelError("no session in +CCHO")

    async def transmit(self, session, apdu):
        text = b'AT+CGLA=%s,%d,"' % (session, 2 * len(apdu))
        found = await self._at.command(text, prefix=b"+CGLA:", apdu=apdu, timeout_ms=APDU_MS, decode=decoded)
        return answer(found, "+CGLA")

    async def close(self, session):
        try:
            await self._at.command(b"AT+CCHC=%s" % session)
        except AtError:
            pass  # it was not open any more, which is what we want


def _is_the_cards(error):
    return error.card


def _is_busy(error):
    """Whether the card was not reached: any other error leaves it open what it has carried out."""
    return error.code == _SIM_BUSY or error.result.upper().endswith("BUSY")


async def _open(way, aid):
    try:
        return await way.open(aid)
    except (AtError, ChannelError) as error:
        if isinstance(error, AtError) and _is_busy(error):
            raise
        # Channels that a run before ours left open may be all the card has.
        for session in _LEFT_OPEN:
            await way.close(session)
        return await way.open(aid)


def decoded(line):
    """Data and status word out of <length>,"<digits>", a view; how long it is where it cannot be read."""
    begin = bytes(line[:_LENGTH]).find(b",")
    digits = line[begin + 1 :]
    while len(digits) and digits[0] == 0x20:
        digits = digits[1:]
    if len(digits) and digits[0] == 0x22:
        digits = digits[1:-1]
    try:
        if begin < 0 or int(bytes(line[:begin])) != len(digits) or len(digits) < 4:
            raise ValueError
        return unhexlify(digits)
    except ValueError:
        return len(line)


def answer(found, name):
    """The last answer that decoded() made of a line. Raises ChannelError."""
    if not found:
        raise ChannelError("no answer in %s" % name)
    if isinstance(found[-1], int):
        raise ChannelError("unreadable %s of %d characters" % (name, found[-1]))
    return found[-1]
