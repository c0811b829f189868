"""What a board does when its program ends in an exception: say why, wait, begin again. It never ends at the REPL.

Only Ctrl-C leads there. This file and starts.py lie beside main.py, outside all versions of the assistant, and each
version uses them: what is here may grow, and not change.
"""

import gc
import sys
import time

_RESET_STATUS = 75  # with which a process tells the virtual board that it wants to begin again
_PAUSE_S = 60  # where starts.py does not know better
_STEP_S = 2

_feed = None  # the board's, once the watchdog has been started


def guard(run):
    """Call run(). When it raises: a pause, longer with each failed start in a row, and a reset."""
    began = time.ticks_ms()
    try:
        run()
    except KeyboardInterrupt:
        _remember("loaded")
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody is there to see a prompt
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
    """Modules are loaded next, until starts.loaded() says otherwise. One that is torn may keep its import from ending:
    the watchdog, where the board has feed(), starts here.

    Returns whether a deep sleep has ended, which is no start and writes nothing down."""
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
    """Have starts.py do something, which a full flash or heap must not make a reason not to go on."""
    try:
        import starts

        return getattr(starts, function)(*arguments)
    except Exception as failure:  # noqa: BLE001 - a starts.py that is torn, as well
        print("restart: starts.py:", failure)
    return None


def reset():
    try:
        from machine import reset as again
    except ImportError:
        sys.exit(_RESET_STATUS)
    again()
