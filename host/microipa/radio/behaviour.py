"""What operators do where they differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """The defaults are those of a good network. Seconds are those of the board's clock, whatever the link's speedup."""

    first_search_s: float = 0.0
    """What the search for a cell takes until one was found since the modem has power. 0: as the link has it."""
    search_s: float = 0.0
    """What every search for a cell takes. 0: as the link has it."""
    attach_refusals: float = 0
    """So many attempts to attach are refused for congestion (EMM cause 22); the modem tries again by itself."""
    retry_s: float = 1.0
    """How long the modem waits then (T3346)."""
    own_apn: bool = False
    """Each operator takes its own APN, ``<PLMN>.example``, or none, which is its default."""
    time: bool = True
    """Whether the network tells its time (NITZ)."""
    others: float = 0
    """So many other networks are heard by AT+COPS=?."""
    dns_failures: float = 0
    """So many questions for a name fail after each attach."""
    context_failures: float = 0
    """So many activations of a context are refused after each attach."""
    context_lost_at: float = 0
    """With its so many-th datagram after each attach the network takes the context away."""
    gap_at: float = 0
    """With its so many-th datagram the coverage of the operator goes for ``gap_s``, once."""
    gap_s: float = 3.0
    datagrams_lost: float = 0
    """So many first datagrams that a device sends after each attach are lost."""
    mtu: float = 0
    """Largest IP packet in bytes. 0: as the link has it."""
    loss: float = 0.0
    """Per cent of all datagrams that are lost more than on the link."""
    duplicates: float = 0.0
    """Per cent that come twice."""
    disorder: float = 0.0
    """Per cent that come late."""
    delay_s: float = 0.0
    """So much longer a datagram takes each way."""
    inactivity_s: float = 10.0
    """The network ends a connection in which nothing went for so long. Seconds of the true radio, which runs no more
    than 20 times faster, as for T3324, T3412 and the cycle of eDRX."""
    release_assistance: bool = True
    """Whether it ends a connection at once when the device says that nothing follows."""
    buffers: bool = False
    """Whether it keeps datagrams for a device in PSM until that is back; without, they are lost."""
