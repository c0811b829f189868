"""What waits on the card, results and notifications, goes to the eIM and only then leaves the card (3.7).

Each eIM gets what is its own, and takes off the card only what it was sent: results of packages bear its eimId,
whose an installation is the journal knows. What an eIM refuses is offered to it again later, see refused.py.
"""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import ERROR, INFO, const, log
from ipa.net import PROFILE_DOWNLOAD_TRIGGER, EsipaRefused

EUICC_PACKAGE_RESULT = const(0xBF51)
_PROFILE_INSTALLATION_RESULT = const(0xBF37)
_ANY_LENGTH = const(0x3FFFFFFF)


async def provide(session, *result):
    """ProvideEimPackageResult. Removes from the card what the eIM acknowledges, returns those seqNumbers.

    None where the result goes as the answer to a package that was injected, and is acknowledged later.
    """
    first = memoryview(result[0])
    tag, start, end = tlv.header(first, 0, _ANY_LENGTH)
    if tag == EUICC_PACKAGE_RESULT:
        sent(session, first[start:end])
    acknowledged = await session.esipa.provide_eim_package_result(session.eid, *result)
    if acknowledged is None:
        return None
    removed = []
    for seq_number in acknowledged:
        if await acknowledge(session, seq_number):
            removed.append(seq_number)
    return removed


async def report(session, transaction, result):
    """ProfileDownloadTriggerResult; what the eIM acknowledges goes off the card."""
    echo = b"" if transaction is None else tlv.encode(0x82, transaction)
    await provide(session, tlv.encode(PROFILE_DOWNLOAD_TRIGGER, echo, result))


def sent(session, value):
    """This eIM is sent the value of an EuiccPackageResult: it may acknowledge its own."""
    if is_own(session, value):
        session.sent.add(result_seq_number(value))


async def acknowledge(session, seq_number):
    """Remove from the card what this eIM was sent. False for everything else."""
    if seq_number not in session.sent:
        log(ERROR, "notify:", seq_number, "is not this eIM's to acknowledge")
        return False
    if session.journal.get("unlisted"):
        from ipa.steps import unlisted

        unlisted.acknowledged(session, seq_number)
    return await remove(session.es10, seq_number)


async def remove(es10, seq_number):
    """False when the card does not let it go."""
    try:
        await es10.remove_notification(seq_number)
    except (CardError, tlv.TlvError) as error:
        log(ERROR, "notify:", seq_number, "stays on the card:", error)
        return False
    return True


async def asked(listing, nothing=b""):
    """What the card answers where it is asked for a list: `nothing` where it refuses, or nobody can read it."""
    try:
        return await listing
    except (CardError, tlv.TlvError) as error:
        log(ERROR, "notify:", error)
        return nothing


def seq_number(pending):
    """That of a PendingNotification, in its NotificationMetadata; None without."""
    about = tlv.find(pending, 0xBF37, 0xBF27, 0xBF2F) or tlv.find(pending, 0x30, 0xBF2F)
    number = tlv.find(about, 0x80)
    return None if number is None else tlv.integer(number)


async def results(es10):
    """What the card keeps of eUICC package results. `es10.lists` tells whether it has let itself be asked."""
    listed = await asked(es10.retrieve_results(), None)
    es10.lists = listed is not None
    return listed or b""


async def waiting(session):
    """Is there anything on the card that has to go?"""
    es10 = session.es10
    listed = len(await results(es10)) > 0 or len(await asked(es10.list_notifications())) > 0
    return listed or session.journal.get("unlisted") is not None


async def deliver(session):
    """Deliver everything that waits. Returns False when something stays that the eIM did not take."""
    if session.held is None:
        session.held = 0
        if session.journal.get("refused"):
            from ipa.steps import refused

            session.held = refused.pause(session)
    clean = True
    if session.journal.get("unlisted"):
        from ipa.steps import unlisted

        clean = await unlisted.deliver(session)
    stays = await _results(session) + await _notifications(session)
    if session.due is None and (stays or (not session.held and session.journal.get("refused"))):
        from ipa.steps import refused

        session.held = refused.note(session, stays)
    return clean and not stays


async def _results(session):
    """Returns the seqNumbers that the eIM did not take."""
    tried = set()
    while True:
        # After each removal the card is asked again: the view of its answer does not outlive a command.
        result, seq_number = _untried(await results(session.es10), session, tried)
        if result is None:
            return list(tried)
        tried.add(seq_number)
        log(INFO, "notify: result", seq_number, "of an eUICC package goes to the eIM")
        try:
            acknowledged = await provide(session, result)
        except EsipaRefused as error:
            log(ERROR, "notify:", error)
            _is_due(session, error)
            continue
        if seq_number in acknowledged:
            tried.discard(seq_number)
            log(INFO, "notify: result", seq_number, "acknowledged, removed from the card")


def _untried(parts, session, tried):
    try:
        for _, value, raw in tlv.items(parts):
            seq_number = result_seq_number(value)
            # What another eIM ordered only that one can book: it waits for its turn.
            if seq_number not in tried and is_own(session, value) and seq_number > session.held:
                return raw, seq_number
    except tlv.TlvError as error:
        log(ERROR, "notify: a result that cannot be read:", error)
    return None, None


def is_own(session, value):
    """Is it the value of a result of a package of this eIM, which the card has kept?"""
    signed = _signed(value)
    return tlv.find(signed, 0x80) == session.eim_id and tlv.find(signed, 0x83) is not None


def result_seq_number(value):
    """The seqNumber in the value of an EuiccPackageResult, None in an error."""
    seq_number = tlv.find(_signed(value), 0x83)
    return None if seq_number is None else tlv.integer(seq_number)


def _signed(value):
    """What is signed in the value of an EuiccPackageResult; some cards leave the A0 out."""
    return tlv.find(value, 0xA0, 0x30) or tlv.find(value, 0x30)


def _is_due(session, error):
    """What is temporary is no refusal: the conversation shall not end as one after which nothing is left to do."""
    if error.temporary:
        session.due = error


async def _notifications(session):
    """Returns the seqNumbers that the eIM did not take."""
    stays = []
    for seq_number in await asked(session.es10.list_notifications()):
        if seq_number <= session.held:
            continue
        try:
            pending = await session.es10.retrieve_notification(seq_number)
            if pending is None or is_anothers(session, pending, seq_number):
                continue
        except (CardError, tlv.TlvError) as error:
            log(ERROR, "notify: notification", seq_number, "cannot be read:", error)
            continue
        try:
            if await _is_direct(session, pending):
                continue
            await session.esipa.handle_notification(pending)
        except EsipaRefused as error:
            log(ERROR, "notify: notification", seq_number, "stays on the card:", error)
            _is_due(session, error)
            stays.append(seq_number)
            continue
        if await remove(session.es10, seq_number):
            log(INFO, "notify: notification", seq_number, "delivered, removed from the card")
    return stays


def is_installation(pending):
    """Is a PendingNotification a ProfileInstallationResult?"""
    return tlv.header(pending)[0] == _PROFILE_INSTALLATION_RESULT


def is_anothers(session, pending, seq_number):
    """Is it the result of a download that another eIM began? That one waits for it (5.7.4)."""
    if not is_installation(pending):
        return False
    owner = session.journal.get("eim")
    for eim, _, number in session.journal.get("ended") or ():
        if number == seq_number:
            owner = eim
    return owner is not None and owner.encode() != session.eim_id


async def _is_direct(session, pending):
    """Was it the result of a download without the eIM? Then it is looked after here."""
    if session.tcp is None or session.journal.get("direct") is None:
        return False
    from ipa.steps import direct  # needs more heap, which others have for themselves

    return await direct.take_over(session, pending)
