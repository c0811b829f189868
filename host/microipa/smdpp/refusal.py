"""How an SM-DP+ says no."""

from __future__ import annotations

from microipa.common.errors import Busy, MicroipaError


class Refused(MicroipaError):
    """A function that ends "Failed", with the subject and reason codes of SGP.22 clause 5.2.6."""

    def __init__(self, subject_code: str, reason_code: str, message: str) -> None:
        super().__init__(f"{subject_code}/{reason_code}: {message}")
        self.subject_code = subject_code
        self.reason_code = reason_code
        self.message = message


class MalformedRequest(MicroipaError):
    """A request that cannot be understood, whatever it was meant to say."""


class ServerBusy(Busy):
    """As many downloads are under way as fit."""
