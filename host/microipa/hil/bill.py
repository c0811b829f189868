"""What a case cost, added up from its events."""

from __future__ import annotations

import re
from collections.abc import Sequence

from microipa.hil.at_lines import with_apdus
from microipa.hil.record import Bill
from microipa.radio import PRESETS, Counters
from microipa.trace import Event

_HEAP = re.compile(r"heap: peak (\d+) of")


def bill_of(events: Sequence[Event]) -> Bill:
    """Datagrams of the virtual radio or a tether, APDUs of contacts or AT lines, heap as the board's meter told."""
    link, apdus, heap = Counters(), 0, 0
    for event in with_apdus(events):
        if event.kind == "datagram":
            link.count(event.fields["direction"], event.fields["bytes"], PRESETS["nbiot"])
        elif event.kind == "apdu":
            apdus += 1
        elif event.kind == "log" and (peak := _HEAP.search(event.fields["text"])):
            heap = max(heap, int(peak[1]))
    return Bill(link.up.datagrams, link.down.datagrams, link.up.bytes, link.down.bytes, apdus, heap, link.round_trips)
