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
        return cls(pki.ci.certificate, pki.smds_auth, pki.smds_tls, pki.smds_oid, pki.smds_address)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a folder with ci, auth and tls, as Identity's of an SM-DP+. Raises KeysInvalid."""
        folder = KeyFolder(path)
        ci, auth, tls = folder.certificate("ci"), folder.credential("auth"), folder.tls_credential()
        return cls(ci, auth, tls, oid_of(path, "ds_auth", auth, ci), host_name(path, tls))
