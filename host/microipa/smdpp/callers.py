"""Who calls a function between servers: what the TLS certificate proves (SGP.22 clauses 4.5.2, 5.3 and 5.9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography import x509

from microipa.crypto.certificates import UNREADABLE, CertificateInvalid, check_tls_role, registered_id
from microipa.crypto.revocation import Issuer
from microipa.smdpp.refusal import Refused


class Callers:
    """Those with a certificate of one of ``roles``; where ``roleless``, also those to whom one of ``issuers`` that is
    no CI gave a certificate without a role.

    ``named`` knows the OID of a certificate (DER) that does not name one itself, or None.
    """

    def __init__(
        self,
        issuers: Sequence[x509.Certificate | Issuer],
        roles: tuple[str, ...],
        *,
        roleless: bool = False,
        named: Callable[[bytes], str | None] = lambda certificate: None,
    ) -> None:
        self.issuers = [Issuer.of(one) for one in issuers]
        self._roles = roles
        self._roleless = roleless
        self._named = named

    def oid(self, chain: Sequence[bytes]) -> str:
        """Of the caller whose ``chain`` of certificates TLS has verified. Raises Refused 1.1/1.1."""
        if not chain:
            raise Refused("1.1", "1.1", "the caller showed no TLS certificate")
        try:
            check_tls_role(chain, self.issuers, self._roles, roleless=self._roleless)
        except (CertificateInvalid, *UNREADABLE) as error:
            raise Refused("1.1", "1.1", f"callers with this certificate are refused: {error}") from error
        oid = self._named(chain[0]) or registered_id(chain[0])
        if not oid:
            raise Refused("1.1", "1.1", "the TLS certificate contains no OID, and none is set for it")
        return oid
