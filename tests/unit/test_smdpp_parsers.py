"""What the SM-DP+ and the SM-DS read, at the edge of what they take (SGP.22 5.6, 5.7, 5.9.1, 2.5.6)."""

from __future__ import annotations

import pytest
from euicc_peer import spec
from microipa.asn1.tlv import TlvError, parse, tlv
from microipa.crypto.pki import Pki
from microipa.saip import build
from microipa.smdpp import OrderInvalid, Smdpp, service
from microipa.smdpp.answers import AuthenticateServerOk, CancelSessionOk, EuiccInfo1, PrepareDownloadOk, oid_text
from microipa.smdpp.callers import Callers
from microipa.smdpp.eligibility import _check_memory
from microipa.smdpp.refusal import MalformedRequest, Refused
from microipa.smdpp.results import read_pending_notification
from microipa.smds import Smds
from microipa.smds.service import MAX_TEXT
from odd_certificates import issued
from smdpp_peer import EID
from test_smdpp_results import pir

SIGNATURE = tlv(0x5F37, bytes(64))


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.mark.parametrize("svn", [b"", b"\2\5", b"\2\5\0\0"])
def test_5_7_8_a_version_has_three_bytes(svn: bytes) -> None:
    with pytest.raises(MalformedRequest, match="VersionType has 3"):
        EuiccInfo1.parse(tlv(0xBF20, tlv(0x82, svn), tlv(0xA9), tlv(0xAA)))


@pytest.mark.parametrize("read", [AuthenticateServerOk, PrepareDownloadOk, CancelSessionOk])
def test_5_7_an_answer_of_a_card_is_one_alternative_that_there_is(read) -> None:
    tag = {AuthenticateServerOk: 0xBF38, PrepareDownloadOk: 0xBF21, CancelSessionOk: 0xBF41}[read]
    other = {0xBF38: 0xBF21}.get(tag, 0xBF38)
    with pytest.raises(TlvError, match=f"{other:02X} where {tag:02X} should be"):
        read.parse(tlv(other, tlv(0xA0)))
    for many in (b"", tlv(0x81, b"\5") * 2):
        with pytest.raises(MalformedRequest, match="alternatives of a CHOICE"):
            read.parse(tlv(tag, many))
    with pytest.raises(TlvError, match="A3 is not an answer to"):
        read.parse(tlv(tag, tlv(0xA3, b"")))
    for fields in (b"", SIGNATURE, tlv(0x30) + tlv(0x30) + SIGNATURE):
        with pytest.raises(TlvError, match="inside A0, not 30 5F37"):
            read.parse(tlv(tag, tlv(0xA0, fields)))


def test_5_7_13_an_address_that_is_no_text_is_refused_by_that_name() -> None:
    signed = tlv(0x30, tlv(0x80, b"\1"), tlv(0x83, b"\xff"), tlv(0x84, bytes(16)), tlv(0xBF22), tlv(0xA0))
    with pytest.raises(TlvError, match="83 is not UTF-8"):
        AuthenticateServerOk.parse(tlv(0xBF38, tlv(0xA0, signed, SIGNATURE, tlv(0x30), tlv(0x30))))


def test_an_object_identifier_has_at_most_32_bytes() -> None:
    whole = tlv(0x06, b"\x2a" + b"\x01" * 31)
    assert oid_text(parse(whole)).count(".") == 32
    with pytest.raises(TlvError):
        oid_text(parse(tlv(0x06, b"\x2a" + b"\x01" * 32)))


def test_2_5_6_a_result_is_a_success_or_a_failure_and_not_both() -> None:
    good = parse(pir(("successResult", {"aid": bytes(16), "simaResponse": b""})))
    data = good[0xBF27]
    for final in (b"", data[0xA2].children()[0].raw * 2, tlv(0xA2), tlv(0x80, b"\1")):
        fields = [tlv(0xA2, final) if field.tag == 0xA2 else field.raw for field in data.children()]
        with pytest.raises(TlvError, match="neither successResult nor errorResult"):
            read_pending_notification(tlv(0xBF37, tlv(0xBF27, *fields), SIGNATURE))


@pytest.mark.parametrize("bits", [b"\x04\x08", b"\x00\x00", b"\x00\0\0\0\0\1"])
def test_an_event_that_nobody_knows_is_refused(bits: bytes) -> None:
    metadata = tlv(0xBF2F, tlv(0x80, b"\1"), tlv(0x81, bits), tlv(0x0C, b"smdp.example"))
    with pytest.raises(TlvError, match="names no known event"):
        read_pending_notification(tlv(0x30, metadata, SIGNATURE, tlv(0x30), tlv(0x30)))


def test_5_7_13_a_profile_may_fill_the_last_byte_of_a_card() -> None:
    info = parse(tlv(0xBF22, tlv(0x84, tlv(0x81, b"\0"), tlv(0x82, b"\x64"), tlv(0x83, b"\0"))))
    _check_memory(info, bytes(100))
    with pytest.raises(Refused, match="8.1/4.8"):
        _check_memory(info, bytes(101))


def test_5_3_who_calls_without_a_certificate_or_without_an_oid_is_nobody(pki: Pki) -> None:
    callers = Callers([pki.ci.certificate], ("tls",))
    with pytest.raises(Refused, match="1.1/1.1: the caller showed no TLS certificate"):
        callers.oid([])
    nameless = issued(pki.ci, "tls", oid=None)
    with pytest.raises(Refused, match="1.1/1.1: the TLS certificate contains no OID"):
        callers.oid([nameless.der])


@pytest.fixture
def smdpp(pki: Pki, tmp_path) -> Smdpp:
    return Smdpp(pki, tmp_path)


def test_2_5_5_metadata_of_an_order_are_a_store_metadata_request(smdpp: Smdpp) -> None:
    with pytest.raises(OrderInvalid, match="not a StoreMetadataRequest"):
        smdpp.add_profile(build(spec(2)), metadata=tlv(0xBF24))


def test_4_1_an_activation_code_has_at_most_255_characters(smdpp: Smdpp) -> None:
    room = service.MAX_ACTIVATION_CODE - len(f"LPA:1${smdpp.address}$$$1")
    assert smdpp.add_profile(build(spec(2)), matching_id="A" * room) == "A" * room
    with pytest.raises(OrderInvalid, match="too long"):
        smdpp.add_profile(build(spec(3)), matching_id="A" * (room + 1))


def test_a_matching_id_that_nobody_chose_has_a_hundred_bits(smdpp: Smdpp) -> None:
    groups = smdpp.add_profile(build(spec(2))).split("-")
    assert [len(group) for group in groups] == [4] * 5


def test_a_package_may_have_as_many_bytes_as_the_limit_says(smdpp: Smdpp, monkeypatch) -> None:
    package = build(spec(2))
    monkeypatch.setattr(service, "MAX_PACKAGE", len(package))
    smdpp.add_profile(package)
    monkeypatch.setattr(service, "MAX_PACKAGE", len(package) - 1)
    with pytest.raises(OrderInvalid, match="is the limit"):
        smdpp.add_profile(build(spec(2)))


def test_5_9_1_the_texts_of_an_event_have_1_to_so_many_characters(pki: Pki, tmp_path) -> None:
    smds = Smds(pki, tmp_path)
    for event, server in (("E", "s"), ("E" * MAX_TEXT, "s" * MAX_TEXT)):
        smds.register_event("2.999.1", EID, event, server, False)
    assert len(smds.events(EID)) == 2
    for event, server in (("", "s"), ("E" * (MAX_TEXT + 1), "s"), ("F", ""), ("F", "s" * (MAX_TEXT + 1))):
        with pytest.raises(MalformedRequest, match="characters, 1 to"):
            smds.register_event("2.999.1", EID, event, server, False)


