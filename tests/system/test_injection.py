"""Packages that a living board did not ask for: inject mode from eIM to card and back (SGP.32 3.1.1.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from microipa.asn1.tlv import parse, tlv
from microipa.lab import Lab, LabFolder, Preloaded, new_profile
from microipa.saip import build
from microipa.trace import Event, Trace


class Watch:
    """All events of a lab, and somebody who waits for one."""

    def __init__(self, trace: Trace) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()
        trace.listen(self._hear)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, matches: Callable[[Event], bool], after: int = 0) -> int:
        """The place of the first such event behind the place ``after``, as soon as it is there."""
        async with asyncio.timeout(60):
            while True:
                found = next((n for n, event in enumerate(self.events) if n >= after and matches(event)), None)
                if found is not None:
                    return found
                self._news.clear()
                await self._news.wait()


def says(text: str) -> Callable[[Event], bool]:
    return lambda event: event.part == "board" and event.kind == "log" and text in str(event.fields["text"])


def settled(number: int) -> Callable[[Event], bool]:
    done = {"done", "failed"}
    return lambda event: event.kind == "order" and event.fields.get("order") == number and event.fields["state"] in done


def messages(events: list[Event]) -> list[str]:
    """Tags of the ESipa messages, with who says them: in from the device, out to it."""
    esipa = [event for event in events if (event.part, event.kind) == ("eim", "esipa") and event.fields["message"]]
    return [f"{event.fields['direction']} {parse(bytes.fromhex(event.fields['message'])).tag:X}" for event in esipa]


@pytest.mark.covers(
    "esipa.TransferEimPackageRequest", "esipa.TransferEimPackageResponse", "package.eimPackageReceived"
)
async def test_3_1_1_2_a_living_board_carries_out_what_is_injected_without_polling(tmp_path: Path) -> None:
    trace = Trace()
    watch = Watch(trace)
    config = {"inject_wait_s": 60, "packages_per_poll": 32, "backoff_s": 1}
    async with Lab(tmp_path / "lab", radio="none", trace=trace, board_config=config, heap="192K") as lab:
        first = lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
        await lab.board.start()
        listening = await watch.until(says("inject: listening"))
        assert lab.eim.device(lab.eid).ipa_capabilities["ipaSupportedProtocols"] == [
            "ipaRetrieveCoaps",
            "ipaInjectCoaps",
        ]

        second = lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
        assert await lab.eim.inject(lab.eid)
        assert messages(watch.events[listening:]) == ["out BF4E", "in BF4E"] * 2  # the package, the acknowledgement

        spec = new_profile("Injected")
        download = lab.eim.order_download(lab.eid, lab.offer(build(spec)), needs_proof=False)
        place = await watch.until(settled(download))  # the serving eIM hands it over by itself
        assert "in BF4F" not in messages(watch.events[listening:])

        switch = lab.eim.order_package(lab.eid, [("enable", {"iccid": spec.iccid, "rollbackFlag": None})])
        await watch.until(settled(switch), place)
        states = {order.id: order.state for order in lab.eim.orders()}
        assert [states[number] for number in (first, second, download, switch)] == ["done"] * 4
        assert {profile.iccid: profile.state for profile in lab.euicc.profiles()}[spec.iccid] == "enabled"


LOCAL_CALLER = """
import asyncio
from board import Board
from ipa import application, compat, config
from ipa.agent import Agent
from ipa.journal import Journal
from ipa.modem import driver

async def caller(agent):
    "Somebody on the device who gets packages by other ways, here from files."
    number = 0
    while True:
        await compat.sleep_ms(50)
        try:
            with open("in%d" % number, "rb") as file:
                message = file.read()
        except OSError:
            continue
        answer = await application.inject(agent, message)
        with open("out%d" % number, "wb") as file:
            file.write(answer)
        print("I (0) caller: answered", number)
        number += 1

async def main():
    settings = config.load("ipa.json")
    board = Board()
    agent = Agent(driver("bg95")(board.uart(), board), settings, Journal(settings["journal_file"]), board)
    task = asyncio.create_task(caller(agent))
    await agent.run()

asyncio.run(main())
"""


async def test_3_1_1_2_somebody_on_the_device_hands_over_what_came_by_other_ways(tmp_path: Path) -> None:
    trace = Trace()
    watch = Watch(trace)
    folder = tmp_path / "lab"
    other = Preloaded("Other", "99970")
    LabFolder(folder, create=True).card(preloaded=[other])
    async with Lab(folder, radio="none", trace=trace, heap="216K") as lab:
        board, eid = lab.board.folder, bytes.fromhex(lab.eid)
        (board / "main.py").write_text(LOCAL_CALLER)

        async def inject(number: int, content: bytes) -> bytes:
            """What is inside the board's answer to a package that reaches it by a file."""
            new = board / "new"
            new.write_bytes(tlv(0xBF4E, content))
            new.rename(board / f"in{number}")
            await watch.until(says(f"caller: answered {number}"))
            (answer,) = parse((board / f"out{number}").read_bytes())
            return answer.raw

        async def waiting() -> bytes:
            """The package that waits for this device."""
            (package,) = parse(await lab.eim.handle(tlv(0xBF4F, tlv(0x5A, eid))))
            return package.raw

        first = lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
        await lab.board.start()
        await watch.until(settled(first))
        await watch.until(says("poll: the eIM has no more"))
        quiet = len(watch.events)

        second = lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
        result = await inject(0, await waiting())
        acknowledged = parse(await lab.eim.handle(tlv(0xBF50, tlv(0x5A, eid), result)))
        assert await inject(1, acknowledged[0xBF53].raw) == b"\x05\x00"
        assert await inject(2, b"\xbf\x60\x00") == b"\x02\x01\x02"
        assert not [event for event in watch.events[quiet:] if says("poll: ")(event)]

        switch = lab.eim.order_package(lab.eid, [("enable", {"iccid": other.iccid, "rollbackFlag": None})])
        assert await inject(3, await waiting()) == b"\x05\x00"
        await watch.until(settled(switch), quiet)  # the agent woke up and brought the result over the new profile
        states = {order.id: order.state for order in lab.eim.orders()}
        assert [states[number] for number in (first, second, switch)] == ["done"] * 3
        assert {profile.iccid: profile.state for profile in lab.euicc.profiles()}[other.iccid] == "enabled"

        trigger = tlv(0xBF54, tlv(0xA0, tlv(0x80, b"no activation code")), tlv(0x82, b"\1" * 8))
        await watch.until(says("poll: the eIM has no"), quiet)
        quiet = len(watch.events)
        assert await inject(4, trigger) == b"\x05\x00"
        await watch.until(lambda event: messages([event]) == ["in BF50"], quiet)  # the eIM hears of it at once
