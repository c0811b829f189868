"""EIDs that people type: 32 digits of which the last two are check digits (SGP.29 2.2.1, ISO/IEC 7064 MOD 97-10)."""

from __future__ import annotations

import re

from microipa.common.errors import MicroipaError


class EidInvalid(MicroipaError):
    """Not an EID: too long, too short, or with a digit that is wrong."""


def checked(eid: str | None) -> str | None:
    """The EID, None without one. Raises EidInvalid."""
    if eid is None:
        return None
    if not re.fullmatch("[0-9]{32}", eid, re.ASCII):
        digits = f"{len(eid)} digits" if eid.isdecimal() or not eid else "other characters"
        raise EidInvalid(f"{eid[:64]!r} is not an EID: an EID has 32 digits, this has {digits}")
    if int(eid) % 97 != 1:
        right = 98 - int(eid[:30] + "00") % 97
        raise EidInvalid(f"{eid} is not an EID: its check digits are {eid[30:]}, but must be {right:02}")
    return eid
