"""The virtual board behind a USB cable: what mpremote and a person find on it, as on a board with pins."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import serial
from board_bench import heard
from microipa.board import VirtualBoard
from microipa.common.paths import firmware
from microipa.trace import Event
from mpremote.transport_serial import SerialTransport

STUBBORN = """import time
try:
    print('working')
    while True:
        time.sleep_ms(10)
except KeyboardInterrupt:
    print('not yet')
while True:
    time.sleep_ms(10)
"""
FOR_EVER = "import time\nprint('working')\nwhile True:\n    time.sleep_ms(10)\n"


async def at_repl(port: str, work: Callable[[SerialTransport], object], soft_reset: bool = False) -> object:
    """What mpremote's library does in a raw REPL, while this loop serves the board."""

    def session() -> object:
        transport = SerialTransport(port, timeout=5)
        try:
            transport.enter_raw_repl(soft_reset=soft_reset)
            found = work(transport)
            transport.exit_raw_repl()
            return found
        finally:
            transport.close()

    return await asyncio.wait_for(asyncio.to_thread(session), 30)


async def mpremote(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mpremote", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_ctrl_c_ends_a_running_main_py_and_the_raw_repl_takes_code_of_any_length(
        board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "main.py").write_text(FOR_EVER)
    port = board.plug_in()
    await board.start()
    await heard(said, "log", text="working")
    assert await at_repl(port, lambda repl: repl.eval("6 * 7")) == 42
    assert await at_repl(port, lambda repl: repl.eval(f"len('{'x' * 5000}')")) == 5000  # raw paste, many windows
    assert board.exit_code == 130
    assert board.running


async def test_a_program_that_has_caught_one_ctrl_c_is_ended_by_the_next(
        board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "main.py").write_text(STUBBORN)
    port = board.plug_in()
    await board.start()
    await heard(said, "log", text="working")
    with serial.Serial(port) as cable:
        cable.write(b"\r\x03\r\x01")  # and the raw REPL, as mpremote asks for it in the same breath
        await heard(said, "log", text="not yet")
    assert await at_repl(port, lambda repl: repl.eval("6 * 7")) == 42


async def test_a_soft_reset_empties_the_heap_and_runs_main_py_in_the_friendly_repl_only(
        board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "main.py").write_text("print('main runs')")
    port = board.plug_in()
    await board.start()

    await heard(said, "program", exit_code=0)
    await at_repl(port, lambda repl: repl.exec("left = 1"))
    assert await at_repl(port, lambda repl: repl.eval("'left' in globals()"), soft_reset=True) is False
    assert said == []  # main.py has not run again
    await at_repl(port, lambda repl: (repl.exit_raw_repl(), repl.serial.write(b"\x04"), repl.read_until(
        1, b"main runs\r\n")))
    assert said[0].fields["text"] == "main runs"


async def test_code_in_the_raw_repl_is_interrupted_and_its_traceback_comes_back(board: VirtualBoard) -> None:
    port = board.plug_in()
    await board.start()

    def interrupted(repl: SerialTransport) -> bytes:
        repl.exec_raw_no_follow("import time\nprint('on')\nwhile True: time.sleep_ms(10)")
        repl.read_until(1, b"on\n")
        repl.serial.write(b"\x03")
        return repl.follow(5)[1]

    assert b"KeyboardInterrupt" in await at_repl(port, interrupted)


async def test_boot_py_runs_before_main_py_and_before_the_repl(
        board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "boot.py").write_text("import sys\nsys.path.insert(0, 'early')")
    (board.folder / "main.py").write_text("import sys\nassert sys.path[0] == 'early'")
    port = board.plug_in()
    await board.start()
    await heard(said, "program", exit_code=0)
    assert await at_repl(port, lambda repl: repl.eval("__import__('sys').path[0]")) == "early"


async def test_mpremote_runs_mounts_and_copies_as_on_a_board_with_pins(board: VirtualBoard, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "binary.py").write_bytes(b"MAGIC = " + repr(bytes(range(256))).encode() + b"\n# " + bytes(range(1, 9)))
    (here / "run.py").write_text("import binary\nprint(sum(binary.MAGIC))")
    port = board.plug_in()
    await board.start()
    assert (await mpremote("connect", port, "mount", str(here), "run", str(here / "run.py"))).split()[-1] == "32640"
    await mpremote("connect", port, "fs", "cp", str(here / "run.py"), ":kept.py")
    assert (board.folder / "kept.py").read_text() == (here / "run.py").read_text()


async def test_a_board_whose_cable_is_pulled_works_on_and_is_found_again(
        board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "main.py").write_text(FOR_EVER)
    board.plug_in()
    await board.start()
    await heard(said, "log", text="working")
    board.pull_out()
    assert board.running
    assert await at_repl(board.plug_in(), lambda repl: repl.exec("left = 1")) == b""
    board.pull_out()
    assert await at_repl(board.plug_in(), lambda repl: repl.eval("left")) == 1
    board.kill()
    assert await board.wait() == 130


async def test_mip_installs_the_assistant_from_a_checkout(board: VirtualBoard) -> None:
    port = board.plug_in()
    await board.start()
    await mpremote("connect", port, "mip", "install", str(firmware() / "package.json"))
    out = await mpremote("connect", port, "exec", "from ipa import config; print(config.load()['apn'])")
    assert out.strip() == "iot"
    assert (board.folder / "lib/ipa/config.py").read_bytes() == (firmware() / "ipa/config.py").read_bytes()
