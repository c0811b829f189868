"""Which networks can be heard (+COPS=?, TS 27.007 7.3). It takes minutes, and data may stand still meanwhile."""

from ipa.compat import const
from ipa.modem.common import plmn_octets

_SCAN_MS = const(300000)


async def networks(modem):
    """The networks in hearing as SGP.32 wants them, 3 bytes each. Raises AtError, AtTimeout."""
    found = []
    for line in await modem.at.command(b"AT+COPS=?", prefix=b"+COPS:", timeout_ms=_SCAN_MS):
        # (<stat>,"<long>","<short>","<numeric>",<AcT>),(...),,(modes),(formats)
        for entry in line.split(b"(")[1:]:
            fields = entry.split(b",")
            plmn = plmn_octets(fields[3].strip(b'")')) if len(fields) > 3 else None
            if plmn is not None and plmn not in found:
                found.append(plmn)
    return found
