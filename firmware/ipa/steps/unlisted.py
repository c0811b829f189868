"""The last result of an eUICC package, of a card that lists none: kept here until its eIM has it. Loaded for that.

The card gives such a result once, as the answer to the package itself, which may be one that changes the profile.
The journal has it, `unlisted`: by eimId, both in hex.
"""

from ipa import tlv
from ipa.compat import ERROR, INFO, const, log
from ipa.net import EsipaRefused
from ipa.steps import notify

_LARGEST = const(1024)  # bytes; a larger one can only be delivered at once
_MOST = const(4)  # eIMs


def keep(session, result):
    """The card has answered a package of this eIM."""
    if len(result) <= _LARGEST and notify.is_own(session, tlv.find(result, notify.EUICC_PACKAGE_RESULT)):
        replace(session.journal, session.eim_id.hex(), result)


def replace(journal, eim_id, result):
    """Keep this one for the eIM (hex), or none: b"" or None."""
    kept = dict(journal.get("unlisted") or {})
    kept.pop(eim_id, None)
    if result and len(kept) < _MOST:
        kept[eim_id] = bytes(result).hex()
    journal.set(unlisted=kept or None)


def of(session):
    """What is kept for this eIM, b"" without."""
    return bytes.fromhex((session.journal.get("unlisted") or {}).get(session.eim_id.hex(), ""))


def acknowledged(session, seq_number):
    """The eIM has this result: is it the one that is kept?"""
    if notify.result_seq_number(tlv.find(of(session), notify.EUICC_PACKAGE_RESULT)) == seq_number:
        replace(session.journal, session.eim_id.hex(), None)


async def deliver(session):
    """False when the eIM could not take it now."""
    result = of(session)
    if not result:
        return True
    log(INFO, "notify: the result that the card does not list goes to the eIM")
    try:
        await notify.provide(session, result)
    except EsipaRefused as error:
        log(ERROR, "notify:", error)
        if error.temporary:
            session.due = error
            return False
    replace(session.journal, session.eim_id.hex(), None)
    return True
