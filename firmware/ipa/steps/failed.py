"""What the eIM is told of a download that has failed, or is ordered once more. Loaded for that."""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import ERROR, INFO, const, log
from ipa.net import NetError, ServerError
from ipa.steps.notify import report

# CancelSessionReason
_LOAD_BPP_EXECUTION_ERROR = const(5)
_UNDEFINED_REASON = const(127)

_UNDEFINED_ERROR = const(127)  # ProfileDownloadErrorReason
_LONGEST_REASON = const(200)


async def give_up(download, failure):
    """End the session on both sides where there is one, and report to the eIM. `failure`: DownloadFailed."""
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
            log(ERROR, "download:", error)  # the report below matters more
    said = failure.response
    if not said and failure.code == _UNDEFINED_ERROR and not failure.known:
        said = str(failure).encode()[:_LONGEST_REASON]
    await report(download.session, download.transaction, _error(failure.code, said))


async def answer_again(session, transaction, seq_number):
    """This eIM orders again what has been carried out: nothing is installed, its result is the answer.

    Who injects may say it twice, an eIM may have refused the result or lost it; what then waits at a default SM-DP+
    or an SM-DS is another profile.
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
    await report(session, transaction, result)


def _error(code, response):
    """ProfileDownloadError; `response` is what the card said, else the reason in words."""
    response = tlv.encode(0x04, response) if response else b""
    return tlv.encode(0x30, tlv.encode_integer(0x80, code), response)
