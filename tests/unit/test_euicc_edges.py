"""What the card refuses, at the edge of what it takes: sizes, counters, keys and the parts of a package."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from euicc_peer import LIST_PROFILES, Dp, Eim, Terminal, code, delete, failure, iccid, make_card, metadata, spec
from microipa.asn1.tlv import integer, parse, tag_bytes, tlv
from microipa.crypto.bsp import Bsp
from microipa.crypto.pki import Pki
from microipa.euicc import eims, identity, install, packages, revocation
from microipa.euicc.consumer import KNOWN_TAGS
from microipa.saip import build
from odd_certificates import crl

LIST_EIMS = tlv(0xAB)
UPDATE = 0xAA
STRUCTURE = "scp03tStructureError"


def initial(terminal: Terminal, configuration: bytes) -> str:
    """The result of AddInitialEim on a card without eIM."""
    return code("AddInitialEimResponse", terminal.es10(tlv(0xBF57, tlv(0xA0, configuration))))


# eIM configurations (SGP.32 5.9.4, 3.5.1)


@pytest.mark.parametrize(
    ("length", "result"), [(0, "commandError"), (1, "ok"), (eims.MAX_ID, "ok"), (eims.MAX_ID + 1, "commandError")]
)
def test_2_11_1_an_eim_id_has_1_to_128_characters(terminal: Terminal, pki: Pki, length: int, result: str) -> None:
    assert initial(terminal, Eim(pki, eim_id="e" * length).configuration()) == result


@pytest.mark.parametrize(
    ("counter", "result"),
    [(-1, "counterValueOutOfRange"), (0, "ok"), (eims.MAX_COUNTER, "ok"),
     (eims.MAX_COUNTER + 1, "counterValueOutOfRange")],
)  # fmt: skip
def test_2_11_1_a_counter_begins_within_what_the_card_counts(
    terminal: Terminal, pki: Pki, counter: int, result: str
) -> None:
    assert initial(terminal, Eim(pki, counter=counter).configuration()) == result


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), curves.generate_private_key(curves.SECP384R1())],
    ids=["RSA", "P-384"],
)
def test_2_11_1_an_eim_signs_with_a_key_on_a_curve_of_the_card(terminal: Terminal, pki: Pki, key) -> None:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fields = [field.raw for field in parse(Eim(pki).configuration()) if field.tag != 0xA5]
    wrong = tlv(0x30, *fields, tlv(0xA5, tlv(0xA0, parse(spki).value)))
    assert initial(terminal, wrong) == "commandError"


def test_3_5_1_3_an_update_may_name_the_counter_that_there_is(terminal: Terminal, eim: Eim) -> None:
    same = tlv(UPDATE, tlv(0x80, eim.eim_id.encode()), integer(0x83, eim.counter + 1))
    assert eim.run(terminal, same, eco=True) == ["updateEim.ok"]
    assert eim.run(terminal, LIST_EIMS, eco=True) == ["listEim.ok"]


def test_3_5_1_3_an_update_gives_no_token(terminal: Terminal, eim: Eim) -> None:
    other = Eim(eim.pki, eim_id="second.example")
    assert eim.run(terminal, other.configuration(tag=0xA8, token=None), eco=True) == ["addEim.ok"]
    assert eim.run(terminal, tlv(UPDATE, tlv(0x80, b"second.example"), integer(0x84, 9)), eco=True) == ["updateEim.ok"]
    known = parse(terminal.es10("BF5500"))[0xA0].children()[1]
    assert (known[0x80].value, 0x84 in known) == (b"second.example", False)


def test_5_9_4_a_configuration_that_is_cut_short_is_commandError(terminal: Terminal) -> None:
    assert initial(terminal, tlv(0x30, b"\x80\x7f")) == "commandError"


# Packages (SGP.32 5.9.1)


@pytest.mark.parametrize(("length", "taken"), [(0, False), (1, True), (16, True), (17, False)])
def test_2_11_1_1_an_eim_transaction_id_has_1_to_16_bytes(
    terminal: Terminal, eim: Eim, length: int, taken: bool
) -> None:
    package = replace(eim, transaction_id=bytes(length)).package(LIST_PROFILES)
    assert bool(terminal.es10(package)) == taken
    assert (terminal.sw == 0x9000) == taken


def test_5_9_1_a_package_may_be_as_large_as_the_card_says(terminal: Terminal, eim: Eim, monkeypatch) -> None:
    package = eim.package(LIST_PROFILES)
    monkeypatch.setattr(packages, "MAX_PACKAGE", len(package))
    assert eim.outcomes(terminal.es10(package)) == ["listProfileInfo.ok"]
    package = eim.package(LIST_PROFILES)
    monkeypatch.setattr(packages, "MAX_PACKAGE", len(package) - 1)
    assert eim.error(terminal.es10(package)) == "sizeOverflow"


@pytest.mark.parametrize(
    ("operation", "results"),
    [
        (lambda name: tlv(0xBF65, tlv(0x80, name)), ("setDefaultDpAddress.ok", "setDefaultDpAddress.undefinedError")),
        (
            lambda name: tlv(0xA7, tlv(0x80), tlv(0x82, name)),
            ("configureImmediateEnable.ok", "configureImmediateEnable.insufficientMemory"),
        ),
    ],
    ids=["default", "immediate enable"],
)
def test_an_address_of_an_sm_dp_has_a_longest_length(terminal: Terminal, eim: Eim, operation, results) -> None:
    found = [eim.run(terminal, operation(b"a" * (identity.MAX_ADDRESS + more)))[0] for more in (0, 1)]
    assert tuple(found) == results


# Sessions (SGP.22 5.7.13)


@pytest.mark.parametrize(("length", "taken"), [(0, False), (1, True), (16, True), (17, False)])
def test_sgp22_5_7_13_a_transaction_id_has_1_to_16_bytes(dp: Dp, length: int, taken: bool) -> None:
    dp.transaction_id = bytes(length)
    if taken:
        assert 0xA0 in dp.authenticate()
        return
    with pytest.raises(Exception, match="nothing where a tag"):  # the card gives a status word and no answer
        dp.authenticate()
    assert dp.terminal.sw == 0x6A80


@pytest.mark.parametrize("wrong", range(5))
def test_sgp22_5_7_13_fields_come_in_their_order(dp: Dp, pki: Pki, wrong: int) -> None:
    challenge = parse(dp.terminal.es10("BF2E00"))[0x80].value
    signed = tlv(0x30, tlv(0x80, b"\1"), tlv(0x81, challenge), tlv(0x83, b"a.example"), tlv(0x84, bytes(16)))
    ski = parse(dp.terminal.es10("BF2000"))[0xA9][0x04].raw
    fields = [signed, tlv(0x5F37, pki.smdpp_auth.sign(signed)), ski, pki.smdpp_auth.der, tlv(0xA0, tlv(0xA1))]
    tags = [parse(field).tag for field in fields]
    fields[wrong] = tlv(0x85, parse(fields[wrong]).value)
    assert dp.terminal.es10(tlv(0xBF38, *fields)) == b""
    assert dp.terminal.sw == 0x6A80, tags


# Parts of a bound profile package (SGP.22 2.5.5, 5.5)


def pieces(dp: Dp, about: bytes | None = None) -> list[bytes]:
    assert 0xA0 in dp.authenticate()
    assert 0xA0 in dp.prepare()
    return dp.segments(build(spec(2)), about or metadata(spec(2)))


def refused(dp: Dp, package: list[bytes]) -> tuple[str, str]:
    return failure(dp.verified(dp.load(package)))


def test_2_5_5_a_package_of_a_session_that_was_cancelled_is_out_of_place(dp: Dp) -> None:
    package = pieces(dp)
    assert dp.terminal.es10(package[0]) == b""
    assert 0xA0 in parse(dp.terminal.es10(tlv(0xBF41, tlv(0x80, dp.transaction_id), tlv(0x81, b"\x02"))))
    for piece in package[1:3]:
        assert dp.terminal.es10(piece) == b""
        assert dp.terminal.sw == 0x6985


def changed(package: list[bytes], number: int, piece: bytes) -> list[bytes]:
    return [*package[:number], piece, *package[number + 1 :]]


@pytest.mark.parametrize(
    "piece",
    [b"\xbf\xff\xff\x01\x00", b"\x87\x80", b"\x87\x84\1\0\0\0"],
    ids=["tag of four bytes", "no length", "length of four bytes"],
)
def test_2_5_5_a_header_that_no_der_has_ends_the_load(dp: Dp, piece: bytes) -> None:
    package = pieces(dp)
    assert refused(dp, changed(package, 1, package[1] + piece)) == ("configureISDP", STRUCTURE)


@pytest.mark.parametrize("head", [b"\xa0\x80", b"\xa0\x84\0\0\0\x20"], ids=["no length", "length of four bytes"])
def test_2_5_5_a_part_whose_length_no_der_has_ends_the_load_before_more_comes(dp: Dp, head: bytes) -> None:
    first, *_ = pieces(dp)
    assert dp.terminal.es10(first) == b""
    assert failure(dp.verified(parse(dp.terminal.es10(head)))) == ("initialiseSecureChannel", STRUCTURE)


def test_2_5_5_a_segment_has_a_largest_size(dp: Dp) -> None:
    package = pieces(dp)
    head = parse(tlv(0x86, bytes(install.MAX_LEAF + 1))).raw[:4]
    assert refused(dp, changed(package, 1, head)) == ("initialiseSecureChannel", STRUCTURE)


@pytest.mark.parametrize("end", [1, 2, 5, -1])
def test_2_5_5_a_part_that_has_not_come_whole_is_waited_for(dp: Dp, end: int) -> None:
    first, second, *_ = pieces(dp)
    for piece in (first, second[:end]):
        assert dp.terminal.es10(piece) == b""
        assert dp.terminal.sw == 0x9000


def test_2_5_5_a_package_of_more_than_65535_bytes_is_installed(dp: Dp) -> None:
    assert 0xA0 in dp.download(spec(2, filler=70_000))[0xBF27][0xA2]


def test_2_5_5_a_package_that_ends_before_its_elements_is_none(dp: Dp) -> None:
    package = pieces(dp)
    channel = package[0][package[0].index(b"\xbf\x23") :]
    assert refused(dp, [tlv(0xBF36, channel, package[1])]) == ("configureISDP", STRUCTURE)


def test_2_5_5_metadata_have_a_largest_size_over_all_segments(dp: Dp) -> None:
    about = parse(metadata(spec(2)))
    dp.segment = 1000
    package = pieces(dp, tlv(0xBF25, about.value, tlv(0x94, bytes(install.MAX_LEAF))))
    assert refused(dp, package) == ("storeMetadata", STRUCTURE)


def test_5_5_2_configure_isdp_is_bf24(dp: Dp, monkeypatch) -> None:
    encrypt = Bsp.encrypt
    monkeypatch.setattr(
        Bsp, "encrypt", lambda bsp, tag, plain: encrypt(bsp, tag, tlv(0xBF25) if plain == tlv(0xBF24) else plain)
    )
    assert refused(dp, pieces(dp)) == ("configureISDP", "incorrectInputValues")


@pytest.mark.parametrize("entry", [tlv(0x31, tlv(0x80, b"\7\x80"), tlv(0x81, b"a")), tlv(0x30, tlv(0x81, b"a")),
                                   tlv(0x30, tlv(0x80, b"\7\x80")), tlv(0x30)])  # fmt: skip
def test_5_5_3_notifications_are_configured_in_the_known_way(dp: Dp, entry: bytes) -> None:
    about = parse(metadata(spec(2)))
    fields = [field.raw for field in about if field.tag != 0xB6]
    package = pieces(dp, tlv(0xBF25, *fields, tlv(0xB6, entry)))
    assert refused(dp, package) == ("storeMetadata", "incorrectInputValues")


@pytest.mark.parametrize("last", [b"\x9f\xff\xff\x01\x00", b"\xa0\x80"])
def test_5_5_4_elements_that_are_no_tlv_end_the_load(dp: Dp, last: bytes) -> None:
    assert 0xA0 in dp.authenticate()
    assert 0xA0 in dp.prepare()
    package = dp.segments(build(spec(2)) + last, metadata(spec(2)))
    command, reason = refused(dp, package)
    assert (command, reason) == ("loadProfileElements", "installFailedDueToPEProcessingError")


def test_5_5_4_an_element_that_is_no_tlv_ends_the_load_before_the_others_come(dp: Dp) -> None:
    dp.segment = 200
    assert 0xA0 in dp.authenticate()
    assert 0xA0 in dp.prepare()
    *begun, _ = dp.segments(b"\xa0\x80" + build(spec(2)), metadata(spec(2)))
    assert refused(dp, begun) == ("loadProfileElements", "installFailedDueToPEProcessingError")


def test_sgp32_5_9_the_select_answer_tells_both_standards(terminal: Terminal) -> None:
    answer = parse(terminal.fci)
    assert answer.tag == 0x6F
    assert [field.tag for field in answer] == [0x84, 0xA5, 0xE0, 0xE1]
    assert [field.raw for field in answer[0xA5]] == [bytes.fromhex("9f6501ff")]


def test_5_7_6_aids_of_profiles_begin_at_the_first_isd_p(dp: Dp) -> None:
    assert dp.terminal.card.profiles()[0].aid.hex() == "a0000005591010ffffffff8900001000"


# Further functions of a card


def test_sgp22_5_7_21_a_nickname_has_at_most_64_characters(tmp_path, pki: Pki) -> None:
    consumer = Terminal(make_card(tmp_path, pki, kind="consumer")).start()
    assert consumer.es10(tlv(0xBF29, tlv(0x5A, iccid(1)), tlv(0x90, b"n" * 64))) == bytes.fromhex("BF2903800100")
    assert consumer.es10(tlv(0xBF29, tlv(0x5A, iccid(1)), tlv(0x90, b"n" * 65))) == b""
    assert consumer.sw == 0x6A80


def test_sgp22_5_7_12_a_crl_has_a_largest_size_and_may_come_again(dp: Dp, pki: Pki, monkeypatch) -> None:
    der = crl(pki.ci)
    monkeypatch.setattr(revocation, "MAX_CRL", len(der))
    loaded = bytes.fromhex("BF3502A000")
    assert [dp.terminal.es10(tlv(0xBF35, der)) for _ in range(2)] == [loaded, loaded]
    monkeypatch.setattr(revocation, "MAX_CRL", len(der) - 1)
    assert dp.terminal.es10(tlv(0xBF35, der)) != loaded


def test_5_9_15_a_profile_that_has_been_deleted_is_not_enabled_at_once(dp: Dp, eim: Eim) -> None:
    dp.install(2)
    assert eim.run(dp.terminal, delete(iccid(2))) == ["delete.ok"]
    assert dp.terminal.es10("BF5A03800100") == bytes.fromhex("BF5A03800104")  # noSessionContext


def test_sgp22_5_7_15_all_that_a_card_knows_of_its_profiles_can_be_asked_at_once(tmp_path, pki: Pki) -> None:
    consumer = Terminal(make_card(tmp_path, pki, kind="consumer")).start()
    tags = b"".join(tag_bytes(tag) for tag in sorted(KNOWN_TAGS))
    answer = parse(consumer.es10(tlv(0xBF2D, tlv(0x5C, tags))))
    assert [profile[0x5A].value for profile in answer[0xA0]] == [iccid(1)]
