"""A device that was installed by mip with the components it needs, from a checkout as README.md says."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from microipa.common.paths import firmware
from microipa.lab import Lab
from microipa.lab.demo import first_light
from microipa.trace import Trace

HEAP = "512K"  # the modules are source here, and compiled in the heap
CONFIG = {"stop_when_idle": True, "app_tick_ms": 50}


async def installed(port: str, *packages: str) -> None:
    """What `mpremote mip install` of these packages does."""
    files = [str(firmware() / f"package-{name}.json") for name in packages]
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("mpremote"), "connect", port, "mip", "install", *files,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()


async def test_the_core_and_one_driver_download_a_profile_through_the_eim(tmp_path: Path) -> None:
    async with Lab(tmp_path / "lab", radio="none", trace=Trace(), board_config=CONFIG, heap=HEAP) as lab:
        flash = lab.board.folder
        main = (flash / "main.py").read_bytes()
        for name in ("main.py", "restart.py", "starts.py"):
            (flash / name).unlink()
        shutil.rmtree(flash / "ipa")
        port = lab.board.plug_in()
        await lab.board.start()
        await installed(port, "core", "quectel")
        lab.board.kill()
        await lab.board.wait()
        lab.board.pull_out()
        (flash / "main.py").write_bytes(main)
        assert not (flash / "lib/ipa/steps/direct.py").exists()
        outcome = await first_light(lab)
        assert outcome.succeeded
