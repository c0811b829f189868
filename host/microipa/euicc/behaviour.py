"""What a card does where cards differ. The quirks that change it: ``microipa.quirks.card``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """The defaults are those of the standard. Times and counts go over resets."""

    needs_le: bool = False
    """A function whose answer is not asked for by Le ends in 9000 and no word of data."""
    late_isdr: float = 0
    """After each reset the ISD-R is not found by so many SELECTs."""
    busy_channels: float = 0
    """After each reset so many logical channels are refused (6A81)."""
    package_status: int = 0
    """Status word of every eUICC package, instead of an answer. 0: none."""
    packages_refused: float = 0
    """So many eUICC packages end in ``package_status``."""
    lists_refused: float = 0
    """So many searches for eUICC package results are refused."""
    list_status: int = 0
    """The status word that they end in; 0: they are answered with undefinedError."""
    says_empty: bool = False
    """An empty list is noResultAvailable (SGP.22 v2)."""
    enables_by: frozenset[int] = frozenset((0x5A, 0x4F))
    """The identifiers by which ES10c.EnableProfile knows a profile: ICCID, ISD-P AID."""
    enables_with: frozenset[int] = frozenset((0, 0xFF))
    """The refreshFlags that it takes."""
    lost_response_at: float = 0
    """The so many-th GET RESPONSE answers 6F00, once."""
    dies_at: float = 0
    """At its so many-th STORE DATA the card falls silent until it is reset, once."""
    refuses_block_at: float = 0
    """The so many-th block of STORE DATA answers 6985 and is not taken, once."""
