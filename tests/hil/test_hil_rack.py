"""The suite on real places: boards of others (rack.py), of which a bench knows a port, and what goes wrong there."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import socket
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import microipa.hil
import pytest
from microipa.asn1 import sgp32
from microipa.board import VirtualBoard
from microipa.board.repl import Repl
from microipa.board.terminal import Terminal
from microipa.hil.record import load
from microipa.modem.serial import Serial
from obliging_modem import modem
from ports import port_for_later
from rack import Gateway, place, rack


async def hil(folder: Path, bench: str, cases: str) -> tuple[int, str]:
    """Run the suite in other processes. Returns its exit status and what it printed."""
    (folder / "bench.toml").write_text(bench)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", "--pyargs", "microipa.hil",
        "--bench", "bench.toml", "--run=run", "-k", cases, "-n", "2", "--dist", "loadgroup",
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await asyncio.wait_for(process.communicate(), 280)
    assert process.returncode is not None
    return process.returncode, output.decode()


WRONG = {
    "silent": (lambda _: b"", "not one byte came back: look at the modem's supply and power key"),
    "garbled": (lambda data: bytes(octet ^ 0xA5 for octet in b"\r\nOK\r\n" + data), "look at the baud rate"),
    "no-sim": (modem(CPIN="+CME ERROR: 10"), "put a card in, look at slot and contacts"),
    "no-euicc": (modem(CPIN="+CPIN: READY|OK", CCHO="+CME ERROR: 13", CSIM="ERROR"), "no ISD-R, so it is no eUICC"),
}
ELSEWHERE = {
    "no-port": "there is no port /dev/none: plug the board in",
    "busy": "has /dev/pts/",
    "no-micropython": "no MicroPython answers on /dev/pts/",
    "no-server": "Connection refused; check host and port",
}


README = Path(microipa.hil.__path__[0]) / "README.md"
CASES = "profiles_are_listed or its_result_comes or a_disabled or (switch_ends_well and attaches)"


@pytest.mark.timeout(300)
async def test_a_board_of_others_is_tried_and_places_that_do_not_come_up_say_why(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as running:
        port = port_for_later(socket.SOCK_DGRAM)
        told = await running.enter_async_context(
            rack(tmp_path / "rack", eim_port=port, by="rfc2217", family="nrf91", dtls=False))
        known = {"modem": "nrf91", "ci": told.ci, "profiles": told.profiles, "power_on": told.power_on,
                 "power_off": told.power_off, "bind": "127.0.0.1"}
        bench = place("left", told.port, port, **known, **in_the_readme(*known, "board", "port", "eim_url", "eim_port"))
        for number, (name, (answer, _)) in enumerate(WRONG.items(), 1):
            (tmp_path / name).mkdir()
            bench += place(name, await a_board(running, tmp_path / name, answer), number)
        bench += place("no-port", "/dev/none", 20) + place("no-server", "socket://127.0.0.1:9", 21)
        bench += place("no-micropython", silence(running), 22) + place("busy", opened(running), 23)
        status, said = await hil(tmp_path, bench, CASES)
    assert status == 1, said
    assert "Traceback" not in said
    assert "INTERNALERROR" not in said
    told_of = ELSEWHERE | {name: words for name, (_, words) in WRONG.items()}
    for name, words in told_of.items():
        _, cases = load(tmp_path / "run" / name)
        [failed] = [case for case in cases if case.outcome == "error"]
        assert words in failed.reason, failed.reason
        assert "\n" not in failed.reason
        why = failed.reason.replace(f"Failed: {name}:", f"{name} could not be started:")
        assert why in [one.reason for one in cases]
    eim = sgp32.decode("EimConfigurationData", (tmp_path / "hil-lab" / "left" / "eim.der").read_bytes())
    assert eim["trustedPublicKeyDataTls"][0] == "trustedCertificateTls"  # its modem speaks DTLS and pins no bare key
    run, cases = load(tmp_path / "run" / "left")
    assert (run.card, run.modem, run.heap, len(run.eid)) == ("real", "nrf91", "", 32)
    assert run.modem_firmware
    assert run.card_versions["svn"]
    assert [case.outcome for case in cases].count("passed") == 3, said
    [skipped] = [case for case in cases if case.outcome == "skipped"]
    assert "own SM-DP+" in skipped.reason  # whose CI this card does not trust
    assert len(json.loads((tmp_path / "hil-lab" / "left" / "spares.json").read_text())) == 1


def in_the_readme(*but: str) -> dict[str, Any]:
    """The other keys of the place that stands there, as they stand there."""
    [block] = re.findall(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    [told] = tomllib.loads(block).values()
    assert set(but) - {"modem"} <= told.keys()
    return {key: value for key, value in told.items() if key not in but}


def silence(running: contextlib.AsyncExitStack) -> str:
    """A port on which nobody says a word."""
    line = Serial(lambda _: None)
    running.callback(line.close)
    return line.path


def opened(running: contextlib.AsyncExitStack) -> str:
    """A port that another program has open."""
    path = silence(running)
    lock = os.open(path, os.O_RDWR | os.O_NOCTTY)
    running.callback(os.close, lock)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return path


async def a_board(running: contextlib.AsyncExitStack, folder: Path, answer: Callable[[bytes], bytes]) -> str:
    """With something on its UART that answers like this. Returns the port of its REPL."""
    line: Serial
    line = Serial(lambda data: line.write(answer(data)))
    running.callback(line.close)
    board = VirtualBoard(folder, line.path)
    running.callback(board.pull_out)
    running.callback(board.kill)
    port = board.plug_in()
    await board.start()
    return port


@pytest.mark.parametrize("rfc2217", [True, False], ids=["rfc2217", "socket"])
async def test_a_board_is_spoken_to_by_its_url(tmp_path: Path, rfc2217: bool) -> None:
    board = VirtualBoard(tmp_path)
    gateway = Gateway(board.plug_in(), rfc2217)
    await board.start()

    def speak() -> tuple[str, list[str]]:
        lines: list[str] = []
        with Repl(gateway.url) as repl:
            repl.write_file("main.py", b"print('once')")
            platform = str(repl.value("__import__('sys').platform"))
        terminal = Terminal(Repl(gateway.url), lines.append)
        assert terminal.ended.wait(60)
        terminal.close()
        return platform, lines

    try:
        platform, lines = await asyncio.to_thread(speak)
    finally:
        gateway.close()
        board.kill()
        board.pull_out()
    assert platform == "linux"
    assert "once" in lines
