"""What a power cut has left of a download: its result on the card, ImmediateEnable still to be done. Loaded then."""

from ipa import changes, tlv
from ipa.card.channel import CardError
from ipa.compat import INFO, log
from ipa.steps import download, notify

_NO_SESSION_CONTEXT = 4  # ImmediateEnable


async def finish(session):
    """Bring it to its end where its result is on the card. Returns True when the card enables the profile now.

    The session in which the card may do that has often ended with its power (SGP.32 5.9.15). Then each eIM hears
    that the state of the profiles is not what it may think (stateChangeCause undefined).
    """
    es10, journal = session.es10, session.journal
    known = [seq_number for _, _, seq_number in journal.get("ended") or ()]
    for seq_number in reversed(await notify.asked(es10.list_notifications())):
        if seq_number in known:
            continue
        try:
            result = await es10.retrieve_notification(seq_number)
            if result is None or not notify.is_installation(result):
                continue
            result = bytes(result)
            log(INFO, "download: the one that was cut off has ended with result", seq_number)
            code = await download.immediate_enable(session, result)
        except (CardError, tlv.TlvError) as error:
            log(INFO, "download:", error)
            continue
        if code == _NO_SESSION_CONTEXT:
            await changes.note(es10, journal, changes.UNDEFINED)
        download.note_end(journal, bytes.fromhex(journal.get("download")) or None, result)
        return code == 0
    return False
