"""How a device that nobody can reach comes back: rollback (SGP.32 3.3.2), fallback and return (5.9.20, 5.9.21).

policy.py says when; here is how. Loaded by the agent when a poll has failed or one of these is under way.

The journal has what is about to be done before it is done, and the card takes each step once: after a power cut
the step is tried again, and a card that has taken it refuses, which is as good.
"""

import asyncio
import os

from ipa import changes, policy, tlv
from ipa.card import local
from ipa.card.channel import CardError
from ipa.card.es10 import CardRefused
from ipa.compat import ERROR, INFO, const, log, ticks_diff, ticks_ms
from ipa.eim import EimFailed
from ipa.modem import ModemError
from ipa.net import NetError

_UNDO = {"rollback": local.profile_rollback, "fallback": local.execute_fallback_mechanism}

_CAT_BUSY = const(5)
_NETWORK_TRIES = const(2)  # so many failures of the network before the modem begins again as well
_MOST_DOUBLINGS = const(12)
_REBOOT_S = const(30)  # of the window: a board that the new network makes brown out goes back all the same

_FAILURES = (ModemError, CardError, tlv.TlvError, OSError, asyncio.TimeoutError)


class Recovery:
    """Works on the agent's own parts while the agent waits."""

    def __init__(self, agent):
        self._agent = agent
        self._modem = agent._modem
        self._journal = agent._journal
        self._settings = agent._settings
        self._position = getattr(agent._board, "position", None)

    def resume(self):
        """At the start of the program: a reboot in the middle of a trial has taken of its time."""
        switch = self._journal.get("switch")
        try:
            self._journal.set(switch=dict(switch, left=self._left(switch) - _REBOOT_S))
        except OSError as error:  # a flash that is full, say
            log(ERROR, "recovery:", error)

    async def failed(self, error):
        """A poll has failed. Returns how many ms to wait for the next."""
        agent = self._agent
        switch = self._journal.get("switch") or {}
        some = isinstance(error, EimFailed)
        same = some or isinstance(error, NetError) and agent._failures <= _NETWORK_TRIES
        agent._ready = same and not switch
        # An eIM that is gone for good does not make the device poll the others more and more.
        wait = self._back_off("poll_interval_s" if some else "backoff_max_s")
        try:
            if "undo" in switch:
                wait = await self._trial(switch, self._spent(), wait)
            elif some:
                wait = await self._touch(wait)
            elif await self._is_lost(self._spent() + wait // 1000) and await self._leave():
                wait = 0
        except _FAILURES as failure:
            log(ERROR, "recovery: {}: {}".format(type(failure).__name__, failure))
        log(INFO, "agent: next try in {:.0f} s".format(wait / 1000))
        return wait

    async def restart(self):
        """Polls have failed one after the other: the modem begins again, and the board where it can."""
        from ipa.modem import power

        agent = self._agent
        log(ERROR, "recovery:", agent._failures, "polls have failed, modem and board begin again")
        agent._ready = False
        try:
            self._journal.set(failures=agent._failures)
            await power.reset(self._modem)  # which a board's reset does not reach
        except (ModemError, MemoryError, OSError) as error:
            log(ERROR, "recovery:", error)
        if hasattr(agent._board, "reset"):
            agent._board.reset()

    async def reached(self, wait):
        """A poll has reached the eIM. `wait`: ms until the next. Returns how many there shall be."""
        try:
            return await self._touch(wait)
        except _FAILURES as failure:
            log(ERROR, "recovery: {}: {}".format(type(failure).__name__, failure))
            return wait

    def _spent(self):
        """Seconds of the poll that is over now, or of the switch in it."""
        return ticks_diff(ticks_ms(), self._agent._since) // 1000

    def _back_off(self, most):
        """Milliseconds: doubling up to the setting `most`, and never the same for all devices of a fleet."""
        seconds = self._settings["backoff_s"] << min(self._agent._failures - 1, _MOST_DOUBLINGS)
        wait = min(seconds, self._settings[most]) * 1000
        return wait * (192 + os.urandom(1)[0] // 2) // 256  # 75 to 125 per cent

    async def _touch(self, wait):
        """In touch with an eIM."""
        journal = self._journal
        fallback = journal.get("fallback")
        plmn = self._agent._plmn and self._agent._plmn.hex()
        if fallback and fallback["from"] != journal.get("profile"):
            journal.set(loss=None)
            return await self._away(fallback, self._spent() + self._agent._pause, wait, plmn)
        journal.set(loss=None, fallback=None, plmn=plmn, place=self._place())
        if fallback:
            log(INFO, "recovery: home again")
        return wait

    # A switch that may be taken back

    def _left(self, switch):
        return switch.get("left", self._settings["rollback_window_s"])

    async def _trial(self, switch, spent, wait):
        left = self._left(switch) - spent
        if left > 0:
            wait = min(wait, left * 500)  # so that half of it remains for trying; none is free
            self._journal.set(switch=dict(switch, left=left - wait // 1000 - 1))
            log(INFO, "recovery: {} s are left for the new profile to prove itself".format(left))
            return wait
        log(ERROR, "recovery: the new profile does not reach the eIM")
        self._journal.set(switch=dict(switch, left=0))
        code = await self._change(_UNDO[switch["undo"]])
        if code == _CAT_BUSY:
            return wait
        if code:
            log(INFO, "recovery: no way back, so the new profile is tried on")
        # After a rollback the card has a new result for the eIM, which waits in its list like any other.
        self._journal.set(switch={key: switch[key] for key in ("eim", "cause") if key in switch})
        return 0

    async def _change(self, function):
        """Have the card change the enabled profile and let the agent boot into it. Returns the result code.

        Without refreshFlag: a boot begins with a reset of the card, and no REFRESH comes in between.
        """
        es10 = self._agent._es10
        self._agent._ready = False
        await es10.channel.open()  # whatever has become of the one before
        try:
            await function(es10, refresh=False)
        except CardRefused as error:
            log(ERROR, "recovery:", error)
            return error.code
        return 0

    # Fallback

    async def _is_lost(self, seconds):
        journal, settings = self._journal, self._settings
        registered = self._modem.registered()
        plmn = signal = None
        try:
            signal = await self._modem.signal()
            plmn = await self._modem.plmn() if registered else None
        except (ModemError, ValueError, IndexError) as error:
            log(INFO, "recovery:", error)
        moved = policy.has_moved(self._place(), journal.get("place"), settings)
        loss = policy.noted(
            journal.get("loss") or {}, seconds, registered, plmn and plmn.hex(), signal, moved, settings
        )
        journal.set(loss=loss)
        return policy.lost(loss, settings)

    async def _leave(self):
        """From home to the fallback profile, and from there home. True when the card has changed the profile."""
        journal = self._journal
        fallback = journal.get("fallback")
        log(ERROR, "recovery: the connection is lost for good")
        if fallback and fallback["from"] != journal.get("profile"):
            return await self._return(self._whole(fallback))
        switch = journal.get("switch")
        fallback = policy.begun(journal.get("profile"), journal.get("plmn"), self._settings)
        journal.set(switch={"cause": changes.FALLBACK}, fallback=fallback)
        if await self._change(local.execute_fallback_mechanism):
            journal.set(switch=switch, fallback=None, loss=None)
            return False
        journal.set(loss=None)
        return True

    async def _away(self, fallback, seconds, wait, plmn):
        """On the fallback profile, in touch with the eIM: is it time to go home?"""
        heard = await self._hears(fallback.get("plmn"), plmn)
        fallback, home = policy.homeward(self._whole(fallback), seconds, heard)
        if home:
            log(INFO, "recovery: trying the home network again")
            if await self._return(fallback):
                return 0
            return wait
        self._journal.set(fallback=fallback)
        return min(wait, fallback["left"] * 1000)

    async def _return(self, fallback):
        trial = {"cause": changes.FALLBACK, "undo": "fallback"}
        self._journal.set(switch=trial, fallback=policy.returning(fallback, self._settings))
        code = await self._change(local.return_from_fallback)
        if code == _CAT_BUSY:
            self._journal.set(switch=None, fallback=fallback)
        elif code:  # nothing to return to: the profile has gone, or the eIM has enabled this one itself
            self._journal.set(switch=None, fallback=None, loss=None)
        else:
            self._journal.set(loss=None)
        return not code

    def _whole(self, fallback):
        """A card that fell back by itself has left us only where from."""
        if "wait" in fallback:
            return fallback
        return policy.begun(fallback["from"], self._journal.get("plmn"), self._settings)

    async def _hears(self, home, plmn):
        if home is None or home == plmn:
            return home is not None
        from ipa.modem.scan import networks

        try:
            return bytes.fromhex(home) in await networks(self._modem)
        except ModemError as error:
            log(INFO, "recovery:", error)
            return False

    def _place(self):
        """Where the board says it is, in hundredths of a degree so that the journal seldom changes, or None."""
        place = self._position() if self._position else None
        return place and [round(place[0], 2), round(place[1], 2)]
