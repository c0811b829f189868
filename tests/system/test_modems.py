"""First light through modems that fail in the middle: the assistant begins again and ends where it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from scene import record


@pytest.mark.parametrize("quirk", ["error-in-load", "error-in-load-after-card", "endless-line"])
async def test_a_modem_that_fails_once_changes_nothing_of_the_end(quirk: str, tmp_path: Path) -> None:
    light = await record(tmp_path, quirks=frozenset({quirk}), measure_heap=False)
    assert light.outcome.succeeded, light.outcome.orders
    assert any("agent: At" in event.fields["text"] for event in light.of("board", "log"))  # and it did fail


@pytest.mark.parametrize("family", ["bg95", "nrf91"])
async def test_first_light_over_dtls_of_the_modems_own(family: str, tmp_path: Path) -> None:
    light = await record(tmp_path, family=family, board_config={"dtls": "modem"}, trust="ca")
    assert light.outcome.succeeded, light.outcome.orders
    said = " ".join(event.fields.get("text", "") for event in light.of("modem", "at", direction="in"))
    secured, plain = {"bg95": ("AT+QSSLOPEN", "AT+QIOPEN"), "nrf91": ("AT#XSSOCKET", "AT#XSOCKET=")}[family]
    assert secured in said
    assert plain not in said


@pytest.mark.parametrize("family", ["sim7080g", "gm02s", "nrf91", "tx62"])
async def test_first_light_on_every_family(family: str, tmp_path: Path) -> None:
    light = await record(tmp_path, family=family)
    assert light.outcome.succeeded, light.outcome.orders
