"""A mutant of the firmware: the board of a test gets bytecode of the changed module; the tree stays as it is."""

from __future__ import annotations

import ast
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from microipa.board.bytecode import bytecode, compiled
from microipa.common.paths import firmware

from mutants.operators import Mutant

_PROBE = """
_seen = set()
def reached(number):
    if number not in _seen:
        _seen.add(number)
        with open({path!r}, "a") as file:
            file.write(str(number) + "\\n")
"""


def is_number(path: Path) -> Callable[[str], bool]:
    numbers = {
        target.id
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).removeprefix("const(").rstrip(")")[:1].isdigit()
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return numbers.__contains__


def warm_up() -> None:
    """Compile what no mutant changes once, before the processes part."""
    bytecode(firmware())


def put_in(mutant: Mutant) -> None:
    mutant.change()
    _load({_target(mutant.path): _compiled(ast.unparse(ast.fix_missing_locations(mutant.tree)), mutant.path.name)})


def _target(path: Path) -> str:
    return str(path.relative_to(firmware()).with_suffix(".mpy"))


def _compiled(source: str, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(source)
        return compiled(path)


def _load(other: dict[str, bytes]) -> None:
    """Let boards of tests have these modules instead of ours."""
    compiles = bytecode
    whole = compiles(firmware()) | other
    for module in list(sys.modules.values()):
        if vars(module).get("bytecode") is compiles:
            module.bytecode = lambda *_, **_how: whole  # type: ignore[attr-defined]


class Tracer:
    """Which mutants' places a test reaches: the modules tell it in a file."""

    def __init__(self, mutants: list[Mutant]) -> None:
        self._file = Path(tempfile.mkstemp(dir=os.environ["PYTEST_DEBUG_TEMPROOT"])[1])  # of this process alone
        modules: dict[str, bytes] = {}
        trees = {mutant.path: mutant.tree for mutant in mutants}
        done: set[int] = set()
        for mutant in mutants:
            node = mutant.place.get()
            if id(node) not in done:  # mutants of one place share its probe
                first = next(n for n, other in enumerate(mutants) if other.place.get() is node)
                probe = ast.parse(f"(__import__('probe').reached({first}) or 0)", mode="eval").body
                assert isinstance(probe, ast.BoolOp)
                probe.values[1] = node
                mutant.place.put(probe)
                done |= {id(node), id(probe)}
        self._same = {n: self._first(mutants, n) for n in range(len(mutants))}
        for path, tree in trees.items():
            modules[_target(path)] = _compiled(ast.unparse(ast.fix_missing_locations(tree)), path.name)
        modules["probe.mpy"] = _compiled(_PROBE.format(path=str(self._file)), "probe.py")
        _load(modules)

    @staticmethod
    def _first(mutants: list[Mutant], n: int) -> int:
        node = mutants[n].place.get()
        return next(m for m, other in enumerate(mutants) if other.place.get() is node)

    def reached(self) -> set[int]:
        """Numbers of the mutants since the last call."""
        firsts = set(map(int, self._file.read_text().split()))
        self._file.write_text("")
        return {n for n, first in self._same.items() if first in firsts}
