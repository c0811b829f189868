"""Settings of sleep and power that do not go with the board or with each other. Loaded at boot."""

from ipa.compat import const

_LONGEST_MS = const(1036800000)  # 12 days: more is too long for the ticks of a port with 31 bits


def longest_ms(board):
    """The longest single sleep; a longer one is made of several."""
    return getattr(board, "longest_sleep_ms", _LONGEST_MS)


def check(board, settings):
    """What of the settings does not go with the board or with each other, in words; "" when all does. The device goes
    on without: the sleep is set to "none" where the board has none."""
    found = []
    mode = settings["sleep"]
    if mode != "none" and not hasattr(board, mode + "_sleep"):
        settings["sleep"] = "none"
        found.append("the board has no {} sleep, so it stays awake".format(mode))
    interval = settings["poll_interval_s"]
    longest = longest_ms(board) // 1000
    if settings["sleep"] != "none" and interval > longest:
        found.append("poll_interval_s {} is longer than one sleep, {} s: it wakes in between".format(interval, longest))
    periodic = settings["psm_periodic_s"]
    if 0 < periodic < interval:
        found.append("psm_periodic_s {} is shorter than poll_interval_s {}: the modem wakes in between".format(
            periodic, interval))
    if settings["sleep"] == "deep" and settings["keep_association_s"]:
        found.append("keep_association_s is in vain: deep sleep ends an association")
    return "; ".join(found)
