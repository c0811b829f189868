"""Keeps the last result of an eUICC package of a card that cannot list results, until its eIM has it. Loaded only then.

Such a card returns the result once, as the answer to the package itself, which may be one that changes the profile.
The journal has it, `unlisted`: by eimId, both in hex.
"""

from ipa import tlv
from ipa.compat import ERROR, INFO, const, log
from ipa.net import EsipaRefused
from ipa.steps import notify

_LARGEST = const(1024)  # bytes; a larger result can only be delivered immediately
_MOST = const(4)  # eIMs


def keep(session, result):
    """The card has answered a package of this eIM."""
    if len(result) <= _LARGEST and notify.is_own(session, tlv.find(result, notify.EUICC_PACKAGE_RESULT)):
        replace(session.journal, session.eim_id.hex(), result)


def replace(journal, eim_id, result):
    """Keep this result for the eIM (hex); b"" or None deletes it."""
    kept = dict(journal.get("unlisted") or {})
    kept.pop(eim_id, None)
    if result and len(kept) < _MOST:
        kept[eim_id] = bytes(result).hex()
    journal.set(unlisted=kept or None)


def of(session):
    """The result that is kept for this eIM, or b""."""
    return bytes.fromhex((session.journal.get("unlisted") or {}).get(session.eim_id.hex(), ""))


def acknowledged(session, seq_number):
    """The eIM has this result: delete it if it is the one that is kept."""
    if notify.result_seq_number(tlv.find(of(session), notify.EUICC_PACKAGE_RESULT)) == seq_number:
        replace(session.journal, session.eim_id.hex(), None)


async def deliver(session):
    """Deliver it. False if the eIM could not accept it now."""
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
