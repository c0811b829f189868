"""What cases wait for: matchers of events, and what it means when the event does not come."""

from __future__ import annotations

from microipa.common.errors import MicroipaError
from microipa.hil.station import Matcher
from microipa.trace import Event


class BoardStuck(MicroipaError):
    """The board did not come to an end in time, or not to the one that was asked for."""


def logged(text: str) -> Matcher:
    """The board has said this."""
    return lambda event: (event.part, event.kind) == ("board", "log") and text in event.fields["text"]


def sleeps_for(seconds: int) -> Matcher:
    """The board begins a deep sleep of so long."""
    return logged(f"sleep: deep, for {seconds} s")


def answered(tag: int) -> Matcher:
    """The card has begun to answer this ES10 function."""
    return lambda event: event.kind == "apdu" and event.fields["response"].startswith(f"{tag:04x}")


def order_done(what: str) -> Matcher:
    """The eIM has settled an order of this kind: package or download."""
    return lambda event: (
        (event.part, event.kind) == ("eim", "order")
        and event.fields.get("what") == what
        and event.fields["state"] == "done"
    )


def told(cause: str) -> Matcher:
    """The eIM has heard this stateChangeCause."""
    return lambda event: (event.part, event.kind, event.fields.get("cause")) == ("eim", "state_change", cause)


def listened(event: Event) -> bool:
    """The modem has told which networks it hears."""
    return event.kind == "at" and event.fields["direction"] == "out" and "+COPS: (" in event.fields.get("text", "")


def notified(event: str, iccid: str) -> Matcher:
    """The SM-DP+ has heard that the card did this to the profile: enable, disable or delete."""
    return lambda one: one.part == "smdpp" and f": {event} of profile {iccid}" in one.fields.get("text", "")


def in_profile(event: Event) -> bool:
    """A block of a bound profile package goes into the card."""
    return event.kind == "apdu" and event.fields["command"][2:6] == "e211"


def nth(count: int, matches: Matcher) -> Matcher:
    """The event that is such a one for this time."""
    left = [count]

    def counted(event: Event) -> bool:
        left[0] -= matches(event)
        return left[0] == 0

    return counted
