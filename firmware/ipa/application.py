"""Functions for an application that runs beside the agent.

The agent and the application share modem and card: these functions wait for their turn, except emergency().
"""

from ipa import changes, tlv
from ipa.card import local
from ipa.card.es10 import CardRefused

_NOTHING_TO_DELETE = 1
_IN_THAT_STATE = 2  # profileNotInDisabledState, profileNotInEnabledState


async def emergency(agent, on):
    """Enable the card's emergency profile (SGP.32 5.9.22), or what was enabled before it (5.9.23).

    With `on` it interrupts the agent and returns when the device has registered. Until it is called without `on`, also
    after reboots, the agent does nothing else. Raises CardRefused (8: there is no such profile), ModemError.
    """
    agent.suspend()
    try:
        async with agent.card() as es10:
            await _switch(agent, es10, on)
        if on:
            async with agent.modem():  # which connects with the profile that is enabled now
                pass
    finally:
        if not agent.journal.get("emergency"):
            agent.resume()


async def _switch(agent, es10, on):
    journal = agent.journal
    before = journal.get("switch"), journal.get("emergency")
    journal.set(switch={"cause": changes.EMERGENCY_PROFILE}, emergency=True)
    try:
        function = local.enable_emergency_profile if on else local.disable_emergency_profile
        await function(es10, refresh=False)
        agent.profile_switched()
    except CardRefused as error:
        if error.code != _IN_THAT_STATE:  # unless a reboot came in between
            journal.set(switch=before[0], emergency=before[1])
            raise
    if not on:
        journal.set(emergency=None)


async def memory_reset(agent, *options):
    """EuiccMemoryReset with these options, as local.euicc_memory_reset numbers them (5.9). Raises CardRefused."""
    async with agent.card() as es10:
        journal = agent.journal
        before = journal.get("switch"), journal.get("cause")
        await changes.note(es10, journal, changes.RESET, switch={"cause": changes.RESET})
        results = await local.euicc_memory_reset(es10, *options)
        if results[0x80] not in (0, _NOTHING_TO_DELETE):
            journal.set(switch=before[0], cause=before[1])
            raise CardRefused("EuiccMemoryReset", results[0x80])
        agent.profile_switched()
        return results


async def changed(agent, cause=changes.LOCAL):
    """The application has changed the card's profiles: report it to the eIMs (stateChangeCause)."""
    async with agent.card() as es10:
        await changes.note(es10, agent.journal, cause)
        agent.profile_switched()


async def inject(agent, message):
    """Execute a TransferEimPackageRequest that was received by other means (3.1.1.2, Annex B: LwM2M, MQTT).

    `message` is its BF4E{...}; returns the BF4E{...} of the response. For a download or a profile switch the answer is
    eimPackageReceived: the agent executes it at once, and the result is sent to the eIM over ESipa. Raises CardError,
    ModemError, and TlvError if it is not TLV.
    """
    from ipa.steps import inject

    async with agent.card() as es10:
        if es10 is None:
            return bytes(inject.refusal(inject.UNDEFINED_ERROR)[0])
        eim_id = tlv.find(message, 0xBF4E, 0xBF51, 0x30, 0x80)
        if eim_id is None:  # a package that does not name its eIM: the first one
            eim_id = tlv.find(await es10.find_eim() or b"", 0x80) or b""
        transfer = inject.Transfer(agent.session(bytes(eim_id)))
        parts = await transfer.answer(inject.Bytes(message))
        answer = b"".join([bytes(part) for part in parts])
        if transfer.profile_changes:
            agent.profile_switched()  # the reset replaces the REFRESH for which the card waits
    if transfer.profile_changes or transfer.trigger is not None:
        agent.poll_now(transfer.trigger)
    return answer
