"""What a start that went well leaves behind, and what the eIM hears of one that did not (firmware/starts.py)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from microipa.board.virtual import Form
from microipa.cli.eim_views import _in_full
from microipa.lab import Lab
from microipa.trace import Event, Trace
from rich.console import Console
from scene import QUICK

TIMEOUT_S = 45


def lab(folder: Path, events: list[Event], form: Form = "by hand", **config: object) -> Lab:
    trace = Trace()
    trace.listen(events.append)
    return Lab(folder, radio="none", trace=trace, heap="192K", board_config={**QUICK, **config}, form=form)


def written(flash: Path) -> list[Path]:
    """The files on a flash and its romfs partition: what was flashed is there, and what the firmware has written."""
    found = [*flash.iterdir(), *flash.parent.glob("*.romfs")]
    assert {"eim.der", "board.romfs"} & {path.name for path in found}
    assert flash / "ipa.journal" in found
    return [path for path in found if path.is_file()]


@pytest.mark.parametrize("form", ["by hand", "mpy", "romfs"])
async def test_what_lies_on_the_boards_flash_is_its_owners_alone(tmp_path: Path, form: Form) -> None:
    """Among it the keys of a client certificate and of an emulated card."""
    async with lab(tmp_path, [], form) as running:
        await play(running)
        open_to_all = {path.name for path in written(running.board.folder) if path.stat().st_mode & 0o077}
    assert open_to_all <= {"restart.py", "starts.py", "heap_meter.py"}


async def play(running: Lab) -> None:
    await running.board.start()
    assert await asyncio.wait_for(running.board.wait(), TIMEOUT_S) == 0


async def test_a_poll_that_reaches_the_eim_keeps_the_settings_and_ends_the_trial(tmp_path: Path) -> None:
    async with lab(tmp_path, []) as running:
        flash = running.board.folder
        (flash / "ipa.trial").write_text("ipa-1a2b3c4d\n.")
        await play(running)
        assert (flash / "ipa.good").read_bytes() == (flash / "ipa.json").read_bytes()
        assert not (flash / "ipa.trial").exists()
        assert not (flash / "ipa.loading").exists()
        assert running.eim.device(running.eid).trouble is None


@pytest.mark.parametrize("protocols", [{}, {"transport": "https"}, {"transport": "https", "binding": "json"},
                                 {"binding": "json"}, {"q_block": True}, {"block_size": 256}])
async def test_the_eim_hears_once_of_settings_that_do_not_hold(tmp_path: Path, protocols: dict[str, object]) -> None:
    events: list[Event] = []
    async with lab(tmp_path, events, **protocols) as running:
        flash = running.board.folder
        (flash / "ipa.json").rename(flash / "ipa.good")
        (flash / "ipa.json").write_text("{torn")
        running.eim.order_package(running.eid, [("listProfileInfo", {})])
        await play(running)
        view = running.eim.device(running.eid)
        assert view.trouble == "ipa.json is not JSON: the last good settings hold"
        assert json.loads(json.dumps(view.to_dict()))["trouble_told"]
        assert [order.state for order in running.eim.orders()] == ["done", "done"]  # nothing else was in its way
        assert (flash / "ipa.restarts").read_text() == f"0\n{view.trouble}\ntold\n\n"
        heard = [event for event in events if event.kind == "trouble"]
        assert len({event.fields["text"] for event in heard}) == 1
        console = Console(width=120)
        with console.capture() as shown:
            console.print(_in_full(view))
        assert view.trouble in shown.get()


@pytest.mark.parametrize("way", [
    {"transport": "https"}, {"binding": "json"}, {"compact": True}, {"q_block": True}, {"download": "direct"},
    {"emulation": True}, {"modem": "tx62"}, {"modem": "nonsense"},
    {"transport": "https", "binding": "json", "q_block": True},
])
async def test_what_was_switched_on_by_hand_and_not_flashed_is_named_once_and_the_device_goes_on_without(
        tmp_path: Path, way: dict[str, object]) -> None:
    events: list[Event] = []
    async with lab(tmp_path, events, "mpy") as running:
        flash = running.board.folder
        (flash / "ipa/modem/cinterion.mpy").unlink()
        (flash / "ipa.json").write_text(json.dumps({**json.loads((flash / "ipa.json").read_text()), **way}))
        running.eim.order_download(running.eid, running.offer(), needs_proof=False)
        await play(running)
        assert {order.state for order in running.eim.orders()} == {"done"}
        named = f"not in this firmware, so the defaults hold (flash it again): {', '.join(way)}"
        assert running.eim.device(running.eid).trouble == named
    log = [event.fields["text"] for event in events if (event.part, event.kind) == ("board", "log")]
    assert len([line for line in log if "not in this firmware" in line]) == 1


async def test_the_eim_hears_of_a_task_that_crashed_which_is_started_again(tmp_path: Path) -> None:
    events: list[Event] = []
    async with lab(tmp_path, events, app_tick_ms=20, stop_when_idle=False, poll_interval_s=1) as running:
        main = running.board.folder / "main.py"
        main.write_text(main.read_text().replace(
            "    longest = 0\n", "    longest = 0\n    if not compat.trouble:\n        raise ValueError('no sensor')\n"
        ))
        heard = asyncio.Event()
        running.trace.listen(lambda event: heard.set() if event.kind == "trouble" else None)
        await running.board.start()
        await asyncio.wait_for(heard.wait(), TIMEOUT_S)
        assert running.eim.device(running.eid).trouble == "application crashed: ValueError: no sensor"
        running.board.kill()
    log = [event.fields["text"] for event in events if (event.part, event.kind) == ("board", "log")]
    assert any("tasks: application crashed: ValueError: no sensor, again in 1 s" in line for line in log)
    assert not [event for event in events if event.kind == "reset"]
