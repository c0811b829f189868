"""Calculates when the next poll begins: interval, random part, window in the day."""

import os

from ipa.compat import INFO, const, log, unix_time

_DAY = const(86400)


def until_next(settings):
    """Milliseconds, with a random part so that a fleet does not poll at the same time."""
    wait = settings["poll_interval_s"] * 1000
    wait = wait * (25600 + settings["poll_jitter_percent"] * (2 * os.urandom(1)[0] - 255)) // 25600
    if settings["poll_window"] != "any":
        wait = into_window(settings["poll_window"], wait // 1000) * 1000
    return wait


def window(text):
    """(first second of the day, length in seconds) of "02:00-04:30", UTC, over midnight as well. Raises ValueError."""
    first, last = [_second(part) for part in text.split("-")]
    if first == last:
        raise ValueError(text)
    return first, (last - first) % _DAY


def into_window(text, wait_s):
    """wait_s; if it would end outside the window, the time until a random moment of the next window."""
    now = unix_time()
    if now is None:
        log(INFO, "agent: the clock is not set, so the next poll may miss its window")
        return wait_s
    first, length = window(text)
    since = (now + wait_s - first) % _DAY
    if since < length:
        return wait_s
    # Random, so that a fleet does not poll in the first second of the window.
    return wait_s + _DAY - since + int.from_bytes(os.urandom(3), "big") % length


def _second(clock):
    if len(clock) != 5 or clock[2] != ":" or not (clock[:2] + clock[3:]).isdigit():
        raise ValueError(clock)
    hour, minute = int(clock[:2]), int(clock[3:])
    if hour > 23 or minute > 59:
        raise ValueError(clock)
    return hour * 3600 + minute * 60
