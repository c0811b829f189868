"""What Mbed TLS takes of memory, counted as the heap of a chip counts it: the figures that needs.py reckons with."""

from __future__ import annotations

import runpy

import pytest
from microipa.board.micropython import word_bytes
from microipa.board.needs import TLS_BUFFERS, TLS_BYTES
from microipa.common.paths import tools
from microipa.lab.protocols import Protocols


@pytest.mark.skipif(word_bytes() == 4, reason="Debian's Mbed TLS is configured otherwise than that of chips")
async def test_a_direct_download_takes_the_memory_of_one_association_at_a_time() -> None:
    tool = runpy.run_path(str(tools() / "tls_memory.py"))
    try:
        seen = await tool["measured"](Protocols(direct=True))
    except tool["CannotMeasure"] as reason:
        pytest.skip(str(reason))
    assert seen.largest[:2] == TLS_BUFFERS
    assert TLS_BYTES - 1024 < seen.held <= TLS_BYTES
    assert seen.peak < TLS_BYTES + 6 * 1024  # a second association would be 16.7 kB and more
