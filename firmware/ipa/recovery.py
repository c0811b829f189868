"""How a device restores its connection: rollback (SGP.32 3.3.2), fallback and return (5.9.20, 5.9.21).

policy.py decides when, this module does it. The agent loads it after a failed poll, or while one of these procedures
is running. Only a lost connection is a reason to change the profile: never lack of memory, a refusal of the card, an
unreadable message, or a bug in the assistant.

Each step is written to the journal before it is executed, and the card executes it only once. After a power cut the
step is repeated; a card that has executed it already refuses, which counts as success.
"""

import asyncio
import os
import sys
from errno import ENOMEM

from ipa import changes, policy, tlv
from ipa.card import local
from ipa.card.channel import CardError
from ipa.card.es10 import CardRefused
from ipa.compat import ERROR, INFO, const, log
from ipa.eim import EimFailed, EimUnknown
from ipa.layers import CARD, CONTEXT, EIM, MODEM, NETWORK
from ipa.modem import ModemError, SocketError
from ipa.modem.at import AtTimeout
from ipa.modem.common import NoRegistration
from ipa.net import NetError, ServerError

_UNDO = {"rollback": local.profile_rollback, "fallback": local.execute_fallback_mechanism}

_CAT_BUSY = const(5)
_MOST_DOUBLINGS = const(12)
_REBOOT_S = const(30)  # taken from the window: so a board that browns out on the new network goes back, too

_FAILURES = (ModemError, CardError, tlv.TlvError, OSError, asyncio.TimeoutError)
_KNOWN = _FAILURES + (EimUnknown, EimFailed, NetError, ServerError)


class Recovery:
    """Uses the layers while the agent waits."""

    def __init__(self, layers, journal, settings, board):
        self._layers = layers
        self._modem = layers.modem
        self._journal = journal
        self._settings = settings
        self._board = board

    def resume(self, failures):
        """Called at the start of the program, after a reboot within the rollback window or because of lack of memory.

        Returns the ms to wait before the first poll.
        """
        journal = self._journal
        short = journal.get("short", 0)
        switch = journal.get("switch") or {}
        if "undo" in switch and not short:
            try:
                journal.set(switch=dict(switch, left=self._left(switch) - _REBOOT_S))
            except OSError as error:  # for example because the flash is full
                log(ERROR, "recovery:", error)
        return self._back_off(short - 1, "backoff_max_s") if short > 1 else 0

    async def failed(self, error, failures, seconds, reached):
        """Handle a failed poll: the `failures`th in a row, after `seconds`. `reached`: an eIM had answered in it.

        Returns the ms to wait before the next one.
        """
        layers = self._layers
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.args[0] == ENOMEM):
            self._memory()
        elif not isinstance(error, _KNOWN):
            sys.print_exception(error)
        layers.at = layer = _suspect(error, layers.at)
        heard = reached or self._modem.heard or isinstance(error, ServerError)
        if not (layer == EIM and heard):
            layers.failures[layer] += 1
        switch = self._journal.get("switch") or {}
        some = isinstance(error, EimFailed)
        if layer == CARD:
            layers.doubt_card(getattr(error, "sw", None))
        # Otherwise an eIM that no longer exists would make the device poll the other ones more often.
        wait = self._back_off(failures - 1, "poll_interval_s" if some else "backoff_max_s")
        try:
            if reached:
                wait = await self.touch(seconds, wait)
            elif not _tells_of_connection(error, layer):
                wait = min(wait, self._left(switch) * 500) if "undo" in switch else wait
            elif "undo" in switch:
                wait = await self._trial(switch, seconds, wait)
            elif await self._is_lost(seconds + wait // 1000) and await self._leave():
                wait = 0
            self._journal.set(failures=failures)
        except _FAILURES as failure:
            log(ERROR, "recovery: {}: {}".format(type(failure).__name__, failure))
        log(INFO, "agent: next try in {:.0f} s".format(wait / 1000))
        return wait

    async def reached(self, seconds, wait):
        """Called after a poll that reached an eIM, `seconds` after the last one. `wait`: ms until the next poll.

        Returns `wait`, or what replaces it."""
        try:
            return await self.touch(seconds, wait)
        except _FAILURES as failure:
            log(ERROR, "recovery: {}: {}".format(type(failure).__name__, failure))
            return wait

    def _memory(self):
        """Out of memory: waiting does not defragment a heap, a restart does. The journal keeps the state."""
        journal = self._journal
        if not hasattr(self._board, "reset"):
            return
        log(ERROR, "recovery: out of memory, the board begins again")
        try:
            journal.set(short=journal.get("short", 0) + 1)
        except OSError as error:
            log(ERROR, "recovery:", error)
        self._board.reset()

    def _back_off(self, count, most):
        """Milliseconds: doubles up to the setting `most`, with a random part so that a fleet does not poll together."""
        seconds = self._settings["backoff_s"] << min(count, _MOST_DOUBLINGS)
        wait = min(seconds, self._settings[most]) * 1000
        return wait * (192 + os.urandom(1)[0] // 2) // 256  # 75 to 125 per cent

    async def touch(self, seconds, wait):
        """An eIM was reached."""
        journal = self._journal
        fallback = journal.get("fallback")
        plmn = self._layers.plmn
        plmn = plmn and plmn.hex()
        if fallback and fallback["from"] != journal.get("profile"):
            journal.set(loss=None)
            return await self._away(fallback, seconds, wait, plmn)
        journal.set(loss=None, fallback=None, plmn=plmn, place=self._place())
        if fallback:
            log(INFO, "recovery: home again")
        return wait

    # Rollback

    def _left(self, switch):
        return max(0, switch.get("left", self._settings["rollback_window_s"]))

    async def _trial(self, switch, seconds, wait):
        left = self._left(switch) - seconds
        if left > 0:
            wait = min(wait, left * 500)  # so that half of the window remains; pauses count, too
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
        # After a rollback the card has a new result for the eIM in its list, like any other result.
        self._journal.set(switch={key: switch[key] for key in ("eim", "cause") if key in switch})
        return 0

    async def _change(self, function):
        """Let the card change the enabled profile; the agent then connects with it. Returns the result code.

        Without refreshFlag: the card is reset before it is used again, and no REFRESH comes in between.
        """
        layers = self._layers
        if self._modem.sleeps:
            await layers.wake()
        await layers.channel.open()  # whatever state the channel is in
        try:
            result = await function(layers.es10, refresh=False)
            if function is local.profile_rollback and self._journal.get("unlisted"):
                from ipa.steps import unlisted

                unlisted.replace(self._journal, self._journal.get("switch")["eim"], result)
        except CardRefused as error:
            log(ERROR, "recovery:", error)
            return error.code
        finally:
            layers.reset_due = True  # also if it is not known whether the card has executed it
        return 0

    # Fallback

    async def _is_lost(self, seconds):
        journal, settings = self._journal, self._settings
        registered = self._modem.registered()
        plmn = signal = None
        try:
            if self._modem.sleeps:
                await self._layers.wake()
            signal = await self._modem.signal()
            plmn = await self._modem.plmn() if registered else None
        except ModemError as error:
            log(INFO, "recovery:", error)
        moved = policy.has_moved(self._place(), journal.get("place"), settings)
        loss = policy.noted(
            journal.get("loss") or {}, seconds, registered, plmn and plmn.hex(), signal, moved, settings
        )
        journal.set(loss=loss)
        return policy.lost(loss, settings)

    async def _leave(self):
        """Change from the home profile to the fallback profile, or back. True if the card has changed the profile."""
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
        """An eIM was reached over the fallback profile: decide whether to return to the home profile."""
        heard = await self._hears(fallback.get("plmn"), plmn)
        before = fallback
        fallback, home = policy.homeward(self._whole(fallback), seconds, heard)
        if home:
            log(INFO, "recovery: trying the home network again")
            if await self._return(fallback):
                return 0
            return wait
        if _eighth(fallback) == _eighth(before):
            self._journal.later(fallback=fallback)
        else:
            self._journal.set(fallback=fallback)
        return min(wait, fallback["left"] * 1000)

    async def _return(self, fallback):
        """Return to the home profile. True if the card has executed it. If that is not known, `was` in the journal has
        the state to restore."""
        trial = {"cause": changes.FALLBACK, "undo": "fallback", "was": fallback}
        self._journal.set(switch=trial, fallback=policy.returning(fallback, self._settings))
        code = await self._change(local.return_from_fallback)
        del trial["was"]
        if code == _CAT_BUSY:
            self._journal.set(switch=None, fallback=fallback)
        elif code:  # nothing to return to: the profile was deleted, or the eIM has enabled the present one
            self._journal.set(switch=None, fallback=None, loss=None)
        else:
            self._journal.set(switch=trial, loss=None)
        return not code

    def _whole(self, fallback):
        """The complete record. If the card fell back by itself, only `from` is known."""
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
        """The position from the board, in hundredths of a degree so that the journal seldom changes, or None."""
        position = getattr(self._board, "position", None)
        place = position and position()
        return place and [round(place[0], 2), round(place[1], 2)]


def _eighth(fallback):
    """The part that is worth a write to flash, because it does not change with each poll."""
    return "wait" in fallback and (fallback["left"] * 8 // fallback["wait"], fallback.get("gone"))


def settle(journal, taken):
    """Called if the result of a return was unknown (power cut, no answer). `taken`: the card has executed it."""
    switch = dict(journal.get("switch"))
    fallback = switch.pop("was")
    if taken:
        journal.set(switch=switch, loss=None)
    else:
        log(INFO, "recovery: the return was not carried out, it will be tried again")
        journal.set(switch=None, fallback=dict(fallback, left=0))


def _suspect(error, at):
    """The layer that may have caused the failure of a poll, which had come to the layer `at`."""
    if isinstance(error, AtTimeout):
        return MODEM
    if isinstance(error, NoRegistration):
        return NETWORK
    if isinstance(error, (SocketError, NetError, ServerError)):
        return max(CONTEXT, at)
    if at == EIM and isinstance(error, (CardError, ModemError)):
        return CARD
    return at


def _tells_of_connection(error, layer):
    """Whether the failure means that the device does not reach its eIM, and is not a fault of the device itself."""
    if layer < NETWORK or isinstance(error, ServerError):
        return False
    return isinstance(error, (ModemError, NetError, asyncio.TimeoutError))
