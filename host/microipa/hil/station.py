"""A place of a bench at work: eIM and SM-DP+ in a thread of their own, and the board flashed through its serial port.

Around the virtual board the whole lab of ``microipa.lab`` stands; beside a real one its servers do, and what modem and
card are is asked through the board. Cases talk to both by the words of fixtures.py and servers.py.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from microipa.asn1 import sgp32
from microipa.board import VirtualBoard
from microipa.board.bytecode import compiled
from microipa.board.flash import ROM, BoardUnfit, Flashed, Kind, check_fit, flash, kind
from microipa.board.package import EIM, SETTINGS, Package, build, check_config
from microipa.board.repl import Repl
from microipa.board.romfs import flash_romfs, partition_for
from microipa.board.terminal import Terminal
from microipa.common import paths
from microipa.crypto.key_folder import read_certificate
from microipa.crypto.pki import subject_key_identifier
from microipa.hil.about import About, ask
from microipa.hil.bench import Place
from microipa.lab import COAPS_PORT, Lab, LabFolder
from microipa.net.https_server import LOOPBACK
from microipa.trace import Event, Trace

T = TypeVar("T")
Matcher = Callable[[Event], bool]

_CALL_S = 60.0
SPARES = "spares.json"
QUICK: dict[str, Any] = {"apn": "iot.microipa.example", "stop_when_idle": True, "backoff_s": 1, "backoff_max_s": 2}
"""What every board on a bench is set to, over its defaults and under what the bench says."""
DEEP: dict[str, Any] = {"stop_when_idle": False, "poll_interval_s": 172800, "poll_jitter_percent": 0}
"""And one whose place says ``sleep = "deep"``: where another has nothing left to do and ends, it sleeps until it is
woken an hour later. No sleep takes any time."""
SLEPT_S = 3600
SWITCHED_ON = {"download": "direct"}
"""Settings that cases switch on: the parts for them are flashed from the start."""


class Loop:
    """An asyncio loop in a thread, so that cases are plain functions."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="lab", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = _CALL_S) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def call(self, function: Callable[[], T]) -> T:
        async def wrapped() -> T:
            return function()

        return self.run(wrapped())

    def soon(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the bench is being cleared away
            self.loop.call_soon_threadsafe(function)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass(frozen=True)
class Offer:
    """A profile that waits at the SM-DP+."""

    code: str
    iccid: str
    imsi: str


class Station:
    """``with Station(place, folder) as station``: everything runs, the board is flashed and waits at its REPL."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.loop = Loop()
        self.trace = Trace()
        self.events: list[Event] = []
        self.lab: LabFolder
        self.virtual: VirtualBoard | None = None
        self.port = place.port
        self.terminal: Terminal | None = None  # where the board's program runs
        self.kind: Kind
        tools = {"heap_meter": True, "tether": place.tether, "at_tap": not place.is_virtual}
        self.package = _with_tools(build(place.known), [name for name, wanted in tools.items() if wanted])
        self.flashed: Flashed
        self.settings: dict[str, Any] = {}
        self.eid = ""
        self.home = ""  # ICCID of the profile the card came with
        self.kept: frozenset[str] = frozenset()  # ICCIDs of all profiles it came with
        self.default_smdp = ""  # address that it came with
        self.spare: Offer | None = None  # a profile that stays on the card, disabled, between cases
        self._eim_port = 0  # where the eIM beside a real board listens
        self._trusts_smdpp = True
        self.runs = False  # whether the board's program does, so that nobody can talk to its REPL
        self._when: list[tuple[Matcher, Callable[[], object]]] = []
        self._taken: list[Callable[[], object]] = []
        self._running = AsyncExitStack()
        self.trace.listen(self._hear)

    def __enter__(self) -> Station:
        try:
            self.loop.run(self._start())
            self._flash()
            if not self.virtual:
                self._learn()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.loop.run(self._running.aclose())
        self.loop.close()

    @property
    def whole(self) -> Lab:
        """The lab around a virtual board, with modem, network and card."""
        assert isinstance(self.lab, Lab)
        return self.lab

    def eim_address(self, host: str, port: int) -> tuple[str, int] | None:
        """Where the eIM of this place listens that has this name; None for whatever else."""
        if not self.place.is_virtual:
            return (LOOPBACK, self._eim_port) if (host, port) == (self.lab.eim.fqdn, COAPS_PORT) else None
        ours = (self.whole.eim.fqdn, self.whole.eim2.fqdn)
        return self.whole.network.resolve(host, port) if host in ours and port == COAPS_PORT else None

    def when(self, matches: Matcher, act: Callable[[], object]) -> None:
        """Do this, in the lab's thread, at once when the first such event comes."""
        self.loop.call(lambda: self._when.append((matches, act)))

    def until_tidy(self, put_back: Callable[[], None]) -> Callable[[], None]:
        """The same function, which tidy() calls as well: whatever ends a case, the next one finds all in its place."""
        self._taken.append(put_back)
        return put_back

    def hang_up(self) -> None:
        """Leave the port, so that somebody can talk to the REPL.

        A board that sleeps deep is reset for that, and so is one that is about to: asleep it would not hear the REPL's
        Ctrl-C.
        """
        if self.terminal:
            self.terminal.close()
            self.terminal = None
        if self.virtual and (self.virtual.asleep or (self.runs and self.place.sleeps)):
            self.loop.call(self.virtual.reset)
        self.runs = False

    def tidy(self) -> None:
        """Forget what a case waits for, and put back what it has taken away."""
        self.loop.call(self._when.clear)
        while self._taken:
            self._taken.pop()()

    def record(self, part: str, kind: str, **fields: Any) -> None:
        """Note something that another thread has seen."""
        self.loop.soon(lambda: self.trace.record(part, kind, **fields))

    def settled(self) -> None:
        """Return when what other threads have noted so far stands among the events."""
        if not self.loop.loop.is_closed():
            self.loop.call(lambda: None)

    def take(self) -> list[Event]:
        """The events since the last time."""
        self.settled()
        events, self.events = self.events, []
        return events

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        for entry in [one for one in self._when if one[0](event)]:
            if entry in self._when:
                self._when.remove(entry)
                entry[1]()

    async def _start(self) -> None:
        if self.place.is_virtual:
            await self._start_lab()
        else:
            await self._start_servers()

    async def _start_lab(self) -> None:
        place = self.place
        shutil.rmtree(self.folder, ignore_errors=True)  # a new card, and a board nobody has flashed
        lab = self.lab = Lab(self.folder / "lab", radio="none", heap=place.heap, family=place.family,
                             quirks=place.quirks, trace=self.trace, two_eims=True, skips_sleep=place.sleeps)
        await self._running.enter_async_context(lab)
        self.eid = lab.eid
        self.home = lab.euicc.profiles()[0].iccid
        self.kept = frozenset([self.home])
        rom_size = partition_for(self.package) if place.form == "romfs" else 0
        board = VirtualBoard(self.folder / "flash", lab.modem.path, heapsize=place.heap, modem=place.family,
                             rom_size=rom_size, power_key=lab.modem.press_power_key, wake_pin=lab.modem.wake_pin,
                             sleep_pin=lab.modem.sleep_pin,
                             uart_sleeps=lab.modem.board_sleeps, clock=lab.clock,
                             skips_under_s=DEEP["poll_interval_s"])
        board.folder.mkdir(parents=True, exist_ok=True)
        self.virtual = board
        self._running.callback(board.pull_out)
        self._running.callback(board.kill)
        self.port = board.plug_in()
        await board.start()

    async def _start_servers(self) -> None:
        place = self.place
        host, _ = self._eim_address
        ci = read_certificate(Path(place.ci)) if place.ci else None
        lab = self.lab = LabFolder(self.home_folder, create=True, eim_fqdn=host, card_ci=ci, quirks=self.place.quirks,
                                   trace=self.trace)
        smdpp = await self._running.enter_async_context(lab.smdpp.serve())
        lab.es9_routes[lab.smdpp.address] = (LOOPBACK, smdpp)
        where = (0, LOOPBACK) if place.tether else (place.eim_port, place.bind)
        self._eim_port = await self._running.enter_async_context(lab.eim.serve(*where))

    @property
    def home_folder(self) -> Path:
        """Where the lab beside a real board lives, longer than any run."""
        return Path(self.place.lab or f"hil-lab/{self.place.name}")

    @property
    def _eim_address(self) -> tuple[str, int | None]:
        """Host and port by which a real board reaches the eIM; no port where it is the standard's."""
        url = urlsplit(self.place.eim_url)
        return url.hostname or "", None if url.port == COAPS_PORT else url.port

    def _flash(self) -> None:
        self.settings = {**QUICK, **(DEEP if self.place.sleeps else {}), **(self.place.settings or {})}
        if self.place.modem != "auto" and not self.place.is_virtual:
            self.settings["modem"] = self.place.modem
        content = json.dumps(self.settings).encode()
        check_config(content, f"settings of {self.place.name}")
        with Repl(self.port) as repl:
            self.kind = kind(repl)
            package = self.package = replace(
                self.package.with_files({SETTINGS: content, EIM: self._eim_configuration()}), kept=SWITCHED_ON)
            check_fit(self.kind, self.place.family, package.files["product.mpy"][1])
            if self.place.tether and not self.kind.dtls:
                raise BoardUnfit(f"the board of {self.place.name} has no DTLS of its own, so it cannot use a tether")
            in_rom = self.place.form == "romfs"
            self.flashed = (flash_romfs if in_rom else flash)(repl, package, lambda *_: None)

    @property
    def firmware(self) -> str:
        """The version that was flashed, by its hash."""
        return self.package.version if self.flashed.version == ROM else self.flashed.version

    def write_settings(self, repl: Repl, content: bytes) -> None:
        """Give the version that runs another ipa.json; a romfs is written anew for that."""
        if self.place.form == "romfs":
            kind(repl)
            flash_romfs(repl, self.package.with_files({SETTINGS: content}), lambda *_: None)
        else:
            repl.write_file(f"{self.flashed.version}/{SETTINGS}", content)

    def _eim_configuration(self) -> bytes:
        """What the board gives a card that knows no eIM."""
        if self.virtual:
            return self.loop.call(lambda: self.lab.eim.configuration("ca"))
        way = self.settings.get("dtls", "auto")
        by_modem = way == "modem" or (way == "auto" and not self.kind.dtls)
        # A pin needs no clock; the DTLS of modems knows certificates only.
        configuration = self.lab.eim.configuration("ca" if by_modem else "pin", self._eim_address[1])
        (self.home_folder / EIM).write_bytes(configuration)
        return configuration

    # A real card ----------------------------------------------------------------------------------------------

    def ask(self) -> About:
        """Ask modem and card through the board, whose program ends here. Raises what ``about.ask`` raises."""
        self.hang_up()
        return ask(self.port, self.place.known, self.flashed.version, self.settings)

    def lacks(self, feature: str) -> str:
        """Why this place has not what a case needs, now that its card is known; "" when it has."""
        if feature == "own SM-DP+" and not self.virtual and not self._trusts_smdpp:
            return self.place.without(feature)
        return self.place.lacks(feature)

    def spares(self) -> dict[str, str]:
        """ICCIDs of profiles that were loaded by activation codes of this place, by the code."""
        path = self.home_folder / SPARES
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def note_spare(self, code: str, iccid: str) -> None:
        (self.home_folder / SPARES).write_text(json.dumps({**self.spares(), code: iccid}, indent=1), encoding="utf-8")

    def _learn(self) -> None:
        """Find out whose card it is. Raises CardUnfit, and what ask() raises."""
        card = self.ask()
        card.check_ci(subject_key_identifier(self.lab.card_ci), self.place.ci or "this lab")
        card.check_eim(sgp32.decode("EimConfigurationData", (self.home_folder / EIM).read_bytes()), self.home_folder)
        card.check_profiles()
        self.eid, self.home, self.kept = card.eid, card.enabled, frozenset(card.profiles)
        self.default_smdp = card.default_smdp
        self._trusts_smdpp = bool(self.lab.smdpp.ci_pk_ids & set(card.cis))
        self.loop.call(lambda: self.lab.eim.add_device(card.eid))


def _with_tools(package: Package, names: Sequence[str]) -> Package:
    """The version with these modules of tools/ under its program, which is called product then."""
    files = dict(package.files)
    files["product.mpy"] = files.pop("app.mpy")
    for name in names:
        tool = paths.tools() / f"{name}.py"
        files[f"{name}.mpy"] = compiled(tool)
    files["app.py"] = "".join(f"import {name}\n" for name in (*names, "product")).encode()
    return replace(package, files=files)
