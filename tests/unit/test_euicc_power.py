"""The power may go at any write: the card then is what it was before the command or what it is after it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from euicc_peer import USIM, Dp, Eim, Terminal, delete, disable, enable, iccid, make_card, spec
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki
from microipa.euicc import CardOff, Euicc, NvmError, PowerCut


@dataclass
class Scene:
    """A card with profile 1 enabled and profile 2 disabled, its terminal, eIM and SM-DP+."""

    terminal: Terminal
    eim: Eim
    dp: Dp


@pytest.fixture(scope="module")
def template(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The memory of such a card."""
    folder = tmp_path_factory.mktemp("template")
    terminal = Terminal(make_card(folder, pki)).start()
    terminal.es10(tlv(0xBF57, tlv(0xA0, Eim(pki).configuration())))
    Dp(pki, terminal).download(spec(2))
    return folder / "card.nvm"


@pytest.fixture
def another(template: Path, tmp_path: Path, pki: Pki) -> Callable[[int | None], Scene]:
    """Power up a copy of the template; the power goes away after so many writes."""

    def make(writes: int | None) -> Scene:
        shutil.copy(template, tmp_path / "card.nvm")
        card = Euicc.open(tmp_path / "card.nvm")
        card.cut_power_after(writes)
        terminal = Terminal(card).start()
        return Scene(terminal, Eim(pki, token=1), Dp(pki, terminal))

    return make


def memory(terminal: Terminal) -> list[object]:
    """All that can be read of what a card remembers. Signatures are left out: no two are alike."""
    terminal.reset()
    results = parse(terminal.es10("BF2B04A0028200"))[0xA2]
    known = [
        terminal.card.profiles(),
        [result[0xA0][0x30].raw for result in results],
        *(terminal.es10(command) for command in ("BF2800", "BF5500", "BF3C00")),
    ]
    terminal.send(b"\x00\xa4\x04\x0c\x07" + USIM)
    terminal.send("00A4000C026F7E")
    return [*known, terminal.send("00B0000000")]


def package(*operations: bytes, eco: bool = False) -> Callable[[Scene], object]:
    return lambda it: it.terminal.es10(it.eim.package(*operations, eco=eco))


def write_location(it: Scene) -> None:
    it.terminal.send(b"\x00\xa4\x04\x0c\x07" + USIM)
    it.terminal.send("00A4000C026F7E")
    it.terminal.send("00D600000B0102030409F1070001FE00")


def add_eim(it: Scene) -> None:
    second = Eim(it.eim.pki, eim_id="second.example").configuration(tag=0xA8)
    package(second, eco=True)(it)


ACTIONS: dict[str, Callable[[Scene], object]] = {
    "install": lambda it: it.dp.download(spec(3)),
    "enable": package(enable(iccid(2))),
    "enable with rollback": package(enable(iccid(2), rollback=True)),
    "disable": package(disable(iccid(1))),
    "delete": package(delete(iccid(2))),
    "disable, enable and delete": package(disable(iccid(1)), enable(iccid(2)), delete(iccid(1))),
    "addEim": add_eim,
    "deleteEim": package(tlv(0xA9, tlv(0x80, b"eim.microipa.example")), eco=True),
    "acknowledge": lambda it: it.terminal.es10("BF3003800101"),
    "location": write_location,
    "memory reset": lambda it: it.terminal.es10("BF6404820201FE"),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_a_power_cut_at_any_write_leaves_the_old_or_the_new_state(another, name):
    act = ACTIONS[name]
    old = memory(another(None).terminal)
    done = another(None)
    act(done)
    new = memory(done.terminal)
    assert old != new
    for writes in itertools.count():
        it = another(writes)
        try:
            act(it)
        except PowerCut:
            with pytest.raises(CardOff):
                it.terminal.send("80F2000000")
            it.terminal.card.power_on()
            assert memory(it.terminal) in (old, new)
        else:
            assert writes >= 2
            break


def enable_and_roll_back(it: Scene, seen: list[list[object]]) -> None:
    """``seen`` takes the memory after each step."""
    it.terminal.es10(it.eim.package(enable(iccid(2), rollback=True)))
    seen.append(memory(it.terminal))
    it.terminal.open()
    it.terminal.es10("BF58038001FF")
    seen.append(memory(it.terminal))


def test_5_9_16_a_power_cut_during_a_rollback_leaves_a_state_the_eim_can_learn_of(another):
    states = [memory(another(None).terminal)]
    enable_and_roll_back(another(None), states)
    assert states[0] != states[1] != states[2]
    for writes in itertools.count():
        it = another(writes)
        try:
            enable_and_roll_back(it, [])
        except PowerCut:
            it.terminal.card.power_on()
            assert memory(it.terminal) in states
        else:
            assert writes >= 4
            break


def test_2_2_a_package_sent_again_after_a_power_cut_is_executed_once(another):
    """Either the counter says that it was executed, and its result waits, or it is executed now."""
    done = another(None)
    again = done.eim.package(delete(iccid(2)))
    done.terminal.es10(again)
    new = memory(done.terminal)
    for writes in itertools.count():
        it = another(writes)
        try:
            it.terminal.es10(again)
        except PowerCut:
            it.terminal.card.power_on()
            it.terminal.open()
            it.terminal.es10(again)
            assert memory(it.terminal) == new
        else:
            break


# ---- the file


def test_a_memory_file_that_anything_has_changed_is_refused(template, tmp_path):
    whole = template.read_bytes()
    for place in range(0, len(whole), len(whole) // 40):
        spoilt = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        (tmp_path / "card").write_bytes(spoilt)
        with pytest.raises(NvmError, match="cannot be read as a card's memory"):
            Euicc.open(tmp_path / "card")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[]\n[]", b"\n"])
def test_a_file_that_is_no_memory_is_refused(tmp_path, content):
    (tmp_path / "card").write_bytes(content)
    with pytest.raises(NvmError):
        Euicc.open(tmp_path / "card")


def test_a_memory_that_goes_bad_while_the_power_is_off_is_found_at_power_on(another, tmp_path):
    card = another(None).terminal.card
    card.power_off()
    (tmp_path / "card.nvm").write_bytes(b"")
    with pytest.raises(NvmError):
        card.power_on()


def test_what_a_cut_left_beside_the_file_is_not_read(another, tmp_path):
    (tmp_path / "card.nvm.new").write_bytes(b"half a sna")
    it = another(None)
    ACTIONS["delete"](it)
    assert len(it.terminal.card.profiles()) == 1
