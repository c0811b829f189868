"""eim.toml: what one eIM server is told. Environment variables go before the file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography import x509

from microipa.common import addresses
from microipa.common.errors import MicroipaError
from microipa.crypto.key_folder import read_certificate, read_issuer
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.eim.identity import EimIdentity
from microipa.eim.store import Store
from microipa.net.https_server import LOOPBACK
from microipa.net.rsp_client import Network

ENVIRONMENT = "MICROIPA_EIM_"
ADDRESS, PATH, PATHS, TABLE = "an address, host:port", "a path", "a list of paths", "a table of addresses"
NETWORKS = "a list of networks, such as 10.1.0.0/16"
LIMITS = "a table of limits"
DTLS = {"max_associations": 1_000_000, "max_half_open": 100_000, "handshake_seconds": 3600, "idle_seconds": 7 * 86_400}
"""What may be set in it, and the largest value of each; the smallest is 1."""
KINDS = {
    "keys": PATH, "card_ci": PATH, "database": "a path or postgresql://…", "coaps": ADDRESS, "https": ADDRESS,
    "smdp_trust": PATHS, "smdp_routes": TABLE, "smdp_networks": NETWORKS, "clients": PATHS, "dtls": LIMITS,
}  # fmt: skip

Address = tuple[str, int]


class BadConfig(MicroipaError):
    """A configuration that no server can be started with."""


@dataclass(frozen=True)
class Config:
    """One eIM: who it is, where its state lives, where it listens.

    ``keys`` is a folder with signing, tls, and in ci the issuer of tls; ``card_ci`` the certificate of the cards' CI,
    by default that same ci. ``database`` is the path of an SQLite file or a URL of PostgreSQL. ``coaps`` and
    ``https`` are addresses to listen at, None for not at all. ``smdp_trust`` are certificates that SM-DP+ servers
    may stand under besides the CI; ``smdp_routes`` gives SM-DP+ names another address than DNS does, ``smdp_networks``
    are those in which SM-DP+ are called though their addresses are not public. ``clients`` are issuers of client
    certificates: with any, only devices with a certificate under one of them are served. ``dtls`` limits what each
    worker keeps of handshakes and associations.
    """

    keys: Path
    card_ci: Path
    database: str
    coaps: Address | None = (LOOPBACK, 5684)
    https: Address | None = (LOOPBACK, 8443)
    smdp_trust: tuple[Path, ...] = ()
    smdp_routes: Mapping[str, Address] = field(default_factory=dict)
    smdp_networks: tuple[Network, ...] = ()
    clients: tuple[Path, ...] = ()
    dtls: DtlsSettings = DtlsSettings()

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str] = os.environ) -> Config:
        """Paths in the file are relative to its folder, ``MICROIPA_EIM_DATABASE`` and the like to where we are.

        Raises BadConfig.
        """
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadConfig(f"cannot read {path}: {error.strerror}") from None
        except ValueError as error:
            raise BadConfig(f"{path} is not TOML: {error}") from None
        if unknown := sorted(given.keys() - KINDS.keys()):
            raise BadConfig(f"{path}: there is no key {unknown[0]}: choose among {', '.join(KINDS)}")
        own = {name: environment[variable] for name in KINDS if (variable := ENVIRONMENT + name.upper()) in environment}
        return cls._checked(path, {**given, **own}, own.keys())

    @classmethod
    def _checked(cls, path: Path, given: Mapping[str, Any], own: Any) -> Config:
        def located(name: str, text: object) -> Path:
            if not isinstance(text, str) or not text:
                raise BadConfig(f"{path}: {name} is {text!r}, not {KINDS[name]}")
            return Path(text) if name in own else path.parent / text

        for name in ("keys", "database"):
            if name not in given:
                raise BadConfig(f"{path}: {name} is missing: {KINDS[name]}")
        database = given["database"]
        trust, routes = given.get("smdp_trust", []), given.get("smdp_routes", {})
        if not isinstance(trust, list) or not isinstance(routes, dict):
            raise BadConfig(f"{path}: smdp_trust is {PATHS}, smdp_routes is {TABLE}")
        keys = located("keys", given["keys"])
        return cls(
            keys=keys,
            card_ci=located("card_ci", given["card_ci"]) if "card_ci" in given else _ci(keys),
            database=database if "://" in str(database) else str(located("database", database)),
            coaps=_address(path, "coaps", given.get("coaps", f"{LOOPBACK}:5684")),
            https=_address(path, "https", given.get("https", f"{LOOPBACK}:8443")),
            smdp_trust=tuple(located("smdp_trust", one) for one in trust),
            clients=_paths(path, "clients", given, located),
            smdp_networks=_networks(path, given.get("smdp_networks", [])),
            dtls=_dtls(path, given.get("dtls", {})),
            smdp_routes={name: _required(path, f"smdp_routes.{name}", text) for name, text in routes.items()},
        )

    def identity(self) -> EimIdentity:
        """Its keys and certificates, read now. Raises KeysInvalid."""
        return EimIdentity.read(self.keys, read_issuer(self.card_ci))

    def issuers(self) -> list[x509.Certificate]:
        """Of client certificates. Raises KeysInvalid."""
        return [read_certificate(path) for path in self.clients]

    def store(self) -> Store:
        """Its database. Raises StoreUnusable, StoreBusy."""
        return Store(self.database)

    def trust(self) -> list[x509.Certificate]:
        """Raises KeysInvalid."""
        return [read_certificate(path) for path in self.smdp_trust]


def _paths(path: Path, name: str, given: Mapping[str, Any], located: Callable[[str, object], Path]) -> tuple[Path, ...]:
    listed = given.get(name, [])
    if not isinstance(listed, list):
        raise BadConfig(f"{path}: {name} is {PATHS}")
    return tuple(located(name, one) for one in listed)


def _networks(path: Path, listed: object) -> tuple[Network, ...]:
    try:
        if isinstance(listed, list):
            return tuple(ip_network(str(one)) for one in listed)
    except ValueError as error:
        raise BadConfig(f"{path}: smdp_networks: {error}") from None
    raise BadConfig(f"{path}: smdp_networks is {NETWORKS}")


def _dtls(path: Path, limits: object) -> DtlsSettings:
    if not isinstance(limits, dict):
        raise BadConfig(f"{path}: dtls is {LIMITS}: {', '.join(DTLS)}")
    for name, value in limits.items():
        if name not in DTLS:
            raise BadConfig(f"{path}: dtls has no limit {name}: choose among {', '.join(DTLS)}")
        if type(value) is not int or not 1 <= value <= DTLS[name]:
            raise BadConfig(f"{path}: dtls.{name} is {value!r}, not a number from 1 to {DTLS[name]}")
    return DtlsSettings(**limits)


def _ci(keys: Path) -> Path:
    return next((path for path in (keys / "ci.der", keys / "ci.crt") if path.is_file()), keys / "ci.pem")


def _required(path: Path, name: str, text: object) -> Address:
    if (address := _address(path, name, text)) is None:
        raise BadConfig(f"{path}: {name} is empty, not {ADDRESS}")
    return address


def _address(path: Path, name: str, text: object) -> Address | None:
    """host:port, an IPv6 host in brackets; None for the empty text."""
    if text == "":
        return None
    try:
        return addresses.split(str(text))
    except ValueError:
        raise BadConfig(f"{path}: {name} is {text!r}, not {ADDRESS}") from None
