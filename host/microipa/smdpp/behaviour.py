"""What an SM-DP+ does where servers differ. The quirks that change it: ``microipa.quirks.smdpp``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """The defaults are those of a good server. Counts are of requests for a function of ES9+, since the start."""

    fails_initiate: float = 0
    """So many requests for initiateAuthentication end in HTTP ``status``, before anything is done."""
    fails_authenticate: float = 0
    fails_package: float = 0
    fails_notification: float = 0
    status: int = 503
    closes_authenticate: float = 0
    """So many answers to authenticateClient break off in the middle, though all was done."""
    closes_package: float = 0
    slow_s: float = 0.0
    """What the first authenticateClient and the first getBoundProfilePackage take."""
    restarts_s: float = 0.0
    """At the first getBoundProfilePackage the server is away for so long, and has forgotten its sessions."""
    nulls: bool = False
    """JSON members that say nothing are null instead of absent."""
    byte_order_mark: bool = False
    """Answers in JSON begin with one."""
    critical_policy: bool = False
    """The TLS certificate has its policy marked critical."""
    other_metadata: bool = False
    """authenticateClient shows another name than the package has."""
