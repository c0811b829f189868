"""A mutant of the host: the functions that run have their code replaced, in a process of its own."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from microipa.asn1 import rsp, saip, sgp32

from mutants.operators import Mutant
from mutants.parts import ROOT


def module_of(path: Path) -> ModuleType:
    return importlib.import_module(".".join(path.relative_to(ROOT / "host").with_suffix("").parts))


def is_number(path: Path) -> Callable[[str], bool]:
    names = vars(module_of(path))

    def found(name: str) -> bool:
        first, *rest = name.split(".")
        value = names.get(first)
        for attribute in rest:
            value = getattr(value, attribute, None)
        return type(value) is int

    return found


def warm_up() -> None:
    """Compile the schemas once, before the processes part."""
    for schema in (rsp, sgp32, saip):
        schema.types  # noqa: B018 (reading it compiles)


def put_in(mutant: Mutant) -> None:
    """Raises ValueError when a function loses the last use of a variable around it."""
    mutant.change()
    running = module_of(mutant.path).__file__
    assert running is not None
    fresh = {
        (code.co_qualname, code.co_firstlineno): code
        for code in _codes(compile(ast.fix_missing_locations(mutant.tree), running, "exec"))
    }
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__.co_filename == running:
            code = function.__code__
            function.__code__ = fresh.get((code.co_qualname, code.co_firstlineno), code)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


class Tracer:
    """Which mutants' lines a test reaches."""

    def __init__(self, mutants: list[Mutant]) -> None:
        self._mutants = mutants
        self._wanted: dict[str, set[int]] = {}
        for mutant in mutants:
            self._wanted.setdefault(str(mutant.path), set()).add(mutant.line)
        self._reached: set[tuple[str, int]] = set()
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def reached(self) -> set[int]:
        """Numbers of the mutants since the last call."""
        sys.settrace(self._enter)  # what a test or a debugger may have taken away
        lines, self._reached = self._reached, set()
        return {n for n, mutant in enumerate(self._mutants) if (str(mutant.path), mutant.line) in lines}

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._wanted else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        path = frame.f_code.co_filename
        if event == "line" and frame.f_lineno in self._wanted[path]:
            self._reached.add((path, frame.f_lineno))
        return self._line
