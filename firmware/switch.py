"""main.py of a board that `microipa flash` has written: runs the version which ipa.version names first.

Each version lies whole in a folder of its own. Flashing writes a new one, and changes that line last. A version is on
trial until it has reached an eIM (ipa.trial). When it has been started _STARTS times without that, or when _STARTS
starts in a row ended in an exception, the version before it runs again. Journal and keys lie outside of all versions.
"""

import os
import sys

import restart
import starts

_STARTS = 3
_NAMES = "ipa.version"


def chosen():
    """The version that is to run now and the one before it, each "" without."""
    # The second name is there when the power went between the two steps in which FAT replaces a file.
    for name in (_NAMES, _NAMES + ".new"):
        try:
            with open(name) as file:
                running, before = (file.read(200) + "\n\n").split("\n")[:2]
        except (OSError, ValueError):
            continue
        if running:
            return running, before
    return "", ""


def trials(version):
    """How often this version was started on trial, None when it is proven."""
    try:
        with open(starts.TRIAL) as file:
            name, dots = (file.read(200) + "\n").split("\n")[:2]
    except (OSError, ValueError):
        return None
    return len(dots) if name == version else None


def judged(running, before):
    """The version to run, after the starts behind us; this start is counted. Raises OSError."""
    tried = trials(running)
    failed = starts.failed()
    reason = ""
    if tried is not None and tried >= _STARTS:
        reason = "reached no eIM in {} starts".format(tried)
    elif failed and not failed % _STARTS:
        reason = "failed in {} starts".format(failed)
    if reason and before:
        reason = "{} {}, {} runs again".format(running, reason, before)
        starts.note(reason, failed - failed % _STARTS + 1)  # the pauses go on from there, and it is no third failure
        go_back(before, running)
        print("switch:", reason)
        return before
    if tried is not None:
        with open(starts.TRIAL, "a") as file:
            file.write(".")
    return running


def go_back(version, other):
    with open(_NAMES + ".new", "w") as file:
        file.write("{}\n{}\n".format(version, other))
    os.rename(_NAMES + ".new", _NAMES)
    try:
        os.remove(starts.TRIAL)
    except OSError:
        pass  # it was not on trial


def start():
    running, before = chosen()
    if not running:
        print("no version of the assistant on this board: run microipa flash")
        return
    try:
        running = judged(running, before)
    except OSError as error:  # a flash that is full or worn out is no reason not to work
        print("switch:", error)
    starts.forget()
    sys.path.insert(0, running)
    import app  # noqa: F401 (which is firmware/main.py, and runs for ever)


restart.guard(start)
