"""What cases work with beside the servers: board, card, radio, modem; each does what a person at the bench could do."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from microipa.board import VirtualBoard
from microipa.board.package import check_config
from microipa.board.repl import BoardSilent, PortError, Repl
from microipa.board.terminal import Terminal
from microipa.hil import supply
from microipa.hil.at_lines import heard
from microipa.hil.banner import is_banner
from microipa.hil.moments import BoardStuck, logged, sleeps_for
from microipa.hil.servers import EimDesk, SmdppCounter
from microipa.hil.station import DEEP, SLEPT_S, Matcher, Offer, Station
from microipa.hil.tether import Tether
from microipa.lab import BOOTSTRAP_OPERATOR, FALLBACK_ALLOWED, OPERATOR
from microipa.radio import LinkSettings

POLL_S = 180.0  # of a machine that has much else to do
IDLE = "agent: nothing left to do"
_BACK_S, _LOOK_AGAIN_S = 30.0, 0.2  # of a USB port whose board boots


class Board:
    """The board under test, through its serial port and nothing else but its supply."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._tether: Tether | None = None
        self._dark = threading.Event()
        self._cut_failed: supply.BadSupply | None = None
        self._changed = False
        self._began = self._since = 0  # places among the events

    @property
    def often(self) -> dict[str, Any]:
        """Settings with which it polls again and again, without end: where it sleeps deep, after sleeps of a minute."""
        return {"stop_when_idle": False, "poll_interval_s": 60 if self._station.place.sleeps else 1}

    def set(self, **settings: Any) -> None:
        """Change settings of ipa.json for this case; without any, back to the bench's own."""
        given = json.dumps({**self._station.settings, **settings}).encode()
        check_config(given)
        with self._repl() as repl:
            self._station.write_settings(repl, given)
        self._changed = bool(settings)

    def forget(self) -> None:
        """Erase what the assistant keeps in the board's flash: its journal."""
        with self._repl() as repl:
            repl.run("import os\nfor name in os.listdir():\n if name.startswith('ipa.journal'): os.remove(name)")

    def start(self) -> None:
        """Let the program run; a board that sleeps is woken by its pin."""
        self._station.settled()
        self._began = self._since = len(self._station.events)
        if self._is_asleep and self._station.terminal:
            self._station.loop.call(self._virtual.wake)
            return
        repl = self._repl()
        if self._station.place.tether:
            self._tether = Tether(self._station.eim_address, self._type, self._station.record)
        self._station.terminal = Terminal(repl, self._heard)
        self._station.runs = True

    def wait(self, timeout_s: float = POLL_S) -> None:
        """Until the eIM has nothing more for it and it has ended. Raises BoardStuck, BoardLost."""
        terminal = self._station.terminal
        assert terminal, "start() it first"
        if self._station.place.sleeps:
            self._wait_asleep(timeout_s)
            return
        if not terminal.ended.wait(timeout_s):
            raise BoardStuck(f"the board is still running after {timeout_s:.0f} s; last: {self._last()}")
        self._hang_up()
        if terminal.lost:
            raise terminal.lost
        self._station.settled()
        if not any(logged(IDLE)(event) for event in self._station.events[self._began :]):
            raise BoardStuck(f"the board's program has ended too early; last: {self._last()}")

    def _wait_asleep(self, timeout_s: float) -> None:
        """Until it has slept for an hour, having nothing to do, and with it its modem."""
        since = self._since
        self.until(sleeps_for(DEEP["poll_interval_s"]), timeout_s)
        self._since = since
        deadline = time.monotonic() + timeout_s
        while not self._is_asleep:
            if time.monotonic() > deadline:
                raise BoardStuck(f"the board has not fallen asleep after {timeout_s:.0f} s; last: {self._last()}")
            time.sleep(_LOOK_AGAIN_S / 10)
        self._station.loop.run(self._station.whole.clock.skip(SLEPT_S))

    def poll(self, timeout_s: float = POLL_S) -> None:
        """Let it do all there is for it."""
        self.start()
        self.wait(timeout_s)

    def stop(self) -> None:
        """Stop the program, if it runs, and leave the board at its REPL; one that sleeps may go on."""
        if self._is_asleep and self._station.terminal:
            return
        terminal = self._station.terminal
        was_running = terminal is not None and not terminal.ended.is_set()
        self._hang_up()
        if was_running:
            self._repl().close()

    def until(self, matches: Matcher, timeout_s: float = POLL_S) -> None:
        """Wait for an event that came since the start or since the last one waited for, or comes. Raises BoardStuck."""
        seen = threading.Event()
        station = self._station
        since = self._since

        def found(place: int) -> None:
            self._since = place + 1
            seen.set()

        def look() -> None:
            places = (place for place in range(since, len(station.events)) if matches(station.events[place]))
            if (place := next(places, None)) is None:
                station._when.append((matches, lambda: found(len(station.events) - 1)))
            else:
                found(place)

        station.loop.call(look)
        if not seen.wait(timeout_s):
            raise BoardStuck(f"the expected event did not occur within {timeout_s:.0f} s; last: {self._last()}")

    def cut_power_when(self, matches: Matcher) -> None:
        """Take the supply at the moment of such an event; wait_dark() waits for it."""
        self._dark.clear()
        self._station.when(matches, self._cut)

    def wait_dark(self, timeout_s: float = POLL_S) -> None:
        """Raises BoardStuck when the moment for the power cut has not come, BadSupply."""
        if not self._dark.wait(timeout_s):
            raise BoardStuck(f"the moment for the power cut did not come in {timeout_s:.0f} s; last: {self._last()}")
        if self._cut_failed:
            raise self._cut_failed

    def give_power(self) -> None:
        """Supply it again: it boots its program. Raises BadSupply, PortError, BoardSilent."""
        if self._station.virtual:
            self._station.settled()
            self._began = self._since = len(self._station.events)
            self._supply()
        else:  # whose port may come back after its first words: it is started once more
            self.start()

    def tidy(self, eim: EimDesk, card: CardView) -> None:
        """Stop it, and bring settings and card back to what they were, as the eIM's orders can."""
        station = self._station
        station.tidy()
        self.stop()
        eim.cancel_what_waits()
        if self._changed:
            self.set()
        profiles = card.profiles()
        if profiles.get(station.home) == "disabled":
            eim.package(("enable", {"iccid": station.home}))
        kept = {*station.kept, *([station.spare.iccid] if station.spare else [])}
        extra = [iccid for iccid in profiles if iccid not in kept]
        for iccid in extra:
            eim.package(("delete", {"iccid": iccid}))
        address = eim.device().default_smdp_address
        moved = not station.virtual and address not in (None, station.default_smdp)
        if moved:
            eim.package(("setDefaultDpAddress", {"defaultDpAddress": station.default_smdp}))
        if extra or moved or profiles.get(station.home) == "disabled":
            try:
                self.poll()
            finally:
                self.stop()

    def log(self) -> str:
        """What it has said in this case."""
        self._station.settled()
        return "\n".join(event.fields["text"] for event in self._station.events if event.kind == "log")

    @property
    def _virtual(self) -> VirtualBoard:
        assert self._station.virtual
        return self._station.virtual

    @property
    def _is_asleep(self) -> bool:
        return self._station.place.sleeps and self._virtual.asleep

    def _supply(self) -> None:
        station = self._station
        station.record("board", "power", on=True)
        if station.virtual:
            station.loop.run(station.virtual.start())
        else:
            supply.switch(station.place.power_on)
        self._dark.clear()

    def _cut(self) -> None:
        """In the lab's thread, which goes on while a command does the work."""
        self._station.trace.record("board", "power", on=False)
        if self._station.virtual:
            self._station.virtual.kill()
            self._dark.set()
        else:
            threading.Thread(target=self._cut_by_command, name="supply").start()

    def _cut_by_command(self) -> None:
        try:
            supply.switch(self._station.place.power_off)
        except supply.BadSupply as error:
            self._cut_failed = error
        self._dark.set()

    def _heard(self, text: str) -> None:
        if not (self._tether and self._tether.takes(text)):
            part, kind, fields = heard(text)
            self._station.record(part, kind, **fields)

    def _type(self, data: bytes) -> None:
        if self._station.terminal:
            self._station.terminal.write(data)

    def _last(self) -> str:
        """What it said last, without what its REPL says when the program has ended."""
        lines = [line for line in self.log().splitlines() if not is_banner(line)]
        return lines[-1] if lines else "it said nothing"

    def _hang_up(self) -> None:
        if self._tether:
            self._tether.close()
        self._station.hang_up()

    def _repl(self) -> Repl:
        self._hang_up()
        if self._station.virtual and not self._station.virtual.running:
            self._station.loop.run(self._station.virtual.start())
        elif self._dark.is_set() and not self._station.virtual:
            self._supply()
            return _back(self._station.port)
        return Repl(self._station.port)


def _back(port: str) -> Repl:
    """The REPL of a board that has just got its supply, as soon as it is there. Raises PortError, BoardSilent."""
    deadline = time.monotonic() + _BACK_S
    while True:
        try:
            return Repl(port)
        except (PortError, BoardSilent):
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_AGAIN_S)


def load_spare(station: Station, board: Board, eim: EimDesk, smdpp: SmdppCounter) -> Offer:
    """Put a profile onto the card that stays there, disabled: one of the bench's, or by an activation code of a real
    place, which is used once: the profile is known again in later runs. Skips when all codes are used up."""
    if station.virtual:
        offer = smdpp.offer("Spare", attributes=[FALLBACK_ALLOWED])
        _load(board, eim, offer.code)
        return offer
    noted = station.spares()
    for code, iccid in noted.items():
        if iccid in station.kept:
            return Offer(code, iccid, "")
    fresh = [code for code in station.place.profiles if code not in noted]
    if not fresh:
        pytest.skip(f"the activation codes of {station.place.name} are used up: give new ones as profiles")
    code = fresh[0]
    before = station.ask().profiles
    _load(board, eim, code)
    [iccid] = station.ask().profiles.keys() - before
    station.note_spare(code, iccid)
    return Offer(code, iccid, "")


def _load(board: Board, eim: EimDesk, code: str) -> None:
    order = eim.download(code)
    board.poll()
    assert eim.outcome(order)[0] == "done", eim.outcome(order)


class CardView:
    """The card, as its contacts tell where the bench has them; elsewhere as the board tells at its REPL, and as the eIM
    knows it while the board's program runs."""

    def __init__(self, station: Station, eim: EimDesk) -> None:
        self._station = station
        self._eim = eim

    def profiles(self) -> dict[str, str]:
        """State of each profile by its ICCID."""
        if self._station.virtual:
            listed = self._station.loop.call(self._station.whole.euicc.profiles)
            return {profile.iccid: profile.state for profile in listed}
        if not self._station.runs:
            return dict(self._station.ask().profiles)
        return {profile["iccid"]: profile["state"] for profile in self._eim.device().profiles or []}

    def enabled(self) -> str:
        return next((iccid for iccid, state in self.profiles().items() if state == "enabled"), "")

    def asked(self, tag: int) -> int:
        """How often this ES10 function was called in this case, as its contacts saw it."""
        start = f"{tag:04x}"
        return sum(e.fields["command"][2:4] == "e2" and e.fields["command"][10:14] == start
                   for e in self._station.events if e.kind == "apdu")


class Radio:
    """The air between the board's modem and the network."""

    HOME, AWAY = BOOTSTRAP_OPERATOR, OPERATOR
    """Of the profile a card comes with, and of those the bench offers."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._good: LinkSettings | None = station.whole.link.settings if station.virtual else None

    def cover(self, operator: str, covered: bool) -> None:
        """Put an operator's cells up, or take them down. Safe in any thread."""
        self._station.loop.soon(lambda: self._station.whole.network.set_coverage(operator, covered))

    def degrade(self, **settings: Any) -> None:
        """Let the link be like this: fields of LinkSettings."""
        assert self._good
        self._station.whole.link.settings = replace(self._good, **settings)

    def hole(self, begins: Matcher, ends: Matcher) -> None:
        """Take the home operator's cells down with one event, and put them up with another that comes later."""
        def down() -> None:
            self.cover(self.HOME, False)
            self._station._when.append((ends, lambda: self.cover(self.HOME, True)))

        self._station.when(begins, down)

    def lost(self) -> int:
        """Datagrams that did not arrive, since the bench stands."""
        counters = self._station.whole.link.counters
        return counters.up.lost + counters.down.lost

    def mend(self) -> None:
        if self._good:
            self._station.whole.link.settings = self._good
            for operator in (self.HOME, self.AWAY):
                self.cover(operator, True)
            self._station.settled()


class ModemView:
    """The board's modem, as far as it can be heard."""

    def __init__(self, station: Station) -> None:
        self._station = station

    @property
    def family(self) -> str:
        return self._station.place.family

    def commands(self) -> list[str]:
        """The AT commands of this case."""
        return [e.fields.get("text", "") for e in self._station.events
                if (e.part, e.kind, e.fields.get("direction")) == ("modem", "at", "in")]


