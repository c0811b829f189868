"""The commands of a document, block by block, and how a reader carries them out.

A block of commands is fenced as ``sh``; a block fenced as ``text`` behind it is what they print. A block in another
language is a file, where the sentence before it ends with its name in backquotes and a colon. Comments before a block
say what the words around it say to people:

- ``<!-- not run: REASON -->``: no test runs it;
- ``<!-- stays: TEXT -->``: it has a terminal of its own and goes on; the next block begins when it has printed TEXT;
- ``<!-- Ctrl-C: COMMAND -->``: that one is ended now;
- ``<!-- shows: TEXT -->``: one that stays prints this now.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "firmware/*.md", "boards/*.md", "boards/*/README.md", "examples/**/*.md",
            "host/microipa/*/README.md")
DOCUMENTS = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
MARKS = ("not run", "stays", "Ctrl-C", "shows")
_BLOCK = re.compile(r"<!-- (?P<mark>.*?) -->|^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.S | re.M)
_FILE = re.compile(r"`([\w.-]+)`[^`\n.]*:\n\n$")
_END = "the block has ended with status"
PATIENCE_S = 400


@dataclass(frozen=True)
class Piece:
    """A mark (``kind`` is one of MARKS) or a fenced block (``kind`` is its language), with its line in the document."""

    kind: str
    text: str
    line: int = 0
    file: str = ""


def pieces(document: Path) -> Iterator[Piece]:
    """Marks and fenced blocks in their order."""
    text = document.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["mark"] is not None:
            kind, _, rest = found["mark"].partition(":")
            if kind in MARKS:
                yield Piece(kind, rest.strip(), line)
        else:
            file = _FILE.search(text[: found.start()]) if found["language"] in ("python", "toml", "json") else None
            content = re.sub(f"^{found['indent']}", "", found["text"], flags=re.M)
            yield Piece(found["language"], content, line, file[1] if file else "")


class Terminal:
    """A shell in a folder; what it prints is kept."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.printed = ""
        self._grew = threading.Condition()
        self._shell = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self._shell.stdin
        assert self._shell.stdout
        self._stdin = self._shell.stdin
        threading.Thread(target=self._read, args=[self._shell.stdout], daemon=True).start()

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            with self._grew:
                self.printed += line
                self._grew.notify_all()
        with self._grew:
            self._grew.notify_all()

    def give(self, commands: str) -> None:
        """Let it carry them out, up to the first that fails."""
        block = "\n".join(line for line in commands.splitlines() if line)
        status = "$?"
        self._stdin.write(f"eval {quoted(chained(block))} </dev/null\necho '{_END}' {status}\n")
        self._stdin.flush()

    def run(self, commands: str) -> str:
        """The same until it is done: what it prints. Raises AssertionError for a status other than 0."""
        start = len(self.printed)
        self.give(commands)
        self.wait_for(_END, start)
        printed, _, status = self.printed[start:].rpartition(_END)
        assert status.split() == ["0"], f"{commands}\n{printed}"
        return printed

    def wait_for(self, text: str, start: int = 0) -> None:
        """Raises AssertionError when it is not printed in time."""
        with self._grew:
            self._grew.wait_for(lambda: text in self.printed[start:] or self._shell.poll() is not None, PATIENCE_S)
        assert text in self.printed[start:], f"no {text!r} in\n{self.printed[start:]}"

    def end(self) -> None:
        """As Ctrl-C and closing the window."""
        if self._shell.poll() is None:
            os.killpg(self._shell.pid, signal.SIGINT)
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._shell.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._shell.pid, signal.SIGKILL)
            raise


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def chained(block: str) -> str:
    """Several lines as one list that ends at the first failure."""
    return " &&\n".join(re.sub(r"\s+#\s.*$", "", line) for line in whole_lines(block))


def whole_lines(block: str) -> list[str]:
    """Lines with those that go on: after a backslash, or within quotes."""
    found: list[str] = []
    open_line = ""
    for line in block.splitlines():
        open_line += line
        if open_line.endswith("\\"):
            open_line = open_line[:-1]
        elif open_line.count('"') % 2:
            open_line += "\n"
        else:
            found.append(open_line)
            open_line = ""
    return found


@dataclass
class Reader:
    """Somebody who does what a document says, in a folder."""

    folder: Path
    environment: dict[str, str]
    others: dict[str, Terminal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.terminal = Terminal(self.folder, self.environment)
        self.printed = ""

    def does(self, found: list[Piece]) -> None:
        """Raises AssertionError where something does not go as the document says."""
        mark: Piece | None = None
        for piece in found:
            if piece.kind == "Ctrl-C":
                self.others.pop(piece.text).end()
            elif piece.kind == "shows":
                list(self.others.values())[-1].wait_for(piece.text)
            elif piece.kind in MARKS:
                mark = piece
            elif piece.kind == "sh":
                self._block(self._meant(piece.text), mark)
                mark = None
            elif piece.file:
                (self._place() / piece.file).write_text(piece.text)
            elif piece.kind == "text" and self.printed:
                assert_shown(piece, self.printed)

    def _block(self, commands: str, mark: Piece | None) -> None:
        self.printed = ""
        if mark and mark.kind == "stays":
            terminal = Terminal(self._place(), self.environment)
            self.others[" ".join(commands.split()[:3])] = terminal
            terminal.give(commands)
            if mark.text:
                terminal.wait_for(mark.text)
        elif not mark:
            self.printed = self.terminal.run(commands)

    def _place(self) -> Path:
        return Path(self.terminal.run("pwd").strip())

    def _meant(self, commands: str) -> str:
        """With what a reader puts in place of what only stands for it."""
        said = self.terminal.printed + "".join(other.printed for other in self.others.values())
        meant = commands.replace("git clone …", f"git clone --quiet {ROOT} microipa")
        for word, pattern in (("ICCID", r"\b(8999970\d{12})\b"), ("PORT", r"ES2\+ at https://127.0.0.1:(\d+)")):
            if re.search(rf"\b{word}\b", meant):
                meant = re.sub(rf"\b{word}\b", re.findall(pattern, said)[-1], meant)
        return meant

    def leaves(self) -> None:
        """Ends all that goes on."""
        for terminal in [*self.others.values(), self.terminal]:
            terminal.end()


def assert_shown(piece: Piece, printed: str) -> None:
    """Each line of the block is in what was printed, in this order; numbers may be others, … is anything."""
    place = 0
    for line in filter(str.strip, piece.text.splitlines()):
        parts = re.split(r"(\d[\d,.]*|…|\s+|─+)", line.strip())
        pattern = "".join(
            r".*" if part == "…" else r"-?\d[\d,.]*" if part[:1].isdigit() else r"\s+" if part.isspace() else
            "─+" if part.startswith("─") else re.escape(part) for part in parts)
        found = re.compile(pattern).search(printed, place)
        assert found, f"line {piece.line}: no {line!r} in\n{printed[place:]}"
        place = found.end()
