"""What EUICCInfo2 says that the card can (uiccCapability, iotSpecificInfo, rspCapability) is there and works."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from euicc_peer import USIM, Dp, Eim, Terminal, enable
from microipa.asn1 import saip, sgp32
from microipa.asn1.tlv import parse, tlv
from microipa.euicc import suci
from microipa.euicc.filesystem import DIRECTORY, TRANSPARENT, Node
from microipa.euicc.profile_elements import services
from microipa.euicc.status import StatusWord
from microipa.saip import ProfilePackage, iccid_to_bytes
from microipa.saip.services import has
from saip_packages import ts48_package

CSIM = bytes.fromhex("A0000003431002")
WORKING = {
    "usim": "test_euicc_profiles", "milenage": "test_euicc_profiles", "usim-test-algorithm": "test_euicc_profiles",
    "isim": "test_euicc_profiles", "iotminimal": "test_euicc_profiles", "csim": "here", "ber-tlv": "here",
    "get-identity": "here", "profile-a-x25519": "here", "profile-b-p256": "here",
}  # fmt: skip
"""A service, and where it is tested."""


@pytest.fixture
def telephone(dp: Dp, eim: Eim, terminal: Terminal) -> Terminal:
    """A card with the test profile of GSMA TS.48 enabled."""
    package = ts48_package("ts48-v7-bertlv-suci")
    dp.download(package)
    terminal.es10(eim.package(enable(iccid_to_bytes(ProfilePackage.parse(package).iccid))))
    terminal.refresh()
    return terminal


def test_sgp22_5_7_8_a_capability_is_set_for_what_works_and_for_nothing_else(terminal):
    capability = parse(terminal.es10("BF2200"))[0x85].value
    bits = saip.kind("UICCCapability").names
    names = [name for name in WORKING if has(capability, name)]
    assert set(names) == set(WORKING) == set(services(terminal.card._chip.state))
    assert sum(octet.bit_count() for octet in capability[1:]) == len(WORKING)
    assert bits


def test_sgp32_the_iot_info_says_what_the_card_answers(terminal):
    info = sgp32.decode("EUICCInfo2", terminal.es10("BF2200"))["iotSpecificInfo"]
    assert {"ecallSupported", "fallbackSupported"} < set(info)
    for command in ("BF5B03800100", "BF5C03800100", "BF5D03800100", "BF5E03800100"):
        assert terminal.es10(command)
        assert terminal.sw == 0x9000


def test_ppversion_claims_no_evaluation_that_was_not_made(terminal):
    assert parse(terminal.es10("BF2200"))[0x04].value == bytes(3)


# CSIM and BER-TLV files ---------------------------------------------------------------------------------------


def test_31_102_a_csim_is_selected_and_its_files_are_read(telephone):
    assert telephone.send(b"\x00\xa4\x04\x04" + bytes([len(CSIM)]) + CSIM)[:1] == b"\x62"
    assert telephone.send("00A40004026F22")
    assert telephone.send("00B0000000")
    assert telephone.sw == 0x9000


def select_ber_tlv(terminal: Terminal) -> None:
    assert b"\x82\x02\x79\x21" in terminal.send("00A40804067F105F3E4F02")


def test_102_221_11_3_a_ber_tlv_file_keeps_data_objects(telephone):
    select_ber_tlv(telephone)
    telephone.send("80CB008001 80 00".replace(" ", ""))
    assert telephone.sw == 0x6A88
    telephone.send("80DB0080058003112233")
    assert telephone.sw == 0x9000
    assert telephone.send("80CB00800180 00".replace(" ", "")) == bytes.fromhex("8003112233")
    telephone.send("80DB0080038001FF")
    assert telephone.send("80CB0080018000") == bytes.fromhex("8001FF")
    telephone.send("80DB00800180")  # a tag alone
    telephone.send("80CB0080018000")
    assert telephone.sw == 0x6A88


def test_102_221_11_3_a_large_object_travels_in_blocks_and_survives_a_reset(telephone):
    big = tlv(0x81, bytes(range(200)) * 2)
    select_ber_tlv(telephone)
    telephone.send(b"\x80\xdb\x00\x80\xff" + big[:255])
    telephone.send(b"\x80\xdb\x00\x00" + bytes([len(big) - 255]) + big[255:])
    assert telephone.sw == 0x9000
    telephone.reset()
    select_ber_tlv(telephone)
    first = telephone.send("80CB0080018100")
    assert telephone.sw == 0x62F1
    assert first + telephone.send("80CB000000") == big
    assert telephone.sw == 0x9000


@pytest.mark.parametrize("content", ["8003112233FF", "80830FFFFF00", ""])
def test_102_221_11_3_2_what_is_no_data_object_is_refused(telephone, content):
    select_ber_tlv(telephone)
    telephone.send(f"80DB0080{len(content) // 2:02X}{content}" if content else "80DB0080")
    assert telephone.sw in (0x6A80, 0x6A88, 0x6700) or not content
    assert telephone.send("80CB0080018000") == b""


def test_102_221_11_3_a_transparent_file_has_no_data_objects(telephone):
    telephone.send("00A40004022FE2")
    telephone.send("80CB0080018000")
    assert telephone.sw == 0x6981


# GET IDENTITY -------------------------------------------------------------------------------------------------


def scalar(number: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int(number, 16), ec.SECP256R1())


def test_33_501_c_4_3_profile_a():
    own = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("c80949f13ebe61af4ebdbd293ea4f942696b9e815d7e8f0096bbf6ed7de62256"))
    network = bytes.fromhex("5a8d38864820197c3394b92613b20b91633cbd897119273bf8e4a6f4eec0a650")
    concealed = suci.conceal(bytes.fromhex("00012080f6"), suci.profile_a(network, lambda: own))
    assert concealed.hex() == ("b2e92f836055a255837debf850b528997ce0201cb82adfe4be1f587d07d8457d"
                               "cb02352410cddd9e730ef3fa87")


def test_33_501_c_4_4_profile_b():
    own = scalar("99798858A1DC6A2C68637149A4B1DBFD1FDFF5ADDD62A2142F06699ED7602529")
    network = bytes.fromhex("0272DA71976234CE833A6907425867B82E074D44EF907DFB4B3E21C1C2256EBCD1")
    concealed = suci.conceal(bytes.fromhex("00012080F6"), suci.profile_b(network, lambda: own))
    assert concealed.hex().upper() == ("039AAB8376597021E855679A9778EA0B67396E68C66DF32C0F41E9ACCA2DA9B9D1"
                                       "46A33FC2716AC7DAE96AA30A4D")


def test_31_102_7_5_ts48_conceals_by_the_null_scheme(telephone):
    package = ProfilePackage.parse(ts48_package("ts48-v7-bertlv-suci"))
    telephone.send(b"\x00\xa4\x04\x04\x07" + USIM)
    identity = parse(telephone.send("8078000100"))
    assert (identity.tag, telephone.sw) == (0xA1, 0x9000)
    assert identity.value[0] == 0x01
    digits = "".join(f"{octet & 15:x}{octet >> 4:x}" for octet in identity.value[8:]).rstrip("f")
    assert package.imsi.endswith(digits)
    assert len(package.imsi) - len(digits) in (5, 6)


def usim(calculation: bytes) -> Node:
    """A USIM of subscriber 001010123456789, two digits of MNC."""
    adf = Node(0x7FF0, DIRECTORY)
    df = Node(0x5FD0, DIRECTORY, adf, children=[Node(0x4F01, TRANSPARENT, body=calculation)])
    imsi = Node(0x6F07, TRANSPARENT, body=bytes.fromhex("080910101032547698"))
    adf.children += [imsi, Node(0x6FAD, TRANSPARENT, body=bytes.fromhex("00000002")), df]
    return adf


@pytest.mark.parametrize("scheme", [suci.PROFILE_A, suci.PROFILE_B])
def test_31_102_7_5_the_scheme_of_highest_priority_is_used(scheme):
    own = X25519PrivateKey.generate().public_key().public_bytes_raw()
    curve = bytes.fromhex("0272DA71976234CE833A6907425867B82E074D44EF907DFB4B3E21C1C2256EBCD1")
    order = bytes([suci.PROFILE_A, 1, suci.PROFILE_B, 2, 0, 0] if scheme == suci.PROFILE_A else [2, 2, 1, 1, 0, 0])
    keys = tlv(0xA1, tlv(0x80, b"\x1b"), tlv(0x81, own), tlv(0x80, b"\x1e"), tlv(0x81, curve))
    value = parse(suci.get_identity(usim(tlv(0xA0, order) + keys + b"\xff" * 9))).value
    assert value[:6].hex() == "0100f110f0ff"
    assert tuple(value[6:8]) == (scheme, 0x1B if scheme == suci.PROFILE_A else 0x1E)
    assert len(value) == 8 + (32 if scheme == suci.PROFILE_A else 33) + 5 + 8


@pytest.mark.parametrize("calculation", [b"", b"\xff" * 20, tlv(0xA0, b"\x01\x01"), tlv(0xA0, b"\x09\x01"),
                                         tlv(0xA0, b"\x01\x01") + tlv(0xA1, tlv(0x80, b"\x01"), tlv(0x81, b"\x02"))])
def test_31_102_7_5_without_a_scheme_or_key_there_is_no_identity(calculation):
    with pytest.raises(StatusWord, match="6985"):
        suci.get_identity(usim(calculation))


def test_31_102_7_5_only_a_usim_tells_its_identity(terminal):
    terminal.send("8078000100")
    assert terminal.sw == 0x6985


