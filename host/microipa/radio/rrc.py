"""RRC and power saving of one device as the network sees them: connected, idle, eDRX, PSM (TS 36.331 5.3, TS 24.301).

A datagram either way, or signalling, leads to the connected state. The network ends it when nothing went for the
inactivity time, or at once where the device has said that nothing follows (release assistance). The device then
listens for paging: all the time, in the paging windows of eDRX, or until T3324 ends and it sleeps in PSM. T3412 brings
a periodic registration update, out of sleep as well.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from microipa.common.clock import Clock, Timer
from microipa.radio.behaviour import Behaviour
from microipa.trace import Trace

FASTEST = 20.0
"""Timers of network and modem run so much faster than true at most: a board keeps real time."""
_ASK_AGAIN_S = 0.05  # of the clock, whether the modem may sleep now
_DEFAULT_UPDATE_S = 54 * 60.0  # T3412 (TS 24.301 table 10.2.1)


class State(StrEnum):
    """What the modem's radio does. OFF: not registered, which includes searching."""

    OFF = "off"
    CONNECTED = "connected"
    IDLE = "idle"
    EDRX = "edrx"
    PSM = "psm"


class Assistance(IntEnum):
    """Release assistance indication, as a device gives it with a datagram (TS 24.301 9.9.4.25)."""

    NONE = 0
    LAST = 1
    ONE_ANSWER = 2


@dataclass(frozen=True)
class Granted:
    """What the network lets this device do, in seconds of the true radio. ``update_s`` is T3412, ``active_s`` T3324
    where PSM is granted, ``cycle_s`` that of eDRX where that is."""

    update_s: float = _DEFAULT_UPDATE_S
    active_s: float | None = None
    cycle_s: float | None = None


@dataclass
class Spent:
    """Seconds of the true radio in each state and how often what happened. ``undelivered``: datagrams to a device
    that slept. ``assisted``: connections that ended by release assistance."""

    seconds: defaultdict[State, float] = field(default_factory=lambda: defaultdict(float))
    connections: int = 0
    assisted: int = 0
    updates: int = 0
    pages: int = 0
    undelivered: int = 0


class Rrc:
    """The states of one device. Its modem sets the four functions below."""

    def __init__(self, speed: float, behaviour: Behaviour, trace: Trace | None = None,
                 clock: Clock | None = None) -> None:
        """``speed``: how much faster than ``clock`` its timers run."""
        self.granted: Callable[[], Granted] = Granted
        self.may_sleep: Callable[[], bool] = lambda: True
        """Whether the modem has nothing else to do, such as talking to its board."""
        self.on_sleep: Callable[[], None] = lambda: None
        self.on_wake: Callable[[], None] = lambda: None
        self.state = State.OFF
        self.awake = asyncio.Event()
        """Set unless the device is in PSM, in which it does not notice what becomes of its cell."""
        self.awake.set()
        self._spent = Spent()
        self._clock = clock or Clock()
        self._speed = speed
        self._behaviour = behaviour
        self._trace = trace
        self._since = 0.0
        self._assistance = Assistance.NONE
        self._timers: dict[str, Timer] = {}
        self._kept: list[Callable[[], None]] = []

    @property
    def spent(self) -> Spent:
        """Until now."""
        self._count()
        return self._spent

    def register(self) -> None:
        """The device has attached, which takes a connection."""
        self.activity()

    def leave(self) -> None:
        """The device is off the network."""
        self._stop()
        self._kept.clear()
        self._become(State.OFF)

    def activity(self, assistance: Assistance = Assistance.NONE) -> None:
        """Something goes up or has come down, or the device signals."""
        if self.state is not State.CONNECTED:
            asleep = self.state is State.PSM
            self._stop()
            self._spent.connections += 1
            self._become(State.CONNECTED)
            if asleep:
                self.on_wake()
            kept, self._kept = self._kept, []
            for deliver in kept:
                deliver()
        if self._behaviour.release_assistance:
            self._assistance = assistance
        self._after("inactivity", self._behaviour.inactivity_s, self._release)

    def sent(self, assistance: Assistance) -> None:
        """A datagram went up."""
        if self.state is State.OFF:
            return
        self.activity(assistance)
        if self._assistance is Assistance.LAST:
            self._assisted()

    def release(self) -> None:
        """The device says at once that nothing follows."""
        if self.state is State.CONNECTED and self._behaviour.release_assistance:
            self._assisted()

    def received(self) -> None:
        """A datagram has come down."""
        if self.state is State.OFF:
            return
        answered = self._assistance is Assistance.ONE_ANSWER
        self.activity()
        if answered:
            self._assisted()

    def reach(self, deliver: Callable[[], None], *, stored: bool = False) -> bool:
        """A datagram waits in the network for this device: ``deliver`` is called now or when it listens again.
        False when it is lost, which what is ``stored``, an SMS, is not."""
        if self.state is State.PSM:
            if stored or self._behaviour.buffers:
                self._kept.append(deliver)
                return True
            self._spent.undelivered += 1
            self._record("datagram to a device in PSM is lost")
            return False
        if self.state in (State.IDLE, State.EDRX):
            self._spent.pages += 1
        if self.state is State.EDRX:
            self._clock.call_later(self._to_window_s(), lambda: self._page(deliver))
        else:
            deliver()
        return True

    def wake(self) -> None:
        """The modem is woken by its board: it listens again for T3324."""
        if self.state is State.PSM:
            self._rest()
            self.on_wake()

    def timers_changed(self) -> None:
        """The device has asked for other timers, which takes a registration update."""
        if self.state is not State.OFF:
            self.activity()

    def _page(self, deliver: Callable[[], None]) -> None:
        if self.state is State.OFF:
            return
        if self.state is State.PSM:
            self._spent.undelivered += 1
        else:
            deliver()

    def _to_window_s(self) -> float:
        """Seconds of the clock until the device listens next."""
        cycle = (self.granted().cycle_s or 0) / self._speed
        return cycle - math.fmod(self._clock.time() - self._since, cycle) if cycle else 0

    def _assisted(self) -> None:
        self._spent.assisted += 1
        self._release()

    def _release(self) -> None:
        self._assistance = Assistance.NONE
        self._stop()
        self._rest()
        self._after("T3412", self.granted().update_s, self._update)

    def _rest(self) -> None:
        """Idle, for as long as that lasts."""
        granted = self.granted()
        self._become(State.EDRX if granted.cycle_s else State.IDLE)
        if granted.active_s is not None:
            self._after("T3324", granted.active_s, self._sleep)

    def _sleep(self) -> None:
        if self.granted().active_s is None:
            return
        if not self.may_sleep():
            self._timers["T3324"] = self._clock.call_later(_ASK_AGAIN_S, self._sleep)
            return
        self._become(State.PSM)
        self.on_sleep()

    def _update(self) -> None:
        """Periodic registration update (TS 24.301 5.5.3.2.2), after which the network releases the connection."""
        self._spent.updates += 1
        self._record("periodic registration update")
        self.activity()
        self._release()

    def _after(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._clock.call_later(seconds / self._speed, call)

    def _stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _become(self, state: State) -> None:
        if state is not self.state:
            self._count()
            self.state = state
            if state is State.PSM:
                self.awake.clear()
            else:
                self.awake.set()
            self._record(None)

    def _count(self) -> None:
        now = self._clock.time()
        if self._since:
            self._spent.seconds[self.state] += (now - self._since) * self._speed
        self._since = now

    def _record(self, event: str | None) -> None:
        if self._trace:
            self._trace.record("radio", "rrc", state=self.state.value, **({"event": event} if event else {}))
