"""A bench file and the options: what is wrong is said in one sentence with the place and the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from microipa.errors import MicroipaError
from microipa.hil.bench import FEATURES, BadBench, Place, read_bench

WALTER = 'board = "walter"\nport = "rfc2217://rack7:4001"\ncard = "real"\neim_url = "coaps://eim.example"\n'


def test_several_places_are_read(tmp_path: Path) -> None:
    file = tmp_path / "bench.toml"
    file.write_text(f'[left]\n{WALTER}has = ["power switch"]\n[right]\nmodem = "nrf91"\nheap = "128wK"\n')
    left, right = read_bench(file)
    assert (left.name, left.family, left.is_virtual) == ("left", "gm02s", False)
    assert left.lacks("power switch") == ""
    assert "coverage control" in left.lacks("coverage control")
    assert (right.family, right.is_virtual) == ("nrf91", True)
    assert not any(right.lacks(feature) for feature in FEATURES)
    tethered = Place("t", "walter", port="/dev/ttyACM0", card="real", tether=True).check()
    assert "tether of t" in tethered.lacks("radio control")
    assert "96wK" in Place("small").lacks("heap for direct downloads")


@pytest.mark.parametrize(("content", "words"), [
    ("", "describes no board"),
    ("left = 1", "outside of a place"),
    ("[left", "is not TOML"),
    ('[left]\nbord = "walter"', "no key bord"),
    ("[left]\nboard = 1", "board is 1, not str"),
    ('[left]\nboard = "walther"', "no board 'walther'"),
    ('[left]\nboard = "walter"', "which port is walter on"),
    ('[left]\nmodem = "bg96"', "no modem 'bg96'"),
    ('[left]\nheap = "much"', "heap is 'much'"),
    ('[left]\nport = "tcp://rack"\nboard = "walter"', "no URL of pyserial"),
    ('[left]\nboard = "walter"\nport = "/dev/ttyACM0"\ncard = "real"', "how does walter reach"),
    (f'[left]\n{WALTER}has = ["luck"]', "nobody knows 'luck'"),
    (f"[left]\n{WALTER}tether = true", "tether and eim_url exclude each other"),
    ("[left]\ntether = 1", "tether is 1, not bool"),
    ('[left]\ntether = true\nhas = ["radio control"]', "meet no radio"),
    ('[left]\ntether = true\nsettings = {dtls = "modem"}', "not the modem's"),
    ('["a b"]', "letters, digits"),
])  # fmt: skip
def test_a_bench_that_cannot_be_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "bench.toml"
    file.write_text(content)
    with pytest.raises(MicroipaError) as refused:
        read_bench(file)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_case_that_needs_what_nobody_has_is_a_mistake() -> None:
    with pytest.raises(BadBench, match="luck"):
        Place("left").lacks("luck")
