"""Activation codes: where a profile waits and under which name (SGP.22 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from microipa.errors import MicroipaError

LONGEST = 255


class ActivationCodeInvalid(MicroipaError):
    """Text that is no activation code."""


@dataclass(frozen=True)
class ActivationCode:
    """``LPA:1$address$matching-id[$SM-DP+ OID[$1]]``."""

    text: str
    smdp_address: str
    matching_id: str
    smdp_oid: str | None

    @classmethod
    def parse(cls, text: str) -> ActivationCode:
        """Raises ActivationCodeInvalid."""
        version, *fields = text.removeprefix("LPA:").split("$")
        if version != "1" or not 2 <= len(fields) <= 4 or not fields[0] or len(text) > LONGEST:
            raise ActivationCodeInvalid(f"{text[:64]!r} is no activation code: LPA:1$<SM-DP+ address>$<matching id>")
        oid = fields[2] if len(fields) > 2 else ""
        return cls(text, fields[0], fields[1], oid or None)
