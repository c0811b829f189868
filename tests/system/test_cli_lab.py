"""`microipa lab up` beside `microipa order …`: two processes, one folder, as on a desk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from microipa.common import addresses
from microipa.trace import Event

OTHER_ADDRESS = "127.0.0.2"  # loopback too, and not the one that servers have by default
MICROIPA = str(Path(sys.executable).with_name("microipa"))


async def microipa(*words: str) -> str:
    """Run the command to its end; what it printed."""
    process = await asyncio.create_subprocess_exec(
        MICROIPA, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def until(lines: asyncio.StreamReader, words: str) -> str:
    """Read the lab's timeline until a line has these words."""
    seen = []
    async with asyncio.timeout(60):
        while line := (await lines.readline()).decode():
            seen.append(line)
            if words in line:
                return line
    raise AssertionError("".join(seen))


async def test_orders_of_another_process_are_carried_out_by_a_running_lab(tmp_path: Path) -> None:
    lab = str(tmp_path / "lab")
    process = await asyncio.create_subprocess_exec(
        MICROIPA, "lab", "up", "--radio", "none", "--modem", "tx62", "--lab", lab, "--host", OTHER_ADDRESS,
        "--quirk", "ccho-bare", "--quirk", "slow-search:0.1",
        stdout=asyncio.subprocess.PIPE, limit=1 << 20)
    assert process.stdout
    try:
        await until(process.stdout, "quirk slow-search:0.1: Every search for a cell takes a long time.")
        await until(process.stdout, "the lab is up")
        served = await until(process.stdout, "smdpp.microipa.example:443 is at")
        host, port = served.split()[-1].split(":")
        assert host == OTHER_ADDRESS
        socket.create_connection((host, int(port)), 5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), 5)
        await until(process.stdout, "the board's REPL is")
        assert (tmp_path / "lab" / "board.tty").resolve().is_char_device()
        told = await microipa("order", "download", "--lab", lab)
        assert "queued" in told
        installed = await until(process.stdout, "order 1 done")
        iccid = installed.split("profile ")[1].split()[0]
        await microipa("order", "enable", iccid, "--lab", lab)
        await until(process.stdout, "order 3 done")
        views = [json.loads(line) for line in (await microipa("orders", "--lab", lab, "--json")).splitlines()]
        assert {view["state"] for view in views} == {"done"}
        assert iccid in await microipa("orders", "--lab", lab)
    finally:
        process.send_signal(signal.SIGINT)
        status = await asyncio.wait_for(process.wait(), 20)
    assert status == 130
    assert not (tmp_path / "lab" / "board.tty").is_symlink()
    session = await microipa("trace", str(tmp_path / "lab" / "trace.jsonl"))
    assert "GetEimPackageRequest" in session
    assert "ES10" in session
    rows = await microipa("trace", "--json", str(tmp_path / "lab" / "trace.jsonl"))
    assert all(Event.from_json(row).part for row in rows.splitlines())


@pytest.mark.skipif(not socket.has_ipv6, reason="has no IPv6")
async def test_a_lab_on_an_ipv6_address_names_its_places_with_brackets(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        MICROIPA, "lab", "up", "--radio", "none", "--lab", str(tmp_path / "lab"), "--host", "::1",
        stdout=asyncio.subprocess.PIPE, limit=1 << 20)
    assert process.stdout
    try:
        ordered = await until(process.stdout, "operators order by ES2+ at https://")
        host, port = addresses.split(ordered.split("https://")[1].split(",")[0])
        assert f"https://[::1]:{port}," in ordered
        socket.create_connection((host, port), 5).close()
        served = await until(process.stdout, "smdpp.microipa.example:443 is at [::1]:")
        socket.create_connection(addresses.split(served.split()[-1]), 5).close()
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 20)


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def children(pid: int) -> list[int]:
    """Processes that this one has started and that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = status.read_text().rpartition(") ")
            state, parent = rest.split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(status.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells children by /proc")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("in_background", [False, True], ids=["in front", "with Ctrl-C ignored"])
async def test_a_lab_that_is_ended_by_a_signal_leaves_no_board_and_no_link_to_its_terminal(
    tmp_path: Path, name: str, in_background: bool
) -> None:
    lab = tmp_path / "lab"
    ignored = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if in_background else None
    process = await asyncio.create_subprocess_exec(
        MICROIPA, "lab", "up", "--radio", "none", "--lab", lab, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
        preexec_fn=ignored)
    assert process.stdout
    boards: list[int] = []
    try:
        await until(process.stdout, "board  ")
        boards = children(process.pid)
        assert boards
        assert (lab / "board.tty").is_symlink()
        process.send_signal(signal.Signals[name])
        assert await asyncio.wait_for(process.wait(), 20) == 130
        assert not (lab / "board.tty").is_symlink()
        assert not any(map(runs, boards))
    finally:
        for one in (process.pid, *boards):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
