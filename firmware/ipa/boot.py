"""Chooses the settings with which a device starts, and saves them after success. Unloaded after each use.

When an eIM was reached with some settings, they are good, and are copied to ipa.good, which is stored outside the
versions of the firmware. starts.py, beside main.py, has recorded how the starts before this one ended.
"""

import os

import starts

from ipa import compat
from ipa.compat import ERROR, const, log

_COPY = "ipa.good"
_NAME = "ipa.json"
_DOUBTFUL = const(2)  # failed starts in a row after which settings that never reached an eIM are suspected
_CHUNK = const(128)
_PARTS = (  # modules of some settings; they are left out when a device with other settings is flashed
    ("transport", "https", "net.https_link"),
    ("binding", "json", "net.esipa_json"),
    ("compact", True, "net.compact"),
    ("q_block", True, "net.qblock"),
    ("download", "direct", "steps.direct"),
    ("emulation", True, "card.emulation"),
)


def settings(folder, board, woken=False):
    """The settings in folder ("" or with a slash), else the last good ones, else the defaults.

    If they are not those of ipa.json, or do not fit together, the reason is logged and reported to the eIM; not after
    a deep sleep (`woken`), because it was reported before.
    """
    from ipa import config

    refused = (config.ConfigError, MemoryError, RuntimeError)  # RuntimeError: nested too deep
    path = folder + _NAME
    proven = _exists(_COPY)
    reason = ""
    try:
        if proven and not _exists(path):
            raise config.ConfigError("{} is missing".format(path))
        found = config.load(path)
        doubtful = starts.failed() >= _DOUBTFUL and not starts.interrupted()
        if doubtful and _exists(path) and not _same(path, _COPY):
            reason = "{} starts failed with a new {}".format(starts.failed(), path)
    except refused as error:
        reason = str(error) if isinstance(error, config.ConfigError) else "{} is too large".format(path)
    if reason:
        found = None
        which = "the defaults hold"
        if proven:
            try:
                found = config.load(_COPY, folder)
                which = "the last good settings hold"
            except refused as error:  # of another version
                log(ERROR, "boot:", error)
        found = found or config.settings({}, folder)
        reason = "{}: {}".format(reason, which)
        if not woken:
            log(ERROR, "boot:", reason)
            _try(starts.note, reason)
    if not woken:
        compat.trouble = starts.unreported() or reason
    starts.forget()
    _check(found, board, woken)
    return found


def _check(found, board, woken):
    for reason in (_absent(found), _mismatch(board, found)):
        if reason and not woken:
            log(ERROR, "boot:", reason)
            compat.trouble = "; ".join([part for part in (compat.trouble, reason) if part])


def _absent(settings):
    """The settings whose modules were not flashed, in words; "" if there are none. They are set to the defaults."""
    from ipa.config import DEFAULTS
    from ipa.modem import UnknownModem, driver

    found = []
    for key, value, name in _PARTS:
        if settings[key] == value and not _is_there("ipa." + name):
            settings[key] = DEFAULTS[key]
            found.append(key)
    if settings["modem"] != "auto":
        try:
            driver(settings["modem"])
        except (UnknownModem, ImportError):
            settings["modem"] = "auto"
            found.append("modem")
    return "not in this firmware, so the defaults hold (flash it again): " + ", ".join(found) if found else ""


def _is_there(name):
    try:
        __import__(name)
    except ImportError:
        return False
    compat.unload((name,))
    return True


def _mismatch(board, settings):
    """The settings that do not fit the board or each other, in words; "" if all fit. `sleep` is set to "none" if the
    board does not support it."""
    found = []
    mode = settings["sleep"]
    if mode == "none" and not settings["psm_periodic_s"]:
        return ""
    if mode != "none" and not hasattr(board, mode + "_sleep"):
        settings["sleep"] = "none"
        found.append("the board has no {} sleep, so it stays awake".format(mode))
    interval = settings["poll_interval_s"]
    longest = getattr(board, "longest_sleep_ms", 0) // 1000
    if settings["sleep"] != "none" and interval > longest:
        found.append("poll_interval_s {} is longer than one sleep, {} s: it wakes in between".format(interval, longest))
    periodic = settings["psm_periodic_s"]
    if 0 < periodic < interval:
        found.append("psm_periodic_s {} is shorter than poll_interval_s {}: the modem wakes in between".format(
            periodic, interval))
    if settings["sleep"] == "deep" and settings["keep_association_s"]:
        found.append("keep_association_s is in vain: deep sleep ends an association")
    return "; ".join(found)


def reached(folder):
    """A poll has reached an eIM: this version and the settings in folder are good. False: call it again later."""
    sent = compat.sent is not None
    if compat.sent == compat.trouble:
        compat.trouble = ""
    compat.sent = None
    done = _try(starts.reached, sent) and _try(_keep, folder + _NAME)
    starts.forget()
    return done


def loaded():
    """All modules of this start are loaded."""
    _try(starts.loaded)
    starts.forget()


def _keep(path):
    if not _exists(path) or _same(path, _COPY):
        return
    with open(path, "rb") as old, open(_COPY + ".new", "wb") as new:
        chunk = old.read(_CHUNK)
        while chunk:
            new.write(chunk)
            chunk = old.read(_CHUNK)
    os.rename(_COPY + ".new", _COPY)


def _try(step, *arguments):
    try:
        step(*arguments)
        return True
    except OSError as error:  # a full or worn-out flash must not stop the device
        log(ERROR, "boot:", error)
        return False


def _exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _same(path, other):
    try:
        with open(path, "rb") as one, open(other, "rb") as two:
            while True:
                chunk = one.read(_CHUNK)
                if chunk != two.read(_CHUNK):
                    return False
                if not chunk:
                    return True
    except OSError:
        return False
