"""`microipa flash` on the virtual board: one version beside the other, switched last, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from board_bench import heard, silent_pty, use_littlefs, with_repl
from cli_runner import Microipa
from microipa.board import VirtualBoard
from microipa.board.flash import (
    BoardUnfit,
    Flashed,
    Kind,
    NoWayBack,
    WrongBoard,
    check_board,
    check_fit,
    flash,
    go_back,
    kind,
)
from microipa.board.known import find_board
from microipa.board.package import BadConfig, Package, build, manifest
from microipa.board.repl import BoardFull, BoardLost, Repl
from microipa.board.romfs import NoPartition, flash_romfs
from microipa.common.errors import MicroipaError
from microipa.common.paths import boards, firmware
from microipa.trace import Event

LIBRARY = bytes(range(256)) * 12


def version(number: int) -> Package:
    """A small version that says which it is; it shares its library with the others."""
    return Package({
        "app.py": f"print('version {number} runs')\nimport ipa.part".encode(),
        "ipa/part.py": b"# " + b"%d" % number * 1500,
        "ipa/data/library": LIBRARY,
    })


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def put(package: Package, report: Callable[[str, int, int], None] = quiet) -> Callable[[Repl], Flashed]:
    def work(repl: Repl) -> Flashed:
        check_fit(kind(repl), "gm02s")
        return flash(repl, package, report)

    return work


async def runs(board: VirtualBoard, said: list[Event]) -> str:
    """What the board says after a power cut."""
    board.kill()
    said.clear()
    board.plug_in()
    await board.start()
    await heard(said, "power", on=True)
    return str((await heard(said, "log")).fields["text"])


async def test_a_new_version_runs_and_the_one_before_it_is_one_command_away(
        board: VirtualBoard, said: list[Event]) -> None:
    first = await with_repl(board, put(version(1)))
    assert (first.version, first.previous, first.reused) == (version(1).version, "", 0)
    assert await runs(board, said) == "version 1 runs"
    second = await with_repl(board, put(version(2)))
    assert (second.previous, second.reused) == (first.version, len(LIBRARY))  # the board copied that itself
    assert await runs(board, said) == "version 2 runs"
    await with_repl(board, go_back)
    assert await runs(board, said) == "version 1 runs"
    await with_repl(board, go_back)
    assert await runs(board, said) == "version 2 runs"
    third = await with_repl(board, put(version(3)))
    assert third.previous == second.version
    assert sorted(path.name for path in board.folder.iterdir()) == sorted(
        ["main.py", "restart.py", "starts.py", "ipa.version", "ipa.trial", second.version, third.version])


async def test_what_is_there_already_is_not_sent_and_what_is_damaged_is(
        board: VirtualBoard, said: list[Event]) -> None:
    await with_repl(board, put(version(1)))
    again = await with_repl(board, put(version(1)))
    assert (again.sent, again.reused) == (0, 0)
    damaged = board.folder / version(1).version / "ipa/part.py"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    damaged.with_name("stray.py").write_text("of another")
    mended = await with_repl(board, put(version(1)))
    assert mended.sent == len(version(1).files["ipa/part.py"])
    assert await runs(board, said) == "version 1 runs"


@pytest.mark.parametrize("what", ["ipa/data/library", "ipa/part.py", "verify"])
async def test_a_cable_pulled_while_flashing_leaves_the_old_version_to_boot(
        board: VirtualBoard, said: list[Event], what: str) -> None:
    await with_repl(board, put(version(1)))
    loop = asyncio.get_running_loop()

    async def pull() -> None:
        board.pull_out()

    def report(name: str, done: int, total: int) -> None:
        if name == what and board in plugged:
            plugged.remove(board)
            asyncio.run_coroutine_threadsafe(pull(), loop).result()

    plugged = [board]
    other = version(2).with_files({"ipa/data/library": LIBRARY[::-1]})
    with pytest.raises(BoardLost, match="stopped answering .* is its cable plugged in?"):
        await with_repl(board, put(other, report))
    assert await runs(board, said) == "version 1 runs"
    resumed = await with_repl(board, put(other))
    assert resumed.sent < other.size
    assert await runs(board, said) == "version 2 runs"


async def test_power_cut_at_any_step_of_flashing_leaves_one_version_whole(
        board: VirtualBoard, said: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """On LittleFS, as on the boards: the switch is one rename."""
    use_littlefs(board, 64)
    await with_repl(board, put(version(1)))
    running = 1
    loop = asyncio.get_running_loop()
    original = Repl.run

    async def cut() -> None:
        board.kill()
        board.pull_out()  # whose USB has no power either

    async def flash_with_cut(number: int, steps: int) -> bool:
        left = [steps]

        def run(repl: Repl, code: str) -> None:
            original(repl, code)
            left[0] -= 1
            if not left[0]:
                asyncio.run_coroutine_threadsafe(cut(), loop).result()

        with monkeypatch.context() as patched:
            patched.setattr(Repl, "run", run)
            try:
                await with_repl(board, put(version(number)))
            except BoardLost:
                return True
            return not left[0]

    outcomes = set()
    for steps in range(1, 60):
        was_cut = await flash_with_cut(running + 1, steps)
        outcome = await runs(board, said)
        assert outcome in (f"version {running} runs", f"version {running + 1} runs")
        outcomes.add((was_cut, outcome == f"version {running + 1} runs"))
        running += outcome == f"version {running + 1} runs"
        if not was_cut:
            break
    assert outcomes >= {(True, False), (False, True)}


async def test_a_board_that_ran_something_else_can_go_back_to_it(board: VirtualBoard, said: list[Event]) -> None:
    (board.folder / "main.py").write_text("print('by hand')")
    (board.folder / "ipa.json").write_text('{"apn": "by.hand"}')
    flashed = await with_repl(board, put(version(1)))
    assert json.loads((board.folder / flashed.version / "ipa.json").read_text()) == {"apn": "by.hand"}
    assert await runs(board, said) == "version 1 runs"
    await with_repl(board, go_back)
    assert await runs(board, said) == "by hand"


async def test_there_is_no_way_back_from_the_first_version_nor_to_a_damaged_one(
        board: VirtualBoard, said: list[Event]) -> None:
    first = await with_repl(board, put(version(1)))
    with pytest.raises(NoWayBack, match="no version before"):
        await with_repl(board, go_back)
    await with_repl(board, put(version(2)))
    (board.folder / first.version / "ipa/part.py").unlink()
    with pytest.raises(NoWayBack):
        await with_repl(board, go_back)
    assert await runs(board, said) == "version 2 runs"


async def test_settings_stay_with_the_device_and_go_back_with_their_version(board: VirtualBoard) -> None:
    def settings(flashed: Flashed) -> bytes:
        return (board.folder / flashed.version / "ipa.json").read_bytes()

    (board.folder / "ipa.journal").write_bytes(b"a switch is under way")
    await with_repl(board, put(version(1).with_files({"ipa.json": b'{"apn": "one"}', "eim.der": b"0\0"})))
    second = await with_repl(board, put(version(2)))
    assert settings(second) == b'{"apn": "one"}'
    assert (board.folder / second.version / "eim.der").read_bytes() == b"0\0"
    third = await with_repl(board, put(version(2).with_files({"ipa.json": b'{"apn": "two"}'})))
    assert settings(third) == b'{"apn": "two"}'
    back = await with_repl(board, go_back)
    assert settings(back) == b'{"apn": "one"}'
    assert (board.folder / "ipa.journal").read_bytes() == b"a switch is under way"


async def test_settings_on_the_board_that_a_version_does_not_take_stop_it_before_it_is_sent(
        board: VirtualBoard, said: list[Event]) -> None:
    await with_repl(board, put(version(1)))
    (board.folder / version(1).version / "ipa.json").write_text('{"apn": "one", "colour": "red"}')
    with pytest.raises(BadConfig, match=r"ipa.json on the board: there is no setting colour"):
        await with_repl(board, put(version(2)))
    assert await runs(board, said) == "version 1 runs"


async def test_a_board_without_room_says_so_and_boots_what_it_booted(board: VirtualBoard, said: list[Event]) -> None:
    use_littlefs(board, 24)
    await with_repl(board, put(version(1)))
    large = version(2).with_files({"ipa/large": bytes(80_000)})
    with pytest.raises(BoardFull, match=r"has \d+ kB free, this version needs \d+ kB beside the one that runs"):
        await with_repl(board, put(large))
    assert await runs(board, said) == "version 1 runs"


async def test_the_version_before_gives_way_when_room_is_scarce(board: VirtualBoard, said: list[Event]) -> None:
    use_littlefs(board, 48)
    for number in (1, 2, 3):
        await with_repl(board, put(version(number).with_files({"ipa/weight": bytes([number]) * 24_000})))
    assert await runs(board, said) == "version 3 runs"


async def test_a_version_of_many_files_asks_for_no_more_room_than_they_take(board: VirtualBoard) -> None:
    """Two whole versions fit a Pico LTE, whose file system has 848 kB, and it can go back."""
    use_littlefs(board, 76)
    for number in (1, 2):
        files = {f"ipa/{name}.py": bytes([number, name]) * 2000 for name in range(20)}
        await with_repl(board, put(version(number).with_files(files)))
    assert (await with_repl(board, go_back)).version.startswith("ipa-")


async def test_flash_that_fills_up_while_we_write_is_reported_as_full(board: VirtualBoard) -> None:
    use_littlefs(board, 16)
    await with_repl(board, lambda repl: repl.run("import os"))
    with pytest.raises(BoardFull, match="flash is full"):
        await with_repl(board, lambda repl: repl.write_file("big", bytes(100_000)))


@pytest.mark.parametrize(("boot", "sentence"), [
    ("import sys\nclass Old:\n implementation = ('micropython', (1, 24, 1))\n platform = 'rp2'\n"
     "sys.modules['sys'] = Old", "the board runs MicroPython 1.24.1: install 1.26 or later"),
    ("import sys\nclass Circuit:\n implementation = ('circuitpython', (9, 2, 0))\n platform = 'RP2040'\n"
     "sys.modules['sys'] = Circuit", "the board runs circuitpython 9.2.0: install MicroPython 1.26 or later"),
    ("import sys\nclass Tls: pass\nsys.modules['tls'] = Tls",
     "the MicroPython 1.29.0 on this board (linux) has no DTLS in its tls module: install a build with networking"),
])
async def test_a_micropython_that_cannot_run_the_assistant_is_refused_by_what_it_lacks(
        board: VirtualBoard, boot: str, sentence: str) -> None:
    (board.folder / "boot.py").write_text(boot)
    with pytest.raises(BoardUnfit) as refused:
        await with_repl(board, put(version(1)))
    assert str(refused.value).startswith(sentence)
    assert not (board.folder / "main.py").exists()


async def test_a_board_without_dtls_will_do_where_its_modem_has_dtls(board: VirtualBoard) -> None:
    (board.folder / "boot.py").write_text("import sys\nclass Tls: pass\nsys.modules['tls'] = Tls")
    for modem in ("bg95", "nrf91"):
        await with_repl(board, lambda repl, modem=modem: check_fit(kind(repl), modem))


async def test_bytecode_the_board_does_not_load_is_not_sent(board: VirtualBoard) -> None:
    mpy = build(find_board("virtual")).files["app.mpy"][1]
    await with_repl(board, lambda repl: check_fit(kind(repl), "gm02s", mpy))
    with pytest.raises(BoardUnfit, match="loads bytecode version 6, but ours is 7: flash with --py"):
        await with_repl(board, lambda repl: check_fit(kind(repl), "gm02s", 7))


CUT = """
import sys
import vfs

def rom_ioctl(what, *more):
    if what == 4: sys.exit()  # the board resets in the middle
    return original(what, *more)

original = vfs.rom_ioctl
vfs.rom_ioctl = rom_ioctl
"""


async def test_the_partition_of_a_virtual_board_leaves_its_heap_as_large_as_it_was(board: VirtualBoard) -> None:
    def free(repl: Repl) -> int:
        repl.run("import gc")
        return int(repl.value("(gc.collect(), gc.mem_free())[1]"))

    without = await with_repl(board, free)
    board.kill()
    board.rom_size = 100_000
    assert 0 <= without - await with_repl(board, free) < 4096  # the module that stands for the port's


async def test_a_romfs_partition_holds_a_version_and_the_file_system_the_one_before(
        board: VirtualBoard, said: list[Event]) -> None:
    told: list[tuple[str, int, int]] = []

    def put_rom(repl: Repl, number: int = 2) -> Flashed:
        kind(repl)
        return flash_romfs(repl, version(number), lambda *done: told.append(done))

    await with_repl(board, put(version(1)))
    with pytest.raises(NoPartition, match="has no romfs partition: flash with --mpy"):
        await with_repl(board, put_rom)
    board.kill()
    board.rom_size = 4096
    with pytest.raises(NoPartition, match="has 4096 bytes, the image "):
        await with_repl(board, put_rom)
    board.kill()
    board.rom_size = 65536
    flashed = await with_repl(board, put_rom)
    assert (flashed.version, flashed.previous) == ("/rom", version(1).version)
    assert told == [("romfs partition", done, flashed.sent) for done in (0, 4096)]
    assert await runs(board, said) == "version 2 runs"
    (board.folder / "boot.py").write_text(CUT)
    with pytest.raises(MicroipaError):
        await with_repl(board, partial(put_rom, number=3))
    (board.folder / "boot.py").unlink()
    assert await runs(board, said) == "version 1 runs"
    await with_repl(board, partial(put_rom, number=3))
    assert await runs(board, said) == "version 3 runs"
    await with_repl(board, go_back)
    assert await runs(board, said) == "version 1 runs"


def test_a_manifest_freezes_assistant_board_and_main_and_the_make_line_builds_it(
        microipa: Microipa, tmp_path: Path) -> None:
    status, out, _ = microipa("flash", "--board", "walter", "--freeze-manifest", tmp_path / "manifest.py")
    assert status == 0
    assert "make -C ports/esp32 BOARD=ESP32_GENERIC_S3 " in out
    frozen = []
    words = {"include": frozen.append,
             "package": lambda name, files, base_path, opt: frozen.append(Path(base_path, name)),
             "module": lambda name, base_path, opt: frozen.append(Path(base_path, name))}
    exec((tmp_path / "manifest.py").read_text(), words)
    assert frozen[0] == "$(PORT_DIR)/boards/manifest.py"
    assert [path.relative_to(firmware().parent).as_posix() for path in frozen[1:]] == [
        "firmware/ipa", "firmware/main.py", "firmware/restart.py", "firmware/starts.py", "boards/walter/board.py"]
    assert all(path.exists() for path in frozen[1:])
    assert manifest(find_board("pico-lte")).count("$(BOARD_DIR)/manifest.py") == 1


@pytest.mark.parametrize(("settings", "has", "has_not"), [
    ({}, ["net/coap.py", "modem/sequans.py"], ["net/https.py", "steps/direct.py", "card/p256.py", "modem/quectel.py"]),
    ({"download": "direct"}, ["net/https.py", "net/jsonstream.py", "steps/direct.py"], ["net/https_link.py"]),
    ({"binding": "json"}, ["net/esipa_json.py", "net/jsonstream.py"], ["net/https.py"]),
    ({"emulation": True, "q_block": True}, ["card/p256.py", "net/qblock.py"], ["net/compact.py"]),
])
def test_a_manifest_for_known_settings_freezes_what_they_use(
        microipa: Microipa, tmp_path: Path, settings: dict[str, object], has: list[str], has_not: list[str]) -> None:
    config = write(tmp_path / "ipa.json", json.dumps(settings).encode())
    file = tmp_path / "manifest.py"
    assert microipa("flash", "--board", "walter", "--config", config, "--freeze-manifest", file)[0] == 0
    text = file.read_text()
    assert all(f'"{name}"' in text for name in has)
    assert not any(f'"{name}"' in text for name in has_not)
    assert ("MBEDTLS_SSL_IN_CONTENT_LEN 2048" in text) == (settings.get("download") != "direct")
    assert ("neither HTTPS nor direct downloads work" in text) == (settings.get("download") != "direct")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("words", "sentence"), [
    (["--board", "waltr", "--port", "/dev/null"], "no board 'waltr': choose one of "),
    (["--board", "./board-of-tomorrow", "--port", "/dev/null"],
     "there is no driver yet for the bg1000 of board-of-tomorrow"),
    (["--port", "/dev/null"], "which board? Name it with --board"),
    (["--board", "virtual", "--port", "/dev/no-such-port"], "there is no port /dev/no-such-port: plug the board in"),
    (["--board", "virtual", "--mpy", "--py"], "--mpy and --py exclude each other: choose one"),
    (["--board", "virtual"], "there is no .lab/board.tty: start `microipa lab up` here"),
    (["--board", "virtual", "--port", "nonsense://x"], "cannot use nonsense://x: "),
    (["--board", "virtual", "--port", "/dev/null"], "/dev/null is not a serial port: name the board's with --port"),
    (["--board", "virtual", "--port", "/dev"], "/dev is not a serial port: name the board's with --port"),
    (["--board", "virtual", "--back"], "there is no .lab/board.tty: start `microipa lab up` here"),
])
def test_a_mistake_on_the_command_line_is_one_sentence(
        microipa: Microipa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board-of-tomorrow").mkdir()
    for name in ("board.py", "board.toml"):
        text = (boards() / "walter" / name).read_text().replace("gm02s", "bg1000")
        (tmp_path / "board-of-tomorrow" / name).write_text(text)
    outcome = microipa("flash", *words)
    assert outcome.status == 1
    assert outcome.err.startswith(f"microipa: {sentence}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("verb", [("flash",), ("board", "check")])
async def test_a_board_with_another_chip_than_the_one_that_was_named_is_refused_before_anything_is_written(
        board: VirtualBoard, microipa: Microipa, verb: tuple[str, ...]) -> None:
    port = board.plug_in()
    await board.start()
    outcome = await asyncio.to_thread(microipa, *verb, "--board", "walter", "--port", port)
    assert outcome.status == 1
    assert outcome.err.startswith("microipa: walter is a board with MicroPython's port esp32 on ESP32S3, and /dev/pts/")
    assert list(board.folder.iterdir()) == []


@pytest.mark.parametrize(("machine", "fits"), [
    ("Generic ESP32S3 module with ESP32S3", True), ("Generic ESP32S3 module with Octal-SPIRAM with ESP32S3", True),
    ("Generic ESP32 module with ESP32", False), ("", True),
])
def test_the_chip_is_the_end_of_what_micropython_says_of_its_machine(machine: str, fits: bool) -> None:
    found = Kind("micropython", (1, 26, 0), 6, True, True, "esp32", 2_000_000, machine)
    with contextlib.nullcontext() if fits else pytest.raises(WrongBoard, match="is esp32: Generic ESP32 module"):
        check_board(found, find_board("walter"), "/dev/ttyACM0")


def test_a_board_whose_two_files_name_different_modems_is_refused(microipa: Microipa, tmp_path: Path) -> None:
    for name, text in (("board.py", (boards() / "walter" / "board.py").read_text()),
                       ("board.toml", (boards() / "walter" / "board.toml").read_text().replace("gm02s", "bg95"))):
        (tmp_path / name).write_text(text)
    outcome = microipa("flash", "--board", f"{tmp_path}/", "--port", "/dev/null")
    assert "modem is 'bg95', and 'gm02s' in board.py beside it: make them the same" in outcome.err


def test_the_link_that_a_killed_lab_left_is_not_typed_into(
        microipa: Microipa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".lab").mkdir()
    somebody, terminal = os.openpty()
    os.set_blocking(somebody, False)
    Path(".lab/board.tty").symlink_to(os.ttyname(terminal))
    outcome = microipa("flash", "--board", "virtual")
    assert outcome.err == ("microipa: .lab/board.tty belongs to a lab that is no longer running: "
                           "start `microipa lab up` here\n")
    with pytest.raises(BlockingIOError):
        os.read(somebody, 1)


@pytest.mark.parametrize(("option", "content", "sentence"), [
    ("--config", b'{"apm": "iot"}', "there is no setting apm"),
    ("--config", b'{"apn": 7}', "apn is 7, not text or a table"),
    ("--config", b'{"modem": "bg69"}', "modem is 'bg69', allowed are auto, bg95"),
    ("--config", b"apn = iot", "is not JSON"),
    ("--eim", b"-----BEGIN", "does not begin with a SEQUENCE: give DER, not PEM or text"),
])
def test_bad_settings_and_trust_material_are_named_before_any_port_is_opened(
        microipa: Microipa, tmp_path: Path, option: str, content: bytes, sentence: str) -> None:
    file = write(tmp_path / "given", content)
    outcome = microipa("flash", "--board", "virtual", "--port", "/dev/no-such-port", option, file)
    assert outcome.status == 1
    assert f"{file}" in outcome.err
    assert sentence in outcome.err


async def test_a_port_that_another_program_has_is_busy(board: VirtualBoard, microipa: Microipa) -> None:
    def meanwhile(repl: Repl) -> str:
        return microipa("flash", "--board", "virtual", "--port", repl.port).err

    assert "another program has" in await with_repl(board, meanwhile)


def test_a_port_where_nobody_answers_has_no_micropython(microipa: Microipa) -> None:
    port, close = silent_pty()
    try:
        outcome = microipa("flash", "--board", "virtual", "--port", port)
    finally:
        close()
    assert outcome.err.startswith(f"microipa: no MicroPython answers on {port}: ")


@pytest.mark.parametrize("form", ["--mpy", "--py", "--romfs"])
async def test_the_whole_assistant_is_flashed_and_starts_with_the_settings_it_was_given(
        board: VirtualBoard, said: list[Event], microipa: Microipa, tmp_path: Path, form: str) -> None:
    config = write(tmp_path / "my.json", b'{"app_tick_ms": 1, "modem": "gm02s"}')
    board.rom_size = 200_000 if form == "--romfs" else 0
    port = board.plug_in()
    await board.start()
    outcome = await asyncio.to_thread(
        microipa, "flash", "--board", "virtual", "--port", port, form, "--config", config)
    assert outcome.err.endswith("its last line: OSError: [Errno 2] ENOENT; it will try again after a pause\n")
    assert outcome.out.splitlines()[1].startswith('/rom is on the board' if form == '--romfs' else 'ipa-')
    # It has no modem: board.uart() fails, which is the first thing the assistant does after its settings.
    await heard(said, "log", text="OSError: [Errno 2] ENOENT")
    assert not list(boards().glob("*/*.mpy"))
    if form == "--romfs":
        assert not list(board.folder.glob("ipa-*"))
        return
    folder = next(board.folder.glob("ipa-*"))
    assert json.loads((folder / "ipa.json").read_text())["modem"] == "gm02s"
    assert (folder / f"ipa/agent.{form[2:]}").exists()


def invented_board(folder: Path) -> Path:
    """A board of which nobody knows the form of its code, in a folder of its own."""
    folder.mkdir()
    described = (boards() / "virtual" / "board.toml").read_text().replace('port = "unix"', 'port = "linux"')
    write(folder / "board.toml", described.encode())
    write(folder / "board.py", (boards() / "virtual" / "board.py").read_bytes())
    return folder


@pytest.mark.parametrize(("heap", "partition", "sentence"), [
    ("60K", 200_000, "the smallest form, frozen, needs"),
    ("84K", 200_000, r"and romfs needs \d+: freeze the assistant \(--freeze-manifest\)"),
    ("128K", 0, "and its MicroPython has no romfs partition: freeze the assistant"),
    ("128K", 4096, "and its romfs partition holds 4,096 bytes, the image has "),
])
async def test_a_board_that_cannot_carry_the_form_is_told_why_before_anything_is_written(
        tmp_path: Path, microipa: Microipa, heap: str, partition: int, sentence: str) -> None:
    board = VirtualBoard(tmp_path / "flash", heapsize=heap, rom_size=partition)
    board.folder.mkdir()
    port = board.plug_in()
    await board.start()
    try:
        outcome = await asyncio.to_thread(
            microipa, "flash", "--board", str(invented_board(tmp_path / "ours")), "--port", port)
    finally:
        board.kill()
        board.pull_out()
    assert outcome.status == 1
    assert re.search(sentence, outcome.err)
    assert outcome.err.count("\n") == 1
    assert not list(board.folder.glob("ipa*"))


async def test_a_board_that_carries_the_code_in_flash_alone_gets_it_there_and_is_told_why(
        tmp_path: Path, microipa: Microipa) -> None:
    board = VirtualBoard(tmp_path / "flash", heapsize="128K", rom_size=200_000)
    board.folder.mkdir()
    port = board.plug_in()
    await board.start()
    try:
        outcome = await asyncio.to_thread(
            microipa, "flash", "--board", str(invented_board(tmp_path / "ours")), "--port", port)
    finally:
        board.kill()
        board.pull_out()
    assert re.search(
        r"into the romfs partition: bytecode in RAM needs \d+ KiB of heap \(CoAP\), the board has 1", outcome.out)
    assert "/rom is on the board" in outcome.out


async def test_a_cable_pulled_in_the_middle_is_one_sentence_that_says_what_boots_and_what_to_do(
        board: VirtualBoard, said: list[Event], microipa: Microipa, monkeypatch: pytest.MonkeyPatch) -> None:
    await with_repl(board, put(version(1)))
    loop = asyncio.get_running_loop()
    original = Repl.write_file

    async def pull() -> None:
        board.pull_out()

    def write_and_pull(repl: Repl, path: str, *rest: object) -> None:
        if path.endswith("ipa/config.mpy"):
            asyncio.run_coroutine_threadsafe(pull(), loop).result()
        original(repl, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Repl, "write_file", write_and_pull)
    outcome = await asyncio.to_thread(microipa, "flash", "--board", "virtual", "--port", board.plug_in())
    assert outcome.status == 1
    assert outcome.err.endswith("is its cable plugged in? Flash again: until then the board boots the version of "
                                "before\n")
    assert outcome.err.count("\n") == 1
    assert await runs(board, said) == "version 1 runs"
