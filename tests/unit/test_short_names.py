"""Private names of the firmware, as they are before it is compiled for a board."""

from __future__ import annotations

import io
import keyword
import re
import tokenize

import pytest
from microipa.board.short_names import with_short_names
from microipa.common import paths


def names(text: str) -> list[str]:
    return [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string)]


@pytest.fixture(scope="module")
def firmware() -> dict[str, str]:
    root = paths.firmware()
    return {".".join(path.relative_to(root).with_suffix("").parts): path.read_text(encoding="utf-8")
            for path in root.glob("ipa/**/*.py")}


def test_modules_that_have_nothing_to_do_with_each_other_share_a_name() -> None:
    short = with_short_names({"ipa.a": "def _listen(): pass\n", "ipa.b": "def _answer(): pass\n"})
    assert short == {"ipa.a": "def _a(): pass\n", "ipa.b": "def _a(): pass\n"}


def test_a_class_and_the_one_that_it_inherits_from_have_different_names() -> None:
    short = with_short_names({
        "ipa.a": "class A:\n    def _listen(self): pass\n",
        "ipa.b": "from ipa import a\nclass B(a.A):\n    def _answer(self): pass\n",
        "ipa.c": "from ipa.b import B\nclass C(B):\n    def _tell(self): pass\n",
    })
    assert len({names(text)[-2] for text in short.values()}) == 3


def test_a_name_that_two_modules_use_becomes_the_same_in_both() -> None:
    short = with_short_names({"ipa.a": "def _listen(_ms): pass\n", "ipa.b": "from ipa.a import _listen\n_listen(1)\n"})
    assert names(short["ipa.b"])[-1] == names(short["ipa.a"])[0] != "_listen"


@pytest.mark.parametrize("text", ["_X = const(1)\n", "getattr(a, '_listen')._listen\n", "a.__init__\n"])
def test_constants_names_in_strings_and_those_of_python_stay(text: str) -> None:
    assert with_short_names({"ipa.a": text})["ipa.a"] == text


def test_what_a_program_beside_the_assistant_reaches_for_stays() -> None:
    source = {"ipa.a": "def _command(): pass\n"}
    assert with_short_names(source, ["watch(Channel, '_command')\n"]) == source


def test_the_whole_firmware_keeps_its_lines_and_tells_all_names_of_a_module_apart(firmware: dict[str, str]) -> None:
    short = with_short_names(firmware)
    for module, text in firmware.items():
        pairs = set(zip(names(text), names(short[module]), strict=True))
        assert len({new for _, new in pairs}) == len({old for old, _ in pairs}) == len(pairs)
        assert short[module].count("\n") == text.count("\n")


def test_most_private_names_of_the_firmware_are_gone(firmware: dict[str, str]) -> None:
    def private(sources: dict[str, str]) -> set[str]:
        constants = {name for text in sources.values() for name in re.findall(r"^(_\w+) = const\(", text, re.MULTILINE)}
        return {name for text in sources.values() for name in names(text) if re.match("_[A-Za-z]", name)} - constants

    assert len(private(with_short_names(firmware))) < len(private(firmware)) / 3
