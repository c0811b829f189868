"""A version as a read-only file system in flash that MicroPython runs in place (mpremote's romfs)."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from mpremote.commands import CommandError, do_romfs
from mpremote.romfs import make_romfs

from microipa.board.flash import (
    ROM,
    FlashDamaged,
    Flashed,
    Report,
    begin_trial,
    install_switch,
    kind,
    last_words,
    settings_of,
    switch_to,
    tree,
    versions,
)
from microipa.board.package import Package
from microipa.board.repl import Repl
from microipa.common.errors import MicroipaError

_SIZE = """
def _rom_size():
    import vfs
    if not hasattr(vfs, "rom_ioctl") or vfs.rom_ioctl(1) <= 0:
        return 0
    part = vfs.rom_ioctl(2, 0)
    return part.ioctl(4, 0) * part.ioctl(5, 0) if hasattr(part, "ioctl") else len(part)
"""


_BLOCK = 4096
_DEVICE_ROOM = 4096  # for settings and trust material


class NoPartition(MicroipaError):
    """The board's MicroPython was built without a romfs partition, or with one that is too small."""


def image(package: Package) -> bytes:
    """The file system as mpremote builds it."""
    with TemporaryDirectory() as folder:
        for name, content in package.files.items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        with contextlib.redirect_stdout(io.StringIO()):
            return bytes(make_romfs(folder, mpy_cross=False))


def partition_for(package: Package) -> int:
    """Bytes of a partition that holds this version with the settings and the trust material of a device."""
    return -(-(len(image(package)) + _DEVICE_ROOM) // _BLOCK) * _BLOCK


def partition_size(repl: Repl) -> int:
    """Bytes of the board's romfs partition, 0 without one."""
    repl.run(_SIZE)
    return int(repl.value("_rom_size()"))


def why_not(repl: Repl, package: Package) -> str:
    """Why the board's romfs partition cannot hold this version, "" where it can."""
    room, size = partition_size(repl), len(image(package))
    if not room:
        return "its MicroPython has no romfs partition"
    return f"its romfs partition holds {room:,} bytes, the image has {size:,}" if size > room else ""


class _Progress(io.TextIOBase):
    """Reads from what mpremote prints how far it is."""

    def __init__(self, total: int, report: Report) -> None:
        self._total = total
        self._report = report

    def write(self, text: str) -> int:
        if found := re.search(r"Writing at offset (\d+)", text):
            self._report("romfs partition", int(found[1]), self._total)
        return len(text)


def flash_romfs(repl: Repl, package: Package, report: Report) -> Flashed:
    """Write the partition and switch to it. There is one partition: a version in it cannot be kept.

    While it is written the board boots the version in its file system that ran last, where there is one.
    kind() and check_fit() come first. Raises NoPartition, FlashDamaged, BoardLost.
    """
    running = versions(repl)
    package = package.with_files(settings_of(repl, running[:1], package)).without_unused()
    content = image(package)
    room = partition_size(repl)
    if not room:
        raise NoPartition("this board's MicroPython has no romfs partition: flash with --mpy, or freeze the assistant")
    if len(content) > room:
        raise NoPartition(f"the romfs partition has {room} bytes, the image {len(content)}: flash with --mpy")
    said = last_words(repl)
    previous = "".join([version for version in running if version != ROM][:1])
    if running[:1] == [ROM]:
        switch_to(repl, previous, "")
    _deploy(repl, content, report)
    repl.soft_reset()  # which mounts it
    kind(repl)
    if tree(repl, ROM) != package.hashes:
        raise FlashDamaged("the romfs on the board differs from what was sent: try again, or flash with --mpy")
    begin_trial(repl, ROM, previous)
    install_switch(repl)
    return Flashed(ROM, previous, len(content), 0, bool(previous), said)


def _deploy(repl: Repl, content: bytes, report: Report) -> None:
    """What `mpremote romfs deploy` does."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "ipa.romfs"
        file.write_bytes(content)
        try:
            with repl.lend() as transport, contextlib.redirect_stdout(_Progress(len(content), report)):
                state = SimpleNamespace(
                    transport=transport, ensure_raw_repl=lambda: None, did_action=lambda: None)
                do_romfs(state, SimpleNamespace(command=["deploy"], path=str(file), partition=0, mpy=False))
        except CommandError as error:
            raise NoPartition(f"mpremote cannot write the romfs partition: {error}") from None
