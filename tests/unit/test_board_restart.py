"""A board that nobody watches: whatever its flash holds, it comes back to work, and never stays at the REPL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from board_bench import heard, silent_pty, with_repl
from microipa.board import VirtualBoard
from microipa.board.flash import Flashed, flash, go_back, kind
from microipa.board.package import Package
from microipa.board.repl import Repl
from microipa.common.paths import firmware
from microipa.trace import Event, Trace

WORKS = "I modem: silent, pressing its power key"
"""What the assistant says once it runs: at the other end of its UART nobody answers."""
GOOD = {"attach_timeout_s": 60}


@pytest.fixture
def board(tmp_path: Path, said: list[Event]) -> Iterator[VirtualBoard]:
    """A board with the assistant on it and a modem that says nothing."""
    port, close = silent_pty()
    trace = Trace()
    trace.listen(said.append)
    board = VirtualBoard(tmp_path / "flash", port, trace=trace)
    board.install(GOOD)
    yield board
    board.kill()
    close()


async def told(said: list[Event], text: str) -> str:
    """The next line that has this text."""
    while True:
        line = str((await heard(said, "log")).fields["text"])
        if text in line:
            return line


async def works(board: VirtualBoard, said: list[Event]) -> None:
    await told(said, WORKS[2:])
    assert board.running
    assert not any(event.kind == "reset" for event in said)


@pytest.mark.parametrize(("settings", "reason"), [
    (b"", "is not JSON"),
    (b'{"apn": "io', "is not JSON"),
    (b"\x00\xff\x00\xff" * 1024, "is not JSON"),
    (b'["apn"]', "is not a JSON object"),
    (b'{"colour": "red"}', "there is no setting colour"),
    (b'{"poll_interval_s": 0}', "poll_interval_s is 0, allowed are 1 to 31536000"),
    (b'{"apn": ' + b"[" * 100_000, "is too large"),
])
@pytest.mark.parametrize("copy", [b'{"attach_timeout_s": 61}', b'{"colour": "red"}', None])
async def test_settings_that_cannot_be_used_give_way_to_the_last_good_ones_or_the_defaults(
        board: VirtualBoard, said: list[Event], settings: bytes, reason: str, copy: bytes | None) -> None:
    (board.folder / "ipa.json").write_bytes(settings)
    if copy:
        (board.folder / "ipa.good").write_bytes(copy)
    await board.start()
    line = await told(said, " hold")
    assert reason in line
    assert line.endswith("the last good settings hold" if copy and b"61" in copy else "the defaults hold")
    await works(board, said)
    assert reason.encode() in (board.folder / "ipa.restarts").read_bytes()


async def test_settings_that_are_lost_are_the_last_good_ones_and_without_a_copy_the_defaults(
        board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "ipa.json").rename(board.folder / "ipa.good")
    await board.start()
    await told(said, "ipa.json is missing: the last good settings hold")
    await works(board, said)
    board.kill()
    (board.folder / "ipa.good").unlink()
    await board.start()
    await works(board, said)


async def test_settings_that_make_the_start_fail_are_set_aside_until_they_have_proven_themselves(
        board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "ipa.json").write_text('{"compact": true}')
    (board.folder / "ipa/net/compact.mpy").write_bytes(b"torn")
    await board.start()
    await told(said, "ValueError: ")
    await told(said, "restart: again in 2 s")
    await told(said, "restart: again in 4 s")
    await told(said, "2 starts failed with a new ipa.json: the defaults hold")
    await works(board, said)


def break_board(folder: Path) -> None:
    (folder / "board.py").write_text("import nothing_of_that_name\n")


def break_constructor(folder: Path) -> None:
    text = (folder / "board.py").read_text()
    (folder / "board.py").write_text(text + "\n    def __init__(self):\n        raise OSError(5)\n")


def lose_module(folder: Path) -> None:
    (folder / "ipa/boot.mpy").unlink()


def lose_starts(folder: Path) -> None:
    (folder / "starts.py").write_text("this is no Python")


@pytest.mark.parametrize(("damage", "reason"), [
    (break_board, "ImportError: no module named 'nothing_of_that_name'"),
    (break_constructor, "OSError: [Errno 5] EIO"),
    (lose_module, "ImportError: "),
])
async def test_a_program_that_does_not_start_is_started_again_and_runs_as_soon_as_it_can(
        board: VirtualBoard, said: list[Event], damage, reason: str) -> None:
    board.plug_in()  # without a cable there would be no REPL to end at
    damage(board.folder)
    await board.start()
    await told(said, reason)
    await told(said, "restart: again in 2 s")
    assert reason in (board.folder / "ipa.restarts").read_text()
    board.kill()
    board.install(GOOD)
    await board.start()
    await works(board, said)
    board.pull_out()


async def test_the_pause_before_a_start_doubles_with_each_that_failed(board: VirtualBoard, said: list[Event]) -> None:
    break_board(board.folder)
    for failed, pause in ((0, 2), (1, 4), (5, 64), (11, 3600), (400, 3600)):
        (board.folder / "ipa.restarts").write_text(f"{failed}\n\n\nfailed\n")
        await board.start()
        await told(said, f"restart: again in {pause} s")
        board.kill()
        assert (board.folder / "ipa.restarts").read_text().startswith(f"{failed + 1}\n")


async def test_a_torn_module_whose_import_never_ends_is_ended_by_the_watchdog_and_counts(
        impatient: VirtualBoard, said: list[Event]) -> None:
    whole = impatient.folder / "ipa/agent.mpy"
    whole.write_bytes(whole.read_bytes()[:1000])  # MicroPython's loader does not see the end of the file
    await impatient.start()
    await heard(said, "watchdog")
    await told(said, "starts: a start ended before all modules were loaded")
    assert (impatient.folder / "ipa.restarts").read_text().startswith("1\n")


async def test_a_start_that_did_not_fail_ends_the_row_of_those_that_did(
        board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "ipa.restarts").write_text("7\nreason\ntold\nfailed\n")
    (board.folder / "ipa.good").write_bytes((board.folder / "ipa.json").read_bytes())
    await board.start()
    await works(board, said)
    board.kill()
    assert (board.folder / "ipa.restarts").read_text() == "7\nreason\ntold\n\n"  # this one could fail yet
    await board.start()
    await works(board, said)
    board.kill()
    assert (board.folder / "ipa.restarts").read_text() == "0\nreason\ntold\n\n"


async def test_power_cuts_while_a_board_loads_say_nothing_against_its_settings(
        board: VirtualBoard, said: list[Event]) -> None:
    for cuts in range(1, 5):
        (board.folder / "ipa.loading").touch()
        await board.start()
        await told(said, "starts: a start ended before all modules were loaded")
        board.kill()
        assert (board.folder / "ipa.restarts").read_text().startswith(f"{cuts}\n")
    await board.start()
    await works(board, said)
    assert not any("hold" in str(event.fields.get("text")) for event in said)


async def test_a_start_whose_failure_cannot_be_noted_is_followed_by_another_all_the_same(
        board: VirtualBoard, said: list[Event]) -> None:
    lose_starts(board.folder)
    break_board(board.folder)
    await board.start()
    await told(said, "restart: again in 60 s")


# The watchdog -----------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(tmp_path: Path, said: list[Event]) -> Iterator[VirtualBoard]:
    """A board with the assistant on it and a watchdog that wants to be fed more often than the assistant does."""
    port, close = silent_pty()
    trace = Trace()
    trace.listen(said.append)
    board = VirtualBoard(tmp_path / "flash", port, watchdog_s=3, trace=trace)
    board.install({"app_tick_ms": 1})
    yield board
    board.kill()
    close()


async def test_a_product_that_stops_the_loop_is_restarted_by_the_watchdog(
        impatient: VirtualBoard, said: list[Event]) -> None:
    main = impatient.folder / "main.py"
    main.write_text(main.read_text().replace("    longest = 0\n", "    while True:\n        pass\n    longest = 0\n"))
    await impatient.start()
    await heard(said, "watchdog")
    await heard(said, "reset")
    assert impatient.running


@pytest.mark.parametrize("feeding", ["board.feed()", ""])
async def test_a_program_that_feeds_the_watchdog_and_one_that_never_did_are_left_alone(
        impatient: VirtualBoard, said: list[Event], feeding: str) -> None:
    (impatient.folder / "main.py").write_text(
        f"import time\nfrom board import Board\nboard = Board()\nfor _ in range(9):\n    {feeding}\n"
        "    time.sleep_ms(400)\nprint('well')\n")
    await impatient.start()
    await told(said, "well")
    await impatient.wait()
    assert not any(event.kind in ("watchdog", "reset") for event in said)


# At the REPL ------------------------------------------------------------------------------------------------

MACHINE = """
import sys

class Machine:
    fed = 0
    timers = []

class Timer:
    def __init__(self, number):
        if number != {number}:
            raise ValueError("invalid Timer number")
    def init(self, period, callback):
        Machine.timers.append((period, callback))

Machine.Timer = Timer
sys.modules["machine"] = Machine
"""
FEEDS = "import machine\nclass Board:\n    def feed(self):\n        machine.fed += 1\n"


@pytest.mark.parametrize("number", [-1, 0])  # an RP2's timer, and an ESP32's
@pytest.mark.parametrize(("board_py", "timers"), [(FEEDS, 1), ("class Board: pass", 0), ("torn(", 0)])
async def test_a_watchdog_that_the_program_started_is_fed_while_the_board_is_flashed(
        bare: VirtualBoard, number: int, board_py: str, timers: int) -> None:
    (bare.folder / "boot.py").write_text(MACHINE.format(number=number))
    (bare.folder / version(1).version / "board.py").write_text(board_py)

    def work(repl: Repl) -> tuple[int, int, int]:
        kind(repl)
        repl.run("import machine\nfor period, callback in machine.timers: callback(None)")
        found: tuple[int, int, int] = repl.value(
            "(len(machine.timers), machine.fed, sum([period for period, _ in machine.timers]))")
        return found

    assert await with_repl(bare, work) == (timers, timers, 2000 * timers)


# Versions ---------------------------------------------------------------------------------------------------


def version(number: int, then: str = "") -> Package:
    return Package({"app.py": f"print('version {number} runs')\n{then}\n".encode()})


async def put(board: VirtualBoard, package: Package) -> Flashed:
    def work(repl: Repl) -> Flashed:
        kind(repl)
        return flash(repl, package, lambda *_: None)

    return await with_repl(board, work)


@pytest.fixture
async def bare(tmp_path: Path, said: list[Event]) -> VirtualBoard:
    """A board with version 1 on it."""
    trace = Trace()
    trace.listen(said.append)
    board = VirtualBoard(tmp_path / "flash", trace=trace)
    board.folder.mkdir()
    await put(board, version(1))
    yield board
    board.kill()
    board.pull_out()


async def runs(board: VirtualBoard, said: list[Event]) -> str:
    """What the board says first after a power cut."""
    board.kill()
    said.clear()
    await board.start()
    return str((await heard(said, "log")).fields["text"])


async def test_a_version_that_reaches_no_eim_in_three_starts_makes_way_for_the_one_before(
        bare: VirtualBoard, said: list[Event]) -> None:
    (bare.folder / "ipa.journal").write_text("a switch is under way")
    (bare.folder / "ipa.journal.card").write_text("keys")
    new = await put(bare, version(2))
    assert new.on_trial
    for _ in range(3):
        assert await runs(bare, said) == "version 2 runs"
    assert await runs(bare, said) == f"switch: {new.version} reached no eIM in 3 starts, {new.previous} runs again"
    assert (await heard(said, "log")).fields["text"] == "version 1 runs"
    for _ in range(4):
        assert await runs(bare, said) == "version 1 runs"
    assert (bare.folder / "ipa.journal").read_text() == "a switch is under way"
    assert (bare.folder / "ipa.journal.card").read_text() == "keys"
    again = await put(bare, version(3))
    assert again.last_words == f"{new.version} reached no eIM in 3 starts, {new.previous} runs again"


async def test_a_version_that_has_reached_an_eim_stays(bare: VirtualBoard, said: list[Event]) -> None:
    await put(bare, version(2, "import starts\nstarts.reached(False)"))
    for _ in range(5):
        assert await runs(bare, said) == "version 2 runs"
    assert not (await put(bare, version(2, "import starts\nstarts.reached(False)"))).on_trial


async def test_the_first_version_stays_since_there_is_none_before_it(bare: VirtualBoard, said: list[Event]) -> None:
    for _ in range(5):
        assert await runs(bare, said) == "version 1 runs"


async def test_a_version_that_fails_to_start_makes_way_whether_it_was_proven_or_not(
        bare: VirtualBoard, said: list[Event]) -> None:
    new = await put(bare, version(2, "raise ValueError('no good')"))
    (bare.folder / "ipa.trial").unlink()  # proven once, and damaged since
    for pause in (2, 4, 8):
        assert await runs(bare, said) == "version 2 runs"
        await told(said, f"restart: again in {pause} s")
    assert await runs(bare, said) == f"switch: {new.version} failed in 3 starts, {new.previous} runs again"
    for _ in range(2):
        assert await runs(bare, said) == "version 1 runs"


async def test_two_versions_that_both_fail_take_turns_with_growing_pauses(
        bare: VirtualBoard, said: list[Event]) -> None:
    for name in bare.folder.glob("ipa-*"):
        (name / "app.py").write_text("raise ValueError('worn out')")
    await put(bare, version(2, "raise ValueError('no good')"))
    pauses = []
    for _ in range(9):
        await runs(bare, said)
        pauses.append(int((await told(said, "restart: again in ")).split()[-2]))
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 512


async def test_going_back_by_hand_is_no_trial(bare: VirtualBoard, said: list[Event]) -> None:
    await put(bare, version(2))
    assert not (await with_repl(bare, go_back)).on_trial
    for _ in range(5):
        assert await runs(bare, said) == "version 1 runs"


async def test_a_flash_on_which_a_start_cannot_be_counted_runs_its_version(
        bare: VirtualBoard, said: list[Event]) -> None:
    new = await put(bare, version(2))
    (bare.folder / "ipa.trial").unlink()
    (bare.folder / "ipa.trial").symlink_to("/proc/version")
    assert new.version
    assert await runs(bare, said) == "version 2 runs"


async def test_a_power_cut_between_the_steps_of_going_back_does_not_go_back_twice(
        bare: VirtualBoard, said: list[Event]) -> None:
    new = await put(bare, version(2))
    (bare.folder / "ipa.version").write_text(f"{new.previous}\n{new.version}\n")
    (bare.folder / "ipa.trial").write_text(f"{new.version}\n...")
    for _ in range(2):
        assert await runs(bare, said) == "version 1 runs"


def test_what_lies_beside_all_versions_needs_nothing_of_them() -> None:
    for name in ("switch.py", "restart.py", "starts.py"):
        assert "ipa." not in "".join(
            line for line in (firmware() / name).read_text().splitlines() if "import" in line), name
