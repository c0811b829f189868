"""Quirks of cards (field.md 1 and 2): at the level of APDUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from euicc_peer import ISDR, iccid, make_card
from microipa.asn1.tlv import tlv
from microipa.crypto.pki import Pki
from microipa.euicc.odd_card import odd_card

GET_EID = bytes.fromhex("BF3E035C015A")
RESULTS = bytes.fromhex("BF2B04A0028200")
OPEN, SELECT = bytes.fromhex("0070000001"), b"\x01\xa4\x04\x00" + bytes([len(ISDR)]) + ISDR


class Contacts:
    """The card as these quirks make it, with power."""

    def __init__(self, folder: Path, pki: Pki, *quirks: str, **variant: object) -> None:
        self.card = odd_card(make_card(folder, pki, **variant), quirks)
        self.card.power_on()

    def opened(self) -> Contacts:
        assert self.card.transmit(OPEN)[-2:] == b"\x90\x00"
        assert self.card.transmit(SELECT)[-2:-1] == b"\x61"
        return self

    def store(self, command: bytes, le: bytes = b"\0") -> bytes:
        return self.card.transmit(b"\x81\xe2\x91\x00" + bytes([len(command)]) + command + le)

    def response(self, length: int) -> bytes:
        return self.card.transmit(bytes([1, 0xC0, 0, 0, length]))

    def answer(self, command: bytes) -> bytes:
        announced = self.store(command)
        assert announced[0] == 0x61, announced.hex()
        return self.response(announced[1])[:-2]


def test_without_a_quirk_the_card_is_as_it_is(tmp_path: Path, pki: Pki) -> None:
    card = make_card(tmp_path, pki)
    assert odd_card(card, ["sim-busy-after-cfun"]) is card


def test_no_le_answers_9000_and_gives_the_answer_with_le_or_to_get_response(tmp_path: Path, pki: Pki) -> None:
    contacts = Contacts(tmp_path, pki, "no-le").opened()
    assert contacts.store(GET_EID, b"") == b"\x90\x00"
    assert contacts.store(GET_EID) == b"\x61\x15"
    assert contacts.response(0x15).startswith(b"\xbf\x3e")
    assert contacts.store(GET_EID, b"") == b"\x90\x00"
    assert contacts.response(0x15).startswith(b"\xbf\x3e")


def test_late_isdr_after_each_reset(tmp_path: Path, pki: Pki) -> None:
    card = Contacts(tmp_path, pki, "late-isdr:2").card
    for _ in range(2):
        card.transmit(OPEN)
        assert [card.transmit(SELECT).hex()[:4] for _ in range(3)] == ["6a82", "6a82", "6127"]
        card.reset()


def test_busy_channels_after_each_reset(tmp_path: Path, pki: Pki) -> None:
    card = Contacts(tmp_path, pki, "busy-channels:1").card
    assert [card.transmit(OPEN).hex() for _ in range(2)] == ["6a81", "019000"]


@pytest.mark.parametrize("status", ["6a80", "6a84", "6985"])
def test_the_first_packages_end_in_a_status_word(tmp_path: Path, pki: Pki, status: str) -> None:
    contacts = Contacts(tmp_path, pki, f"package-{status}:1").opened()
    package = tlv(0xBF51, bytes(20))
    assert contacts.store(package).hex() == status
    assert contacts.store(package).hex() != "6985" or status != "6985"


def test_a_search_for_results_is_refused_and_one_for_notifications_is_not(tmp_path: Path, pki: Pki) -> None:
    contacts = Contacts(tmp_path, pki, "no-result-list").opened()
    assert contacts.answer(RESULTS).hex() == "bf2b0381017f"
    assert contacts.answer(bytes.fromhex("BF2B00")).hex() == "bf2b02a000"


def test_a_search_for_results_ends_in_a_status_word(tmp_path: Path, pki: Pki) -> None:
    assert Contacts(tmp_path, pki, "no-result-list-6a80").opened().store(RESULTS).hex() == "6a80"


@pytest.mark.parametrize("command", ["BF2B00", "BF2B04A0028200"])
def test_an_empty_list_is_no_result_available(tmp_path: Path, pki: Pki, command: str) -> None:
    contacts = Contacts(tmp_path, pki, "no-result-available").opened()
    assert contacts.answer(bytes.fromhex(command)).hex() == "bf2b03810101"


def enable(identifier: bytes, flag: int) -> bytes:
    return tlv(0xBF31, tlv(0xA0, identifier), tlv(0x81, bytes([flag])))


@pytest.mark.parametrize(("quirk", "command", "refused"), [
    ("enable-by-aid-only", enable(tlv(0x5A, iccid(1)), 0xFF), True),
    ("enable-by-aid-only", enable(tlv(0x5A, iccid(1)), 0), True),
    ("enable-by-aid-only", enable(tlv(0x4F, bytes(16)), 0xFF), False),
    ("enable-refresh-0-only", enable(tlv(0x5A, iccid(1)), 0xFF), True),
    ("enable-refresh-0-only", enable(tlv(0x5A, iccid(1)), 0), False),
])
def test_enable_profile_knows_one_form_only(
        tmp_path: Path, pki: Pki, quirk: str, command: bytes, refused: bool) -> None:
    contacts = Contacts(tmp_path, pki, quirk, kind="consumer").opened()
    assert (contacts.answer(command).hex() == "bf310380017f") is refused


def test_one_get_response_is_lost(tmp_path: Path, pki: Pki) -> None:
    contacts = Contacts(tmp_path, pki, "lost-response:2").opened()
    assert contacts.answer(GET_EID)
    contacts.store(GET_EID)
    assert contacts.response(0x15).hex() == "6f00"
    assert contacts.answer(GET_EID)


def test_the_card_dies_once_until_it_is_reset(tmp_path: Path, pki: Pki) -> None:
    contacts = Contacts(tmp_path, pki, "card-dies:2").opened()
    contacts.answer(GET_EID)
    assert contacts.store(GET_EID) == b""
    assert contacts.card.transmit(OPEN) == b""
    contacts.card.reset()
    for _ in range(3):
        assert contacts.opened().answer(GET_EID)
        contacts.card.reset()


def test_one_block_is_refused(tmp_path: Path, pki: Pki) -> None:
    contacts = Contacts(tmp_path, pki, "refused-block:2").opened()
    contacts.answer(GET_EID)
    assert contacts.store(GET_EID).hex() == "6985"
    assert contacts.answer(GET_EID)
