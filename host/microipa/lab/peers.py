"""Servers of other makers that join a lab: the CIs they stand under, where they are, and which of ours stay away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from microipa.asn1.tlv import TlvError, parse
from microipa.common.console import BadInput, host_and_port, read
from microipa.crypto.key_folder import read_certificate
from microipa.radio.network import EVERY_PORT, Address

OURS = ("smdpp", "eim")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Peers:
    """``cis``: trusted by card, board and eIM besides the lab's own. ``routes``: (name, port) as a device knows it, and
    the address that has it; EVERY_PORT for whichever port. ``eim``: EimConfigurationData for the board in the place of
    that of the lab's eIM. ``without``: names of OURS that do not run."""

    cis: tuple[x509.Certificate, ...] = ()
    routes: tuple[tuple[Address, Address], ...] = ()
    eim: bytes = b""
    without: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def given(cls, trust_ci: Sequence[Path], route: Sequence[str], eim: Path | None, without: Sequence[str]) -> Peers:
        """What options of the command line say. Raises BadInput and KeysInvalid."""
        for name in without:
            if name not in OURS:
                raise BadInput(f"--without {name[:64]}: choose one of {', '.join(OURS)}")
        if "eim" in without and eim is None:
            raise BadInput("--without eim: give the board another one by --eim FILE (EimConfigurationData, DER)")
        return cls(tuple(map(read_certificate, trust_ci)), tuple(map(_route, route)), _configuration(eim),
                   frozenset(without))


def _route(text: str) -> tuple[Address, Address]:
    """HOST=IP:PORT or HOST:PORT=IP:PORT."""
    name, equals, target = text.partition("=")
    host, colon, port = name.partition(":")
    if not equals or not _NAME.fullmatch(host):
        raise BadInput(f"--route {text[:64]} is not HOST=IP:PORT, nor HOST:PORT=IP:PORT")
    number = host_and_port("--route", name)[1] if colon else EVERY_PORT
    return (host, number), host_and_port("--route", target)


def _configuration(file: Path | None) -> bytes:
    if file is None:
        return b""
    data = read(file)
    try:
        parse(data)
    except TlvError as error:
        raise BadInput(f"{file} is not an EimConfigurationData in DER: {error}") from None
    return data
