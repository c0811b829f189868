"""Every board of boards/: its contract under MicroPython with pins that only note what is done, and its papers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from board_run import Run
from microipa.board.bytecode import compiled
from microipa.board.known import known_boards, read_board
from microipa.board.package import build, modems
from microipa.common.paths import boards, firmware

WITH_PINS = [board for board in known_boards() if board.port != "unix"]

MACHINE = """
done = []

class Pin:
    IN, OUT = 0, 1
    def __init__(self, name, mode=0, value=None, hold=None):
        self.name = name
        done.append(("pin", name, mode, value) if hold is None else ("held" if hold else "free", name, value))
    def value(self, level=None):
        done.append(("level", self.name, level))
        return 1

class UART:
    RTS, CTS = 1, 2
    def __init__(self, number, baud, **settings):
        plain = {name: getattr(value, "name", value) for name, value in settings.items()}
        done.append(("uart", number, baud, plain))
    def init(self, **settings): done.append(("again", settings))

class WDT:
    def __init__(self, timeout): done.append(("watchdog", timeout))
    def feed(self): done.append(("feed",))

class I2C:
    def __init__(self, number, **pins): pass
    def readfrom_mem(self, address, register, n): return bytes(n)
    def writeto_mem(self, address, register, data): done.append(("i2c", register, data[0]))

class RTC:
    kept = b""
    def datetime(self, when): done.append(("clock", when))
    def memory(self, data=None):
        if data is None:
            return RTC.kept
        RTC.kept = data

mem32 = {}
cause, reason = 1, 0
PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
TIMER_WAKE, PIN_WAKE = 4, 2
def reset_cause(): return cause
def wake_reason(): return reason
def lightsleep(ms): done.append(("lightsleep", ms))
def deepsleep(ms): done.append(("deepsleep", ms))
def reset(): done.append(("reset",))

def unique_id(): return b"\\x01\\x02\\x03\\x04"
"""

ESP32 = """
import machine
def gpio_deep_sleep_hold(on): machine.done.append(("deep", on))
"""


def note_pins(folder: Path) -> None:
    """Put modules there that only note what is done to pins."""
    (folder / "machine.py").write_text(MACHINE)
    (folder / "esp32.py").write_text(ESP32)


CONTRACT = """
import asyncio, json, sys
import machine
from ipa import board as shared

async def quick(ms):
    waits.append(ms)

waits = []
shared.sleep_ms = quick
for name in sys.argv[1:]:
    sys.path.insert(0, name)
    from board import Board
    board = Board()
    assert not machine.done, "a board does nothing before it is asked"
    uart = board.uart()
    assert isinstance(uart, machine.UART)
    serial = [entry for entry in machine.done if entry[0] == "uart"][-1]
    machine.done.clear()
    pulse = board.modem_power()
    asyncio.run(pulse)
    booted = waits[-1]
    power = list(machine.done)
    machine.done.clear()
    if hasattr(board, "modem_wake"):
        asyncio.run(board.modem_wake())
    wake = list(machine.done)
    machine.done.clear()
    if hasattr(board, "modem_may_sleep"):
        board.modem_may_sleep(True)
        board.modem_may_sleep(False)
    line = list(machine.done)
    machine.done.clear()
    board.feed()
    board.feed()
    dog = list(machine.done)
    machine.done.clear()
    board.set_clock(1795382100)
    assert isinstance(board.unique_id(), bytes)
    asyncio.run(board.sleep(7))
    print(json.dumps({"modem": board.modem, "serial": serial, "power": power, "booted": booted,
                      "wake": wake, "line": line, "dog": dog, "slept": waits[-1], "clock": machine.done}))
    machine.done.clear()
    waits.clear()
    sys.path.pop(0)
    del sys.modules["board"]
"""


async def test_every_board_keeps_the_contract_with_its_pins_at_rest_until_it_is_asked(
        micropython: Run, tmp_path: Path) -> None:
    note_pins(tmp_path)
    out = await micropython(CONTRACT, *(board.folder for board in WITH_PINS))
    told = [json.loads(line) for line in out.splitlines()]
    assert len(told) == len(WITH_PINS) >= 7
    for board, what in zip(WITH_PINS, told, strict=True):
        assert what["modem"] == board.modem, board.name
        assert what["serial"][3]["timeout"] == 0, board.name  # a read never waits
        assert what["serial"][3]["rxbuf"] >= 1500, board.name
        assert any(entry[0] == "level" for entry in what["power"]), board.name  # a key that is let go
        assert what["booted"] >= 2000, board.name
        if board.port in ("esp32", "rp2"):  # others have no such buffer, and a timeout of write() instead
            assert what["serial"][3]["txbuf"] >= 2048, board.name
        if board.build == "ESP32_GENERIC":
            assert not {16, 17} & set(what["serial"][3].values()), board.name  # the PSRAM's on WROVER modules
        assert what["dog"] == [["watchdog", 8000], ["feed"], ["feed"]], board.name
        assert what["slept"] == 7
        assert what["clock"] == [["clock", [2026, 11, 22, 6, 21, 15, 0, 0]]], board.name


SLEEP = """
import json, sys
import machine
for name in sys.argv[1:]:
    sys.path.insert(0, name)
    from board import Board
    told = {"sleeps": hasattr(Board, "deep_sleep"), "why": []}
    if told["sleeps"]:
        board = Board()
        board.light_sleep(6000)
        board.deep_sleep(5000)
        told["done"] = machine.done[:]
        mark = dict(machine.mem32)
        told["memory"] = hasattr(board, "rtc_memory")
        if told["memory"]:
            assert board.rtc_memory() == b""
            board.rtc_memory(b"kept")
            assert Board().rtc_memory() == b"kept"
            board.rtc_memory(b"")
        for machine.cause, machine.reason, marked in CAUSES:
            machine.mem32.clear()
            machine.mem32.update(mark if marked else {at: 0 for at in mark})
            board = Board()
            told["why"].append(board.woken())
            assert board.woken() == told["why"][-1], "asked again it says the same"
    print(json.dumps(told))
    machine.done.clear()
    machine.mem32.clear()
    sys.path.pop(0)
    del sys.modules["board"]
"""


async def test_a_board_that_sleeps_says_why_its_program_runs_and_what_it_keeps(
        micropython: Run, tmp_path: Path) -> None:
    note_pins(tmp_path)
    causes = "[(1, 0, False), (4, 4, True), (4, 2, True), (3, 0, False), (3, 0, True), (5, 0, False)]"
    out = await micropython(SLEEP.replace("CAUSES", causes), *(board.folder for board in WITH_PINS))
    for board, line in zip(WITH_PINS, out.splitlines(), strict=True):
        told = json.loads(line)
        assert told["sleeps"] == (board.port != "stm32"), board.name  # its watchdog goes on in standby
        if board.port == "esp32":
            assert told["done"] == [["lightsleep", 6000], ["deepsleep", 5000]], board.name
            assert told["why"] == ["power", "timer", "pin", "watchdog", "watchdog", "reset"], board.name
            assert told["memory"], board.name
        elif board.port == "rp2":
            slices = [["lightsleep", ms] for ms in (4000, 2000, 4000, 1000)]
            assert told["done"] == [*slices, ["reset"]], board.name
            assert told["why"][0] == "power", board.name
            assert told["why"][3:5] == ["watchdog", "timer"], board.name
            assert not told["memory"], board.name


async def test_a_modem_of_walter_is_woken_by_rts_which_is_the_uarts_again_afterwards(
        micropython: Run, tmp_path: Path) -> None:
    note_pins(tmp_path)
    (walter,) = [board for board in WITH_PINS if board.name == "walter"]
    wake = json.loads(await micropython(CONTRACT, walter.folder))["wake"]
    assert wake[:3] == [["pin", 21, 1, 1], ["level", 21, 0], ["again", {"rts": 21, "cts": 47, "flow": 3}]]


async def test_the_pin_that_lets_the_serial_line_sleep_is_held_meanwhile_and_free_afterwards(
        micropython: Run, tmp_path: Path) -> None:
    note_pins(tmp_path)
    boards = [board for board in WITH_PINS if board.port == "esp32"]
    for board, line in zip(boards, (await micropython(CONTRACT, *(one.folder for one in boards))).splitlines(),
                           strict=True):
        moved = json.loads(line)["line"]
        pin = {"walter": 21, "lilygo-t-sim7080g-s3": 42}.get(board.name, 25)
        assert moved[:4] == [["deep", True], ["held", pin, 1], ["deep", False], ["free", pin, 0]], board.name
        assert [kind for kind, *_ in moved[4:]] == (["again"] if board.name == "walter" else []), board.name


async def test_a_key_is_let_go_when_an_emergency_ends_the_waiting(micropython: Run, tmp_path: Path) -> None:
    note_pins(tmp_path)
    out = await micropython("""
import asyncio, machine
from ipa.board import pulse
async def main():
    task = asyncio.create_task(pulse(4, 0, 60000))
    await asyncio.sleep_ms(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print(machine.done[-1])
asyncio.run(main())
""")
    assert out.strip() == "('level', 4, 1)"


@pytest.mark.parametrize("board", known_boards(), ids=lambda board: board.name)
def test_every_board_compiles_has_a_driver_and_says_whether_anybody_ran_it(board) -> None:
    path = board.folder / "board.py"
    assert compiled(path)[:1] == b"M"
    assert board.modem in modems()
    readme = (board.folder / "README.md").read_text()
    if not board.ran_on_hardware:
        assert "**Not yet run on hardware: needs a volunteer.**" in readme
    assert f"--board {board.name}" in readme


LITTLEFS = """
import os, sys, vfs

class Ram:
    data = bytearray(256 * 4096)
    def readblocks(self, number, buf, offset=0):
        buf[:] = memoryview(self.data)[number * 4096 + offset :][: len(buf)]
    def writeblocks(self, number, buf, offset=0):
        self.data[number * 4096 + offset : number * 4096 + offset + len(buf)] = buf
    def ioctl(self, what, _):
        return {4: 256, 5: 4096}.get(what, 0)

def free():
    stat = os.statvfs("/flash")
    return stat[0] * stat[3]

def copy(source, target):
    os.mkdir(target)
    for name, kind, *_ in os.ilistdir(source):
        if kind & 0x4000:
            copy(source + "/" + name, target + "/" + name)
        else:
            with open(source + "/" + name, "rb") as old, open(target + "/" + name, "wb") as new:
                new.write(old.read())

vfs.VfsLfs2.mkfs(Ram())
vfs.mount(vfs.VfsLfs2(Ram()), "/flash")
before = free()
copy(sys.argv[1], "/flash/version")
print((before - free()) // 1024)
"""


async def test_what_a_version_takes_is_what_the_papers_say_and_fits_every_board_twice(
        micropython: Run, tmp_path: Path) -> None:
    for name, content in build(WITH_PINS[0]).without_unused().files.items():
        path = tmp_path / "version" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    needed = int(await micropython(LITTLEFS, tmp_path / "version", heapsize="8M"))
    porting = int(re.findall(r"(\d+) kB a version on LittleFS", (boards() / "PORTING.md").read_text())[0])
    assert 0.9 < porting / needed < 1.1, needed
    for board in WITH_PINS:
        assert 2 * needed < board.flash_kb, board.name
        said = int(re.findall(r"(\d+) kB for two versions", (board.folder / "README.md").read_text())[0])
        assert said == 2 * porting, board.name


def test_every_folder_in_boards_is_a_board() -> None:
    folders = sorted(path for path in boards().iterdir() if path.is_dir() and path.name != "__pycache__")
    assert [read_board(folder).name for folder in folders] == [board.name for board in known_boards()]


def test_what_boards_share_is_not_loaded_where_there_is_no_machine_module() -> None:
    importing = [path for path in firmware().glob("**/*.py") if "ipa.board" in path.read_text()]
    assert importing == []


async def test_the_clock_of_the_virtual_board_is_unset_until_it_is_set(micropython: Run) -> None:
    out = await micropython("""
import sys
sys.path.insert(0, sys.argv[1])
from board import Board
from ipa.compat import unix_time
board = Board()
print(unix_time())
board.set_clock(1795382100)
print(unix_time() - 1795382100 < 60)
""", next(board.folder for board in known_boards() if board.name == "virtual"))
    assert out.split() == ["None", "True"]
