"""The card at its contacts: channels, files, answers that wait, AUTHENTICATE (TS 102 221, TS 31.102)."""

import pytest
from euicc_peer import EID, ISDR, USIM, Terminal, make_card, spec
from microipa.asn1.tlv import parse
from microipa.crypto.milenage import Milenage
from microipa.euicc import CardOff, EidMismatch, Euicc, NvmError
from microipa.saip import build, iccid_to_bytes
from microipa.trace import Trace


def test_atr_has_a_right_check_byte(terminal):
    atr = terminal.card.reset()
    check = 0
    for byte in atr[1:]:
        check ^= byte
    assert atr[0] == 0x3B
    assert check == 0


def test_a_card_without_power_does_not_answer(terminal):
    terminal.card.power_off()
    with pytest.raises(CardOff):
        terminal.card.transmit(bytes.fromhex("80F2000000"))


def test_select_isdr_answers_61xx_with_the_templates_of_sgp22_and_sgp32(terminal):
    answer = terminal.card.transmit(b"\x01\xa4\x04\x00\x10" + ISDR + b"\x00")
    assert answer[0] == 0x61
    fci = parse(terminal.fci)
    assert fci.tag == 0x6F
    assert fci[0x84].value == ISDR
    assert fci[0xE0][0x82].value == bytes([2, 5, 0])
    assert fci[0xE1][0x80].value == b"\x06\x40"  # enabledProfile


@pytest.mark.parametrize("cla", ["01", "81"])
def test_get_response_in_both_classes(terminal, cla):
    length = terminal.card.transmit(b"\x01\xa4\x04\x00\x10" + ISDR + b"\x00")[1]
    answer = terminal.card.transmit(bytes.fromhex(cla + "C00000") + bytes([length]))
    assert len(answer) == length + 2
    assert answer[-2:] == b"\x90\x00"


def test_get_response_with_a_wrong_length_tells_the_right_one_and_keeps_the_answer(terminal):
    length = terminal.card.transmit(b"\x01\xa4\x04\x00\x10" + ISDR + b"\x00")[1]
    assert terminal.card.transmit(bytes.fromhex("01C00000FF")) == bytes([0x6C, length])
    assert len(terminal.card.transmit(bytes.fromhex("01C0000000"))) == length + 2


def test_get_response_hands_out_long_answers_in_parts(terminal):
    terminal.card.transmit(bytes.fromhex("81E2910003BF5600"))
    first = terminal.card.transmit(bytes.fromhex("81C0000010"))
    assert len(first) == 18
    assert first[-2:] == b"\x61\x00"  # 256 or more are left
    rest = terminal.send("81C0000000")
    assert parse(first[:-2] + rest).tag == 0xBF56


def test_an_answer_not_fetched_is_gone_with_the_next_command_on_the_channel(terminal):
    terminal.card.transmit(bytes.fromhex("81E2910003BF2000"))
    terminal.send("80F2000000")  # on the basic channel
    assert terminal.card.transmit(bytes.fromhex("81E2910003BF2E00"))[0] == 0x61
    terminal.card.transmit(bytes.fromhex("81F2000C"))
    assert terminal.card.transmit(bytes.fromhex("81C0000000")) == b"\x69\x85"


@pytest.mark.parametrize("apdu", ["00700000", "0070000000", "0070000001"])
def test_manage_channel_opens_with_and_without_le(terminal, apdu):
    assert terminal.card.transmit(bytes.fromhex(apdu)) == b"\x02\x90\x00"


def test_manage_channel_gives_19_channels_and_takes_them_back(terminal):
    for number in range(2, 20):
        assert terminal.send("0070000001") == bytes([number])
    assert terminal.card.transmit(bytes.fromhex("0070000001")) == b"\x6a\x81"
    assert terminal.card.transmit(b"\xcf\xf2\x00\x0c")[-2:] == b"\x90\x00"  # channel 19
    assert terminal.card.transmit(bytes.fromhex("00708013")) == b"\x90\x00"
    assert terminal.card.transmit(b"\xcf\xf2\x00\x0c") == b"\x68\x81"
    assert terminal.send("0070000001") == b"\x13"


def test_manage_channel_opens_a_channel_of_choice_once(terminal):
    assert terminal.card.transmit(bytes.fromhex("00700007")) == b"\x90\x00"
    assert terminal.card.transmit(bytes.fromhex("00700007")) == b"\x6a\x81"


def test_isdr_works_on_a_channel_above_three(terminal):
    terminal.send("00700004")
    terminal.send(b"\x40\xa4\x04\x00\x10" + ISDR)
    terminal.send("C0E2910003BF2E00")
    assert terminal.sw == 0x9000


def test_reset_closes_channels(terminal):
    terminal.card.reset()
    assert terminal.card.transmit(bytes.fromhex("81E2910003BF2000")) == b"\x68\x81"


@pytest.mark.parametrize(
    ("apdu", "sw"),
    [
        ("", "6700"),
        ("00A404", "6700"),
        ("00A4000005AABB", "6700"),
        ("00A40000000000", "6700"),
        ("A0A40000023F00", "6E00"),
        ("04A40000023F00", "6882"),
        ("10A40000023F00", "6884"),
        ("80A40000023F00", "6E00"),
        ("01E2910003BF2000", "6E00"),
        ("0099000000", "6D00"),
        ("80E2910003BF2000", "6D00"),  # the basic channel shows files, not the ISD-R
        ("81E2120003BF2000", "6A86"),
        ("81E2910103BF2000", "6A86"),
        ("81E2910003BF7700", "6A88"),
        ("81E2910003BF2001", "6A80"),
        ("81E2910002A000", "6985"),
        ("8012000010", "6985"),
        ("801400000C810301010482028281830100", "6985"),
        ("80AA000002A9", "6700"),
        ("80AA000003A905FF", "6A80"),
        ("00A4040004A0000000", "6A82"),
        ("00A40000022FFF", "6A82"),
        ("00B0000000", "6981"),
        ("0088008122", "6985"),
    ],
)
def test_bad_commands_have_their_status_words(terminal, apdu, sw):
    assert terminal.card.transmit(bytes.fromhex(apdu)).hex().upper() == sw


@pytest.mark.parametrize("apdu", ["80AA000005A903840101", "80AA000005A903830107", "80AA000004A9028000"])
def test_terminal_capability_old_and_new(terminal, apdu):
    assert terminal.card.transmit(bytes.fromhex(apdu)) == b"\x90\x00"


def test_blocks_out_of_order_end_the_chain_and_a_new_one_goes(terminal):
    assert terminal.card.transmit(bytes.fromhex("81E2110002BF2B")) == b"\x90\x00"
    assert terminal.card.transmit(bytes.fromhex("81E291020100")) == b"\x6a\x86"
    assert terminal.card.transmit(bytes.fromhex("81E291010100")) == b"\x6a\x86"
    assert terminal.es10("BF2B00") == bytes.fromhex("BF2B02A000")


@pytest.mark.parametrize("block", [1, 2, 7, 60, 255])
def test_store_data_chains_of_any_block_size(terminal, block):
    terminal.block = block
    assert terminal.es10("BF3E035C015A") == bytes.fromhex("BF3E125A10" + EID)


def test_eid_from_the_ecasd(terminal):
    terminal.send("00A4040010A0000005591010FFFFFFFF8900000200")
    assert terminal.send("80CA005A12") == bytes.fromhex("5A10" + EID)
    assert terminal.card.transmit(bytes.fromhex("80CA005A05")) == b"\x6c\x12"


# ---- files


def select_usim(terminal):
    terminal.send(b"\x00\xa4\x04\x04\x07" + USIM)
    assert terminal.sw == 0x9000


def test_a_modem_reads_iccid_imsi_acc_and_finds_the_usim(terminal):
    terminal.send("00A40000023F00")
    terminal.send("00A4000C022FE2")
    assert terminal.send("00B0000000") == iccid_to_bytes(spec(1).iccid)
    terminal.send("00A4000C022F00")
    record = terminal.send("00B2010400")
    assert USIM in record
    select_usim(terminal)
    terminal.send("00A4000C026F07")
    assert terminal.send("00B0000009").hex() == "08" + "9910070000000010"
    assert terminal.send("00A40004026F78")[:1] == b"\x62"
    assert terminal.send("00B0000002") == (1 << 1).to_bytes(2, "big")


def test_select_by_path_from_mf_and_from_here(terminal):
    select_usim(terminal)
    assert parse(terminal.send("00A40804047FFF6F07"))[0x83].value == b"\x6f\x07"
    assert parse(terminal.send("00A40804022FE2"))[0x83].value == b"\x2f\xe2"
    select_usim(terminal)
    assert parse(terminal.send("00A40904026F78"))[0x83].value == b"\x6f\x78"
    assert parse(terminal.send("00A40304"))[0x83].value == b"\x3f\x00"


def test_fcp_of_mf_adf_and_files(terminal):
    assert parse(terminal.send("00A40004023F00"))[0x82].value == b"\x78\x21"
    adf = parse(terminal.send(b"\x00\xa4\x04\x04\x07" + USIM))
    assert adf[0x84].value.startswith(USIM)
    imsi = parse(terminal.send("00A40004026F07"))
    assert (imsi[0x82].value, imsi[0x80].value, imsi[0x88].value) == (b"\x41\x21", b"\x00\x09", b"\x38")
    directory = parse(terminal.send("00A40804022F00"))  # by path: 8.4.1 finds no child of the MF from an ADF
    assert directory[0x82].value[:2] == b"\x42\x21"
    assert len(directory[0x82].value) == 5


def test_read_binary_by_short_identifier_and_with_lengths(terminal):
    select_usim(terminal)
    assert len(terminal.send("00B0870000")) == 9
    assert terminal.card.transmit(bytes.fromhex("00B0870020")) == b"\x6c\x09"
    assert terminal.card.transmit(bytes.fromhex("00B0870900")) == b"\x6b\x00"
    assert terminal.send("00B0000102").hex() == "9910"


def test_status_tells_directory_and_application(terminal):
    select_usim(terminal)
    status = terminal.card.transmit(bytes.fromhex("80F2000000"))
    assert parse(status[:-2])[0x84].value.startswith(USIM)
    assert terminal.card.transmit(bytes.fromhex("80F2000001")) == bytes([0x6C, len(status) - 2])
    assert parse(terminal.send("80F2000100")).value.startswith(USIM)


def test_terminal_keeps_its_location_over_a_reset_but_cannot_change_the_imsi(terminal):
    select_usim(terminal)
    terminal.send("00A4000C026F7E")
    location = "0102030409F1070001FE00"
    assert terminal.card.transmit(bytes.fromhex("00D600000B" + location)) == b"\x90\x00"
    terminal.reset()
    select_usim(terminal)
    terminal.send("00A4000C026F7E")
    assert terminal.send("00B0000000") == bytes.fromhex(location)
    terminal.send("00A4000C026F07")
    assert terminal.card.transmit(bytes.fromhex("00D6000001FF")) == b"\x69\x82"


# ---- AUTHENTICATE


RAND = bytes(range(16))
AMF = b"\x80\x00"


def challenge(sqn: int, wrong: bool = False) -> bytes:
    milenage = Milenage(spec(1).k, spec(1).opc)
    raw = sqn.to_bytes(6, "big")
    concealed = bytes(a ^ b for a, b in zip(raw, milenage.f5(RAND), strict=True))
    mac = milenage.f1(RAND, raw, AMF)
    autn = concealed + AMF + (bytes(8) if wrong else mac)
    return bytes.fromhex("0088008122") + b"\x10" + RAND + b"\x10" + autn + b"\x00"


def test_authenticate_gives_res_ck_ik(terminal):
    select_usim(terminal)
    milenage = Milenage(spec(1).k, spec(1).opc)
    answer = terminal.send(challenge(0x20))
    res, ck, ik = milenage.f2(RAND), milenage.f3(RAND), milenage.f4(RAND)
    assert answer == b"\xdb\x08" + res + b"\x10" + ck + b"\x10" + ik


def test_authenticate_refuses_a_network_without_the_key(terminal):
    select_usim(terminal)
    assert terminal.card.transmit(challenge(0x20, wrong=True)) == b"\x98\x62"


def test_authenticate_answers_a_replay_with_auts_also_after_a_reset(terminal):
    """TS 33.102 clause 6.3.5: AUTS tells the highest SQN under f5*, with MAC-S."""
    select_usim(terminal)
    terminal.send(challenge(0x4007))
    terminal.reset()
    select_usim(terminal)
    answer = terminal.send(challenge(0x4007))
    assert answer[:2] == b"\xdc\x0e"
    milenage = Milenage(spec(1).k, spec(1).opc)
    sqn = bytes(a ^ b for a, b in zip(answer[2:8], milenage.f5_star(RAND), strict=True))
    assert int.from_bytes(sqn, "big") == 0x4007
    assert answer[8:] == milenage.f1_star(RAND, sqn, bytes(2))


def test_authenticate_keeps_count_per_index(terminal):
    """Annex C.2.2: an older SEQ is fresh under an index that has not seen it."""
    select_usim(terminal)
    assert terminal.send(challenge(100 << 5 | 1))[0] == 0xDB
    assert terminal.send(challenge(99 << 5 | 2))[0] == 0xDB
    assert terminal.send(challenge(99 << 5 | 1))[0] == 0xDC


def test_authenticate_refuses_a_jump_beyond_delta(terminal):
    select_usim(terminal)
    assert terminal.send(challenge((1 << 28) + 1 << 5))[0] == 0xDC


def test_authenticate_wants_a_usim(terminal):
    assert terminal.card.transmit(challenge(0x20)) == b"\x69\x85"


# ---- the card as a whole


def test_create_refuses_another_cards_certificate_and_a_second_card(tmp_path, pki):
    facts = {"eum_der": pki.eum.der, "ci": pki.ci.certificate, "bootstrap": build(spec(1))}
    with pytest.raises(EidMismatch):
        Euicc.create(tmp_path / "a", eid=EID[:-2] + "33", credential=pki.euicc(EID), **facts)
    make_card(tmp_path, pki)
    with pytest.raises(NvmError):
        make_card(tmp_path, pki)


def test_open_refuses_what_is_no_card(tmp_path):
    with pytest.raises(NvmError):
        Euicc.open(tmp_path / "missing")
    (tmp_path / "junk").write_text("{}")
    with pytest.raises(NvmError):
        Euicc.open(tmp_path / "junk")


def test_the_private_key_is_in_a_file_for_the_owner_only_and_in_no_trace(tmp_path, pki):
    trace = Trace(tmp_path / "trace")
    card = make_card(tmp_path, pki, trace)
    terminal = Terminal(card).start()
    terminal.es10("BF2200")
    assert (tmp_path / "card.nvm").stat().st_mode & 0o777 == 0o600
    secret = pki.euicc(EID).private_key.private_numbers().private_value.to_bytes(32, "big").hex()
    assert secret in (tmp_path / "card.nvm").read_text()
    assert secret not in (tmp_path / "trace").read_text()
    assert secret not in repr(vars(card))
    assert '"part": "card", "kind": "apdu", "command": "81e2' in (tmp_path / "trace").read_text()


def test_a_trace_keeps_no_keys_of_authenticate_and_no_pins(tmp_path, pki):
    trace = Trace()
    seen = []
    trace.listen(lambda event: seen.append(event.fields["command"] + event.fields["response"]))
    terminal = Terminal(make_card(tmp_path, pki, trace)).start()
    select_usim(terminal)
    answer = terminal.send(challenge(0x20))
    terminal.card.transmit(bytes.fromhex("0020000108") + b"1234\xff\xff\xff\xff")
    milenage = Milenage(spec(1).k, spec(1).opc)
    assert milenage.f3(RAND) in answer
    for secret in (milenage.f3(RAND), milenage.f4(RAND), b"1234"):
        assert secret.hex() not in "".join(seen)
