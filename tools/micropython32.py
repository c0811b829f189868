"""Brings a MicroPython with 32-bit words: Debian's package for i386, unpacked into a folder, nothing installed.

    python tools/micropython32.py FOLDER      # prints the program, to be given as MICROPYTHON

It is a stand-in for chips where memory is measured: objects take there what they take here. Needs Linux on x86-64
with apt-get and dpkg-deb, and a Debian mirror: that of this machine's apt sources, or deb.debian.org.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "sid"  # the oldest suite whose MicroPython has DTLS
ARCHITECTURE = "i386"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
CHECK = "import sys, tls; sys.exit(sys.maxsize > 1 << 32 or not tls.PROTOCOL_DTLS_CLIENT)"
SECONDS = 300


class NoProgram(Exception):
    """There is no such program here, and why."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    try:
        print(program_in(folder))
    except NoProgram as reason:
        sys.exit(f"micropython32: {reason}")


def program_in(folder: Path) -> Path:
    """The program, unpacked when it is not there. Raises NoProgram."""
    program = folder / "micropython32"
    if not _runs(program):
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise NoProgram(f"Linux on x86-64 runs it, this is {platform.system()} on {platform.machine()}")
        for tool in ("apt-get", "apt-cache", "dpkg-deb"):
            if not shutil.which(tool):
                raise NoProgram(f"there is no {tool} on this machine: it takes Debian's tools to unpack the program")
        _fetch(folder)
        _write_program(folder, program)
        if not _runs(program):
            raise NoProgram(f"{program} does not run, or has no DTLS: does this kernel run 32-bit programs?")
    return program


def _runs(program: Path) -> bool:
    if not program.exists():
        return False
    return subprocess.run([program, "-c", CHECK], capture_output=True, timeout=SECONDS, check=False).returncode == 0


def _fetch(folder: Path) -> None:
    """Packages into folder/debs and unpacked into folder/root, by an apt that knows nothing of this machine's."""
    for name in ("lists/partial", "archives/partial", "debs", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    trust = f"[signed-by={KEYRING}]" if KEYRING.exists() else ""
    (folder / "sources.list").write_text(f"deb {trust} {_mirror()} {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::Lists": folder / "lists", "Dir::State::status": folder / "status", "Dir::Cache": folder,
        "APT::Architecture": ARCHITECTURE, "APT::Architectures": ARCHITECTURE, "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    options = ["-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    _run(["apt-get", *options, "update"], folder)
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    listed = _run(["apt-cache", *options, "depends", "--recurse", *(f"--no-{kind}" for kind in kinds), "micropython"],
                  folder)
    names = sorted(set(re.findall(r"^[a-z0-9][a-z0-9.+-]*$", listed, re.M)))
    _run(["apt-get", *options, "download", *names], folder / "debs")
    for package in sorted((folder / "debs").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(folder / "root")], folder)


def _mirror() -> str:
    """Of Debian, as this machine has it."""
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(path.read_text(errors="replace") for path in sources if path.is_file())
    found = re.findall(r"^(?:URIs:\s*|deb\s+(?:\[[^]]*]\s+)?)(https?://\S*debian\S*)", text, re.M)
    return next((address for address in found if "security" not in address), DEFAULT_MIRROR)


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NoProgram(f"{command[0]} took more than {SECONDS} s: is the mirror away?") from None
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[0]
        raise NoProgram(f"{command[0]} failed: {reason}")
    return done.stdout


def _write_program(folder: Path, program: Path) -> None:
    """A script that starts it with the libraries it came with."""
    root = folder / "root"
    loader = next(root.rglob("ld-linux.so.2"), None)
    folders = sorted({str(path.parent) for path in root.rglob("lib*.so.*")})
    if loader is None or not (root / "usr/bin/micropython").exists():
        raise NoProgram(f"what came from {_mirror()} has no MicroPython in it")
    program.write_text(
        f'#!/bin/sh\nexec "{loader}" --library-path "{":".join(folders)}" "{root}/usr/bin/micropython" "$@"\n')
    program.chmod(0o755)


if __name__ == "__main__":
    main()
