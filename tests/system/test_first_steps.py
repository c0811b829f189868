"""The first steps of somebody with a lab that is up: check, flash, restart, mpremote, in any order."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from microipa.lab import Lab
from microipa.trace import Event, Trace

SETTINGS = {"poll_interval_s": 2}
BIN = Path(sys.executable).parent


class Desk:
    """A lab that is up, and a person's commands beside it."""

    def __init__(self, lab: Lab, port: str) -> None:
        self.lab = lab
        self.port = port
        self.said: list[Event] = []
        self._polled = asyncio.Event()
        lab.trace.listen(self._hear)

    def _hear(self, event: Event) -> None:
        if event.part == "board" and "the eIM has no" in event.fields.get("text", ""):
            self._polled.set()

    async def do(self, *words: str) -> str:
        """Output of a command that must end well."""
        process = await asyncio.create_subprocess_exec(
            BIN / words[0], *words[1:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        output, _ = await asyncio.wait_for(process.communicate(), 100)
        assert process.returncode == 0, f"{words}: {output.decode()}"
        return output.decode()

    async def check(self) -> None:
        output = await self.do("microipa", "board", "check", "--board", "virtual", "--port", self.port)
        assert "✓ DTLS or TLS with the eIM" in output
        assert f"To start it: microipa board restart --board virtual --port {self.port}" in output

    async def flash(self) -> None:
        output = await self.do("microipa", "flash", "--board", "virtual", "--port", self.port)
        assert "the board's program runs: " in output

    async def restart(self) -> None:
        assert "the board's program runs: " in await self.do("microipa", "board", "restart", "--port", self.port)

    async def mpremote_reset(self) -> None:
        await self.do("mpremote", "connect", self.port, "reset")

    async def mpremote_list(self) -> None:
        assert "ipa.json" in await self.do("mpremote", "connect", self.port, "ls") or self.lab.board.flashed

    async def polls(self) -> None:
        """The board works: it asks its eIM."""
        self._polled.clear()
        await asyncio.wait_for(self._polled.wait(), 60)


async def desk_of(lab: Lab) -> Desk:
    port = lab.board.plug_in()
    await lab.board.start()
    desk = Desk(lab, port)
    await desk.polls()
    return desk


@pytest.mark.parametrize("family", ["bg95", "sim7080g", "gm02s", "sara-r5", "nrf91", "tx62"])
async def test_a_check_of_the_board_of_a_lab_that_is_up_goes_well_and_a_restart_lets_it_work(
        tmp_path: Path, family: str) -> None:
    async with Lab(tmp_path / "lab", radio="none", family=family, board_config=SETTINGS, trace=Trace()) as lab:
        desk = await desk_of(lab)
        await desk.check()
        await desk.restart()
        await desk.polls()


async def test_a_check_as_json_is_one_object_for_each_step(tmp_path: Path) -> None:
    async with Lab(tmp_path / "lab", radio="none", board_config=SETTINGS, trace=Trace()) as lab:
        desk = await desk_of(lab)
        words = ("board", "check", "--board", "virtual", "--port", desk.port, "--json")
        process = await asyncio.create_subprocess_exec(BIN / "microipa", *words, stdout=asyncio.subprocess.PIPE)
        output, _ = await asyncio.wait_for(process.communicate(), 100)
    rows = [json.loads(line) for line in output.splitlines()]
    assert rows[0] == {"step": "serial", "good": True, "seen": desk.port}
    assert [row["step"] for row in rows[-2:]] == ["socket to the eIM", "DTLS or TLS with the eIM"]


@pytest.mark.parametrize("steps", [
    ("check", "flash", "polls", "mpremote_list", "check", "mpremote_reset", "polls"),
    ("mpremote_list", "restart", "polls", "flash", "mpremote_reset", "polls", "flash", "check", "restart", "polls"),
])
async def test_first_steps_go_well_in_any_order(tmp_path: Path, steps: tuple[str, ...]) -> None:
    async with Lab(tmp_path / "lab", radio="none", board_config=SETTINGS, trace=Trace()) as lab:
        desk = await desk_of(lab)
        for step in steps:
            await getattr(desk, step)()


async def test_a_flashed_board_is_as_it_was_when_its_lab_is_up_again(tmp_path: Path) -> None:
    async with Lab(tmp_path / "lab", radio="none", board_config=SETTINGS, trace=Trace()) as lab:
        desk = await desk_of(lab)
        await desk.flash()
        flashed = lab.board.flashed
        assert flashed.startswith("ipa-")
    async with Lab(tmp_path / "lab", radio="none", trace=Trace()) as lab:
        assert lab.board.flashed == flashed
        await (await desk_of(lab)).check()
