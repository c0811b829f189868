"""A download that has failed, is ordered again, or was interrupted by a power cut. Loaded only then."""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import ERROR, INFO, const, log
from ipa.net import NetError, ServerError
from ipa.steps import download as downloads
from ipa.steps import notify

# CancelSessionReason
_LOAD_BPP_EXECUTION_ERROR = const(5)
_UNDEFINED_REASON = const(127)

_NO_SESSION_CONTEXT = const(4)  # ImmediateEnable
_UNDEFINED_ERROR = const(127)  # ProfileDownloadErrorReason
_LONGEST_REASON = const(200)


async def give_up(download, failure):
    """Cancel the session on both sides, if there is one, and report to the eIM. `failure`: DownloadFailed."""
    log(ERROR, "download:", failure)
    if download.transaction_id is not None:
        reason = failure.cancel
        if reason is None:
            reason = _LOAD_BPP_EXECUTION_ERROR if download.loading else _UNDEFINED_REASON
        try:
            response = await download.session.es10.cancel_session(download.transaction_id, reason)
            await download.server.cancel_session(download.transaction_id, tlv.find(response, 0xBF41))
            log(INFO, "download: session cancelled with reason", reason)
        except (CardError, ServerError, NetError, tlv.TlvError) as error:
            log(ERROR, "download:", error)  # the report below is more important
    said = failure.response
    if not said and failure.code == _UNDEFINED_ERROR and not failure.known:
        said = str(failure).encode()[:_LONGEST_REASON]
    await notify.report(download.session, download.transaction, _error(failure.code, said))


async def answer_again(session, transaction, seq_number):
    """This eIM repeats a trigger that was executed: install nothing, answer with its result.

    An injected trigger may arrive twice, and an eIM may have refused or lost the result. What waits at a default SM-DP+
    or an SM-DS now is another profile.
    """
    log(INFO, "download: this trigger has been carried out before")
    try:
        result = await session.es10.retrieve_notification(seq_number)
    except (CardError, tlv.TlvError) as error:
        log(ERROR, "download:", error)
        result = None
    if result is None:
        result = _error(_UNDEFINED_ERROR, b"carried out before, and the result has been taken")
    else:
        session.sent.add(seq_number)
    await notify.report(session, transaction, result)


async def finish_cut(session):
    """Complete a download that a power cut interrupted after its result was on the card: ImmediateEnable.

    Returns True if the card enables the profile now.

    Often the session in which the card may do this has ended with the power (SGP.32 5.9.15). Then the changed state of
    the profiles is reported to each eIM (stateChangeCause undefined).
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
            code = await downloads.immediate_enable(session, result)
        except (CardError, tlv.TlvError) as error:
            log(INFO, "download:", error)
            continue
        if code == _NO_SESSION_CONTEXT:
            from ipa import changes  # loaded only in this case

            await changes.note(es10, journal, changes.UNDEFINED)
        downloads.note_end(journal, bytes.fromhex(journal.get("download")) or None, result)
        return code == 0
    return False


def _error(code, response):
    """ProfileDownloadError; `response` is the answer of the card, else the reason in words."""
    response = tlv.encode(0x04, response) if response else b""
    return tlv.encode(0x30, tlv.encode_integer(0x80, code), response)
