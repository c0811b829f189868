"""A whole lab in one call: PKI, SM-DP+, eIM, a card in a modem on a radio link, and a board."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from microipa import paths
from microipa.asn1.tlv import parse, tlv
from microipa.board import VirtualBoard
from microipa.board.behaviour import spoil
from microipa.board.micropython import DEFAULT_HEAP
from microipa.crypto.key_folder import KeysInvalid
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.eim.identity import EimIdentity
from microipa.errors import MicroipaError
from microipa.euicc import Euicc
from microipa.euicc.keys import CardKeys
from microipa.euicc.nvm import in_reader
from microipa.euicc.odd_card import odd_card
from microipa.file_lock import lock
from microipa.https_server import LOOPBACK
from microipa.lab_keys import LabKeys
from microipa.modem import VirtualModem
from microipa.quirks import QUIRKS
from microipa.radio import Link, LinkSettings, Network
from microipa.saip import ProfilePackage, ProfileSpec, build, luhn_digit, metadata
from microipa.smdpp import Smdpp
from microipa.smdpp.identity import Identity
from microipa.smds import Smds
from microipa.smds.identity import SmdsIdentity
from microipa.trace import SecondTrace, Trace

EID = "89049032123451234512345678901235"
BOOTSTRAP_OPERATOR = "00101"  # the test network of 3GPP
OPERATOR = "99970"  # MCC 999 is for networks that never leave a house
FALLBACK_ALLOWED = tlv(0x9F67, b"\xff")
EMERGENCY_PROFILE = tlv(0x9F7B, b"\xff")  # ecallIndication
SUBSCRIBERS = "subscribers.json"
# What a lab makes in its folder beside pki/, and what SQLite and half-done writes leave there.
PARTS = ("board", "board.tty", "card.nvm*", "eim.sqlite*", "eim2", "keys.json", "smdpp.sqlite*", "smds.sqlite*",
         "subscribers.*", "trace.jsonl")
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
    OPc), keys.json, board/ (the board's flash) and trace.jsonl. ``keys`` of other makers are noted there; without,
    those noted before are used. ``eim_fqdn`` is the eIM's name where it is not the PKI's, ``card_ci`` the CI of cards
    that are none of ours. ``certified``: the eIM asks for client certificates.
    Raises NoLab when ``folder`` is none and ``create`` is false, and KeysInvalid.
    """

    def __init__(
        self, folder: Path, *, create: bool = False, keys: LabKeys | None = None, eim_fqdn: str = "",
        card_ci: x509.Certificate | None = None, quirks: Sequence[str] = (), certified: bool = False,
        trace: Trace | None = None
    ) -> None:
        if not create and not (folder / "pki").is_dir():
            raise NoLab(f"no lab in {folder}: start one with `microipa lab up --lab {folder}`")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.pki = Pki.open(folder / "pki")
        noted = LabKeys.of(folder) if keys is None else keys
        self._foreign_card, self._foreign_eim = noted.card is not None, noted.eim is not None
        self._card_keys = CardKeys.read(noted.card) if noted.card else CardKeys.of(self.pki, EID)
        self.eid = self._card_keys.eid
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
        peers = [self.pki.operators.certificate, *root_ds]
        self.smdpp = Smdpp(smdpp, folder, peers=peers, routes=self.smds_routes, quirks=quirks, trace=trace)
        self.smdpp.add_operator(self.pki.operator_oid)
        self.es9_routes: dict[str, tuple[str, int]] = {}
        servers = [identity.tls.certificate for identity in smdpp]
        self.smds = Smds(smds, folder, servers=servers, trace=trace)
        self.eim = Eim(eim, folder, es9_routes=self.es9_routes, es9_networks=ON_THE_DESK,
                       es9_trust=[own, *servers], quirks=quirks,
                       clients=[self.pki.devices().certificate] if certified else (),
                       trace=trace)
        self.eim.add_device(self.eid)
        issuers = [eim.tls_issuer, *(identity.ci for identity in (*smdpp, *smds))]
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
            raise NoLab(f"{path} is no list of subscribers: remove it; the profiles of this lab are lost") from error

    def card(self, trace: Trace | None = None, *, preloaded: Sequence[Preloaded] = (), **variant: Any) -> Euicc:
        """The lab's eUICC as it was left, or a new one with an enabled bootstrap profile and what is preloaded.

        ``variant``: ``kind`` and ``ipae`` of Euicc.create.
        """
        nvm = self.folder / "card.nvm"
        keys = self._card_keys
        if nvm.exists():
            card = Euicc.open(nvm, trace=trace)
            if self._foreign_card and card.certificate != keys.euicc.der:
                raise KeysInvalid(f"{nvm} was made with other keys than the card is to have now: remove it")
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


class Lab(LabFolder):
    """A running lab: ``async with Lab(folder) as lab`` starts every part, leaving stops them.

    With ``two_eims`` there is a second one in ``eim2``, with name, keys and database (eim2/) of its own, whom
    the card does not know yet. ``card`` says what kind of card a new one is, in words of Euicc.create. ``trust``
    is how the card is told to trust the eIM's server, see ``Eim.configuration``; an eIM with keys of another maker
    is pinned by default. ``quirks``: names of ``microipa.quirks``, with numbers where they take one; with one of
    eim2 the card knows that from the start. ``host`` is the address at which all servers listen.
    ``certified``: the eIM asks the board for a client certificate. Opened again on
    the same folder it goes on where it stopped. Raises UnknownQuirk, InUse when one runs there already, and
    MicroipaError subclasses of the parts when one cannot start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        radio: str | LinkSettings = "short",
        heap: str = DEFAULT_HEAP,
        trust: str | None = None,
        family: str = "bg95",
        quirks: Sequence[str] = (),
        board_config: dict[str, Any] | None = None,
        measure_heap: bool = False,
        two_eims: bool = False,
        keys: LabKeys | None = None,
        card: dict[str, Any] | None = None,
        host: str = LOOPBACK,
        certified: bool = False,
        trace: Trace | None = None,
    ) -> None:
        require_idle(folder)  # before the trace of the lab that runs there is begun anew
        folder.mkdir(parents=True, exist_ok=True)
        self.trace = trace or Trace(folder / "trace.jsonl")
        super().__init__(folder, create=True, keys=keys, quirks=quirks, certified=certified, trace=self.trace)
        self._certified = certified
        self.eim2: Eim
        self._eims = [self.eim]
        self._quirks = quirks
        self._knows_both = any(chosen.quirk.part == "eim2" for chosen in QUIRKS.choose(quirks))
        if two_eims or self._knows_both:
            self._add_second_eim()
        self.network = Network(trace=self.trace, quirks=quirks)
        self.link = Link(radio, trace=self.trace, quirks=quirks)
        self.euicc = self.card(self.trace, **(card or {}))
        self.modem = VirtualModem(
            odd_card(self.euicc, quirks), self.network, self.link, family=family, quirks=quirks, trace=self.trace)
        self.board: VirtualBoard
        self._heap = heap
        # A CI of another maker may be on a curve that mbedTLS does not know.
        self._trust = trust or ("pin" if self._foreign_eim else "ca")
        self._board_config = board_config or {}
        self._measure_heap = measure_heap
        self._admitted: set[str] = set()
        self._host = host
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._running.aclose()
            raise
        return self

    async def _start(self) -> None:
        self._running.enter_context(self.euicc.in_reader())
        self.admit_subscribers()
        smdpp, smds, es12, self.es2_port, *eims = await self._running.enter_async_context(
            _together(
                self.smdpp.serve(host=self._host),
                self.smds.serve(host=self._host),
                self.smds.serve_servers(host=self._host),
                self.smdpp.serve_operators(host=self._host),
                *(one for eim in self._eims for one in (eim.serve(host=self._host), eim.serve_https(host=self._host))),
            )
        )
        host = LOOPBACK if self._host == EVERY_ADDRESS else self._host
        self.es9_routes[self.smdpp.address] = (host, smdpp)
        self.smds_routes[self.smds.address] = (host, es12)
        self.network.route(self.smdpp.address, HTTPS_PORT, (host, smdpp))
        self.network.route(self.smds.address, HTTPS_PORT, (host, smds))
        for eim, coaps, https in zip(self._eims, eims[::2], eims[1::2], strict=True):
            self.network.route(eim.fqdn, COAPS_PORT, (host, coaps))
            self.network.route(eim.fqdn, HTTPS_PORT, (host, https))
        await self.modem.start()
        self._running.push_async_callback(self.modem.stop)
        self.board = VirtualBoard(
            self.folder / "board", self.modem.path, heapsize=self._heap, modem=self.modem.dialect.name,
            power_key=self.modem.press_power_key, trace=self.trace
        )
        self.board.install(
            {"apn": "iot.microipa.example", **self._board_config},
            {
                "eim.der": b"".join(eim.configuration(self._trust) for eim in self._eims[: 1 + self._knows_both]),
                "roots.der": b"".join(sorted(self._roots)),  # of other makers; our own CI comes with eim.der
                "eim_roots.der": self.eim.tls_root,  # for a configuration that trusts no key
                **(self._client_files() if self._certified else {}),
                **self._heap_meter(),
            },
        )
        spoil(self.board.folder, self._quirks)
        self._running.callback(self.board.kill)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._running.aclose()
        self.trace.close()

    def _client_files(self) -> dict[str, bytes]:
        """What the board shows to an eIM that asks who it is."""
        device = self.pki.device(self.eid)
        key = device.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return {"client.der": device.der, "client_key.der": key}

    def _add_second_eim(self) -> None:
        pki, folder = self.pki.second_eim(), self.folder / "eim2"
        folder.mkdir(exist_ok=True)
        identity = replace(EimIdentity.of(pki), ci=self._card_keys.ci)
        self.eim2 = Eim(identity, folder, es9_routes=self.es9_routes, es9_networks=ON_THE_DESK,
                        part="eim2", quirks=self._quirks,
                        trace=SecondTrace(self.trace))
        self.eim2.add_device(self.eid)
        self._eims.append(self.eim2)

    def _heap_meter(self) -> dict[str, bytes]:
        if not self._measure_heap:
            return {}
        meter = (paths.tools() / "heap_meter.py").read_bytes()
        return {"heap_meter.py": meter, "main.py": b"import heap_meter\n" + (paths.firmware() / "main.py").read_bytes()}

    def step(self, text: str) -> None:
        """Say on the timeline what the lab does itself."""
        self.trace.record("lab", "step", text=text)

    def admit_subscribers(self) -> None:
        """Tell the network every subscriber of the folder it does not know yet."""
        for one in self.subscribers():
            if one.imsi not in self._admitted:
                self._admitted.add(one.imsi)
                self.network.add_subscriber(
                    one.imsi,
                    bytes.fromhex(one.k),
                    bytes.fromhex(one.opc),
                    operator=one.operator,
                    algorithm=one.algorithm,
                )

    async def watch_subscribers(self) -> None:
        """Admit for ever what other processes enrol (``microipa order download`` beside ``lab up``)."""
        while True:
            self.admit_subscribers()
            await asyncio.sleep(1)

    def offer(self, package: bytes | None = None, *variants: bytes, **terms: Any) -> str:
        code = super().offer(package, *variants, **terms)
        self.admit_subscribers()
        return code


@asynccontextmanager
async def _together(*servers: AbstractAsyncContextManager[int]) -> AsyncIterator[list[int]]:
    """Start servers in order, yield their ports, and stop all at once: each takes a moment over its connections."""
    async with AsyncExitStack() as starting:
        ports = [await starting.enter_async_context(server) for server in servers]
        starting.pop_all()
    try:
        yield ports
    finally:
        await asyncio.gather(*(server.__aexit__(None, None, None) for server in servers))


def require_idle(folder: Path) -> None:
    """Raises InUse while a lab runs in ``folder``, or its card is in a reader."""
    nvm = folder / "card.nvm"
    if nvm.exists():
        with in_reader(nvm):
            pass


def forget_all_but_keys(folder: Path) -> None:
    """Remove what earlier runs left in a lab's folder; the PKI stays, and whatever is not a lab's.

    Raises InUse for a lab that runs, and NoLab for a folder that holds other things and no lab: they may have names
    like those of a lab's parts.
    """
    if not (folder / "pki").is_dir() and folder.exists() and any(folder.iterdir()):
        raise NoLab(f"{folder} holds other things than a lab: give the name of a new folder")
    require_idle(folder)
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
