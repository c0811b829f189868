"""What a case cost, added up from its events."""

from __future__ import annotations

import re
from collections.abc import Iterable

from microipa.hil.record import Bill
from microipa.radio import PRESETS, Counters
from microipa.trace import Event

_HEAP = re.compile(r"heap: peak (\d+) of")


def bill_of(events: Iterable[Event]) -> Bill:
    """Datagrams of the virtual radio or a tether, APDUs of a card with contacts, heap as the board's meter told."""
    link, apdus, heap = Counters(), 0, 0
    for event in events:
        if event.kind == "datagram":
            link.count(event.fields["direction"], event.fields["bytes"], PRESETS["nbiot"])
        elif event.kind == "apdu":
            apdus += 1
        elif event.kind == "log" and (peak := _HEAP.search(event.fields["text"])):
            heap = max(heap, int(peak[1]))
    return Bill(link.up.datagrams, link.down.datagrams, link.up.bytes, link.down.bytes, apdus, heap, link.round_trips)
