"""Processes of one server: started, watched, replaced and told to stop.

Each has a UDP socket of its own, which outlives it: the system deals devices out among the sockets, so one that is
replaced leaves those of the others where they are.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
SOON_S = 1.0  # a worker that ends within this time is not started again at once


class Workers:
    """``count`` processes that run ``work(number, parent)``; ``parent`` is a file that ends when this process does."""

    def __init__(self, count: int, work: Callable[[int, int], None]) -> None:
        self._count = count
        self._work = work
        self._running: dict[int, int] = {}  # number by process
        self._started: dict[int, float] = {}
        self._restarting: list[int] = []
        self._stopping = False
        self._parent, self._alive = os.pipe()

    def run(self) -> None:
        """Until SIGTERM or SIGINT, and all have ended. SIGHUP goes to all; SIGUSR2 replaces one after the other."""
        for number in range(self._count):
            self._start(number)
        for wanted in (signal.SIGTERM, signal.SIGINT):
            signal.signal(wanted, self._stop)
        signal.signal(signal.SIGHUP, lambda *_: self._tell_all(signal.SIGHUP))
        signal.signal(signal.SIGUSR2, self._restart)
        while self._running:
            pid, status = os.wait()  # signals are handled meanwhile
            if pid in self._running:
                self._ended(self._running.pop(pid), pid, status)

    def _start(self, number: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a new process must not act as its parent
        pid = os.fork()
        if pid:
            self._running[pid] = number
            self._started[number] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            log.info("worker started", extra={"fields": {"worker": number, "pid": pid}})
            return
        status = 1
        try:
            for wanted in SIGNALS:
                signal.signal(wanted, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(self._alive)
            self._work(number, self._parent)
            status = 0
        except BaseException:  # whatever it is, the process must not go on as its parent
            log.exception("worker %d fails", number)
        finally:
            os._exit(status)

    def _ended(self, number: int, pid: int, status: int) -> None:
        how = {"worker": number, "pid": pid, "status": os.waitstatus_to_exitcode(status)}
        if self._stopping:
            return
        if number in self._restarting:
            log.info("worker replaced", extra={"fields": how})
            self._restarting.remove(number)
        else:
            log.error("worker ended by itself", extra={"fields": how})
            if time.monotonic() - self._started[number] < SOON_S:
                time.sleep(SOON_S)
        if not self._stopping:
            self._start(number)
            self._restart_next()

    def _tell_all(self, wanted: signal.Signals) -> None:
        for pid in list(self._running):
            os.kill(pid, wanted)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        self._tell_all(signal.SIGTERM)

    def _restart(self, *_: object) -> None:
        idle = not self._restarting
        self._restarting = sorted(self._running.values())
        if idle:
            self._restart_next()

    def _restart_next(self) -> None:
        """The next takes its turn when the one before has been replaced."""
        if self._restarting:
            os.kill(next(pid for pid, number in self._running.items() if number == self._restarting[0]), signal.SIGTERM)
