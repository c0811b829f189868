"""Packages that a living board did not ask for: inject mode from eIM to card and back (SGP.32 3.1.1.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from microipa.asn1.tlv import parse
from microipa.lab import Lab, new_profile
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
    async with Lab(tmp_path / "lab", radio="none", trace=trace, board_config=config, measure_heap=True) as lab:
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
        download = lab.eim.order_download(lab.eid, lab.offer(build(spec)))
        place = await watch.until(settled(download))  # the serving eIM hands it over by itself
        assert "in BF4F" not in messages(watch.events[listening:])

        switch = lab.eim.order_package(lab.eid, [("enable", {"iccid": spec.iccid, "rollbackFlag": None})])
        await watch.until(settled(switch), place)
        states = {order.id: order.state for order in lab.eim.orders()}
        assert [states[number] for number in (first, second, download, switch)] == ["done"] * 4
        assert {profile.iccid: profile.state for profile in lab.euicc.profiles()}[spec.iccid] == "enabled"
