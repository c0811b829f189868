"""What an eIM does where eIMs differ. The quirks that change it: ``microipa.quirks.eim``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """The defaults are those of a good eIM. Counts are of messages since the start."""

    refuses_notifications: float = 0
    """So many HandleNotifications end in 4xx."""
    busy: float = 0
    """So many messages end in 5.03 or HTTP 503."""
    slow_s: float = 0.0
    """What each answer takes."""
    silent_at: float = 0
    """The so many-th message is never answered, once."""
    garbled_at: float = 0
    """The answer to the so many-th message is no ESipa message, once."""
    short_key_id: bool = False
    """euiccCiPKIdentifierToBeUsed is told by its first four octets."""
    anchorless: bool = False
    """The configuration that it gives cards has no trustedPublicKeyDataTls."""
    blanks: bool = False
    """Activation codes in triggers contain blanks and line ends around and inside their parts."""
    foreign: bool = False
    """The second eIM of the card acknowledges what belongs to the first."""
    injects: bool = False
    """The second eIM of the card injects an acknowledgement of every number there may be, wherever a device listens."""
    curious: bool = False
    """The second eIM of the card asks for all stored results, and acknowledges every number there may be."""
