"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it has started ends with it, what it has made is taken away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDS = (signal.SIGTERM, signal.SIGHUP)  # `kill`, a service manager; a terminal that is closed


@contextmanager
def as_by_ctrl_c() -> Iterator[None]:
    """While the block runs. A signal that the caller ignores (nohup) stays ignored; only the main thread has any."""
    mine = [one for one in ENDS if signal.getsignal(one) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        mine = []
    for one in mine:
        signal.signal(one, _interrupt)
    try:
        yield
    finally:
        for one in mine:
            signal.signal(one, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """What Ctrl-C would do now; asyncio has its own way while it runs. Behind ``&`` a shell lets Ctrl-C be ignored."""
    ctrl_c = signal.getsignal(signal.SIGINT)
    if not callable(ctrl_c):
        raise KeyboardInterrupt
    ctrl_c(signal.SIGINT, frame)
