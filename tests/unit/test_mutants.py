"""`make mutants`: which faults it makes, and the loop that has to see which of them a test notices."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mutants.__main__ import _mutants, _share, _summary
from mutants.operators import mutants
from mutants.parts import PARTS, ROOT, Part
from mutants.run import EXPLAINED, Tally

PARSER = '''
LIMIT, REFUSED = 5, 7

def read(text, size):
    """No refusal: a plain value."""
    if size < LIMIT and text:
        raise Refused("8.1.1", "3.8", f"{size} of {LIMIT}")
    return text

def code(ok):
    return 0 if ok else REFUSED

def trusted(key):
    if key is None:
        return False
    return key == 5

def add(one, other):
    return one + other
'''


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("tests", "tests/unit", "tests/firmware"))
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, check=False,
    )  # fmt: skip


def of(source: str, folder: Path) -> list[tuple[str, str]]:
    path = folder / "parser.py"
    path.write_text(source)
    return [(one.function, one.text) for one in mutants(path, {"LIMIT", "REFUSED"}.__contains__)]


def test_a_refusal_is_left_out_has_another_code_and_another_condition(tmp_path: Path) -> None:
    found = of(PARSER, tmp_path)
    raised = "raise Refused('8.1.1', '3.8', f'{size} of {LIMIT}')"
    assert [text for function, text in found if function == "read"] == [
        f"{raised} -> pass",
        "'8.1.1' -> '9.9'",
        "'3.8' -> '9.9'",
        "size < LIMIT and text -> not",
        "size < LIMIT and text -> size < LIMIT or text",
        "size < LIMIT -> size <= LIMIT",
    ]
    assert [text for function, text in found if function == "code"] == [
        "0 if ok else REFUSED -> REFUSED if ok else 0",
        "0 -> 1",
        "REFUSED -> REFUSED + 1",
    ]


def test_a_decision_is_turned_round_and_what_refuses_nothing_is_left_alone(tmp_path: Path) -> None:
    found = of(PARSER, tmp_path)
    assert [text for function, text in found if function == "trusted"] == [
        "return False -> return True",
        "key is None -> key is not None",
        "key == 5 -> key != 5",
        "5 -> 6",
    ]
    assert not [text for function, text in found if function == "add"]


def test_a_change_leaves_the_rest_of_the_module_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "parser.py"
    path.write_text(PARSER)
    mutant = next(one for one in mutants(path, str.isupper) if one.text == "key == 5 -> key != 5")
    mutant.change()
    assert ast.unparse(mutant.tree) == ast.unparse(ast.parse(PARSER.replace("key == 5", "key != 5")))


def test_the_loop_tells_what_is_noticed_from_what_survives() -> None:
    """Over the signatures of crypto.ec, with the tests of keys and signatures."""
    script = """
from random import Random
from mutants.__main__ import _mutants, _try
from mutants.parts import Part
part = Part("small", ("host/microipa/crypto/ec.py",), ("tests/unit/test_crypto.py",))
tally = _try(part, _mutants(part, None), Random(1), 60, 2)
print(tally.noticed > 3, tally.left, [line.split()[0] for line in tally.survivors])
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("True 0 ["), done.stdout + done.stderr


def test_as_large_a_share_of_each_part_is_tried() -> None:
    """Though a part takes longer to begin with, and another longer for each mutant."""
    slow_start, slow_mutants = Part("a", (), (), mapping=30, each=1), Part("b", (), (), mapping=10, each=4)
    [mutant, *_] = _mutants(PARTS[0], None)
    waiting = [(slow_start, [mutant] * 100), (slow_mutants, [mutant] * 50)]
    assert _share(190, waiting) == 30 + 50  # a half of 100 s
    assert _share(110, waiting[1:]) == 10 + 100  # a half of 200 s
    assert _share(20, waiting) == 30  # too little to try anything


def test_a_sample_says_how_much_of_each_part_it_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert not _summary({"a": Tally(noticed=3, left=7), "b": Tally(noticed=2, explained=1)}, {"a": 10, "b": 3}, 5)
    sample, total = capsys.readouterr().out.splitlines()
    assert "a 3 of 10, b 3 of 3;" in sample
    assert total == "13 mutants: 5 noticed, 0 survived, 1 explained, 7 not tried, seed 5"


def test_a_part_that_is_unknown_is_refused_with_those_there_are() -> None:
    done = python("-m", "mutants", "--only", "uicccc")
    assert done.returncode == 2
    assert "parts are euicc, eim, smdpp, crypto, firmware" in done.stderr


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_each_part_has_refusals_and_tests(part: Part) -> None:
    assert len(_mutants(part, None)) > 50
    assert len(part.test_files()) > 3


def test_each_explanation_is_of_a_mutant_that_there_is_and_says_why() -> None:
    known = {
        (str(one.path.relative_to(ROOT)), one.function, one.text) for part in PARTS for one in _mutants(part, None)
    }
    for entry in EXPLAINED:
        place, _, function = entry["where"].partition(" ")
        there = {text for path, name, text in known if path == place and function in ("", name)}
        assert there, entry["where"]
        assert set(entry.get("changes", ())) <= there, entry["where"]
        assert len(entry["why"]) > 20
