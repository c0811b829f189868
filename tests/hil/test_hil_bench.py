"""A bench file and the options: what is wrong is said in one sentence with the place and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from microipa.common.errors import MicroipaError
from microipa.hil.about import About, CardUnfit
from microipa.hil.bench import FEATURES, BadBench, Place, read_bench
from microipa.hil.supply import BadSupply, switch

WALTER = 'board = "walter"\nport = "rfc2217://rack7:4001"\neim_url = "coaps://eim.example"\n'
POWER = 'power_on = "true"\npower_off = "true 2"\n'


def test_several_places_are_read(tmp_path: Path) -> None:
    file = tmp_path / "bench.toml"
    file.write_text(f'[left]\n{WALTER}{POWER}[right]\nmodem = "nrf91"\nheap = "240K"\n')
    left, right = read_bench(file)
    assert (left.name, left.family, left.is_virtual, left.card) == ("left", "gm02s", False, "real")
    assert (left.bind, left.eim_port) == ("127.0.0.1", 5684)
    assert left.lacks("power switch") == ""
    assert "profiles" in left.lacks("disposable profile")
    assert "coverage control" in left.lacks("coverage control")
    assert (right.family, right.is_virtual) == ("nrf91", True)
    assert not any(right.lacks(feature) for feature in FEATURES)
    tethered = Place("t", "walter", port="/dev/ttyACM0", card="real", tether=True).check()
    assert "with the tether" in tethered.lacks("radio control")
    assert "240K" in Place("small").lacks("heap for direct downloads")
    assert Place("smaller", heap="100K").lacks("heap for direct downloads")
    assert Place("small", form="romfs", heap="144K").lacks("heap for direct downloads")
    assert not Place("small", form="romfs", heap="168K").lacks("heap for direct downloads")


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
    ('[left]\nform = "frozen"', "form is 'frozen', it is mpy or romfs"),
    ('[left]\nport = "tcp://rack"\nboard = "walter"', "not a URL of pyserial"),
    ('[left]\nboard = "walter"\nport = "/dev/ttyACM0"\ncard = "real"', "how does walter reach"),
    (f"[left]\n{WALTER}tether = true", "tether and eim_url exclude each other"),
    ("[left]\ntether = 1", "tether is 1, not bool"),
    ('[left]\ntether = true\nsettings = {dtls = "modem"}', "not in the modem"),
    (f'[left]\n{WALTER}card = "virtual"', "others a real one"),
    (f'[left]\n{WALTER}bind = "everywhere"', "bind is 'everywhere'"),
    (f'[left]\n{WALTER}eim_port = 70000', "eim_port is 70000"),
    (f'[left]\n{WALTER}ci = "none.pem"', "cannot read none.pem"),
    (f'[left]\n{WALTER}power_on = "true"', "power_on and power_off must be given together"),
    (f'[left]\n{WALTER}power_on = "true"\npower_off = "no-such-program 1"', "there is no program 'no-such-program'"),
    (f'[left]\n{WALTER}power_on = "true"\npower_off = "\'"', "is no command line"),
    (f'[left]\n{WALTER}quirks = ["mute"]', "mute is a quirk of the modem, which is real at this place"),
    ('[left]\nquirks = ["mutte"]', "near are mute"),
    (f'[left]\n{WALTER}[right]\n{WALTER}', "left and right share the port rfc2217://rack7:4001"),
    (f'[left]\n{WALTER}[right]\n{WALTER.replace("4001", "4002")}', "left and right share the eim_port 5684"),
    ('[left]\nboard = "walter"\nport = "/dev/ttyACM0"\neim_url = "https://eim.example"', "write it as coaps://"),
    ('["a b"]', "letters, digits"),
    (f'[left]\n{WALTER}settings = {{ sleep = "deep" }}', "this suite can wake the virtual board alone"),
])  # fmt: skip
def test_a_bench_that_cannot_be_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "bench.toml"
    file.write_text(content)
    with pytest.raises(MicroipaError) as refused:
        read_bench(file)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_tethered_places_need_no_port_for_their_eims(tmp_path: Path) -> None:
    file = tmp_path / "bench.toml"
    tethered = 'board = "walter"\nport = "/dev/{0}"\ntether = true\n'
    file.write_text("".join(f"[{name}]\n{tethered.format(name)}" for name in ("left", "right")))
    assert [place.name for place in read_bench(file)] == ["left", "right"]


OURS = {"eimId": "eim.example", "eimPublicKeyData": ("eimPublicKey", b"ours")}


@pytest.mark.parametrize(("card", "words"), [
    (About("", "8904", (b"\x81",), {"89": "enabled"}, {}, {}), "trusts the CIs 81, but not that of this lab"),
    (About("", "8904", (b"\x01",), {"89": "enabled"}, {"eim.other": {}}, {}),
     "belongs to the eIM eim.other: let that eIM order addEim with hil-lab/left/eim.der"),
    (About("", "8904", (b"\x01",), {"89": "enabled"}, {"eim.example": OURS | {"eimPublicKeyData": b""}}, {}),
     "knows the eIM eim.example with another key than hil-lab/left has: restore"),
    (About("", "8904", (b"\x01",), {"89": "disabled"}, {}, {}), "has no enabled profile"),
], ids=["CI", "eIM", "key", "profile"])  # fmt: skip
def test_a_card_that_this_bench_cannot_work_with_is_told_with_what_to_do(card: About, words: str) -> None:
    def check() -> None:
        card.check_ci(b"\x01", "this lab")
        card.check_eim(OURS, Path("hil-lab/left"))
        card.check_profiles()

    with pytest.raises(CardUnfit) as refused:
        check()
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("eims", [{}, {"eim.example": OURS}, {"eim.example": OURS, "eim.other": {}}])
def test_a_card_without_an_eim_or_with_ours_among_others_is_worked_with(eims: dict[str, Any]) -> None:
    About("", "8904", (b"\x01",), {"89": "enabled"}, eims, {}).check_eim(OURS, Path("hil-lab/left"))


def test_a_case_that_needs_what_nobody_has_is_a_mistake() -> None:
    with pytest.raises(BadBench, match="luck"):
        Place("left").lacks("luck")


@pytest.mark.parametrize(("command", "words"), [
    ("sh -c 'echo no such hub >&2; exit 3'", "ended with status 3: no such hub"),
    ("false", "ended with status 1: it said nothing"),
])  # fmt: skip
def test_a_supply_that_does_not_switch_is_told_with_what_it_said(command: str, words: str) -> None:
    with pytest.raises(BadSupply, match=words):
        switch(command)


def test_a_place_takes_quirks_of_what_is_not_real_in_it(tmp_path: Path) -> None:
    file = tmp_path / "bench.toml"
    file.write_text(f'[left]\n{WALTER}quirks = ["smdpp-503-package:2"]\n[right]\nquirks = ["mute", "no-le"]')
    assert [place.quirks for place in read_bench(file)] == [("smdpp-503-package:2",), ("mute", "no-le")]
