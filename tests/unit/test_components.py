"""The components of the assistant: for flashing, freezing and mip alike."""

from __future__ import annotations

import ast
import json
import re
import runpy
from pathlib import Path

import pytest
from microipa.board.components import OPTIONAL, components, families, is_on, modules, unused
from microipa.common.paths import firmware, tools

PACKAGES = sorted(firmware().glob("package*.json"))


def files_of(package: Path) -> set[str]:
    return {source for source, _ in json.loads(package.read_text())["urls"]}


def test_the_packages_for_mip_are_made_of_the_table_of_components() -> None:
    made = runpy.run_path(str(tools() / "mip_packages.py"))["packages"]()
    assert {path.name: path.read_text() for path in PACKAGES} == made  # else: make mip-packages


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.stem)
def test_every_file_that_a_package_names_is_there_and_keeps_its_place(package: Path) -> None:
    urls = json.loads(package.read_text())["urls"]
    assert urls
    assert all((firmware() / source).is_file() and source == target for source, target in urls)


def test_all_components_together_are_the_whole_assistant() -> None:
    parts = [files_of(path) for path in PACKAGES if path.name != "package.json"]
    assert set().union(*parts) == files_of(firmware() / "package.json")
    assert files_of(firmware() / "package.json") == {f"{name}.py" for name in (*modules(), "restart", "starts")}


def test_core_and_drivers_have_nothing_in_common() -> None:
    parts = components()
    alone = [parts["core"], *(parts[family] for family in ("quectel", "sequans", "nordic", "cinterion", "ublox"))]
    assert sum(map(len, alone)) == len(set().union(*alone))


def test_there_is_a_package_for_every_modem() -> None:
    assert set(families().values()) <= components().keys()
    assert components()["sim7000"] == {"ipa/modem/sim7000", "ipa/modem/simcom"}


def test_the_board_looks_at_its_start_for_a_module_of_each_component() -> None:
    source = (firmware() / "ipa" / "boot.py").read_text(encoding="utf-8")
    found = re.search(r"_PARTS = (\(.*?\n\))", source, re.DOTALL)
    assert found
    table = ast.literal_eval(found[1])
    assert {(key, value) for key, value, _ in table} == {(part.key, part.value) for part in OPTIONAL.values()}
    for key, value, name in table:
        (part,) = [part for part in OPTIONAL.values() if (part.key, part.value) == (key, value)]
        assert f"ipa/{name.replace('.', '/')}" in part.modules


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_setting_that_is_on_keeps_its_component(name: str) -> None:
    part = OPTIONAL[name]
    assert not is_on(name, {})
    assert set(part.modules) <= unused({})
    assert not set(part.modules) & unused({part.key: part.value})
