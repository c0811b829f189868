"""What is known of the starts behind us. Loaded when it is asked, forgotten by forget().

    ipa.restarts   a line each: how many starts in a row failed; why, for people; `told` once an eIM knows
    ipa.loading    is there while a start loads its modules
    ipa.trial      names a version that has reached no eIM yet, and has a dot for each of its starts: see switch.py
"""

import os
import sys

_FILE = "ipa.restarts"
_LOADING = "ipa.loading"
TRIAL = "ipa.trial"
WELL_MS = 3600000  # a program that ran so long began well
_LONGEST_S = 3600
_LONGEST_REASON = 120


def failed():
    """How many starts in a row failed before this one: ended in an exception, or while they loaded."""
    number = _read()[0]
    return int(number) if number.isdigit() else 0


def begin():
    """A start begins. One that ended while it loaded, by the watchdog or a power cut, has failed. Raises OSError."""
    try:
        os.stat(_LOADING)
    except OSError:
        with open(_LOADING, "w"):
            return
    reason = "a start ended before all modules were loaded"
    print("starts:", reason)
    _write(failed() + 1, reason)


def loaded():
    """All modules are loaded."""
    try:
        os.remove(_LOADING)
    except OSError:
        pass  # the flash was full, or Ctrl-C came later


def failed_by(error, after_ms):
    """One more, so long after it began. Returns the seconds to wait: 2, doubled each time up to an hour.

    Raises OSError.
    """
    loaded()
    count = failed() + 1 if 0 <= after_ms < WELL_MS else 1
    _write(count, _reason_of(error))
    return min(1 << min(count, 12), _LONGEST_S)


def untold():
    """Why the board began again, or with other settings, as long as no eIM has heard it; "" otherwise."""
    lines = _read()
    return "" if lines[2] else lines[1]


def note(reason, count=None):
    """Keep something for the eIM's operator, and how many starts failed where that changes. Raises OSError."""
    if count is not None or untold() != _words(reason):
        _write(failed() if count is None else count, reason)


def went_well():
    """This start did. Raises OSError."""
    count, reason, told = _read()
    if count not in ("", "0"):
        _write(0, reason, told)


def reached(told):
    """A poll has reached an eIM, which proves the version that runs; `told`: it took what untold() says. Raises
    OSError."""
    count, reason, before = _read()
    if told and reason and not before:
        _write(count, reason, "told")
    try:
        os.remove(TRIAL)
    except OSError:
        pass  # proven long ago


def forget():
    """Give back the room this module takes."""
    sys.modules.pop("starts", None)


def _reason_of(error):
    """An exception as one line, with the place where it was raised."""
    import io

    text = io.StringIO()
    sys.print_exception(error, text)
    lines = [line.strip() for line in text.getvalue().strip().split("\n")]
    return lines[-1] + (" (" + lines[-2] + ")" if len(lines) > 2 else "")


def _words(text):
    """Fit for a line of the file and for a message: printable ASCII, short."""
    return "".join([char if " " <= char <= "~" else "?" for char in text])[:_LONGEST_REASON]


def _read():
    for name in (_FILE, _FILE + ".new"):  # the second one after a power cut on FAT
        try:
            with open(name) as file:
                return (file.read(256) + "\n\n\n").split("\n")[:3]
        except (OSError, ValueError):
            pass
    return ["", "", ""]


def _write(count, reason, told=""):
    with open(_FILE + ".new", "w") as file:
        file.write("{}\n{}\n{}\n".format(count, _words(reason), told))
    os.rename(_FILE + ".new", _FILE)
    if hasattr(os, "sync"):
        os.sync()
