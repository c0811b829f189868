"""Who imports whom: no circles when modules load, and in the firmware only down its storeys (agent, steps, card and
net, modem, tlv). Modules that are loaded when needed are looked at as well, where it is a matter of storeys."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOST, FIRMWARE = ROOT / "host" / "microipa", ROOT / "firmware" / "ipa"
STOREYS = {"tlv": 0, "compat": 0, "modem": 1, "card": 2, "net": 2, "changes": 3, "steps": 3}
TOP = 4
WITHOUT_TYPES = "TYPE_CHECKING"


def imports(folder: Path, package: str, late: bool) -> dict[str, set[str]]:
    """The modules of a package that each imports: when it is loaded, and with ``late`` also in its functions."""
    names = {}
    for path in folder.rglob("*.py"):
        name = ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
        names[name] = path
    return {name: {found for line in lines(ast.parse(path.read_text()), late) for found in called(line, names)} - {name}
            for name, path in names.items()}


def lines(tree: ast.AST, late: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not late:
            continue
        elif not isinstance(node, ast.If) or WITHOUT_TYPES not in ast.unparse(node.test):
            yield from lines(node, late)


def called(line: ast.Import | ast.ImportFrom, names: dict[str, Path]) -> Iterator[str]:
    if isinstance(line, ast.Import):
        yield from (alias.name for alias in line.names if alias.name in names)
    elif line.module:
        for alias in line.names:
            inner = f"{line.module}.{alias.name}"
            if inner in names or line.module in names:
                yield inner if inner in names else line.module


@pytest.mark.parametrize(("folder", "package"), [(HOST, "microipa"), (FIRMWARE, "ipa")])
def test_no_module_needs_itself_to_load(folder: Path, package: str) -> None:
    graph = imports(folder, package, late=False)
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}


def storey(name: str) -> int:
    return STOREYS.get(name.split(".")[1], TOP) if "." in name else TOP


def test_the_firmware_imports_downwards_only_and_card_and_net_do_not_know_each_other() -> None:
    arrows = [(name, other) for name, needs in imports(FIRMWARE, "ipa", late=True).items() for other in needs]
    assert [arrow for arrow in arrows if storey(arrow[1]) > storey(arrow[0])] == []
    assert [arrow for arrow in arrows if {name.split(".")[1] for name in arrow if "." in name} == {"card", "net"}] == []


def test_firmware_imports_nothing_of_the_host_and_the_host_nothing_of_the_firmware() -> None:
    for folder, stranger in ((HOST, "ipa"), (FIRMWARE, "microipa")):
        for path in folder.rglob("*.py"):
            for line in lines(ast.parse(path.read_text()), late=True):
                modules = [alias.name for alias in line.names] if isinstance(line, ast.Import) else [line.module or ""]
                assert not [name for name in modules if name.split(".")[0] == stranger], path


def test_no_part_of_the_virtual_modem_knows_the_whole_of_it_be_it_for_types() -> None:
    parts = [path for path in (HOST / "modem").glob("*.py") if path.stem not in ("__init__", "virtual", "bench")]
    assert [path.name for path in parts if "microipa.modem.virtual" in path.read_text(encoding="utf-8")] == []
