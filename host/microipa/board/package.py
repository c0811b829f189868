"""What goes to a board as one version: the assistant, board.py, main.py as app, settings and trust material."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from microipa.board.bytecode import bytecode, compiled
from microipa.board.components import driver_modules, families, is_on, unused
from microipa.board.known import Board
from microipa.board.micropython import run_micropython
from microipa.common import paths
from microipa.common.errors import MicroipaError

Form = Literal["mpy", "py"]

SETTINGS, EIM, ROOTS = "ipa.json", "eim.der", "roots.der"
KEPT = (SETTINGS, EIM, ROOTS, "eim_roots.der", "client.der", "client_key.der")
"""What belongs to the device and goes from version to version, unless new ones are given."""

_HASH_DIGITS = 8
SMALL_TLS_BUFFERS = """\
# A device on CoAP alone, downloads through the eIM, may have small TLS buffers: 16 kB of RAM less for an association,
# and none of 17 kB in one piece. No server may send it a record of more than 2 kB then, its certificates in one record
# included: neither HTTPS nor direct downloads work, whatever ipa.json says later. In the board's Mbed TLS
# configuration (mbedtls_config_port.h; on ESP32 in its sdkconfig):
#     #define MBEDTLS_SSL_IN_CONTENT_LEN 2048
#     #define MBEDTLS_SSL_OUT_CONTENT_LEN 2048
"""
_LOAD = """
import sys
from ipa import config
try:
    config.load(sys.argv[1])
except config.ConfigError as error:
    print(error)
    sys.exit(1)
"""


class BadConfig(MicroipaError):
    """The settings are not what firmware/ipa/config.py takes; the message names the key."""


class BadTrust(MicroipaError):
    """A file that should be DER and is not."""


@dataclass(frozen=True)
class Package:
    """One version; ``files`` by their path in its folder. ``modems``: the names of those it has drivers for.
    ``kept``: settings whose parts stay even where its own have switched them off."""

    files: Mapping[str, bytes]
    modems: tuple[str, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hashes(self) -> dict[str, str]:
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}

    @property
    def version(self) -> str:
        """The name of its folder."""
        return version_of(self.hashes)

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))

    def with_files(self, files: Mapping[str, bytes]) -> Package:
        return replace(self, files={**self.files, **files})

    def without_unused(self) -> Package:
        """The same without what its settings have switched off: flash is short on some boards."""
        settings = {**json.loads(self.files.get(SETTINGS, b"{}")), **self.kept}
        left_out = unused(settings)
        return replace(self, files={name: content for name, content in self.files.items()
                                    if name.rpartition(".")[0] not in left_out})


def version_of(hashes: Mapping[str, str]) -> str:
    """A version is called after the hashes of its files: whoever has those can tell whether it is whole."""
    listed = "".join(f"{name} {digest}\n" for name, digest in sorted(hashes.items()))
    return f"ipa-{hashlib.sha256(listed.encode()).hexdigest()[:_HASH_DIGITS]}"


def build_of() -> str:
    """A name for the assistant's source as it is now: the same for all boards, forms and settings."""
    firmware = paths.firmware()
    sources = [firmware / "main.py", *sorted(firmware.glob("ipa/**/*.py"))]
    hashes = {str(path.relative_to(firmware)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}
    return version_of(hashes).removeprefix("ipa-")


class NoDriver(MicroipaError):
    """A board whose modem the assistant cannot drive yet."""


def build(board: Board, form: Form = "mpy") -> Package:
    """The assistant for a board, without settings. Raises CompilerFailed, NoDriver.

    A board with pins has one modem, and gets its driver alone: each file takes a block of flash or more.
    """
    if board.modem not in modems():
        raise NoDriver(f"there is no driver yet for the {board.modem} of {board.name}: boards/PORTING.md tells how "
                       "to add one")
    firmware = paths.firmware()
    alone = {"app": firmware / "main.py", "board": board.folder / "board.py"}
    if form == "mpy":
        files = bytecode(firmware, short_names=True)
        files |= {f"{name}.mpy": compiled(path) for name, path in alone.items()}
    else:
        files = {str(path.relative_to(firmware)): path.read_bytes() for path in firmware.glob("ipa/**/*.py")}
        files |= {f"{name}.py": path.read_bytes() for name, path in alone.items()}
    by_modem = families()
    if board.port == "unix":
        return Package(files, tuple(by_modem))
    names = {name.rpartition(".")[0] for name in files}
    ours = by_modem[board.modem]
    left_out = set().union(*(driver_modules(family, names) for family in by_modem.values()))
    left_out -= driver_modules(ours, names)
    files = {name: content for name, content in files.items() if name.rpartition(".")[0] not in left_out}
    return Package(files, tuple(name for name, family in by_modem.items() if family == ours))


def own_files(config: Path | None, eim: Path | None, roots: Path | None,
              drivers: Collection[str] = ()) -> dict[str, bytes]:
    """What the user gives for this device, checked; ``drivers`` as for check_config. Raises BadConfig, BadTrust."""
    files = {}
    if config:
        files[SETTINGS] = json.dumps(check_config(_read(config, BadConfig), str(config), drivers)).encode()
    for name, path in ((EIM, eim), (ROOTS, roots)):
        if path:
            files[name] = _read(path, BadTrust)
            if files[name][:1] != b"\x30":
                raise BadTrust(f"{path} does not begin with a SEQUENCE: give DER, not PEM or text")
    return files


def check_config(text: bytes, name: str = SETTINGS, drivers: Collection[str] = ()) -> dict[str, Any]:
    """Settings that the firmware itself has taken; ``drivers``: the names of modems it has, all that there are where
    none is given. Raises BadConfig with what it says."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / SETTINGS
        path.write_bytes(text)
        done = run_micropython(_LOAD, str(path), heapsize="1M", path=[paths.firmware()])
    if done.returncode:
        reason = done.stderr.strip() or done.stdout.strip()
        reason = reason.splitlines()[-1].replace(str(path), name)
        raise BadConfig(f"{reason}; firmware/ipa/config.py has every setting")
    settings: dict[str, Any] = json.loads(text)
    known = drivers or modems()
    if settings.get("modem", "auto") not in {"auto", *known}:
        raise BadConfig(f"{name}: modem is {settings['modem']!r}, allowed are auto, {', '.join(known)}")
    return settings


def modems() -> dict[str, bool]:
    """The names that ipa.modem.driver knows, and whether the driver can have the modem speak DTLS itself."""
    folder = paths.firmware() / "ipa" / "modem"
    return {name: (folder / f"{family}_dtls.py").exists() for name, family in families().items()}


def manifest(board: Board, config: bytes | None = None) -> str:
    """A manifest.py that freezes this version into a MicroPython image: with the driver of the board's modem alone and,
    where its settings are given, with the parts that they use."""
    firmware = paths.firmware().resolve()
    package = build(board, "py")
    if config is not None:
        package = package.with_files({SETTINGS: config}).without_unused()
    names = sorted(name.removeprefix("ipa/") for name in package.files if name.startswith("ipa/"))
    settings = json.loads(config or b"{}")
    alone = not (is_on("https", settings) or is_on("direct", settings))
    return (
        f"# Freezes the assistant for {board.title} into a MicroPython image.\n"
        f"{SMALL_TLS_BUFFERS if alone else ''}"
        f'include("{board.manifest}")\n'
        'package("ipa", files=(\n'
        + "".join(f'    "{name}",\n' for name in names) +
        f'), base_path="{firmware}", opt=2)\n'
        f'module("main.py", base_path="{firmware}", opt=2)\n'
        f'module("restart.py", base_path="{firmware}", opt=2)\n'
        f'module("starts.py", base_path="{firmware}", opt=2)\n'
        f'module("board.py", base_path="{board.folder.resolve()}", opt=2)\n'
    )


def make_line(board: Board, manifest_file: Path) -> str:
    """The command that builds that image, in a checkout of MicroPython."""
    variant = f" BOARD_VARIANT={board.variant}" if board.variant else ""
    return f"make -C ports/{board.port} BOARD={board.build}{variant} FROZEN_MANIFEST={manifest_file.resolve()}"


def _read(path: Path, error: type[MicroipaError]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as reason:
        raise error(f"cannot read {path}: {reason.strerror}") from None
