"""Records how the earlier starts ended. Loaded when needed, unloaded by forget().

    ipa.restarts   four lines: number of failed starts in a row; the reason, for people; `told` after it was reported to
                   an eIM; `failed` from the failure of a start until the next one has loaded its modules
    ipa.loading    exists while a start loads its modules
    ipa.trial      the version that has not reached an eIM yet, with a dot for each of its starts: see switch.py
"""

import os
import sys

_FILE = "ipa.restarts"
_LOADING = "ipa.loading"
TRIAL = "ipa.trial"
_WELL_MS = 3600000  # a program that ran this long has started successfully
_LONGEST_S = 3600
_INTERRUPTED = "a start ended before all modules were loaded"
_LONGEST_REASON = 120


def failed():
    """How many starts in a row failed, including the last one: by an exception, or before all modules were loaded."""
    count, _, _, last = _read()
    return count if last else 0


def interrupted():
    """Whether the last of them ended before all modules were loaded, for which its settings are not the reason."""
    return _read()[1] == _INTERRUPTED


def begin():
    """Record that a start begins. The last one failed if it ended while it loaded (watchdog, power cut). Raises
    OSError."""
    count, reason, sent, last = _read()
    if _LOADING in os.listdir():
        _write(count + 1, _INTERRUPTED, last="failed")
        print("starts:", _INTERRUPTED)
        return
    with open(_LOADING, "w"):
        pass
    if count and not last:
        _write(0, reason, sent)


def loaded():
    """Record that this start has loaded all modules, or has failed. Raises OSError."""
    try:
        os.remove(_LOADING)
    except OSError:
        pass  # the flash was full, or this is after Ctrl-C
    count, reason, sent, last = _read()
    if last:
        _write(count, reason, sent)


def failed_by(error, after_ms):
    """Record that this start failed, `after_ms` after it began. Returns the seconds to wait: 2, doubled up to an hour.

    Raises OSError.
    """
    loaded()
    count = _read()[0] + 1 if 0 <= after_ms < _WELL_MS else 1
    _write(count, _reason_of(error), last="failed")
    return min(1 << min(count, 12), _LONGEST_S)


def unreported():
    """Why the board restarted, or uses other settings; "" after it was reported to an eIM."""
    _, reason, sent, _ = _read()
    return "" if sent else reason


def note(reason, count=None):
    """Save a message for the eIM's operator, and the number of failed starts if it changes. Raises OSError."""
    before, _, _, last = _read()
    if count is not None or unreported() != _words(reason):
        _write(before if count is None else count, reason, last=last)


def reached(sent):
    """A poll has reached an eIM, so this version is good. `sent`: the text of unreported() was sent. Raises OSError."""
    count, reason, before, last = _read()
    if sent and reason and not before:
        _write(count, reason, "told", last)
    try:
        os.remove(TRIAL)
    except OSError:
        pass  # it was confirmed before


def forget():
    """Unload this module."""
    sys.modules.pop("starts", None)


def _reason_of(error):
    """An exception as one line, with the place where it was raised."""
    import io

    text = io.StringIO()
    sys.print_exception(error, text)
    lines = [line.strip() for line in text.getvalue().strip().split("\n")]
    return lines[-1] + (" (" + lines[-2] + ")" if len(lines) > 2 else "")


def _words(text):
    """The text as one short line of printable ASCII."""
    return "".join([char if " " <= char <= "~" else "?" for char in text])[:_LONGEST_REASON]


def _read():
    """The lines of the file, the first one as a number."""
    for name in (_FILE, _FILE + ".new"):  # the second one after a power cut on FAT
        try:
            with open(name) as file:
                count, reason, sent, last = (file.read(256) + "\n\n\n\n").split("\n")[:4]
            return int(count) if count.isdigit() else 0, reason, sent, last
        except (OSError, ValueError):
            pass
    return 0, "", "", ""


def _write(count, reason, sent="", last=""):
    with open(_FILE + ".new", "w") as file:
        file.write("{}\n{}\n{}\n{}\n".format(count, _words(reason), sent, last))
    os.rename(_FILE + ".new", _FILE)
    if hasattr(os, "sync"):
        os.sync()
