"""What operators do where they differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """The defaults are those of a good network. Seconds are those of the board's clock, whatever the link's speedup."""

    first_search_s: float = 0.0
    """What the search for a cell takes until one was found since the modem has power. 0: as the link has it."""
    dns_failures: float = 0
    """So many questions for a name fail after each attach."""
    context_failures: float = 0
    """So many activations of a context are refused after each attach."""
