"""Polls with nothing to do, which a record has once in full and then as one line for all of them.

A lab that waits for orders polls every few seconds, for days; a poll has some 50 lines with 15 kB. What a poll was
about is known when the eIM answers, so the events of a poll wait until then.
"""

from __future__ import annotations

import re

from microipa.trace.event import Event

POLL, NOTHING = "bf4f", "bf4f03020101"  # GetEimPackageRequest; noEimPackageAvailable (SGP.32 6.3.2.6)
NOTE_S = 600.0
"""So often a line tells of polls that go on having nothing to do."""
HELD_EVENTS = 2000
_ROUTINE_LOG = re.compile(r"[ID] \(\d+\) poll: ")
_DTLS_HANDSHAKE = re.compile("(14|15|16)fe(ff|fd)0000")  # content type, version, epoch 0 (RFC 6347 4.1)


class Folding:
    """Decides which events are written, and when. Feed it all of them, in order."""

    def __init__(self) -> None:
        self._held: list[Event] = []
        self._association: list[Event] = []  # how the newest connection of a poll that was left out began
        self._known = False  # whether an idle poll is in the record in full, and nothing else has happened since
        self._polls = 0
        self._since = self._last = 0.0  # of the polls that were left out: what came before, the newest

    @property
    def waits(self) -> bool:
        """Whether events wait to be written."""
        return bool(self._held)

    def feed(self, event: Event) -> list[Event]:
        """What is to be written now that this has happened."""
        if not _is_routine(event) or len(self._held) >= HELD_EVENTS:
            self._held.append(event)
            return self.flush()
        self._held.append(event)
        return self._end_of_poll(event) if _says_nothing(event) else []

    def flush(self) -> list[Event]:
        """All that waits, because it has waited long enough or something happens."""
        if not self._held:
            return self._note(self._last)
        flows = {event.fields.get("flow") for event in self._held if event.kind == "datagram"}
        began = [event for event in self._association if event.fields["flow"] in flows]
        events = [*began, *self._note(self._held[0].seconds), *self._held]
        if began:
            self._association = []
        self._held = []
        self._known = False
        return events

    def _end_of_poll(self, answer: Event) -> list[Event]:
        if not self._known:
            events = self.flush()
            self._known, self._since = True, answer.seconds
            return events
        for event in self._held:
            if event.kind == "datagram" and "flow" in event.fields:
                self._remember(event)
        self._held = []
        self._polls += 1
        self._last = answer.seconds
        return self._note(self._last) if answer.seconds - self._since >= NOTE_S else []

    def _remember(self, datagram: Event) -> None:
        """What a reader of a later datagram of this connection needs: the handshake, of TCP everything."""
        if self._association and self._association[-1].fields["flow"] != datagram.fields["flow"]:
            self._association = []
        payload = str(datagram.fields.get("payload", ""))
        if len(self._association) < HELD_EVENTS and ("flags" in datagram.fields or _DTLS_HANDSHAKE.match(payload)):
            self._association.append(datagram)

    def _note(self, end: float) -> list[Event]:
        if not self._polls:
            return []
        fields = {"polls": self._polls, "since": round(self._since, 3)}
        self._polls, self._since = 0, end
        return [Event(end, "eim", "idle", fields)]


def _is_routine(event: Event) -> bool:
    match event.kind:
        case "at" | "datagram" | "apdu" | "rrc":
            return True
        case "log":
            return bool(_ROUTINE_LOG.match(str(event.fields.get("text"))))
        case "esipa":
            asked = event.fields["direction"] == "in" and str(event.fields["message"]).startswith(POLL)
            return asked or _says_nothing(event)
    return False


def _says_nothing(event: Event) -> bool:
    return event.kind == "esipa" and event.fields["direction"] == "out" and event.fields["message"] == NOTHING
