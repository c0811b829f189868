"""Activation codes in text for people: who has an unused one whole has the profile, so only its beginning is shown."""

from __future__ import annotations

import re

SHOWN = 4  # characters of a matching id
# In an activation code, also a wrong one, in messages of ours, in messages of SM-DP+. A word that is no matching id
# stays.
_BEFORE = (
    r"\b[0-9]\$[^$\s]{0,255}\$|matching id |matchingId:? '?(?=[A-Z0-9])|download (?=\S+ from )|"
    r"order (?=[A-Z0-9-]*[A-Z-][A-Z0-9-]*(?:[\s:,.]|$))"
)
_MATCHING_ID = re.compile(rf"({_BEFORE})([^\s$,;)'\"]{{{SHOWN}}})[^\s$,;)'\"]+")


def short(matching_id: str) -> str:
    """The beginning of a matching id, by which people tell orders apart."""
    return f"{matching_id[:SHOWN]}…" if len(matching_id) > SHOWN else matching_id


def shortened_codes(text: str) -> str:
    """The same text with the beginning only of each activation code and matching id."""
    if not ("$" in text or "matching" in text or "download " in text or "order " in text):
        return text  # as most texts: to look for words is much faster
    return _MATCHING_ID.sub(r"\1\2…", text)
