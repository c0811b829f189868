"""The boards in boards/: what each is, as its board.toml tells, and which MicroPython it wants."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from microipa.common import paths
from microipa.common.errors import MicroipaError


class UnknownBoard(MicroipaError):
    """There is no board of that name."""


class BadBoard(MicroipaError):
    """A folder that should describe a board and does not."""


@dataclass(frozen=True)
class Board:
    """One board. ``port``, ``build``, ``variant`` and ``manifest`` are MicroPython's words for it;
    ``heap_kb`` is about what its GC heap has, ``flash_kb`` what its file system has, as MicroPython's build
    leaves them."""

    folder: Path
    title: str
    modem: str
    port: str
    chip: str
    """The end of sys.implementation._machine, as ESP32S3; "" leaves it open."""
    build: str
    variant: str
    manifest: str
    heap_kb: int
    flash_kb: int
    ran_on_hardware: str
    """Who ran it when, or "" while nobody has."""

    @property
    def name(self) -> str:
        return self.folder.name


def known_boards() -> list[Board]:
    """All boards that come with microipa, by name. Raises BadBoard."""
    return [read_board(path.parent) for path in sorted(paths.boards().glob("*/board.toml"))]


def find_board(name: str) -> Board:
    """A board by its name, or by the path of a folder of your own. Raises UnknownBoard, BadBoard."""
    if "/" in name or name.startswith("."):
        return read_board(Path(name).resolve())
    folder = paths.boards() / name
    if not (folder / "board.toml").is_file():
        known = ", ".join(board.name for board in known_boards())
        raise UnknownBoard(f"no board {name!r}: choose one of {known}; give a board of your own as a path, ./{name}")
    return read_board(folder)


def read_board(folder: Path) -> Board:
    """What the board.toml in a folder says. Raises BadBoard."""
    file = folder / "board.toml"
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadBoard(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise BadBoard(f"{file} is not TOML: {error}") from None
    if not (folder / "board.py").is_file():
        raise BadBoard(f"there is no board.py beside {file}")
    wanted = {field.name: int if field.name.endswith("_kb") else str
              for field in fields(Board) if field.name != "folder"}
    for key, kind in wanted.items():
        if not isinstance(given.get(key), kind):
            raise BadBoard(f"{file}: {key} is {given.get(key)!r}, not {kind.__name__}")
    if unknown := sorted(given.keys() - wanted.keys()):
        raise BadBoard(f"{file}: there is no key {unknown[0]}")
    board = Board(folder=folder, **given)
    said = _modem_of(folder / "board.py")
    if said not in (None, board.modem):
        raise BadBoard(f"{file}: modem is {board.modem!r}, and {said!r} in board.py beside it: make them the same")
    return board


def _modem_of(file: Path) -> str | None:
    """The name that the class Board of a board.py gives as its modem; None where that is no plain text."""
    try:
        module = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        raise BadBoard(f"{file} is not Python: {error}") from None
    for board in (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Board"):
        for line in board.body:
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id == "modem":
                return str(line.value.value) if isinstance(line.value, ast.Constant) else None
    return None
