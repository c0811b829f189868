"""TLS 1.2 and later for the servers of remote SIM provisioning and those that call them."""

from __future__ import annotations

import _ssl
import ssl
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from microipa.crypto.certificates import UNREADABLE, CertificateInvalid, check_tls_role
from microipa.crypto.pki import Credential
from microipa.crypto.revocation import Issuer

FAILED = 1  # SSL_ERROR_SSL


class _CheckedContext(ssl.SSLContext):
    """``check`` looks at the chain a peer was verified by, before the handshake counts as done."""

    check: Callable[[list[bytes]], None]


class _Checked(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        assert isinstance(self.context, _CheckedContext)
        try:
            self.context.check(verified_chain(self))
        except (CertificateInvalid, *UNREADABLE) as error:
            raise ssl.SSLCertVerificationError(FAILED, str(error)) from error


def server_context(
    credential: Credential, clients: Sequence[x509.Certificate | Issuer] = ()
) -> ssl.SSLContext:
    """With ``clients``, issuers of certificates, only a client with a certificate under one of them is served."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, clients)
    return _prepared(context, credential)


def client_context(
    trust: Sequence[x509.Certificate | Issuer], credential: Credential | None = None, roles: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """Believes servers under ``trust``, or in it, that prove the name they were called by.

    With ``roles`` a server that is under a CI needs a certificate of one of them, and none that is revoked.
    ``credential`` is shown to those who ask for one.
    """
    context = _CheckedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    _trust(context, trust)
    if roles:
        issuers = [Issuer.of(one) for one in trust]
        context.sslobject_class = _Checked
        context.check = lambda chain: check_tls_role(chain, issuers, roles)
    return _prepared(context, credential)


def verified_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The peer's certificate and those above it up to the anchor, DER; empty without one."""
    if hasattr(tls, "get_verified_chain"):  # Python 3.13; before, only the object inside has it
        return [bytes(one) for one in tls.get_verified_chain()]
    found = tls._sslobj.get_verified_chain()  # type: ignore[attr-defined]
    return [one.public_bytes(_ssl.ENCODING_DER) for one in found or ()]


def _trust(context: ssl.SSLContext, anchors: Sequence[x509.Certificate | Issuer]) -> None:
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor may be the server's own certificate
    certificates = [Issuer.of(one).certificate for one in anchors]
    context.load_verify_locations(cadata="".join(one.public_bytes(Encoding.PEM).decode() for one in certificates))


def _prepared(context: ssl.SSLContext, credential: Credential | None) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if credential:
        load(context, credential)
    return context


def load(context: ssl.SSLContext, credential: Credential) -> None:
    """Let connections that begin from now on be proved by this credential."""
    key = credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory(prefix="microipa-") as folder:  # mode 0700; OpenSSL's wrapper wants a file
        chain = Path(folder) / "tls.pem"
        chain.write_bytes(key + credential.certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(chain)
