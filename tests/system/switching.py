"""A device whose card has several profiles, whose operators come and go; what tests of 3.3.2 and 5.9 share."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from microipa.lab import COAPS_PORT, Lab, LabFolder, Preloaded
from microipa.trace import Event, Trace
from scene import QUICK

NEW, THIRD = "99970", "99971"
TIMEOUT_S = 45
Matcher = Callable[[Event], bool]


async def introduce(folder: Path, *preloaded: Preloaded) -> None:
    """Make a lab whose card has these profiles, and let the eIM learn who the card is."""
    LabFolder(folder, create=True).card(preloaded=preloaded)
    async with Lab(folder, radio="none", board_config=QUICK) as lab:
        lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
        await lab.board.start()
        assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == 0


@dataclass
class Device:
    """One lab in a folder of its own, its events, and what shall happen when one of them comes."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    family: str = "bg95"
    quirks: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    """More for Lab."""
    _when: list[tuple[Matcher, Callable[[], object]]] = field(default_factory=list)

    @classmethod
    def copy(cls, template: Path, folder: Path, **config: Any) -> Device:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        return cls(folder, {**QUICK, **config})

    def lab(self) -> Lab:
        trace = Trace()
        trace.listen(self._hear)
        return Lab(self.folder, radio="none", trace=trace, board_config=self.config, family=self.family,
                   quirks=self.quirks, **self.options)

    def when(self, matches: Matcher, act: Callable[[], object]) -> None:
        """Do this at once when the first such event comes."""
        self._when.append((matches, act))

    def listen(self, act: Callable[[Event], object]) -> None:
        """Do this for every event."""

        def never(event: Event) -> bool:
            act(event)
            return False

        self.when(never, lambda: None)

    async def until(self, matches: Matcher) -> None:
        """Wait for the next such event."""
        seen = asyncio.Event()
        self.when(matches, seen.set)
        try:
            await asyncio.wait_for(seen.wait(), TIMEOUT_S)
        except TimeoutError:
            pytest.fail("not seen; the board said last\n" + "\n".join(self.log().splitlines()[-30:]))

    def log(self) -> str:
        return "\n".join(e.fields["text"] for e in self.events if (e.part, e.kind) == ("board", "log"))

    def asked(self, tag: int) -> int:
        """How often the board called this ES10 function."""
        start = f"{tag:04x}"
        return sum(
            event.fields["command"][2:4] == "e2" and event.fields["command"][10:14] == start
            for event in self.events
            if event.kind == "apdu"
        )

    def causes(self) -> list[str]:
        return [e.fields["cause"] for e in self.events if (e.part, e.kind) == ("eim", "state_change")]

    def journal(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "board" / "ipa.journal").read_text().splitlines()[1])
        return found

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        for matches, act in list(self._when):
            if matches(event):
                self._when.remove((matches, act))
                act()


def enabled(lab: Lab) -> str:
    """The name of the enabled profile."""
    return next((profile.name for profile in lab.euicc.profiles() if profile.state == "enabled"), "")


def attached_to(operator: str) -> Matcher:
    return lambda event: (
        event.kind == "network"
        and event.fields["event"] == "attach accepted"
        and event.fields["operator"] == operator
    )


def listened(event: Event) -> bool:
    """The modem has told which networks it hears."""
    return event.kind == "at" and event.fields["direction"] == "out" and event.fields["text"].startswith("+COPS: (")


def logged(text: str) -> Matcher:
    return lambda event: (event.part, event.kind) == ("board", "log") and text in event.fields["text"]


def cut_eim_off(lab: Lab) -> Callable[[], None]:
    """Let datagrams to the eIM go nowhere. Returns what puts it back."""
    host = lab.pki.eim_fqdn
    address = lab.network.resolve(host, COAPS_PORT)
    assert address
    lab.network.route(host, COAPS_PORT, ("127.0.0.1", 9))
    return lambda: lab.network.route(host, COAPS_PORT, address)
