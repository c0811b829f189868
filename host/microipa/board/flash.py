"""Puts a version of the assistant onto a board beside the one it runs, and switches last.

    main.py         firmware/switch.py: runs the version named first in
    ipa.version     two lines: the version that runs, and the one before it
    ipa.trial       the version that has to reach an eIM yet, and a dot for each of its starts
    ipa.restarts    how the starts before this one ended: firmware/starts.py, beside restart.py and main.py
    ipa.loading     is there while a start loads its modules
    ipa.good        the settings with which an eIM was reached last
    ipa-1a2b3c4d/   a whole version, named by its hash: app, board, ipa/, ipa.json, eim.der
    ipa.journal     the assistant's own, which outlives versions

A folder that is not named in ipa.version is never run, so that nothing half copied boots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from microipa.board.known import Board
from microipa.board.micropython import on_32_bits
from microipa.board.package import KEPT, SETTINGS, Package, check_config, modems, version_of
from microipa.board.repl import BoardFull, Repl
from microipa.common import paths
from microipa.common.errors import MicroipaError

MINIMUM = (1, 26)
VERSIONS = "ipa.version"
TRIAL = "ipa.trial"
RESTARTS = "ipa.restarts"
LOADING = "ipa.loading"
STARTS = 3
"""How often a version that reaches no eIM is started before the one before it comes back: firmware/switch.py."""
BEFORE = "ipa-before"
"""The folder for a main.py that was on the board before us."""
ROM = "/rom"
"""Where MicroPython mounts a romfs partition: see romfs.py."""

PLATFORMS = {"unix": ("linux", "darwin"), "stm32": ("pyboard",), "nrf": ("nrf51", "nrf52", "nrf91")}
"""What sys.platform says where it is not the name of MicroPython's port."""
_OURS = {"restart.py": "restart.py", "starts.py": "starts.py", "main.py": "switch.py"}  # main.py last: it needs them
LARGEST_KEPT = 16 * 1024
_BLOCKS_OF_FOLDER = 2  # in LittleFS
_SPARE_BLOCKS = 4
_HASHING_S = 30.0

Report = Callable[[str, int, int], None]
"""What is being done, bytes done, bytes in all."""


class BoardUnfit(MicroipaError):
    """The board's MicroPython cannot run the assistant."""


class WrongBoard(MicroipaError):
    """The board on the port is another one than the one that was named."""


class FlashDamaged(MicroipaError):
    """What is on the board after copying is not what was sent."""


class NoWayBack(MicroipaError):
    """The board holds no version before the present one."""


@dataclass(frozen=True)
class Kind:
    """What a board says of its MicroPython; ``heap_free`` in bytes."""

    implementation: str
    version: tuple[int, ...]
    mpy: int
    hashes: bool
    dtls: bool
    platform: str
    heap_free: int
    machine: str = ""
    """Board and chip in words, as "Generic ESP32S3 module with ESP32S3"."""
    word: int = 4
    """Bytes of a word: 8 in a virtual board on a 64-bit MicroPython."""

    @property
    def heap_free_on_chip(self) -> int:
        """What its free heap is worth in bytes of a chip, to be compared with what needs.py says."""
        return on_32_bits(self.heap_free, self.word)

    @property
    def release(self) -> str:
        return ".".join(map(str, self.version))


@dataclass(frozen=True)
class Flashed:
    """What was done: the version that runs now and the one before it ("" without), bytes sent and reused.

    ``on_trial``: it has to reach an eIM within STARTS starts, or ``previous`` comes back. ``last_words``: what the
    board said of a restart or a change of versions that it made by itself, "" where it made none.
    """

    version: str
    previous: str
    sent: int
    reused: int
    on_trial: bool = False
    last_words: str = ""


def kind(repl: Repl) -> Kind:
    """Load our helpers into the board's heap, ask it what it is, and see that its watchdog leaves us alone."""
    repl.run((paths.tools() / "flash_helpers.py").read_text(encoding="utf-8"))
    found = Kind(*repl.value("_kind()"))
    repl.run(f"_keep_fed({''.join(versions(repl)[:1])!r})")
    return found


def check_fit(found: Kind, modem: str, mpy: int | None = None) -> None:
    """``modem``: the name of the board's, which may speak DTLS in its place; ``mpy``: the version of bytecode it
    shall load. Raises BoardUnfit."""
    if found.implementation != "micropython":
        raise BoardUnfit(f"the board runs {found.implementation} {found.release}: install MicroPython 1.26 or later")
    if found.version[:2] < MINIMUM:
        raise BoardUnfit(f"the board runs MicroPython {found.release}: install 1.26 or later")
    if not found.dtls and not modems().get(modem):
        raise BoardUnfit(
            f"the MicroPython {found.release} on this board ({found.platform}) has no DTLS in its tls module: "
            f"install a build with networking and mbedTLS, since the driver of its modem ({modem}) has no DTLS either"
        )
    if not found.hashes:
        raise BoardUnfit("the board's MicroPython has no hashlib.sha256: install a build that has it")
    if mpy is not None and found.mpy != mpy:
        raise BoardUnfit(
            f"the board loads bytecode version {found.mpy}, but ours is {mpy}: flash with --py, or install "
            "another MicroPython"
        )


def check_board(found: Kind, board: Board, port: str) -> None:
    """See that the MicroPython at ``port`` runs on the port and the chip of this board.toml. Raises WrongBoard."""
    platforms = PLATFORMS.get(board.port, (board.port,))
    chip = found.machine.rpartition(" with ")[2]
    if found.platform in platforms and (not board.chip or not chip or chip == board.chip):
        return
    raise WrongBoard(
        f"{board.name} is a board with MicroPython's port {board.port}{f' on {board.chip}' if board.chip else ''}, and "
        f"{port} is {found.platform}: {found.machine or 'an unknown chip'}. Name that board with --board, or its own "
        "port with --port"
    )


def versions(repl: Repl) -> list[str]:
    """The version that runs and the one before it, as far as there are; [] on a board never flashed."""
    text = repl.value(f"_read({VERSIONS!r}, 200) or _read({VERSIONS + '.new'!r}, 200)")
    return text.decode("ascii", "replace").split() if text else []


def last_words(repl: Repl) -> str:
    """Why the board restarted or changed its version by itself the last time, "" when it never did."""
    text = repl.value(f"_read({RESTARTS!r}, 256)") or b""
    return "".join(text.decode("ascii", "replace").splitlines()[1:2])


def flash(repl: Repl, package: Package, report: Report) -> Flashed:
    """Bring the board to this version and switch to it; settings it has and ``package`` has not stay.

    kind() and check_fit() come first. Raises BoardFull, BoardLost and FlashDamaged; whatever is raised, the
    board boots what it booted before.
    """
    running = versions(repl)
    package = package.with_files(settings_of(repl, running[:1], package)).without_unused()
    name = package.version
    said = last_words(repl)
    if running[:1] == [name] and is_whole(repl, name):
        install_switch(repl)
        return Flashed(name, "".join(running[1:2]), 0, 0, is_on_trial(repl, name), said)
    here = {folder: tree(repl, folder) for folder in repl.value("_folders()") if folder.startswith("ipa-")}
    sent, reused = _copy(repl, package, here, running, report)
    report("verify", package.size, package.size)
    if not is_whole(repl, name):
        raise FlashDamaged(f"{name} on the board differs from what was sent: try again, its flash may be worn out")
    previous = _keep_what_boots(repl, running)
    if previous == name:
        previous = "".join(running[1:2])
    begin_trial(repl, name, previous)
    install_switch(repl)
    for folder in here.keys() - {name, previous}:
        repl.run(f"_remove({folder!r})")
    return Flashed(name, previous, sent, reused, bool(previous), said)


def go_back(repl: Repl) -> Flashed:
    """Switch to the version before, which becomes the present one. Raises NoWayBack."""
    kind(repl)
    running = versions(repl)
    if len(running) < 2 or not (running[1] in (BEFORE, ROM) or is_whole(repl, running[1])):
        raise NoWayBack("the board has no version before the current one: flash the version that you want")
    said = last_words(repl)
    switch_to(repl, running[1], running[0])
    end_trial(repl)
    return Flashed(running[1], running[0], 0, 0, last_words=said)


def is_whole(repl: Repl, version: str) -> bool:
    """Whether the board itself computes the hashes after which this version is called."""
    if version not in repl.value("_folders()"):
        return False
    return version_of(tree(repl, version)) == version


def tree(repl: Repl, folder: str) -> dict[str, str]:
    """The hashes of all files in a folder on the board, by their path in it."""
    return dict(repl.lines(f"_tree({folder!r})", _HASHING_S))


def begin_trial(repl: Repl, version: str, previous: str) -> None:
    """Run a new version from the next start on; ``previous``, if any, comes back unless this one reaches an eIM."""
    end_trial(repl)
    if previous:
        trial = f"{version}\n"
        repl.run(f"_replace({TRIAL!r}, {trial!r})")  # counts for no other version
    switch_to(repl, version, previous)


def end_trial(repl: Repl) -> None:
    """Forget how starts ended: another version is to run."""
    repl.run(f"_forget({TRIAL!r}, {RESTARTS!r}, {RESTARTS + '.new'!r}, {LOADING!r})")


def is_on_trial(repl: Repl, version: str) -> bool:
    text = repl.value(f"_read({TRIAL!r}, 200)") or b""
    return text.decode("ascii", "replace").splitlines()[:1] == [version]


def switch_to(repl: Repl, version: str, previous: str) -> None:
    """Let main.py run this version from its next start on."""
    text = f"{version}\n{previous}\n"
    repl.run(f"_replace({VERSIONS!r}, {text!r})")


def install_switch(repl: Repl) -> None:
    """See that main.py and what it needs are ours. They name no version, so that they are the same for all."""
    for name, source in _OURS.items():
        text = (paths.firmware() / source).read_bytes()
        if repl.value(f"_read({name!r}, {LARGEST_KEPT})") != text:
            repl.run(f"_replace({name!r}, {text.decode()!r})")


def settings_of(repl: Repl, running: list[str], package: Package) -> dict[str, bytes]:
    """Settings and trust material of the present version, or of a board that was installed by hand.

    Raises BadConfig for settings that this version does not take any more, FlashDamaged for a file too long.
    """
    found = {}
    for name in KEPT:
        if name in package.files:
            continue
        for path in (f"{running[0]}/{name}" if running else name, name):
            content = repl.value(f"_read({path!r}, {LARGEST_KEPT})")
            if content is None:
                continue
            if len(content) == LARGEST_KEPT:
                raise FlashDamaged(f"{path} on the board is longer than {LARGEST_KEPT} bytes: give a shorter one")
            if name == SETTINGS:
                check_config(content, f"{path} on the board", package.modems)
            found[name] = content
            break
    return found


def _copy(repl: Repl, package: Package, here: dict[str, dict[str, str]], running: list[str],
          report: Report) -> tuple[int, int]:
    """Fill the version's folder: bytes sent, and bytes that were somewhere on the board already."""
    hashes = package.hashes
    present = here.get(package.version, {})
    missing = [name for name in sorted(package.files) if present.get(name) != hashes[name]]
    for name in present.keys() - package.files.keys():
        repl.run(f"os.remove({package.version + '/' + name!r})")
    folders = sorted({str(Path(package.version, name).parent) for name in missing})
    extra = _BLOCKS_OF_FOLDER * (len(folders) + 1) + _SPARE_BLOCKS
    _make_room(repl, [len(package.files[name]) for name in missing], extra, here, running, package.version)
    sources = {digest: f"{folder}/{name}" for folder, files in here.items() for name, digest in files.items()}
    done = reused = package.size - sum(len(package.files[name]) for name in missing)
    for folder in folders:
        repl.run(f"_make({folder!r})")
    for name in missing:
        content, target = package.files[name], f"{package.version}/{name}"
        report(name, done, package.size)
        source = sources.get(hashes[name])
        if source:
            repl.run(f"_copy({source!r}, {target!r})")
            reused += len(content)
        else:
            repl.write_file(target, content, partial(_report_piece, report, name, done, package.size))
        done += len(content)
    return package.size - reused, reused


def _report_piece(report: Report, name: str, before: int, total: int, piece: int) -> None:
    report(name, before + piece, total)


def _make_room(repl: Repl, sizes: list[int], extra: int, here: dict[str, dict[str, str]], running: list[str],
               version: str) -> None:
    """See that files of these sizes fit, which begin a block each, and as many blocks ``extra``; old versions that
    nothing needs go. Raises BoardFull."""
    spare = [folder for folder in sorted(here) if folder not in (*running[:1], version)]
    spare.sort(key=lambda folder: folder in running)  # the one to go back to goes last
    while True:
        free, block = repl.value("_free()")
        needed = (extra + sum(-(-size // block) for size in sizes)) * block
        if needed <= free:
            return
        if not spare:
            raise BoardFull(
                f"the board's flash has {free // 1024} kB free, this version needs {needed // 1024} kB beside the "
                "one that runs: remove files of your own from it, or freeze the assistant (--freeze-manifest)"
            )
        folder = spare.pop(0)
        repl.run(f"_remove({folder!r})")
        del here[folder]


def _keep_what_boots(repl: Repl, running: list[str]) -> str:
    """What the board runs today as a version to go back to: its name, or "" on a board that runs nothing."""
    main = repl.value(f"_read('main.py', {LARGEST_KEPT})")
    switch = (paths.firmware() / _OURS["main.py"]).read_bytes()
    if main is None or main.splitlines()[:1] == switch.splitlines()[:1]:
        return "".join(running[:1])
    repl.run(f"_make({BEFORE!r})")
    repl.run(f"_copy('main.py', {BEFORE + '/app.py'!r})")
    return BEFORE

