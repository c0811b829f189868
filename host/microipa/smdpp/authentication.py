"""Common mutual authentication, the server's side (SGP.22 clause 3.0.1): of an SM-DP+ and of an SM-DS alike."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec as curves

from microipa.asn1.tlv import tlv
from microipa.crypto import ec
from microipa.crypto.certificates import CertificateInvalid, subject_key_identifier, verify_euicc_chain
from microipa.crypto.revocation import Issuer
from microipa.smdpp.answers import AuthenticateServerOk, EuiccInfo1, signature_tlv
from microipa.smdpp.identity import ServerIdentity, authority_key_identifier
from microipa.smdpp.refusal import MalformedRequest, Refused
from microipa.smdpp.sessions import CHALLENGE_BYTES, RspSession, Sessions

SVN_MAJOR = 2
# Subject codes; below them .1 is the address, .2 security configuration, .3 version, .4 certificate.
SM_DP, SM_DS = "8.8", "8.9"


@dataclass(frozen=True)
class InitiateAuthenticationOk:
    transaction_id: bytes
    server_signed1: bytes
    server_signature1: bytes
    euicc_ci_pk_id_to_be_used: bytes
    server_certificate: bytes


class Authentication:
    """``identities`` by the key identifier of their CI, the preferred one first; ``subject``: SM_DP or SM_DS.

    ``card_cis``: other CIs under which eUICCs are taken that trust one of ours.
    """

    def __init__(
        self, subject: str, identities: Mapping[bytes, ServerIdentity], sessions: Sessions, address: str,
        card_cis: Sequence[Issuer] = (),
    ) -> None:
        self._card_issuers = {subject_key_identifier(one.certificate): one for one in card_cis}
        self._card_issuers |= {key: identity.issuer for key, identity in identities.items()}
        self._subject = subject
        self._identities = identities
        self._sessions = sessions
        self._address = address

    def initiate(self, euicc_challenge: bytes, euicc_info1: bytes, address: str) -> InitiateAuthenticationOk:
        """Begin a session: sign the eUICC's challenge and pose our own (clauses 5.6.1, 5.8.1)."""
        if len(euicc_challenge) != CHALLENGE_BYTES:
            raise MalformedRequest(f"euiccChallenge has {len(euicc_challenge)} bytes, not {CHALLENGE_BYTES}")
        info = EuiccInfo1.parse(euicc_info1)
        if address.lower() != self._address.lower():
            raise self._refused(1, "3.8", f"this is {self._address}, not {address[:128]!a}")
        ours = " and ".join(ci_pk_id.hex() for ci_pk_id in self._identities)
        usable = [key for key in info.ci_for_signing if key in self._card_issuers]
        if not usable:
            raise self._refused(2, "3.1", f"the eUICC has no certificate under our CI {ours}")
        verifiable = [one for key, one in self._identities.items() if key in info.ci_for_verification]
        if not verifiable:
            raise self._refused(4, "3.7", f"the eUICC does not trust our CI {ours}")
        if info.svn[0] != SVN_MAJOR:
            version = ".".join(map(str, info.svn))
            raise self._refused(3, "3.1", f"SGP.22 version {version} is not supported, {SVN_MAJOR}.x is")
        identity = verifiable[0]
        session = self._sessions.begin(identity)
        signed = tlv(
            0x30,
            tlv(0x80, session.transaction_id),
            tlv(0x81, euicc_challenge),
            tlv(0x83, self._address.encode()),
            tlv(0x84, session.server_challenge),
        )
        return InitiateAuthenticationOk(
            session.transaction_id,
            signed,
            signature_tlv(identity.auth.sign(signed)),
            tlv(0x04, usable[0]),
            identity.auth.der,
        )

    def verify(self, session: RspSession, proof: AuthenticateServerOk) -> tuple[str, curves.EllipticCurvePublicKey]:
        """The EID (32 digits) and public key of the eUICC that answered our challenge. Raises Refused."""
        eid, public_key = self.verify_chain(proof.euicc_certificate, proof.eum_certificate)
        verify_signature(public_key, proof.euicc_signature1, proof.euicc_signed1)
        check_transaction(session, proof.transaction_id)
        if not hmac.compare_digest(proof.server_challenge, session.server_challenge):
            raise Refused("8.1", "6.1", "the eUICC signed another serverChallenge")
        if proof.server_address.lower() != self._address.lower():
            raise Refused("8.1", "6.1", f"the eUICC signed for server {proof.server_address[:128]!a}")
        return eid, public_key

    def verify_chain(self, euicc: bytes, eum: bytes) -> tuple[str, curves.EllipticCurvePublicKey]:
        """eUICC ← EUM ← the CI the EUM names. Raises Refused."""
        issuer = authority_key_identifier(eum)
        # Without a name for its issuer's key, the certificate is tried under our preferred CI.
        ci = self._card_issuers.get(issuer) if issuer else next(iter(self._identities.values())).issuer
        if ci is None:
            raise Refused("8.11.1", "3.9", f"the EUM certificate is under another CI, key {(issuer or b'').hex()}")
        try:
            return verify_euicc_chain(euicc, eum, ci)
        except CertificateInvalid as error:
            subject = {"eum": "8.1.2", "euicc": "8.1.3"}.get(error.subject, "8.11.1")
            raise Refused(subject, "6.3" if error.check == "expired" else "6.1", str(error)) from error

    def _refused(self, part: int, reason: str, message: str) -> Refused:
        return Refused(f"{self._subject}.{part}", reason, message)


def verify_signature(public_key: curves.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    """Raises Refused 8.1/6.1."""
    try:
        ec.verify(public_key, signature, data)
    except ec.SignatureInvalid as error:
        raise Refused("8.1", "6.1", str(error)) from error


def check_transaction(session: RspSession, signed_id: bytes) -> None:
    """Raises Refused 8.10.1/3.9."""
    if signed_id != session.transaction_id:
        raise Refused("8.10.1", "3.9", f"the eUICC signed transaction {signed_id.hex()}, not {session.name}")
