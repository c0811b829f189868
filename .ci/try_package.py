"""Installs what `make package` has built into environments of their own, outside of the checkout, and tries it there.

usage: python .ci/try_package.py dist
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
TRIED = (
    ("--version",),
    ("demo", "--radio", "none"),  # all servers, the firmware, and a board: what lies in the wheel besides modules
    ("board", "list"),
    ("new", "product", "meter", "--board", "walter"),
    ("profile", "build", "p.der"),
)


def main(dist: Path) -> None:
    for package in sorted(dist.glob("microipa-*")):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            venv.create(home / "venv", with_pip=True)
            run(home, "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", str(CONSTRAINTS),
                str(package.resolve()))
            for words in TRIED:
                run(home, "microipa", *words)
        print(f"{package.name}: installed and tried")


def run(home: Path, program: str, *words: str) -> None:
    """A program of the environment, which must end well. Raises SystemExit with what it said."""
    done = subprocess.run([home / "venv" / "bin" / program, *words], cwd=home, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program} {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
