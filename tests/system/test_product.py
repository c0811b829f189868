"""The example of firmware/README.md runs: a product sends its readings by the modem that it shares with the agent."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from microipa.common.paths import firmware
from microipa.lab import LabFolder
from switching import TIMEOUT_S, Device, logged

START = "    await agent.run()\n"
OF_THE_PRODUCT = "    from ipa import tasks\n    tasks.keep(report, agent, lambda: b'42 kWh', 1)\n"


def example() -> str:
    """The one Python block of the README that defines report()."""
    blocks = re.findall(r"```python\n(.*?)```", (firmware() / "README.md").read_text(), re.DOTALL)
    (found,) = [block for block in blocks if "async def report(" in block]
    return found


async def test_the_product_of_the_readme_reports_between_the_polls(tmp_path: Path) -> None:
    readings: asyncio.Queue[bytes] = asyncio.Queue()

    class Collector(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
            readings.put_nowait(data)

    LabFolder(tmp_path, create=True)
    device = Device(tmp_path, {"stop_when_idle": False, "poll_interval_s": 2})
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Collector, ("127.0.0.1", 0))
    try:
        async with device.lab() as lab:
            lab.network.route("collector.example", 5683, transport.get_extra_info("sockname"))
            main = lab.board.folder / "main.py"
            text = main.read_text()
            assert text.count(START) == 1
            text = text.replace(START, OF_THE_PRODUCT + START)
            main.write_text(text.replace("async def main():", example() + "\n\nasync def main():"))
            order = lab.eim.order_download(lab.eid, lab.offer(), needs_proof=False)
            await lab.board.start()
            for _ in range(3):
                assert await asyncio.wait_for(readings.get(), TIMEOUT_S) == b"42 kWh"
            await device.until(logged("the eIM has no"))
            assert {one.id: one.state for one in lab.eim.orders()}[order] == "done"
    finally:
        transport.close()
