"""Whatever comes in, the card answers with a status word and stays the card it was."""

from __future__ import annotations

import pytest
from euicc_peer import Dp, Eim, Terminal, delete, enable, failure, iccid, make_card, spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki
from microipa.euicc import Euicc
from microipa.saip import build, metadata

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
many = settings(few, max_examples=80)

INSTRUCTIONS = [0xA4, 0xB0, 0xB2, 0xD6, 0xDC, 0xF2, 0x70, 0xC0, 0x88, 0xAA, 0x10, 0x12, 0x14, 0xE2, 0xCA]
apdus = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda cla, ins, p1, p2, body: bytes([cla, ins, p1, p2]) + body,
        st.sampled_from([0x00, 0x01, 0x80, 0x81, 0x40, 0xC0]),
        st.sampled_from(INSTRUCTIONS),
        st.sampled_from([0, 1, 3, 4, 8, 9, 0x11, 0x80, 0x87, 0x91]),
        st.integers(0, 255),
        st.binary(max_size=40).map(lambda data: bytes([len(data)]) + data if data else b""),
    ),
)
COMMANDS = [0xBF20, 0xBF21, 0xBF22, 0xBF28, 0xBF2B, 0xBF2D, 0xBF2E, 0xBF30, 0xBF36, 0xBF38, 0xBF3C, 0xBF3E,
            0xBF41, 0xBF42, 0xBF43, 0xBF51, 0xBF55, 0xBF56, 0xBF57, 0xBF58, 0xBF59, 0xBF5A, 0xBF5B, 0xBF5C,
            0xBF5D, 0xBF5E, 0xBF5F, 0xBF65, 0xA0, 0xA3, 0x86]  # fmt: skip
LEAVES = [0x80, 0x81, 0x82, 0x83, 0x84, 0x88, 0x5A, 0x01, 0x02, 0x04, 0x05, 0x5C, 0x5F37, 0x5F49]
trees = st.recursive(
    st.builds(tlv, st.sampled_from(LEAVES), st.binary(max_size=8)),
    lambda inside: st.builds(
        lambda tag, parts: tlv(tag, *parts),
        st.sampled_from([0x30, 0xA0, 0xA1, 0xA5, 0xA6]),
        st.lists(inside, max_size=4),
    ),
    max_leaves=8,
)
OPERATIONS = [*range(0xA3, 0xAC), 0xBF2D, 0xBF65, 0x30, 0x5A]
operations = st.lists(
    st.one_of(
        st.builds(
            lambda tag, parts: tlv(tag, *parts), st.sampled_from(OPERATIONS), st.lists(trees, max_size=3)
        ),
        st.builds(
            lambda tag, number: tlv(tag, tlv(0x5A, iccid(number))),
            st.sampled_from([0xA3, 0xA4, 0xA5, 0xA8]),
            st.integers(1, 3),
        ),
        st.binary(max_size=12),
    ),
    max_size=5,
)
# Where to cut a message, how much of it to drop there, what to put in.
wounds = st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4))


def wounded(message: bytes, wound: tuple[float, int, bytes]) -> bytes:
    place, drop, put = wound
    start = int(place * len(message))
    return message[:start] + put + message[start + drop :]


def status_word_is_one_of_the_cards(terminal: Terminal) -> bool:
    known = (0x9000, 0x6A80, 0x6A86, 0x6A88, 0x6985)
    return terminal.sw in known or terminal.sw >> 8 == 0x91


def is_sound(card: Euicc) -> bool:
    """Its memory opens again, and no more than one profile is enabled."""
    card.reset()
    return sum(profile.state == "enabled" for profile in card.profiles()) <= 1


@few
@given(st.lists(apdus, min_size=1, max_size=20))
def test_no_apdu_makes_the_card_fall_over(terminal: Terminal, commands: list[bytes]):
    terminal.reset()
    for apdu in commands:
        answer = terminal.card.transmit(apdu)
        assert 2 <= len(answer) <= 258
        assert answer[-2] & 0xF0 in (0x60, 0x90)
    assert is_sound(terminal.card)


@many
@given(st.sampled_from(COMMANDS), st.lists(trees, max_size=5))
def test_no_es10_command_makes_the_card_fall_over(terminal: Terminal, tag: int, parts: list[bytes]):
    terminal.es10(tlv(tag, *parts))
    assert status_word_is_one_of_the_cards(terminal)
    if terminal.sw >> 8 == 0x91:
        terminal.reset()


@many
@given(operations, st.booleans())
def test_no_signed_package_makes_the_card_fall_over(
    terminal: Terminal, pki: Pki, listed: list[bytes], eco: bool
):
    terminal.reset()
    eim = associated(terminal, pki)
    terminal.es10(eim.package(*listed, eco=eco))
    assert status_word_is_one_of_the_cards(terminal)
    assert is_sound(terminal.card)


def associated(terminal: Terminal, pki: Pki) -> Eim:
    """A new eIM in place of what earlier packages have made of the configuration."""
    eim = Eim(pki)
    terminal.es10("BF640482020204")
    eim.token = parse(terminal.es10(tlv(0xBF57, tlv(0xA0, eim.configuration()))))[0xA0][0x84].value[0]
    return eim


@pytest.fixture(scope="module")
def recorded(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """One command of each larger kind, as it would be accepted; what is signed is for this card only."""
    terminal = Terminal(make_card(tmp_path_factory.mktemp("recorded"), pki)).start()
    eim, dp = Eim(pki), Dp(pki, terminal)
    commands: list[bytes] = []
    send = terminal.es10

    def record(command: bytes | str) -> bytes:
        commands.append(bytes.fromhex(command) if isinstance(command, str) else command)
        return send(command)

    terminal.es10 = record  # type: ignore[method-assign]
    eim.token = 1
    record(tlv(0xBF57, tlv(0xA0, eim.configuration())))
    dp.ppk = True
    dp.download(spec(2))
    record(eim.package(enable(iccid(2), rollback=True)))
    return commands


@many
@given(st.data(), wounds)
def test_no_wounded_command_makes_the_card_fall_over(
    terminal: Terminal, recorded: list[bytes], data: st.DataObject, wound: tuple[float, int, bytes]
):
    terminal.reset()
    before = terminal.card.profiles()
    command = wounded(data.draw(st.sampled_from(recorded)), wound)
    if command:
        terminal.es10(command)
        assert status_word_is_one_of_the_cards(terminal)
    assert is_sound(terminal.card)
    assert terminal.card.profiles() == before


@few
@given(wounds)
def test_no_wounded_profile_under_the_right_keys_makes_the_card_fall_over(
    dp: Dp, eim: Eim, wound: tuple[float, int, bytes]
):
    """Element contents reach the profile interpreter only when MAC and keys are right."""
    before = dp.terminal.card.profiles()
    result = dp.download(wounded(build(spec(2)), wound), metadata(spec(2)))
    if 0xA1 in result[0xBF27][0xA2]:
        assert failure(result)[0] == "loadProfileElements"
    else:
        for operation in (enable(iccid(2)), enable(iccid(1)), delete(iccid(2))):
            dp.terminal.es10(eim.package(operation))
            dp.terminal.reset()
    assert dp.terminal.card.profiles() == before


@few
@given(wounds)
def test_no_wounded_metadata_under_the_right_keys_makes_the_card_fall_over(
    dp: Dp, wound: tuple[float, int, bytes]
):
    before = dp.terminal.card.profiles()
    result = dp.download(spec(1), wounded(metadata(spec(1)), wound))  # that profile is there already
    assert 0xA1 in result[0xBF27][0xA2]
    assert dp.terminal.card.profiles() == before
