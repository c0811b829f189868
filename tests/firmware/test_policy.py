"""ipa.policy under MicroPython: each rule for leaving and for going home, fed with times and nothing slept."""

from __future__ import annotations

import pytest
from board_run import Run

HOUR = 3600
SCRIPT = """
from ipa import config, policy
settings = dict(config.DEFAULTS)
HOUR, DAY = 3600, 86400
HERE, NEAR, FAR = (48.14, 11.58), (48.15, 11.60), (52.52, 13.41)

def after(*failures):
    "What has become of the connection after these failures."
    loss = {}
    for seconds, registered, plmn, signal, moved in failures:
        loss = policy.noted(loss, seconds, registered, plmn, signal, moved, settings)
    return policy.lost(loss, settings)

def off(seconds, signal=None, moved=False):
    return seconds, False, None, signal, moved

def on(seconds, plmn="home", signal=-80, moved=False):
    return seconds, True, plmn, signal, moved
"""

RULES = {
    "nothing has failed: nothing is lost, however little the settings bear": """
settings.update(fallback_unregistered_s=1, fallback_unreached_s=1, fallback_polls=1)
assert policy.lost({}, settings) is None
assert policy.lost({"off": 1}, settings) == policy.UNREGISTERED
assert policy.lost({"on": 1}, settings) == policy.UNREACHED
assert policy.lost({"polls": 1}, settings) == policy.UNREACHED""",
    "1: no registration for long enough": """
assert after(off(DAY - 1)) is None
assert after(off(DAY - HOUR), off(HOUR)) == policy.UNREGISTERED""",
    "1: a registration starts it afresh": """
assert after(off(DAY - 1), on(1), off(DAY - 1)) is None""",
    "2: time counts double while cells are heard that do not let us in": """
assert after(off(DAY // 2, signal=-90)) == policy.UNREGISTERED
assert after(off(DAY // 2, signal=-115)) is None""",
    "3: registered for long enough without reaching the eIM": """
assert after(on(3 * DAY - 1)) is None
assert after(on(3 * DAY - 1), on(1)) == policy.UNREACHED""",
    "3: losing the registration now and then does not start it afresh": """
assert after(on(2 * DAY), off(HOUR), on(DAY)) == policy.UNREACHED""",
    "4: enough polls in a row on one network": """
settings["fallback_polls"] = 3
assert after(on(1), on(1)) is None
assert after(on(1), on(1), on(1)) == policy.UNREACHED""",
    "4: another network gets its own count": """
settings["fallback_polls"] = 3
assert after(on(1), on(1), on(1, "visited"), on(1, "visited")) is None
assert after(on(1), on(1, "visited"), on(1, "visited"), on(1, "visited")) == policy.UNREACHED""",
    "5: polls under a weak signal are not counted, their time is": """
settings["fallback_polls"] = 2
assert after(*[on(1, signal=-115)] * 10) is None
assert after(*[on(1, signal=None)] * 2) == policy.UNREACHED
assert after(*[on(3 * DAY, signal=-115)]) == policy.UNREACHED""",
    "6: a device that has moved gets twice as much of everything": """
assert after(off(2 * DAY - 1, moved=True)) is None
assert after(off(2 * DAY, moved=True)) == policy.UNREGISTERED
assert after(on(6 * DAY - 1, moved=True)) is None
assert after(on(6 * DAY, moved=True)) == policy.UNREACHED""",
    "6: moved is further than the setting, where both places are known": """
assert not policy.has_moved(HERE, NEAR, settings)
assert policy.has_moved(HERE, FAR, settings)
assert not policy.has_moved(None, FAR, settings) and not policy.has_moved(HERE, None, settings)
assert not policy.has_moved((0, 179.99), (0, -179.99), settings)
settings["fallback_moved_km"] = 111
assert not policy.has_moved((0, 0), (1, 0), settings) and policy.has_moved((0, 0), (1.01, 0), settings)""",
    "7: home is tried after a time": """
fallback = policy.begun("iccid", "home", settings)
fallback, home = policy.homeward(fallback, DAY - 1, False)
assert not home
fallback, home = policy.homeward(fallback, 1, False)
assert home""",
    "7: each return that does not hold doubles it, to sixteen times": """
fallback = policy.begun("iccid", "home", settings)
waits = []
for _ in range(6):
    fallback = policy.returning(fallback, settings)
    waits.append(fallback["left"] // DAY)
assert waits == [2, 4, 8, 16, 16, 16]""",
    "8: home is tried when it is heard again": """
fallback = policy.begun("iccid", "home", settings)
fallback, home = policy.homeward(fallback, 60, False)
assert not home
fallback, home = policy.homeward(fallback, 60, True)
assert home""",
    "8: what was heard all the time is no news": """
fallback = policy.begun("iccid", "home", settings)
for _ in range(3):
    fallback, home = policy.homeward(fallback, 60, True)
    assert not home
assert not policy.homeward(policy.returning(fallback, settings), 60, True)[1]""",
}


@pytest.mark.parametrize("rule", RULES)
async def test_a_connection_is_lost_or_home_is_tried_by_rule(micropython: Run, rule: str) -> None:
    assert await micropython(SCRIPT + RULES[rule]) == ""
