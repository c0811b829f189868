"""The four ESipa functions that an eIM relays, and what becomes of the status codes of ES9+' (SGP.32 5.14, 6.3.2)."""

from __future__ import annotations

from dataclasses import dataclass

from microipa.common.errors import MicroipaError
from microipa.eim import esipa


@dataclass(frozen=True)
class Function:
    """An ESipa function, its ES9+' name, and which of its error codes a refusal there becomes."""

    name: str
    tag: int
    error_tag: int
    codes: dict[tuple[str, str], int]

    @property
    def errors(self) -> str:
        """Where the schema names the codes."""
        name = self.name[0].upper() + self.name[1:]
        return f"{name}ResponseEsipa.{self.name}Error{'' if self.tag == esipa.CANCEL_SESSION else 'Esipa'}"


class RelayFailed(MicroipaError):
    """A relayed function ends with ``code`` of its ESipa error enumeration."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


INITIATE = Function(
    "initiateAuthentication",
    esipa.INITIATE_AUTHENTICATION,
    0x81,
    {("8.8.1", "3.8"): 1, ("8.8.3", "3.1"): 2, ("8.8.2", "3.1"): 3, ("8.8.4", "3.7"): 3},
)
AUTHENTICATE = Function(
    "authenticateClient",
    esipa.AUTHENTICATE_CLIENT,
    0x82,
    {
        ("8.1.2", "6.1"): 1,
        ("8.1.2", "6.3"): 2,
        ("8.1.3", "6.1"): 3,
        ("8.1.3", "6.3"): 4,
        ("8.1", "6.1"): 5,
        ("8.2.6", "3.8"): 6,
        ("8.1.1", "3.8"): 7,
        ("8.2.5", "4.3"): 8,
        ("8.11.1", "3.9"): 9,
        ("8.10.1", "3.9"): 10,
        ("8.1", "4.8"): 11,
    },
)
GET_PACKAGE = Function(
    "getBoundProfilePackage",
    esipa.GET_BOUND_PROFILE_PACKAGE,
    0x81,
    {
        ("8.1", "6.1"): 1,
        ("8.2.7", "2.2"): 2,
        ("8.2.7", "3.8"): 3,
        ("8.2.7", "6.4"): 4,
        ("8.2", "3.7"): 5,
        ("8.8.5", "4.10"): 6,
        ("8.10.1", "3.9"): 95,
    },
)
CANCEL = Function("cancelSession", esipa.CANCEL_SESSION, 0x81, {("8.10.1", "3.9"): 1, ("8.1", "6.1"): 2})
