"""TLS 1.2 and later for the servers of remote SIM provisioning and those that call them."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from microipa.crypto.pki import Credential


def server_context(credential: Credential, clients: Sequence[x509.Certificate] = ()) -> ssl.SSLContext:
    """With ``clients``, certificates of issuers, only a client with a certificate under one of them is served."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, clients)
    return _prepared(context, credential)


def client_context(trust: Sequence[x509.Certificate], credential: Credential | None = None) -> ssl.SSLContext:
    """Believes servers under ``trust``, or in it, that prove the name they were called by.

    ``credential`` is shown to those who ask for one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, trust)
    return _prepared(context, credential)


def _trust(context: ssl.SSLContext, anchors: Sequence[x509.Certificate]) -> None:
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor may be the server's own certificate
    context.load_verify_locations(cadata="".join(one.public_bytes(Encoding.PEM).decode() for one in anchors))


def _prepared(context: ssl.SSLContext, credential: Credential | None) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if credential:
        key = credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with tempfile.TemporaryDirectory(prefix="microipa-") as folder:  # mode 0700; OpenSSL's wrapper wants a file
            chain = Path(folder) / "tls.pem"
            chain.write_bytes(key + credential.certificate.public_bytes(Encoding.PEM))
            context.load_cert_chain(chain)
    return context
