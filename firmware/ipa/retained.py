"""What a deep sleep must not lose, so that the wake after it is no boot: in the memory of the board's RTC, which costs
no flash, or in the journal where a board has none. It is believed after a wake only, and not after a reset."""

import json
from binascii import crc32, unhexlify

from ipa import compat
from ipa.card.es10 import Es10
from ipa.compat import ERROR, log, ticks_add, ticks_diff, ticks_ms

_WAKES = ("timer", "pin")  # what board.woken() says of them


def is_wake(board):
    """Whether the program runs because a deep sleep has ended."""
    return hasattr(board, "woken") and board.woken() in _WAKES


def save(agent, board, **more):
    """Keep the agent's state and these values. Raises OSError, ValueError where they cannot be kept."""
    below = agent.layers
    values = {
        "failures": agent.failures,
        "unserved": agent.unserved,
        "pause": agent.pause,
        "heard": agent.conversation.reached or below.modem.heard,
        "told": [[key.hex(), plmn and plmn.hex()] for key, plmn in agent.conversation.told.items()],
        "at": below.at,
        "layers": below.failures,
        "radio": None if below.radio_ms is None else ticks_diff(ticks_ms(), below.radio_ms),
        "reset": below.reset_due,
        "apn": below.apn,
        "plmn": below.plmn and below.plmn.hex(),
        "sleeps": below.modem.sleeps,
        "clock_off": below.modem.clock_off,
        "pending": agent.journal.pending(),
        "trouble": compat.trouble,
    }
    if below.eid is not None and type(below.es10) is Es10:
        values["eid"] = below.eid.hex()
        values["device_info"] = bytes(below.device_info).hex()
    values.update(more)
    if not hasattr(board, "rtc_memory"):
        agent.journal.set(asleep=values)
        return
    text = json.dumps(values).encode()
    board.rtc_memory(b"%08x%s" % (crc32(text), text))


def restore(agent, board):
    """Give the agent its state back. Returns the values of save(), None where there are none."""
    values = _kept(agent.journal, board)
    if values is None:
        return None
    below = agent.layers
    agent.failures = values["failures"]
    agent.unserved = values["unserved"]
    agent.pause = values["pause"]
    agent.conversation.reached = values["heard"]
    for key, plmn in values["told"]:
        agent.conversation.told[unhexlify(key)] = plmn and unhexlify(plmn)
    below.at = values["at"]
    below.failures = values["layers"]
    if values["radio"] is not None:
        below.radio_ms = ticks_add(ticks_ms(), -values["radio"])
    below.reset_due = values["reset"]
    below.apn = values["apn"]
    below.plmn = values["plmn"] and unhexlify(values["plmn"])
    below.clock_due = True  # the board's has drifted
    below.modem.sleeps = values["sleeps"]
    below.modem.clock_off = values["clock_off"]
    if "eid" in values:
        below.eid = unhexlify(values["eid"])
        below.device_info = unhexlify(values["device_info"])
    agent.journal.later(**values["pending"])
    compat.trouble = values["trouble"]
    return values


def _kept(journal, board):
    if not hasattr(board, "rtc_memory"):
        return journal.get("asleep")
    data = board.rtc_memory()
    try:
        if int(data[:8], 16) == crc32(data[8:]):
            return json.loads(data[8:])
    except ValueError:
        pass
    log(ERROR, "sleep: the memory of the RTC is damaged and not believed")
    return None
