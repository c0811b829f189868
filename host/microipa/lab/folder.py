"""A lab at rest: its folder with keys, databases, card and subscribers."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from microipa.asn1.tlv import parse, tlv
from microipa.common.errors import MicroipaError
from microipa.common.file_lock import lock
from microipa.crypto.key_folder import KeysInvalid
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.eim.identity import EimIdentity
from microipa.euicc import Euicc
from microipa.euicc.keys import CardKeys
from microipa.euicc.nvm import in_reader
from microipa.lab.keys import LabKeys
from microipa.lab.peers import Peers
from microipa.saip import ProfilePackage, ProfileSpec, build, luhn_digit, metadata
from microipa.smdpp import Smdpp
from microipa.smdpp.identity import Identity
from microipa.smds import Smds
from microipa.smds.identity import SmdsIdentity
from microipa.trace import Trace
from microipa.trace.recording import NAME, set_aside

EID = "89049032123451234512345678901235"
BOOTSTRAP_OPERATOR = "00101"  # the test network of 3GPP
OPERATOR = "99970"  # MCC 999 is for networks that never leave a house
FALLBACK_ALLOWED = tlv(0x9F67, b"\xff")
EMERGENCY_PROFILE = tlv(0x9F7B, b"\xff")  # ecallIndication
SUBSCRIBERS = "subscribers.json"
# What a lab makes in its folder beside pki/, and what SQLite and half-done writes leave there.
PARTS = ("board", "board.tty", "card.nvm*", "eim.sqlite*", "eim2", "keys.json", "smdpp.sqlite*", "smds.sqlite*",
         "subscribers.*")
COAPS_PORT = 5684
HTTPS_PORT = 443
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  (what a user may ask for)


@dataclass(frozen=True)
class Subscriber:
    """What the home operator of a profile keeps: hex K and OPc, PLMN digits of the operator."""

    imsi: str
    k: str
    opc: str
    operator: str
    algorithm: str = "milenage"


ON_THE_DESK = tuple(map(ip_network, ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""Where an SM-DP+ of a lab or a bench may be besides public addresses."""


NO_PEERS = Peers()


class Preloaded:
    """A profile that the card has from the factory, disabled: its ICCID, package, metadata (BF25) and operator."""

    def __init__(self, name: str, operator: str, *attributes: bytes) -> None:
        """``attributes``: TLVs for the metadata beyond names and ICCID, such as FALLBACK_ALLOWED."""
        spec = new_profile(name, operator)
        self.iccid, self.imsi, self.operator = spec.iccid, spec.imsi, operator
        self.package = build(spec)
        described = metadata(ProfilePackage.parse(self.package))
        self.metadata = tlv(0xBF25, parse(described).value, *attributes)


class NoLab(MicroipaError):
    """A folder that should hold a lab and does not."""


class LabFolder:
    """A lab at rest: keys, databases and subscribers in one folder, for whoever queues work from outside.

    The folder holds pki/, card.nvm, eim.sqlite, smdpp.sqlite, smds.sqlite, subscribers.json (mode 0600: it holds K and
    OPc), keys.json, board/ (the board's flash), trace.jsonl and tls-keys.log. ``keys`` of other makers are noted
    there; without, those noted before are used. ``eim_fqdn`` is the eIM's name where it is not the PKI's,
    ``card_ci`` the CI of cards that are none of ours. ``certified``: the eIM asks for client certificates.
    ``peers`` of other makers join it. ``eid``: of a card of a maker, which is in a reader.
    Raises NoLab when ``folder`` is none and ``create`` is false, and KeysInvalid.
    """

    def __init__(
        self, folder: Path, *, create: bool = False, keys: LabKeys | None = None, eim_fqdn: str = "",
        card_ci: x509.Certificate | None = None, quirks: Sequence[str] = (), certified: bool = False,
        peers: Peers = NO_PEERS, eid: str = "", trace: Trace | None = None
    ) -> None:
        if not create and not (folder / "pki").is_dir():
            raise NoLab(f"no lab in {folder}: start one with `microipa lab up --lab {folder}`")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.pki = Pki.open(folder / "pki")
        noted = LabKeys.of(folder) if keys is None else keys
        self._foreign_card, self._foreign_eim = noted.card is not None, noted.eim is not None
        self._card_keys = CardKeys.read(noted.card) if noted.card else CardKeys.of(self.pki, EID)
        self.eid = eid or self._card_keys.eid
        own, ci = self.pki.ci.certificate, card_ci or self._card_keys.ci
        self.card_ci = ci
        smdpp = [Identity.read(path) for path in noted.smdpp] or [Identity.of(self.pki, quirks)]
        smds = [SmdsIdentity.read(path) for path in noted.smds] or [SmdsIdentity.of(self.pki)]
        named = self.pki.eim_called(eim_fqdn) if eim_fqdn else self.pki
        eim = EimIdentity.read(noted.eim, ci) if noted.eim else replace(EimIdentity.of(named), ci=ci)
        if eim_fqdn:
            eim = replace(eim, fqdn=eim_fqdn)
        if keys is not None:
            keys.note(folder)
        self.smds_routes: dict[str, tuple[str, int]] = {}  # of ES12, which devices do not see
        root_ds = [identity.tls.certificate for identity in smds]
        callers = [self.pki.operators.certificate, *root_ds]
        self.smdpp = Smdpp(smdpp, folder, peers=callers, card_cis=peers.cis, routes=self.smds_routes, quirks=quirks,
                           trace=trace)
        self.smdpp.add_operator(self.pki.operator_oid)
        self.es9_routes: dict[str, tuple[str, int]] = {}
        servers = [identity.tls.certificate for identity in smdpp]
        self.smds = Smds(smds, folder, servers=servers, trace=trace)
        self.eim = Eim(eim, folder, es9_routes=self.es9_routes, es9_networks=ON_THE_DESK,
                       es9_trust=[own, *servers, *peers.cis], smdpp_cis=peers.cis, quirks=quirks,
                       clients=[self.pki.devices().certificate] if certified else (),
                       trace=trace)
        self.eim.add_device(self.eid)
        issuers = [eim.tls_issuer, *(identity.ci for identity in (*smdpp, *smds)), *peers.cis]
        self.peers = peers
        self._roots = {issuer.public_bytes(Encoding.DER) for issuer in issuers} - {self.pki.ci.der}

    def offer(
        self,
        package: bytes | None = None,
        *variants: bytes,
        operator: str = OPERATOR,
        eid: str | None = None,
        confirmation_code: str | None = None,
    ) -> str:
        """Give the SM-DP+ a profile package (a fresh one without) and its operator the subscriber.

        ``variants``: other packages of the same profile. The SM-DP+ keeps it for ``eid``, by default the lab's card:
        who else learns the activation code gets nothing. Returns the activation code.
        """
        package, eid = self.profile(package, operator), eid or self.eid
        matching_id = self.smdpp.add_profile(package, eid=eid, variants=variants, confirmation_code=confirmation_code)
        return self.smdpp.activation_code(matching_id)

    def profile(self, package: bytes | None = None, operator: str = OPERATOR) -> bytes:
        """A profile package, a fresh one without, whose subscriber its operator knows."""
        package = package or build(new_profile("microipa", operator))
        self.enrol(package, operator)
        return package

    def enrol(self, package: bytes, operator: str) -> None:
        """Note the subscriber of a profile package."""
        profile = ProfilePackage.parse(package)
        aka = profile.aka
        subscriber = Subscriber(profile.imsi, aka.k.hex(), aka.opc.hex(), operator, aka.algorithm)
        new = self.folder / "subscribers.new"
        with lock(self.folder / "subscribers.lock"):
            known = [other for other in self.subscribers() if other.imsi != subscriber.imsi]
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump([asdict(one) for one in [*known, subscriber]], file, indent=1)
            new.replace(self.folder / SUBSCRIBERS)

    def subscribers(self) -> list[Subscriber]:
        """All subscribers the lab's operators know. Raises NoLab for a file that is none of theirs."""
        path = self.folder / SUBSCRIBERS
        try:
            return [Subscriber(**entry) for entry in json.loads(path.read_text())] if path.exists() else []
        except (ValueError, TypeError) as error:
            raise NoLab(f"{path} is not a list of subscribers: remove it; the profiles of this lab are lost") from error

    def card(self, trace: Trace | None = None, *, preloaded: Sequence[Preloaded] = (), **variant: Any) -> Euicc:
        """The lab's eUICC as it was left, or a new one with an enabled bootstrap profile and what is preloaded.

        ``variant``: ``kind`` and ``ipae`` of Euicc.create.
        """
        nvm = self.folder / "card.nvm"
        keys = self._card_keys
        if nvm.exists():
            card = Euicc.open(nvm, trace=trace)
            if self._foreign_card and card.certificate != keys.euicc.der:
                raise KeysInvalid(f"{nvm} was created with other keys than those of the card now: remove it")
            return card
        bootstrap = build(new_profile("Bootstrap", BOOTSTRAP_OPERATOR))
        self.enrol(bootstrap, BOOTSTRAP_OPERATOR)
        for profile in preloaded:
            self.enrol(profile.package, profile.operator)
        return Euicc.create(
            nvm,
            eid=keys.eid,
            credential=keys.euicc,
            eum_der=keys.eum_der,
            ci=keys.ci,
            bootstrap=bootstrap,
            preloaded=[(profile.package, profile.metadata) for profile in preloaded],
            root_ds=self.smds.address,
            trace=trace,
            **variant,
        )


def require_idle(folder: Path) -> None:
    """Raises InUse while a lab runs in ``folder``, or its card is in a reader."""
    nvm = folder / "card.nvm"
    if nvm.exists():
        with in_reader(nvm):
            pass


def forget_all_but_keys(folder: Path) -> None:
    """Remove what earlier runs left in a lab's folder; the PKI stays, the traces as older ones, and what is no lab's.

    Raises InUse for a lab that runs, and NoLab for a folder that holds other things and no lab: they may have names
    like those of a lab's parts.
    """
    if not (folder / "pki").is_dir() and folder.exists() and any(folder.iterdir()):
        raise NoLab(f"{folder} contains other files than a lab's: give the name of a new folder")
    require_idle(folder)
    set_aside(folder / NAME)
    for entry in (found for part in PARTS for found in folder.glob(part)):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def new_profile(name: str, operator: str = OPERATOR, *, filler: int = 0, template: str = "iot") -> ProfileSpec:
    """A profile with fresh ICCID, IMSI, K and OPc at ``operator`` (MCC and MNC digits)."""
    number = f"{secrets.randbelow(10**9):09}"
    iccid = f"89{operator}0000{number[:7]}".ljust(18, "0")
    return ProfileSpec(
        iccid=iccid + luhn_digit(iccid),
        imsi=operator + number.rjust(10, "0"),
        k=secrets.token_bytes(16),
        opc=secrets.token_bytes(16),
        name=name,
        notification_address="smdpp.microipa.example",
        filler=filler,
        template=template,
    )
