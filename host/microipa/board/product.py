"""A product's own program beside the assistant: a new folder of one, and what of a folder goes onto the board."""

from __future__ import annotations

import ast
import shutil
from dataclasses import dataclass
from pathlib import Path

from microipa.board.bytecode import compiled
from microipa.board.known import Board
from microipa.common import paths
from microipa.common.errors import MicroipaError

MAIN, DESCRIPTION = "main.py", "board.toml"
OF_THE_BOARD = ("board.py", DESCRIPTION)
TAKEN = ("app", "board", "ipa", "main", "restart", "starts", "switch")
"""Names of modules that are the assistant's or MicroPython's start's."""

_TASK = '''    import application
    from ipa import tasks

    tasks.keep(application.run, agent)
'''


class BadProduct(MicroipaError):
    """A folder that is no product, or cannot become one."""


@dataclass(frozen=True)
class Own:
    """What a folder adds to a version: files by their path in it, and the names of those that stay at home."""

    files: dict[str, bytes]
    left_out: list[str]


def new_product(folder: Path, board: Board) -> list[str]:
    """Make a product for a board in a new folder. Returns the names of its files. Raises BadProduct."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadProduct(f"{folder} exists and is not empty: give the name of a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((paths.examples() / "product").iterdir()):
        if source.is_file():
            shutil.copy(source, folder)
    for name in OF_THE_BOARD:
        shutil.copy(board.folder / name, folder)
    (folder / MAIN).write_text(product_main((paths.firmware() / MAIN).read_text(encoding="utf-8")), encoding="utf-8")
    return sorted(path.name for path in folder.iterdir())


def product_main(text: str) -> str:
    """The firmware's main.py with the task of application.py in the place of its example."""
    lines = text.splitlines(keepends=True)
    module = ast.parse(text)
    functions = {node.name: node for node in module.body if isinstance(node, ast.AsyncFunctionDef)}
    example, main = functions["application"], functions["main"]
    (starts,) = (node for node in main.body if isinstance(node, ast.If) and "app_tick_ms" in ast.unparse(node.test))
    for node, new in ((starts, _TASK), (example, "")):  # the later first, so that line numbers hold
        assert node.end_lineno
        last = node.end_lineno if new else main.lineno - 1
        lines[node.lineno - 1 : last] = [new] if new else []
    lines[0] = '"""Boot: board -> modem -> agent, and the product\'s own program beside it."""\n'
    return "".join(lines)


def code_beside_board(board: Board, form: str) -> Own:
    """Modules that a board.py may import from its folder. Data files stay at home: `flash --app` sends them."""
    return _own(board.folder, form, main="", data=False)


def product_files(folder: Path, form: str) -> Own:
    """All that a product adds to the assistant. Raises BadProduct and CompilerFailed."""
    if not (folder / MAIN).is_file():
        raise BadProduct(f"there is no {MAIN} in {folder}: `microipa new product {folder}` makes a folder that has one")
    return _own(folder, form, main=MAIN, data=True)


def _own(folder: Path, form: str, main: str, data: bool) -> Own:
    files: dict[str, bytes] = {}
    left_out = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if str(name) in OF_THE_BOARD:
            continue
        if path.suffix == ".md" or any(part.startswith(".") or part == "__pycache__" for part in name.parts):
            continue
        if path.suffix == ".py" and (main or len(name.parts) == 1):
            is_main = str(name) == main
            if is_main or name.parts[0].removesuffix(".py") not in TAKEN:
                files[f"{'app' if is_main else name.with_suffix('')}.{form}"] = _code(path, form)
            elif main:
                raise BadProduct(f"{path}: the assistant has a file of this name; choose another one")
            else:
                left_out.append(str(name))
        elif data:
            files[str(name)] = path.read_bytes()
        else:
            left_out.append(str(name))
    return Own(files, left_out)


def _code(path: Path, form: str) -> bytes:
    return compiled(path) if form == "mpy" else path.read_bytes()
