"""Which eIMs have EUICCInfo1 of this card: those that requested it, or EUICCInfo2, and received it (SGP.32 3.2.3.2).

The journal keeps a mark of eIM, card and content for each, `known`. For another card, or one whose CIs have changed,
euiccInfo1 is sent again. It is also sent again if an eIM has lost it and refuses the message without it.
"""

from binascii import crc32

from ipa import tlv
from ipa.compat import INFO, const, log
from ipa.net import EsipaRefused

_EUICC_INFO_1 = const(0xBF20)
_EUICC_INFO_2 = const(0xBF22)
_SHARED = (0x82, 0xA9, 0xAA)  # the fields of EUICCInfo2 that EUICCInfo1 has: svn and both lists of CI keys

_MOST = const(8)


def note(session, parts):
    """The eIM has accepted these fields of an IpaEuiccData."""
    for part in parts:
        tag = tlv.header(part)[0]
        if tag == _EUICC_INFO_1 or tag == _EUICC_INFO_2:
            mark = _mark(session, part)
            marks = [old for old in session.journal.get("known", ()) if old != mark]
            session.journal.set(known=(marks + [mark])[-_MOST:])


async def initiate(session, challenge, address, euicc_info_1, transaction):
    """InitiateAuthentication, without euiccInfo1 if this eIM has it. If it refuses, again with it."""
    ask = session.esipa.initiate_authentication
    mark = _mark(session, euicc_info_1)
    marks = session.journal.get("known", ())
    if mark in marks:
        try:
            return await ask(challenge, address, b"", transaction)
        except EsipaRefused as error:
            log(INFO, "download: euiccInfo1 follows:", error)
        session.journal.set(known=[old for old in marks if old != mark] or None)
    return await ask(challenge, address, euicc_info_1, transaction)


def _mark(session, info):
    tag, start, end = tlv.header(info)
    mark = crc32(session.eid, crc32(session.eim_id))
    for inner, _, raw in tlv.items(memoryview(info)[start:end]):
        if tag == _EUICC_INFO_1 or inner in _SHARED:
            mark = crc32(raw, mark)
    return mark
