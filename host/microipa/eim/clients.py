"""Device authentication, where an eIM asks for it: client certificates in DTLS and TLS (SGP.32 leaves it open).

A certificate is issued to one device, whose EID is its subject's serialNumber, or to a batch of devices, without one.
That of a device speaks for its own EID alone.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from microipa.eim.esipa import EsipaRefused

CLIENT: ContextVar[str] = ContextVar("client", default="")
"""The EID of the client certificate over whose connection this request came; empty without one, or for a batch."""


def eid_of(certificate: x509.Certificate | None) -> str:
    """The EID a client certificate is issued to; empty when it names none."""
    if certificate is None:
        return ""
    serials = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)]
    return serials[0] if len(serials) == 1 and re.fullmatch("[0-9]{32}", serials[0]) else ""


def check(eid: str) -> None:
    """Whether this request may be about ``eid``. Raises EsipaRefused."""
    client = CLIENT.get()
    if client and client != eid:
        raise EsipaRefused(f"the client certificate is for {client}, the message for another eUICC")
