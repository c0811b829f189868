"""RAM does not depend on the profile: packages of 6, 12, 60 and 200 kB through the same heap."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest
from microipa.lab import Lab, new_profile
from microipa.saip import build
from microipa.trace import Event, Trace
from scene import QUICK

TS48 = Path(__file__).parents[3] / "shared" / "data" / "ts48"
FOLDER = "board"  # of the same length for all: each module keeps the path it came from in the heap
SPREAD = 2048  # bytes by which peaks may differ


async def download(folder: Path, package: bytes) -> int:
    """Download one package through the eIM into the card; the board's heap peak in bytes."""
    trace = Trace()
    lines: list[str] = []

    def hear(event: Event) -> None:
        if event.part == "board" and event.kind == "log":
            lines.append(event.fields["text"])

    trace.listen(hear)
    async with Lab(folder, radio="none", trace=trace, measure_heap=True, board_config=QUICK) as lab:
        code = lab.smdpp.activation_code(lab.smdpp.add_profile(package))
        lab.eim.order_download(lab.eid, code, needs_proof=False)
        await lab.board.start()
        assert await lab.board.wait() == 0, lines
        assert [view.state for view in lab.eim.orders() if view.kind == "download"] == ["done"], lab.eim.orders()
        assert len(lab.euicc.profiles()) == 2
    [peak] = [int(found[1]) for line in lines if (found := re.search(r"heap: peak (\d+) of", line))]
    return peak


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> int:
    return max(asyncio.run(download(tmp_path_factory.mktemp(FOLDER), of_size(6_000))) for _ in range(2))


def of_size(size: int) -> bytes:
    """A package of about so many bytes."""
    spec = new_profile("Streamed")
    package = build(replace(spec, filler=size - len(build(spec))))
    assert abs(len(package) - size) < size // 10
    return package


@pytest.mark.xdist_group("streaming")
@pytest.mark.parametrize("what", ["12 kB, TS.48 without BER-TLV", "12 kB, TS.48 with BER-TLV", "60 kB", "200 kB"])
def test_peak_heap_is_that_of_a_small_profile(
    small: int, what: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if "TS.48" in what:
        name = "ts48-v7-nobertlv.der" if "without" in what else "ts48-v7-bertlv-suci.der"
        if not TS48.is_dir():
            pytest.skip("../shared/data/ts48 is absent")
        package = (TS48 / name).read_bytes()
    else:
        package = of_size(1000 * int(what.removesuffix(" kB")))
    # What lies in line for a moment is another at every run; a profile that stays in the heap stays at every run.
    peaks: list[int] = []
    while not peaks or (peaks[-1] - small >= SPREAD and len(peaks) < 3):
        peaks.append(asyncio.run(download(tmp_path_factory.mktemp(FOLDER), package)))
    print(f"{what}: {len(package)} bytes, heap peaks {peaks}, with 6 kB {small}")
    assert abs(min(peaks) - small) < SPREAD
