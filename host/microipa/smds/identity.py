"""Who an SM-DS is under one CI: its certificates and keys, from our own PKI or from files."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from microipa.crypto.key_folder import KeyFolder, host_name
from microipa.crypto.pki import Pki
from microipa.smdpp.identity import ServerIdentity, oid_of


class SmdsIdentity(ServerIdentity):
    """``auth`` is a CERT.DSauth."""

    @classmethod
    def of(cls, pki: Pki) -> Self:
        """The SM-DS of our own PKI."""
        ci, crl = pki.ci.certificate, pki.issuer.crl
        return cls(ci, pki.smds_auth, pki.smds_tls, pki.smds_oid, pki.smds_address, crl=crl)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a folder with ci, auth and tls, as Identity's of an SM-DP+. Raises KeysInvalid."""
        folder = KeyFolder(path)
        issuer, auth, tls = folder.issuer(), folder.credential("auth"), folder.tls_credential()
        oid = oid_of(path, "ds_auth", auth, issuer.certificate)
        return cls(issuer.certificate, auth, tls, oid, host_name(path, tls), crl=issuer.crl)
