"""First light through modems that fail in the middle: the assistant begins again and ends where it should."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from microipa.lab import BOOTSTRAP_OPERATOR, Lab, new_profile
from microipa.saip import build
from microipa.trace import Event, Trace
from scene import QUICK, record


@pytest.mark.parametrize("quirk", ["error-in-load", "error-in-load-after-card", "endless-line"])
async def test_a_modem_that_fails_once_changes_nothing_of_the_end(quirk: str, tmp_path: Path) -> None:
    light = await record(tmp_path, quirks=frozenset({quirk}), measure_heap=False)
    assert light.outcome.succeeded, light.outcome.orders
    said = [event.fields["text"] for event in light.of("board", "log")]
    assert any("agent: At" in text or "once more" in text for text in said)  # and it did fail


@pytest.mark.parametrize("family", ["bg95", "nrf91"])
async def test_first_light_over_dtls_of_the_modems_own(family: str, tmp_path: Path) -> None:
    light = await record(tmp_path, family=family, board_config={"dtls": "modem"}, trust="ca")
    assert light.outcome.succeeded, light.outcome.orders
    said = " ".join(event.fields.get("text", "") for event in light.of("modem", "at", direction="in"))
    secured, plain = {"bg95": ("AT+QSSLOPEN", "AT+QIOPEN"), "nrf91": ("AT#XSSOCKET", "AT#XSOCKET=")}[family]
    assert secured in said
    assert plain not in said


@pytest.mark.parametrize("family", ["sim7080g", "sim7000", "gm02s", "sara-r5", "nrf91", "tx62"])
async def test_first_light_on_every_family(family: str, tmp_path: Path) -> None:
    light = await record(tmp_path, family=family)
    assert light.outcome.succeeded, light.outcome.orders


@pytest.mark.parametrize("family", ["bg95", "sim7080g"])  # the smallest driver and the largest, in the smallest heap
async def test_a_hole_in_the_coverage_in_the_middle_of_a_profile_means_another_attempt(
    family: str, tmp_path: Path
) -> None:
    trace = Trace()
    blocks = 0

    async with Lab(tmp_path, radio="none", trace=trace, family=family, board_config=QUICK) as lab:

        def stumble(event: Event) -> None:
            nonlocal blocks
            blocks += event.kind == "apdu" and event.fields["command"][2:6] == "e211"
            if blocks == 40:
                blocks += 1
                lab.network.set_coverage(BOOTSTRAP_OPERATOR, False)
                asyncio.get_running_loop().call_later(0.3, lab.network.set_coverage, BOOTSTRAP_OPERATOR, True)

        trace.listen(stumble)
        lab.eim.order_download(lab.eid, lab.offer(build(new_profile("Hole", filler=30_000))), needs_proof=False)
        await lab.board.start()
        assert await asyncio.wait_for(lab.board.wait(), 90) == 0
        assert [order.state for order in lab.eim.orders() if order.kind == "download"] == ["done"]
        assert lab.smdpp.orders()[0].attempts in (2, 3)  # a try in place may meet the hole as well
