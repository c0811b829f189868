"""Reports changes to the eIMs that they did not order: stateChangeCause (SGP.32 5.14.5).

The journal keeps one cause for each eIM, `cause`: {eimId in hex: cause}, until that eIM has answered a
GetEimPackage with it. Loaded when something has changed.
"""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import INFO, const, log

OTHER_EIM = const(0)
FALLBACK = const(1)
EMERGENCY_PROFILE = const(2)
LOCAL = const(3)
RESET = const(4)
IMMEDIATE_ENABLE_PROFILE = const(5)
DEVICE_CHANGE = const(6)
UNDEFINED = const(127)

_MOST_EIMS = const(16)  # as many as a poll serves

_ICCID = const(0x5A)
_FALLBACK_ATTRIBUTE = const(0x9F26)
_ECALL_INDICATION = const(0x9F7B)
_ATTRIBUTES = b"\x5a\x9f\x26\x9f\x7b"


async def note(es10, journal, cause, but=None, **more):
    """Report this cause to each eIM of the card, except the one with the eimId `but` (hex). `more` is written to the
    journal together with it."""
    causes = dict(journal.get("cause") or {})
    found = []
    while len(found) < _MOST_EIMS:
        eim = await es10.find_eim(but=found)
        if eim is None:
            break
        found.append(bytes(tlv.find(eim, 0x80) or b""))
    names = [eim_id.hex() for eim_id in found]
    if len(causes) > _MOST_EIMS:  # limits what is kept of eIMs that were deleted
        causes = {name: causes[name] for name in causes if name in names}
    for name in names:
        if name != but:
            causes[name] = cause
    journal.set(cause=causes or None, **more)


def answered(journal, eim_id):
    """This eIM (hex) has answered a request with its cause, which is deleted."""
    causes = dict(journal.get("cause"))
    del causes[eim_id]
    journal.set(cause=causes or None)


async def explain(es10, journal, iccid):
    """Another profile is enabled than before, `iccid` (hex, "" for none): find the cause and report it.

    The device's own switches are in the journal. A card may have fallen back by itself, or be in an emergency call.
    """
    switch = journal.get("switch") or {}
    cause = switch.get("cause", OTHER_EIM if "eim" in switch else None)
    more = {"profile": iccid}
    if cause is None and journal.get("download") is not None:
        cause = IMMEDIATE_ENABLE_PROFILE  # the power was cut right after it
    if cause is None:
        attribute = await _attribute(es10, iccid)
        cause = UNDEFINED
        if attribute == _FALLBACK_ATTRIBUTE:
            cause = FALLBACK
            more["fallback"] = {"from": journal.get("profile")}
        elif attribute == _ECALL_INDICATION:
            cause = EMERGENCY_PROFILE
            more["emergency"] = True
    log(INFO, "card: the enabled profile has changed, cause", cause)
    await note(es10, journal, cause, switch.get("eim"), **more)


async def _attribute(es10, iccid):
    """Which of the two attributes a profile has, or None. Older cards support neither and refuse the list."""
    try:
        answer = await es10.get_profiles_info(_ATTRIBUTES)
    except CardError:
        return None
    for _, value, _ in tlv.items(tlv.find(answer, 0xBF2D, 0xA0)):
        if (tlv.find(value, _ICCID) or b"") == bytes.fromhex(iccid):
            for attribute in (_FALLBACK_ATTRIBUTE, _ECALL_INDICATION):
                flag = tlv.find(value, attribute)
                if flag is not None and any(flag):
                    return attribute
    return None
