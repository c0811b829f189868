"""What waits on the card, results and notifications, goes to the eIM and only then leaves the card (3.7)."""

from ipa import tlv
from ipa.compat import ERROR, INFO, const, log
from ipa.net import EsipaRefused

_PROFILE_INSTALLATION_RESULT = const(0xBF37)


async def provide(session, *result):
    """ProvideEimPackageResult. Removes from the card what the eIM acknowledges, returns those seqNumbers."""
    acknowledged = await session.esipa.provide_eim_package_result(session.eid, *result)
    first = memoryview(result[0])
    lone = first[:2] == b"\xbf\x51" and [result_seq_number(first[tlv.header(first)[1] :])]
    if acknowledged and acknowledged != lone:
        # More than the one result that was sent: what another eIM ordered is not this one's to acknowledge.
        kept = tlv.items(await session.es10.retrieve_results())
        others = [result_seq_number(value) for _, value, _ in kept if _eim_id(value) != session.eim_id]
        acknowledged = [seq_number for seq_number in acknowledged if seq_number not in others]
    for seq_number in acknowledged:
        await session.es10.remove_notification(seq_number)
    return acknowledged


async def waiting(es10):
    """Is there anything on the card that has to go?"""
    return len(await es10.retrieve_results()) > 0 or len(await es10.list_notifications()) > 0


async def deliver(session):
    """Deliver everything that waits. Returns False when something stays that the eIM did not take."""
    taken = await _results(session)
    return await _notifications(session) and taken


async def _results(session):
    tried = set()
    while True:
        # After each removal the card is asked again: the view of its answer does not outlive a command.
        result, seq_number = _untried(await session.es10.retrieve_results(), session.eim_id, tried)
        if result is None:
            return not tried
        tried.add(seq_number)
        log(INFO, "notify: result", seq_number, "of an eUICC package goes to the eIM")
        try:
            acknowledged = await provide(session, result)
        except EsipaRefused as error:
            log(ERROR, "notify:", error)
            continue
        if seq_number in acknowledged:
            tried.discard(seq_number)
            log(INFO, "notify: result", seq_number, "acknowledged, removed from the card")


def _untried(results, eim_id, tried):
    for _, value, raw in tlv.items(results):
        seq_number = result_seq_number(value)
        # What another eIM ordered only that one can book: it waits for its turn.
        if seq_number not in tried and _eim_id(value) == eim_id:
            return raw, seq_number
    return None, None


def result_seq_number(value):
    """The seqNumber in the value of an EuiccPackageResult, None in an error."""
    seq_number = tlv.find(_signed(value), 0x83)
    return None if seq_number is None else tlv.integer(seq_number)


def _eim_id(value):
    return tlv.find(_signed(value), 0x80)


def _signed(value):
    """What is signed in the value of an EuiccPackageResult; some cards leave the A0 out."""
    return tlv.find(value, 0xA0, 0x30) or tlv.find(value, 0x30)


async def _notifications(session):
    all_taken = True
    for seq_number in await session.es10.list_notifications():
        pending = await session.es10.retrieve_notification(seq_number)
        if pending is None:
            continue
        try:
            if _is_anothers(session, pending) or await _is_direct(session, pending):
                continue
            await session.esipa.handle_notification(pending)
        except EsipaRefused as error:
            log(ERROR, "notify: notification", seq_number, "stays on the card:", error)
            all_taken = False
            continue
        await session.es10.remove_notification(seq_number)
        log(INFO, "notify: notification", seq_number, "delivered, removed from the card")
    return all_taken


def _is_anothers(session, pending):
    """Is it the result of a download that another eIM began? That one waits for it (5.7.4)."""
    owner = session.journal.get("eim")
    installed = tlv.header(pending)[0] == _PROFILE_INSTALLATION_RESULT
    return installed and owner is not None and owner.encode() != session.eim_id


async def _is_direct(session, pending):
    """Was it the result of a download without the eIM? Then it is looked after here."""
    if session.tcp is None or session.journal.get("direct") is None:
        return False
    from ipa.steps import direct  # needs more heap, which others have for themselves

    return await direct.take_over(session, pending)
