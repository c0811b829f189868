"""When the connection counts as lost for good, and when to try the home profile again.

These functions only decide: they take times and observations and return decisions to recovery.py. The observations
are in two dicts in the journal, so they survive a reboot. A *loss*:

    off    seconds without registration, since the last one
    on     seconds registered without reaching the eIM
    polls  failed polls in a row on the network `plmn`
    moved  the device is far from where it last reached its eIM

The connection is lost if one of these is true; the numbers are settings (config.py):

1. No registration for fallback_unregistered_s. A registration resets this time.
2. While cells are received well but none accepts the device, that time counts double: it is not the place.
3. Registered for fallback_unreached_s without reaching the eIM.
4. fallback_polls failed polls in a row on one network. Another network resets the count.
5. A failed poll under a signal weaker than fallback_weak_dbm does not count for 4: it says nothing about the operator.
6. A device that is fallback_moved_km from where it last reached its eIM has twice the time and polls.

A *fallback* describes the home profile: `from` (its ICCID), `plmn` (its network, if known), `left` (seconds until the
next attempt to return), `wait` (the initial value of `left`), `gone` (its network could not be received since). The
device tries to return

7. after return_after_s, and after twice the time with each return that fails, up to sixteen times,
8. at once if the home network could not be received and can be received again,
9. and if the fallback profile is lost as well, by rules 1 to 6.
"""

from math import cos, radians

from ipa.compat import const

UNREGISTERED = const(1)
UNREACHED = const(2)

_HEARD_COUNTS = const(2)
_MOVED_GETS = const(2)
_MOST_DOUBLINGS = const(4)
_KM_IN_A_DEGREE = const(111)


def noted(loss, seconds, registered, plmn, signal, moved, settings):
    """The loss after one more failed poll, which took `seconds`, including the pause after it.

    `loss`: the one before, {} for the first. `plmn`: any name of the network; `signal` in dBm; None if unknown.
    """
    loss = dict(loss)
    loss["moved"] = moved
    strong = signal is not None and signal >= settings["fallback_weak_dbm"]
    if not registered:
        loss["off"] = loss.get("off", 0) + (seconds * _HEARD_COUNTS if strong else seconds)
        return loss
    loss["off"] = 0
    loss["on"] = loss.get("on", 0) + seconds
    if plmn != loss.get("plmn"):
        loss["plmn"] = plmn
        loss["polls"] = 0
    if strong or signal is None:
        loss["polls"] = loss.get("polls", 0) + 1
    return loss


def lost(loss, settings):
    """UNREGISTERED or UNREACHED if the connection is lost for good, else None."""
    patience = _MOVED_GETS if loss.get("moved") else 1
    if loss.get("off", 0) >= settings["fallback_unregistered_s"] * patience:
        return UNREGISTERED
    if loss.get("on", 0) >= settings["fallback_unreached_s"] * patience:
        return UNREACHED
    return UNREACHED if loss.get("polls", 0) >= settings["fallback_polls"] * patience else None


def has_moved(here, there, settings):
    """Whether two places (latitude, longitude in degrees) are further apart than the setting; False if unknown."""
    if here is None or there is None:
        return False
    north = (here[0] - there[0]) * _KM_IN_A_DEGREE
    east = ((here[1] - there[1] + 180) % 360 - 180) * _KM_IN_A_DEGREE * cos(radians(here[0]))
    return north * north + east * east > settings["fallback_moved_km"] ** 2


def begun(iccid, plmn, settings):
    """The fallback that begins now; `iccid` and `plmn` are the home profile and its network."""
    wait = settings["return_after_s"]
    return {"from": iccid, "plmn": plmn, "left": wait, "wait": wait}


def homeward(fallback, seconds, heard):
    """(the fallback after `seconds` more, whether to return now). `heard`: the home network can be received."""
    fallback = dict(fallback)
    fallback["left"] = max(0, fallback["left"] - seconds)
    back = heard and fallback.get("gone", False)
    if not heard:
        fallback["gone"] = True
    return fallback, back or not fallback["left"]


def returning(fallback, settings):
    """The fallback to be used if the return that begins now fails."""
    wait = min(fallback["wait"] * 2, settings["return_after_s"] << _MOST_DOUBLINGS)
    return {"from": fallback["from"], "plmn": fallback["plmn"], "left": wait, "wait": wait}
