"""Delivers the results and notifications that wait on the card, and deletes them after an acknowledgement (3.7).

Each eIM gets its own ones, and its acknowledgements delete only what was sent to it. Results of packages contain the
eimId; the journal says which eIM ordered an installation. What an eIM refuses is sent again later, see refused.py.
"""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import ERROR, INFO, const, log
from ipa.net import PROFILE_DOWNLOAD_TRIGGER, EsipaRefused

EUICC_PACKAGE_RESULT = const(0xBF51)
_PROFILE_INSTALLATION_RESULT = const(0xBF37)
_ANY_LENGTH = const(0x3FFFFFFF)


async def provide(session, *result):
    """ProvideEimPackageResult. Deletes from the card what the eIM acknowledges; returns those seqNumbers.

    None if the result is the answer to an injected package, which is acknowledged later.
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
    """ProfileDownloadTriggerResult; deletes from the card what the eIM acknowledges."""
    echo = b"" if transaction is None else tlv.encode(0x82, transaction)
    await provide(session, tlv.encode(PROFILE_DOWNLOAD_TRIGGER, echo, result))


def sent(session, value):
    """Record that this EuiccPackageResult (its value) is sent to the eIM, which may acknowledge it."""
    if is_own(session, value):
        session.sent.add(result_seq_number(value))


async def acknowledge(session, seq_number):
    """Delete a result that was sent to this eIM from the card. False for any other number."""
    if seq_number not in session.sent:
        log(ERROR, "notify:", seq_number, "is not this eIM's to acknowledge")
        return False
    if session.journal.get("unlisted"):
        from ipa.steps import unlisted

        unlisted.acknowledged(session, seq_number)
    return await remove(session.es10, seq_number)


async def remove(es10, seq_number):
    """Delete it from the card. False if the card refuses."""
    try:
        await es10.remove_notification(seq_number)
    except (CardError, tlv.TlvError) as error:
        log(ERROR, "notify:", seq_number, "stays on the card:", error)
        return False
    return True


async def asked(listing, nothing=b""):
    """The list that the card returns, or `nothing` if it refuses or the answer cannot be read."""
    try:
        return await listing
    except (CardError, tlv.TlvError) as error:
        log(ERROR, "notify:", error)
        return nothing


def seq_number(pending):
    """The seqNumber in the NotificationMetadata of a PendingNotification, or None."""
    about = tlv.find(pending, 0xBF37, 0xBF27, 0xBF2F) or tlv.find(pending, 0x30, 0xBF2F)
    number = tlv.find(about, 0x80)
    return None if number is None else tlv.integer(number)


async def results(es10):
    """The eUICC package results that the card keeps. `es10.lists` says whether the card supports this list."""
    listed = await asked(es10.retrieve_results(), None)
    es10.lists = listed is not None
    return listed or b""


async def waiting(session):
    """Whether anything on the card has to be delivered."""
    es10 = session.es10
    listed = len(await results(es10)) > 0 or len(await asked(es10.list_notifications())) > 0
    return listed or session.journal.get("unlisted") is not None


async def deliver(session):
    """Deliver everything that waits. Returns False if the eIM has not accepted something."""
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
    """Returns the seqNumbers that the eIM has not accepted."""
    tried = set()
    while True:
        # The card is read again after each deletion, because the next command overwrites the view of its answer.
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
            # The result of another eIM's order is kept for that eIM.
            if seq_number not in tried and is_own(session, value) and seq_number > session.held:
                return raw, seq_number
    except tlv.TlvError as error:
        log(ERROR, "notify: a result that cannot be read:", error)
    return None, None


def is_own(session, value):
    """Whether it is the value of a result of this eIM's package that the card has kept."""
    signed = _signed(value)
    return tlv.find(signed, 0x80) == session.eim_id and tlv.find(signed, 0x83) is not None


def result_seq_number(value):
    """The seqNumber in the value of an EuiccPackageResult, None in an error."""
    seq_number = tlv.find(_signed(value), 0x83)
    return None if seq_number is None else tlv.integer(seq_number)


def _signed(value):
    """The signed part in the value of an EuiccPackageResult; some cards leave out the A0."""
    return tlv.find(value, 0xA0, 0x30) or tlv.find(value, 0x30)


def _is_due(session, error):
    """Remember a temporary error: it is not a refusal, and the conversation must not count as complete."""
    if error.temporary:
        session.due = error


async def _notifications(session):
    """Returns the seqNumbers that the eIM has not accepted."""
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
    """Whether a PendingNotification is a ProfileInstallationResult."""
    return tlv.header(pending)[0] == _PROFILE_INSTALLATION_RESULT


def is_anothers(session, pending, seq_number):
    """Whether it is the result of a download that another eIM started and waits for (5.7.4)."""
    if not is_installation(pending):
        return False
    owner = session.journal.get("eim")
    for eim, _, number in session.journal.get("ended") or ():
        if number == seq_number:
            owner = eim
    return owner is not None and owner.encode() != session.eim_id


async def _is_direct(session, pending):
    """Whether it was the result of a direct download, which is then handled here."""
    if session.tcp is None or session.journal.get("direct") is None:
        return False
    from ipa.steps import direct  # needs more heap; loaded only here

    return await direct.take_over(session, pending)
