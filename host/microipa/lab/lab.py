"""A running lab in one call: PKI, SM-DP+, eIM, a card in a modem on a radio link, and a board."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from microipa.board import VirtualBoard
from microipa.board.behaviour import spoil
from microipa.board.micropython import DEFAULT_HEAP
from microipa.board.virtual import Form
from microipa.common import paths
from microipa.common.clock import Clock
from microipa.eim import Eim
from microipa.eim.identity import EimIdentity
from microipa.euicc.odd_card import odd_card
from microipa.euicc.pcsc import PcscCard
from microipa.lab.folder import (
    COAPS_PORT,
    EVERY_ADDRESS,
    HTTPS_PORT,
    NO_PEERS,
    ON_THE_DESK,
    LabFolder,
    require_idle,
)
from microipa.lab.keys import LabKeys
from microipa.lab.peers import Peers
from microipa.modem import Card, VirtualModem
from microipa.net.https_server import LOOPBACK
from microipa.quirks import QUIRKS
from microipa.radio import Link, LinkSettings, Network
from microipa.radio.network import EVERY_PORT
from microipa.trace import SecondTrace, Trace
from microipa.trace.key_log import NAME as KEY_LOG
from microipa.trace.key_log import KeyLog


class Lab(LabFolder):
    """A running lab: ``async with Lab(folder) as lab`` starts every part, leaving stops them.

    With ``two_eims`` there is a second one in ``eim2``, with name, keys and database (eim2/) of its own, whom
    the card does not know yet. ``card`` says what kind of card a new one is, in words of Euicc.create. ``trust``
    is how the card is told to trust the eIM's server, see ``Eim.configuration``; an eIM with keys of another maker
    is pinned by default. ``quirks``: names of ``microipa.quirks``, with numbers where they take one; with one of
    eim2 the card knows that from the start. ``host`` is the address at which all servers listen.
    ``certified``: the eIM asks the board for a client certificate.
    ``peers`` of other makers join it. ``form``: as the board's firmware lies there, see
    VirtualBoard.install. ``skips_sleep``: the lab's clock skips what the board sleeps; ``drift_percent``: how much
    longer that is than the board's own clock counts. ``tls_keys``: the servers write the TLS secrets of their
    connections with devices into tls-keys.log, by default where they listen on loopback alone, so that no real board
    is among those devices. Opened again on the same folder it goes on where it stopped. Raises UnknownQuirk, InUse when
    one runs there already, and MicroipaError subclasses of the parts when one cannot start.
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
        form: Form = "by hand",
        two_eims: bool = False,
        keys: LabKeys | None = None,
        card: dict[str, Any] | PcscCard | None = None,
        host: str = LOOPBACK,
        certified: bool = False,
        peers: Peers = NO_PEERS,
        skips_sleep: bool = False,
        drift_percent: float = 0.0,
        tls_keys: bool | None = None,
        trace: Trace | None = None,
    ) -> None:
        require_idle(folder)  # before its trace has a second writer
        folder.mkdir(parents=True, exist_ok=True)
        self.trace = trace or Trace(folder / "trace.jsonl")
        real = card if isinstance(card, PcscCard) else None
        super().__init__(folder, create=True, keys=keys, quirks=quirks, certified=certified, peers=peers,
                         eid=real.eid if real else "", card_ci=peers.cis[0] if real and peers.cis else None,
                         trace=self.trace)
        self.trace.about(eid=self.eid)
        if tls_keys or (tls_keys is None and host == LOOPBACK):
            self.eim.key_log = self.smdpp.key_log = self.smds.key_log = KeyLog(folder / KEY_LOG)
        self._certified = certified
        self.eim2: Eim
        self._eims = [self.eim]
        self._quirks = quirks
        self._knows_both = any(chosen.quirk.part == "eim2" for chosen in QUIRKS.choose(quirks))
        if two_eims or self._knows_both:
            self._add_second_eim()
        self.clock = Clock(skips=skips_sleep)
        self._sleep: dict[str, Any] = {"clock": self.clock, "skips_under_s": math.inf if skips_sleep else 0,
                                       "drift_percent": drift_percent}
        self.network = Network(trace=self.trace, quirks=quirks, clock=self.clock)
        self.link = Link(radio, trace=self.trace, quirks=quirks, clock=self.clock)
        self.network.admits_strangers = real is not None
        self.euicc: Any
        slot: Card
        if real:
            self.euicc = slot = real
        else:
            self.euicc = software = self.card(self.trace, **(card if isinstance(card, dict) else {}))
            slot = odd_card(software, quirks)
        self.modem = VirtualModem(slot, self.network, self.link, family=family, quirks=quirks, trace=self.trace)
        self.board: VirtualBoard
        self._heap = heap
        # A CI of another maker may be on a curve that mbedTLS does not know.
        self._trust = trust or ("pin" if self._foreign_eim else "ca")
        self._board_config = board_config or {}
        self._measure_heap = measure_heap
        self._form = form
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
        self.euicc.trust(self.peers.cis)
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
        self._join_peers()
        await self.modem.start()
        self._running.push_async_callback(self.modem.stop)
        self.board = VirtualBoard(
            self.folder / "board", self.modem.path, heapsize=self._heap, modem=self.modem.dialect.name,
            power_key=self.modem.press_power_key, wake_pin=self.modem.wake_pin, sleep_pin=self.modem.sleep_pin,
            uart_sleeps=self.modem.board_sleeps, trace=self.trace, **self._sleep
        )
        self.modem.ring = self.board.wake
        self._program_board()
        spoil(self.board.folder, self._quirks)
        self._running.callback(self.board.kill)

    def _join_peers(self) -> None:
        """Lead devices and our servers to those of other makers, and nobody to ours that stay away."""
        for part, server in (("smdpp", self.smdpp.address), ("eim", self.eim.fqdn)):
            if part in self.peers.without:
                self.network.forget(server)
                self.es9_routes.pop(server, None)
        for (name, port), target in self.peers.routes:
            self.network.route(name, port, target)
            if port in (EVERY_PORT, HTTPS_PORT):
                self.es9_routes[name] = self.smds_routes[name] = target

    def _program_board(self) -> None:
        """Put this checkout's firmware onto the board. One that somebody has flashed stays as it is, as on a desk."""
        if flashed := self.board.flashed:
            self.step(f"the board keeps the flashed version {flashed} and its settings; remove {self.board.folder} to "
                      "have this checkout's firmware and the settings of this lab")
            return
        self.board.install(
            {"apn": "iot.microipa.example", **self._board_config},
            {
                "eim.der": self.peers.eim or b"".join(
                    eim.configuration(self._trust) for eim in self._eims[: 1 + self._knows_both]),
                "roots.der": b"".join(sorted(self._roots)),  # of other makers; our own CI comes with eim.der
                "eim_roots.der": self.eim.tls_root,  # for a configuration that trusts no key
                **(self._client_files() if self._certified else {}),
                **self._heap_meter(),
            },
            form=self._form,
        )

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
        self.eim2.key_log = self.eim.key_log
        self._eims.append(self.eim2)

    def _heap_meter(self) -> dict[str, bytes]:
        if not self._measure_heap:
            return {}
        meter = (paths.tools() / "heap_meter.py").read_bytes()
        main = (paths.firmware() / "main.py").read_bytes() if self._form == "by hand" else b"import app\n"
        return {"heap_meter.py": meter, "main.py": b"import heap_meter\n" + main}

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


