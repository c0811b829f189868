"""The agent: it decides when to poll the eIMs, and is the interface for the product beside it.

In one poll the agent serves all eIMs of the card, one after the other, each by a complete eIM package retrieval
(3.1.1.1) in one DTLS association. A profile switch ends the association, because the card's REFRESH disconnects the
device from the network; the result is sent over the new profile. layers.py sets up what a poll needs. recovery.py
decides what to do after a poll that failed.
"""

import asyncio
import gc
import sys

from ipa import layers, net
from ipa.compat import ERROR, INFO, const, log, sleep_ms, ticks_diff, ticks_ms, unload, wait_for_ms, words
from ipa.conversation import IDLE, SWITCH, Conversation
from ipa.eim import EimFailed, EimUnknown, unserved
from ipa.modem import ModemError, SocketError
from ipa.net import NetError, ServerError
from ipa.tlv import TlvError

# Agent.on()
PROFILE_CHANGED = const(1)  # detail: ICCID (hex), "" for none
NETWORK_GOES = const(2)  # the device leaves the network on purpose; detail: the reason
POLL_ENDED = const(3)  # detail: True when an eIM was reached, else the exception
WOKEN = const(4)  # detail: the result of board.woken() after a deep sleep, "" after a light one

# Agent.state
STARTING = "starting"
POLLING = "polling"
SWITCHING = "switching"
SLEEPING = "sleeping"
SUSPENDED = "suspended"

_MOST_EIMS = const(16)  # limits a poll in which an eIM keeps adding eIMs
_TRIES = const(3)  # attempts to reach an eIM in one poll
_QUICK_MS = const(30000)  # an attempt that took longer is not repeated in the same poll
_LONGEST_SLEEP_MS = const(3600000)  # ticks of 32-bit ports wrap after days
_ASK_MS = const(60000)  # between two questions for the registration: a URC can get lost

# Errors of one eIM, after which the poll goes on with the next one
_EIM_FAILURES = (EimUnknown, EimFailed, SocketError, NetError, ServerError, TlvError, OSError, asyncio.TimeoutError)


class Agent:
    """`modem`: a driver of ipa.modem; `settings`: from config.load; `board`: set_clock(seconds) is enough.

    Optional methods of the board: `position()` returns (latitude, longitude) in degrees or None; `reset()` restarts it.
    """

    state = STARTING
    busy_since = None  # ticks_ms() at the start of the present poll, or of the switch in it; None between polls

    def __init__(self, modem, settings, journal, board):
        self.journal = journal
        self._settings = settings
        self._board = board
        self.layers = layers.Layers(modem, board, settings, journal, self._network_goes, self._profile_changed)
        self.conversation = Conversation(modem, settings, journal, self.layers.es10, self._open_card)
        self._handlers = []
        self.failures = journal.get("failures", 0)  # failed polls in a row, kept over a restart
        self.unserved = False  # the last poll could not serve any eIM
        self._due_at = ticks_ms()  # ticks_ms() at which _due_ms was set
        self._due_ms = 0
        self.pause = 0  # seconds since the last poll
        self.turn = asyncio.Lock()  # held by whoever uses modem and card
        self._may_poll = asyncio.Event()
        if not journal.get("emergency"):
            self._may_poll.set()
        self._wake = asyncio.Event()
        self._task = None
        net.tls_bytes = 0 if settings["keep_association_s"] else getattr(board, "tls_bytes", 0)
        self._woken_after = None  # ms until the next poll, if a deep sleep has just ended
        self.woken_by = ""  # what ended that sleep, until the product has been notified
        self._sleeper = None
        if settings["sleep"] != "none":
            from ipa import sleep

            self._sleeper = sleep.Sleeper(self, board, settings)
            self._woken_after = self._sleeper.resume()
            self._wait(self._woken_after or 0)

    # For the product

    def on(self, handler):
        """Call handler(event, detail) for each of the events above, PROFILE_CHANGED to WOKEN. It must not block."""
        self._handlers.append(handler)

    def on_sleep(self, vote):
        """Call vote() before each sleep of the board. It returns the ms that the board may sleep, 0 for not now, None
        for any time. It must not block. A light sleep stops your tasks, a deep sleep ends them."""
        if self._sleeper:
            self._sleeper.votes.append(vote)

    @property
    def leased(self):
        """Whether modem or card are in use."""
        return self.turn.locked()

    @property
    def under_way(self):
        """What has begun and not ended, kept over reboots: "switch", "download", "fallback", "emergency" or None."""
        for name in ("emergency", "switch", "download", "fallback"):
            if self.journal.get(name) is not None:
                return name
        return None

    def next_poll_ms(self):
        """Milliseconds until the next poll is due, 0 when it is."""
        return max(0, self._due_ms - ticks_diff(ticks_ms(), self._due_at))

    def poll_now(self, trigger=None):
        """Poll now. `trigger`: a Package that was handed over on the device, used by ipa.application."""
        if trigger is not None:
            self.conversation.trigger = trigger
        self._wake.set()

    def modem(self):
        """A lease: `async with agent.modem() as modem` gives the product exclusive use of the modem, registered and
        with an active data context. The agent waits until the end. Raises ModemError, CardError."""
        return Lease(self, layers.CONTEXT)

    def card(self):
        """The same for the card: `async with agent.card() as es10`, None while an IPA inside the card is in charge."""
        return Lease(self, layers.CARD)

    def profile_switched(self):
        """Within a lease of the card: another profile was enabled without a REFRESH, so the card must be reset."""
        self.layers.reset_due = True

    def suspend(self):
        """Stop the present poll; do not poll again until resume()."""
        if self._may_poll.is_set():
            self._may_poll.clear()
            if self._task is not None:
                self._task.cancel()

    def resume(self):
        self._may_poll.set()

    def session(self, eim_id):
        """Within a lease of the card: the Session for packages of this eIM that were received by other means."""
        return self.conversation.session(eim_id, self.layers.eid, self.layers.device_info)

    # Polls

    async def run(self):
        """Poll for ever; with stop_when_idle until nothing is left to do."""
        self._task = asyncio.current_task()
        if self._woken_after is None:
            await self._begin()
        while True:
            try:
                self.state = SLEEPING if self._may_poll.is_set() else SUSPENDED
                if self._woken_after:
                    wait, self._woken_after = self._woken_after, None
                    await self.sleep(wait)
                await self._may_poll.wait()
                wait = await self.poll_once()
                if wait is None:
                    log(INFO, "agent: nothing left to do")
                    return
                self.state = SLEEPING
                await self.sleep(wait)
            except asyncio.CancelledError:
                if self._may_poll.is_set():
                    raise
                self.conversation.end()
                self.layers.channel.is_open = False

    async def poll_once(self):
        """One poll and its consequences. Returns the ms until the next one, None if nothing is left to do."""
        self._tell_of_wake()
        async with self.turn:
            self.state = POLLING
            try:
                wait = await self._attempt()
            finally:
                self.busy_since = None
                self.pause = 0
            unload()
            gc.collect()
            try:
                net.keep_room()
            except MemoryError:
                pass  # the next poll will report it
            return wait

    async def _begin(self):
        """Continue after a reboot: one within a rollback window uses up some of it, one for lack of memory waits."""
        if self.journal.get("short") or "undo" in (self.journal.get("switch") or ()):
            wait = self._recovery().resume(self.failures)
            unload()
            await sleep_ms(wait)

    async def sleep(self, ms):
        """Wait for the next poll, or for poll_now(). The board sleeps if the settings say so.

        `pause` counts the seconds since the last poll.
        """
        self._tell_of_wake()
        self._wait(ms)
        if self._sleeper:
            left = await self._sleeper.sleep(ms, self._wake)
        else:
            left = await self._stay_awake(ms)
        self.pause += (ms - left) // 1000
        self._wait(left)

    def _tell_of_wake(self):
        """Not before the product, whose program a deep sleep began again as well, has had time to call on()."""
        if self.woken_by:
            why, self.woken_by = self.woken_by, ""
            self.tell(WOKEN, why)

    def _wait(self, ms):
        self._due_at = ticks_ms()
        self._due_ms = ms

    async def _stay_awake(self, ms):
        """Wait without sleep. Returns the ms that are left. Without a network the wait also ends when one comes."""
        lost = self.layers.failures[layers.NETWORK] and self.layers.at == layers.NETWORK
        modem = self.layers.modem
        modem.on_registered = self._wake.set if lost else None
        while ms > 0 and not self._wake.is_set():
            step = min(ms, _ASK_MS if lost else _LONGEST_SLEEP_MS)
            try:
                await wait_for_ms(self._wake.wait(), step)
            except asyncio.TimeoutError:
                ms -= step
                if lost and ms > 0:
                    await self._ask_for_network()
        modem.on_registered = None
        self._wake.clear()
        return ms

    async def _ask_for_network(self):
        async with self.turn:
            try:
                await self.layers.modem.ask_registration()
            except ModemError as error:
                log(INFO, "modem:", error)

    def _recovery(self):
        from ipa.recovery import Recovery  # most polls do not fail

        return Recovery(self.layers, self.journal, self._settings, self._board)

    async def _attempt(self):
        self.busy_since = ticks_ms()
        heard = self.conversation.reached or self.layers.modem.heard
        self.conversation.reached = self.layers.modem.heard = False
        try:
            if self.unserved:
                from ipa import rungs

                await rungs.step(self.layers, self.failures, heard, self._board)
            await self._rise()
            idle = self._may_poll.is_set() and await self._poll()
            watched = self._is_watched()
        except Exception as error:  # noqa: BLE001 - recovery must follow after our own bugs, too
            return await self._failed(error)
        self.failures = 0
        self.unserved = False
        self.layers.failures = [0] * len(layers.NAMES)
        self.tell(POLL_ENDED, True)
        wait = None
        if not (idle and self._settings["stop_when_idle"]):
            from ipa import schedule  # loaded now and unloaded with the rest between polls

            wait = schedule.until_next(self._settings)
        if wait and watched:
            wait = await self._recovery().reached(self._spent_s() + self.pause, wait)
        return wait

    async def _rise(self):
        """Set up all layers to the data context, except what works. Raises MemoryError before the radio is used."""
        net.keep_room()
        await self.layers.climb(self._patience_ms())
        self.conversation.es10 = self.layers.es10
        if self.journal.get("emergency"):
            self._may_poll.clear()
            self.state = SUSPENDED

    async def _failed(self, error):
        """Handle a failed poll. Returns the ms until the next one."""
        net.free_room()
        log(ERROR, "agent: {}: {}".format(type(error).__name__, error))
        self.failures += 1
        some = isinstance(error, EimFailed)
        self.unserved = not some
        self.layers.eims = None
        reached = some or self.conversation.reached
        self.conversation.end()
        unload()
        gc.collect()
        try:
            wait = await self._recovery().failed(error, self.failures, self._spent_s(), reached)
            if self._sleeper:
                wait = self._sleeper.pause(wait)
        except MemoryError:
            wait = self._settings["backoff_max_s"] * 1000
        self.tell(POLL_ENDED, reached or error)
        return wait

    def _spent_s(self):
        """Duration of the poll that has just ended, or of the switch in it, in seconds."""
        return ticks_diff(ticks_ms(), self.busy_since) // 1000

    def _is_watched(self):
        """Save the result of the poll. Returns whether recovery.py has to be called after this successful poll."""
        journal = self.journal
        watched = journal.get("fallback") or journal.get("loss") or hasattr(self._board, "position")
        plmn = self.layers.plmn
        journal.set(failures=None, short=None, plmn=journal.get("plmn") if watched else plmn and plmn.hex())
        return watched

    def _patience_ms(self):
        """Milliseconds to wait for registration; not more than is left of the rollback window."""
        seconds = self._settings["attach_timeout_s"]
        if self._sleeper and self._sleeper.has_no_network():
            seconds = max(1, seconds // 3)  # searching takes more energy than everything else
        switch = self.journal.get("switch") or {}
        if "undo" in switch:
            seconds = min(seconds, max(1, switch.get("left", self._settings["rollback_window_s"])))
        return seconds * 1000

    async def _poll(self):
        """Serve all eIMs of the card. True if nothing is left to do.

        Raises EimFailed if only some could be served; if none could, the exception of the last one.
        """
        below = self.layers
        if below.silent:
            return True
        self.conversation.worked = False
        idle = True
        served = []
        eims = []
        failed = 0
        failure = at = None
        while len(served) < _MOST_EIMS:
            if served and not below.eims:
                await below.climb(self._patience_ms())
            below.at = layers.CARD
            try:
                eim = await below.again(self._choose, served)
                if eim is None:
                    break
                eims.append(eim)
                idle = await self._serve(eim) and idle
            except _EIM_FAILURES as error:
                if not served:
                    raise
                failed += 1
                failure, at = error, below.at
                log(ERROR, "poll: eIM {}: {}".format(words(served[-1]), error))
        await below.channel.close()
        if failed == len(served) and failed:
            below.at = at  # the layer that failed, whatever was set up since
            raise failure
        if failed:
            raise EimFailed("{} of {} eIMs are still to be served".format(failed, len(served)))
        below.eims = eims if idle and not self.conversation.worked and self.under_way is None else None
        return idle

    async def _choose(self, served):
        """The eIM to serve next, None if all have been served."""
        below = self.layers
        if not below.eims:
            if not below.channel.is_open:
                await below.climb(self._patience_ms(), layers.CARD)
            return await unserved(below.es10, served, self._settings["eim_file"])
        for eim in below.eims:
            if eim.eim_id not in served:
                served.append(eim.eim_id)
                return eim
        return None

    async def _open_card(self):
        """Open the card because it is needed; what was read from it before is no longer valid."""
        self.layers.eims = None
        self.conversation.worked = True
        if not self.layers.channel.is_open:
            await self.layers.climb(self._patience_ms(), layers.CARD)

    async def _serve(self, eim):
        """Serve one eIM, over several profiles if it switches them. True if nothing is left to do."""
        for _ in range(self._settings["packages_per_poll"]):
            if not (self.layers.channel.is_open or self.layers.eims):
                await self.layers.climb(self._patience_ms(), layers.CARD)
            unload()
            gc.collect()
            outcome = await self._reach(eim)
            if outcome != SWITCH:
                break
            self.state = SWITCHING
            net.keep_room()  # where the association was that has ended
            self.busy_since = ticks_ms()
            await self.layers.switch(self._patience_ms())
            self.state = POLLING
        return outcome == IDLE

    async def _reach(self, eim):
        """Run a conversation. If it fails soon and before the eIM has answered, try again here, the last time over a
        new data context: on some networks the first DNS query and the first socket after an attach fail."""
        below = self.layers
        conversation = self.conversation
        for number in range(1, _TRIES):
            below.at = layers.EIM
            began = ticks_ms()
            try:
                return await conversation.run(eim, below.eid, below.device_info, below.plmn, bool(below.eims))
            except (ModemError, NetError, asyncio.TimeoutError) as error:
                if conversation.link.answered or ticks_diff(ticks_ms(), began) > _QUICK_MS:
                    raise
                log(INFO, "poll: {}, once more".format(error))
                if not isinstance(error, (SocketError, NetError)):
                    below.channel.is_open = False  # a command got no answer, and it is not known which
            await below.pause(number)
            if number == _TRIES - 1 and not below.modem.heard:
                below.at = layers.CONTEXT
                if below.modem.sleeps:
                    await below.wake()
                await below.modem.close_context()
            await below.climb(self._patience_ms())
        below.at = layers.EIM
        return await conversation.run(eim, below.eid, below.device_info, below.plmn, bool(below.eims))

    def _network_goes(self, reason):
        self.conversation.end()
        self.tell(NETWORK_GOES, reason)

    def _profile_changed(self, iccid):
        self.tell(PROFILE_CHANGED, iccid)

    def tell(self, event, detail):
        for handler in self._handlers:
            try:
                handler(event, detail)
            except Exception as error:  # noqa: BLE001 - a bug in the product must not stop the assistant
                sys.print_exception(error)


class Lease:
    """Exclusive use of modem or card by the product, one lease at a time."""

    def __init__(self, agent, layer):
        self._agent = agent
        self._layer = layer

    async def __aenter__(self):
        agent = self._agent
        await agent.turn.acquire()
        if self._layer == layers.CARD:
            agent.layers.eims = None
        try:
            await agent.layers.climb(agent._patience_ms(), self._layer)
        except BaseException:
            agent.turn.release()
            raise
        if self._layer == layers.CONTEXT:
            return agent.layers.modem
        return None if agent.layers.silent else agent.layers.es10

    async def __aexit__(self, *_):
        self._agent.turn.release()
