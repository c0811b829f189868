"""What a mutant changes: the condition in front of a refusal, the refusal itself, or its code.

A refusal is a ``raise``, or a ``return`` of a code, of a boolean or of a comparison.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_BOUNDS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)  # swapped, they differ in one value only
_CODE = re.compile(r"\d+(\.\d+)+")  # subject and reason codes of SGP.22 5.2.6
_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]+")
_SAYS_WHERE = ("TlvError", "TlvCut", "SchemaError")  # text and offset, which no peer is told
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DECISIONS = (ast.Compare, ast.BoolOp)

Change = Callable[[], None]


@dataclass
class Place:
    """Where an expression stands: a field of its parent, with the index where the field is a list."""

    parent: ast.AST
    field: str
    index: int | None = None

    def get(self) -> Any:
        value = getattr(self.parent, self.field)
        return value if self.index is None else value[self.index]

    def put(self, node: ast.AST) -> None:
        node = ast.copy_location(node, self.get())
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass
class Mutant:
    """``place``: the condition, error or value that holds the change. ``change`` makes it in ``tree``, for good."""

    path: Path
    tree: ast.Module
    function: str
    place: Place
    text: str
    change: Change

    @property
    def line(self) -> int:
        return self.place.get().lineno


def mutants(path: Path, is_number: Callable[[str], bool]) -> list[Mutant]:
    """All of a module. ``is_number``: whether a constant, by its name in the module, can be counted up."""
    tree = ast.parse(path.read_text())
    found: dict[tuple[int, int, str], Mutant] = {}
    for function, place, changes in _decisions(tree, "", None, is_number):
        node = place.get()
        for text, change in changes:
            found.setdefault((node.lineno, node.col_offset, text), Mutant(path, tree, function, place, text, change))
    return list(found.values())


Changes = Iterator[tuple[str, Change]]


def _decisions(
    node: ast.AST, function: str, test: Place | None, is_number: Callable[[str], bool]
) -> Iterator[tuple[str, Place, Changes]]:
    """Each refusal below a node, and the condition (``test``) in front of it: (function, place, changes)."""
    for place in _places(node):
        child = place.get()
        if isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            outer = f"{function}.<locals>." if isinstance(node, _FUNCTIONS) else f"{function}." if function else ""
            yield from _decisions(child, outer + child.name, None, is_number)
            continue
        here = Place(child, "test") if isinstance(child, (ast.If, ast.While)) else test
        if isinstance(child, ast.Raise) and child.exc is not None and function:
            yield function, Place(child, "exc"), _refusal(place, child, Place(child, "exc"), is_number)
        elif isinstance(child, ast.Return) and _decides(child.value):
            yield function, Place(child, "value"), _value(Place(child, "value"), is_number)
        elif not isinstance(child, ast.expr):
            yield from _decisions(child, function, here, is_number)
            continue
        else:
            continue
        if test is not None:
            yield function, test, _condition(test)


def _decides(value: ast.expr | None) -> bool:
    if value is None:
        return False
    negated = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
    boolean = isinstance(value, ast.Constant) and isinstance(value.value, bool)
    return negated or boolean or isinstance(value, _DECISIONS) or any(map(_named, ast.walk(value)))


def _named(node: ast.AST) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return _CONSTANT.fullmatch(name) is not None


def _places(node: ast.AST) -> Iterator[Place]:
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield Place(node, field)
        elif isinstance(value, list):
            yield from (Place(node, field, n) for n, one in enumerate(value) if isinstance(one, ast.AST))


def _inside(place: Place) -> Iterator[Place]:
    """The expression and those in it that say something: no text of a message, no index, no offset of an error."""
    node = place.get()
    if isinstance(node, ast.JoinedStr) or isinstance(place.parent, ast.Subscript) and place.field == "slice":
        return
    yield place
    if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(_SAYS_WHERE)):
        for below in _places(node):
            yield from _inside(below)


def _refusal(statement: Place, node: ast.Raise, error: Place, is_number: Callable[[str], bool]) -> Changes:
    yield f"{_text(node)} -> pass", lambda: statement.put(ast.Pass())
    yield from _codes(error, is_number)
    yield from _comparisons(error)


def _value(place: Place, is_number: Callable[[str], bool]) -> Changes:
    node = place.get()
    if isinstance(node, ast.Constant):
        yield f"return {node.value} -> return {not node.value}", lambda: place.put(ast.Constant(not node.value))
        return
    yield from _comparisons(place)
    yield from _codes(place, is_number)


def _condition(place: Place) -> Changes:
    node = place.get()
    if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and not isinstance(node.ops[0], _BOUNDS)):
        yield f"{_text(node)} -> not", lambda: place.put(ast.UnaryOp(ast.Not(), node))
    yield from _comparisons(place)


def _comparisons(place: Place) -> Changes:
    for inner in _inside(place):
        node = inner.get()
        if isinstance(node, ast.Compare):
            for n, operator in enumerate(node.ops):
                swapped = _SWAPPED[type(operator)]()
                ops = [*node.ops[:n], swapped, *node.ops[n + 1 :]]
                yield from _replaced(inner, ast.Compare(node.left, ops, node.comparators))
        elif isinstance(node, ast.BoolOp):
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield from _replaced(inner, ast.BoolOp(other, node.values))
        elif isinstance(node, ast.IfExp):
            yield from _replaced(inner, ast.IfExp(node.test, node.orelse, node.body))


def _codes(place: Place, is_number: Callable[[str], bool]) -> Changes:
    for inner in _inside(place):
        node = inner.get()
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield from _replaced(inner, ast.Constant(node.value + 1))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
            yield from _replaced(inner, ast.Constant("9.9"))
        elif _named(node) and is_number(ast.unparse(node)):
            yield from _replaced(inner, ast.BinOp(node, ast.Add(), ast.Constant(1)))


def _replaced(place: Place, new: ast.expr) -> Changes:
    yield f"{_text(place.get())} -> {_text(new)}", lambda: place.put(new)


def _text(node: ast.AST) -> str:
    return ast.unparse(node)
