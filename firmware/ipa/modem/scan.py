"""Which networks can be heard (+COPS=?, TS 27.007 7.3). It takes minutes, and data may stand still meanwhile."""

from ipa.compat import const
from ipa.modem.common import plmn_octets

_SCAN_MS = const(300000)
_PREFIX = b"+COPS:"


async def networks(modem):
    """The networks in hearing as SGP.32 wants them, 3 bytes each. Raises AtError, AtTimeout.

    All of them are one line, of any length: it comes in pieces.
    """
    found = []

    def take(piece):
        # (<stat>,"<long>","<short>","<numeric>",<AcT>),(...),,(modes),(formats); names may have brackets
        for quoted in piece.split(b'"'):
            plmn = plmn_octets(quoted)
            if plmn is not None and plmn not in found:
                found.append(plmn)

    def take_whole(line):
        """Of a line that is still to go on: what is behind its last entry stays."""
        end = line.rfind(b")") + 1
        if not end or not line.startswith(_PREFIX):
            return None
        take(line[:end])
        return _PREFIX + line[end:]

    at = modem.at
    at.too_long = take_whole
    at.on(_PREFIX, take)
    try:
        await at.command(b"AT+COPS=?", timeout_ms=_SCAN_MS)
    finally:
        at.on(_PREFIX, None)
        at.too_long = None
    return found
