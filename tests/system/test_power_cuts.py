"""The board loses power in the middle of first light and gets it back: the end is always the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from microipa.lab import Lab
from microipa.lab.demo import queue_orders
from microipa.trace import Event, Trace
from scene import QUICK, answered, es10, order

Matcher = Callable[[Event], bool]


def nth(number: int, matches: Matcher) -> Matcher:
    left = [number]

    def counted(event: Event) -> bool:
        if matches(event):
            left[0] -= 1
        return left[0] <= 0

    return counted


def in_the_profile(event: Event) -> bool:
    """A block of a STORE DATA chain that is not its last."""
    return event.kind == "apdu" and event.fields["command"][2:6] == "e211"


def attached(event: Event) -> bool:
    return event.kind == "network" and event.fields["event"] == "attach accepted"


CUTS: dict[str, Callable[[], Matcher]] = {
    "step 6: the card has authenticated the SM-DP+": lambda: answered(0xBF38),
    "step 6: the card has prepared the download": lambda: answered(0xBF21),
    "step 6: a few segments are on the card": lambda: nth(9, in_the_profile),
    "step 6: the profile is installed, nobody knows": lambda: answered(0xBF37),
    "step 6: the eIM knows, the card still keeps the result": lambda: order("download", "done"),
    "step 7: the package is executed, the modem has not switched": lambda: answered(0xBF51),
    "step 7: the new profile is on the network": lambda: nth(2, attached),
    "step 7: the eIM has the result, the card still keeps it": lambda: order("package", "done"),
}


@pytest.mark.parametrize("moment", CUTS)
async def test_a_power_cut_changes_nothing_of_the_end(moment: str, tmp_path: Path) -> None:
    trace = Trace()
    matches, cut, installed = CUTS[moment](), [False], asyncio.Event()
    async with Lab(tmp_path, radio="none", trace=trace, board_config=QUICK) as lab:

        def cut_power(event: Event) -> None:
            if not cut[0] and matches(event):
                cut[0] = True
                lab.board.kill()

        def hear(event: Event) -> None:
            if event.part == "smdpp" and "installed" in event.fields.get("text", ""):
                installed.set()

        trace.listen(cut_power)
        trace.listen(hear)
        iccid = queue_orders(lab)
        await lab.board.start()
        assert await lab.board.wait() == -9
        await lab.board.start()
        assert await lab.board.wait() == 0
        await asyncio.wait_for(installed.wait(), 10)
        assert {view.state for view in lab.eim.orders()} == {"done"}
        assert [(one.iccid, one.state) for one in lab.euicc.profiles()][1:] == [(iccid, "enabled")]
        assert [str(view.state) for view in lab.smdpp.orders()] == ["installed"]
    assert es10(tmp_path, "BF2B00").value == bytes.fromhex("A000")
    assert es10(tmp_path, "BF2B04A0028200").value == bytes.fromhex("A200")
