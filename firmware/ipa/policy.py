"""When a connection counts as lost for good, and when home is worth another try.

Decisions only: times and observations go in, verdicts come out; who asks is recovery.py. What has been observed
is in two dicts that the journal keeps, so that a reboot forgets nothing. A *loss*:

    off    seconds without registration since there was one
    on     seconds registered without reaching the eIM
    polls  that failed in a row on the network `plmn`
    moved  the device is not where it last reached its eIM

The connection is lost when one of these holds; the numbers are settings (config.py):

1. No registration for fallback_unregistered_s. A registration starts this afresh.
2. While cells are heard well and none lets us in, that time counts double: it is not the place.
3. Registered for fallback_unreached_s, and the eIM was not reached.
4. fallback_polls polls in a row failed on one network. Another network starts the count afresh.
5. A poll under a signal weaker than fallback_weak_dbm says nothing about the operator: 4 does not count it.
6. A device that is fallback_moved_km from where it last reached its eIM has twice the time and polls.

A *fallback* is what we came from: `from` (ICCID), `plmn` (the home network, where known), `left` (seconds until
the next try to return), `wait` (what that was from the beginning), `gone` (home was out of hearing since). The
device tries to return

7. after return_after_s, and twice as long with each return that did not hold, up to sixteen times,
8. at once when the home network was out of hearing and is heard again,
9. and when the fallback profile is lost as well, by rules 1 to 6.
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
    """The loss after one more failure and the `seconds` it took, the pause after it included.

    `loss`: as of before, {} for the first. `plmn`: any name of the network; `signal` in dBm; None when unknown.
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
    """UNREGISTERED or UNREACHED when the connection is lost for good, else None."""
    patience = _MOVED_GETS if loss.get("moved") else 1
    if loss.get("off", 0) >= settings["fallback_unregistered_s"] * patience:
        return UNREGISTERED
    if loss.get("on", 0) >= settings["fallback_unreached_s"] * patience:
        return UNREACHED
    return UNREACHED if loss.get("polls", 0) >= settings["fallback_polls"] * patience else None


def has_moved(here, there, settings):
    """Are two places (degrees of latitude, of longitude) further apart than the setting? Unknown ones are not."""
    if here is None or there is None:
        return False
    north = (here[0] - there[0]) * _KM_IN_A_DEGREE
    east = ((here[1] - there[1] + 180) % 360 - 180) * _KM_IN_A_DEGREE * cos(radians(here[0]))
    return north * north + east * east > settings["fallback_moved_km"] ** 2


def begun(iccid, plmn, settings):
    """The fallback that begins now, away from the profile `iccid` and its network."""
    wait = settings["return_after_s"]
    return {"from": iccid, "plmn": plmn, "left": wait, "wait": wait}


def homeward(fallback, seconds, heard):
    """(the fallback after `seconds` more, is it time to return?) `heard`: is the home network?"""
    fallback = dict(fallback)
    fallback["left"] = max(0, fallback["left"] - seconds)
    back = heard and fallback.get("gone", False)
    if not heard:
        fallback["gone"] = True
    return fallback, back or not fallback["left"]


def returning(fallback, settings):
    """The fallback as it must be should the return that begins now not hold."""
    wait = min(fallback["wait"] * 2, settings["return_after_s"] << _MOST_DOUBLINGS)
    return {"from": fallback["from"], "plmn": fallback["plmn"], "left": wait, "wait": wait}
