"""A whole lab: every part of SGP.32 in one call, and what it shows: the demo, its scenarios, the bill."""

from microipa.lab.folder import (
    BOOTSTRAP_OPERATOR,
    COAPS_PORT,
    EID,
    EMERGENCY_PROFILE,
    FALLBACK_ALLOWED,
    HTTPS_PORT,
    OPERATOR,
    LabFolder,
    NoLab,
    Preloaded,
    forget_all_but_keys,
    new_profile,
    require_idle,
)
from microipa.lab.lab import Lab

__all__ = [
    "BOOTSTRAP_OPERATOR",
    "COAPS_PORT",
    "EID",
    "EMERGENCY_PROFILE",
    "FALLBACK_ALLOWED",
    "HTTPS_PORT",
    "OPERATOR",
    "Lab",
    "LabFolder",
    "NoLab",
    "Preloaded",
    "forget_all_but_keys",
    "new_profile",
    "require_idle",
]
