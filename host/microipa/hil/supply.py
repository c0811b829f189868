"""The supply of a real board: a command that gives it power and one that takes it, such as uhubctl's."""

from __future__ import annotations

import shlex
import shutil
import subprocess

from microipa.common.errors import MicroipaError

_PATIENCE_S = 30.0


class BadSupply(MicroipaError):
    """A command that cannot be run, or that did not do its work; the message has the command and why."""


def words_of(command: str) -> list[str]:
    """A command line in words, as a shell would cut it; none is asked. Raises BadSupply."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadSupply(f"{command!r} is no command line: {error}") from None
    if not words or not shutil.which(words[0]):
        raise BadSupply(f"{command!r} cannot be run: there is no program {words[0] if words else ''!r} on this machine")
    return words


def switch(command: str) -> None:
    """Run one of the two. Raises BadSupply."""
    try:
        done = subprocess.run(words_of(command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        raise BadSupply(f"{command!r} has not ended after {_PATIENCE_S:.0f} s: try it by hand") from None
    except OSError as error:
        raise BadSupply(f"{command!r} cannot be run: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise BadSupply(f"{command!r} ended with status {done.returncode}: {said[-1][:200]}")
