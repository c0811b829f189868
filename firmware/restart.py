"""What a board does when its program ends in an exception: print it, wait, restart. It never ends at the REPL.

Only Ctrl-C leads to the REPL. This file and starts.py are beside main.py, outside all versions of the assistant, and
each version uses them: functions may be added here, but not changed.
"""

import gc
import sys
import time

_RESET_STATUS = 75  # exit status by which the virtual board is told to restart
_PAUSE_S = 60  # if starts.py gives no other value
_STEP_S = 2

_feed = None  # the board's feed(), after the watchdog has been started


def guard(run):
    """Call run(). If it raises: wait, longer with each failed start in a row, and reset."""
    began = time.ticks_ms()
    try:
        run()
    except KeyboardInterrupt:
        _remember("loaded")
        raise
    except Exception as error:  # noqa: BLE001 - nobody is there to use a prompt
        gc.collect()
        sys.print_exception(error)
        pause = _remember("failed_by", error, time.ticks_diff(time.ticks_ms(), began)) or _PAUSE_S
        print("restart: again in", pause, "s")
        for _ in range(0, pause, _STEP_S):
            if _feed:
                _feed()
            time.sleep(_STEP_S)
        reset()


def loading(board):
    """Record that modules are loaded from now on, until starts.loaded(). Importing a damaged module may not end, so the
    watchdog is started here, if the board has feed().

    Returns whether a deep sleep has ended. This does not count as a start and is not recorded."""
    global _feed
    _feed = getattr(board, "feed", None)
    if _feed:
        _feed()
    woken = getattr(board, "woken", None)
    if woken and woken() in ("timer", "pin"):
        return True
    _remember("begin")
    return False


def _remember(function, *arguments):
    """Call a function of starts.py; a full flash or heap must not stop the board."""
    try:
        import starts

        return getattr(starts, function)(*arguments)
    except Exception as failure:  # noqa: BLE001 - also for a damaged starts.py
        print("restart: starts.py:", failure)
    return None


def reset():
    try:
        from machine import reset as again
    except ImportError:
        sys.exit(_RESET_STATUS)
    again()
