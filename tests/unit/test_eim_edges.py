"""What the eIM refuses, at the edge of what it takes: operations of people, questions, metadata, unsigned results."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiocoap.error import BadOption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eim_ipa import OTHER_EID, Refusal, order
from euicc_peer import EID
from microipa.asn1 import sgp32
from microipa.asn1.tlv import TlvError, integer, parse, tlv
from microipa.crypto import ec
from microipa.crypto.pki import Pki, subject_key_identifier
from microipa.crypto.revocation import Issuer
from microipa.eim import (
    Smds,
    SmdsAddressInvalid,
    Unreachable,
    compact,
    esipa,
    features,
    json_binding,
    listeners,
    signed,
)
from microipa.eim.answers import DataAnswer
from microipa.eim.dtls_records import LAST_SEQUENCE, Records, _opened
from microipa.eim.json_binding import _number
from microipa.eim.notices import Notices
from microipa.eim.notifications import Notification
from microipa.eim.onboarding import LARGEST_TOKEN, BadFile, BadLine, _lines, _token
from microipa.eim.operations import parse as operation
from microipa.eim.packages import ECOS, PSMOS, PackageInvalid, PackageResult, encode_operations, question
from microipa.eim.qblock import Wanted
from microipa.eim.relayed import RelayFailed
from microipa.eim.sources import LONGEST
from microipa.eim.store import Device
from test_eim_inject import LIST, listener  # noqa: F401

ICCID, NAMES = tlv(0x5A, bytes(10)), tlv(0x91, b"P") + tlv(0x92, b"N")
UNSIGNED = tlv(0xBF51, tlv(0xA2, tlv(0x80, b"eim"), tlv(0x82, b"\1")))
SIGNED = tlv(0xBF51, tlv(0xA0, tlv(0x30), tlv(0x5F37, bytes(64))))


# Operations as people write them


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("enabel 89", "is not an operation: they are"),
        ("enable 'x", "is not an operation: No closing quotation"),
        ("enable", "the ICCID is missing"),
        ("enable 8999970123456789012 rollback more", "'more' is not known here"),
        ("listProfileInfo class=secret", "is not a profile class: test, provisioning, operational"),
        ("listProfileInfo class=test aid=a000000559", "only one of them"),
        ("listProfileInfo class=test class=test", "class= is given 2 times"),
        ("listProfileInfo aid=a0000005", "is not 5 to 16 bytes in hex"),
        ("listProfileInfo tags=", "is not 1 to 64 bytes in hex"),
        ("configureImmediateEnable maybe", "is neither on nor off"),
        ("configureImmediateEnable on oid=3.1", "is not an object identifier"),
        ("setDefaultDpAddress a/b", "is not a host name"),
        ("deleteEim " + "e" * 129, "the eimId has 129 characters"),
        ("deleteEim ''", "the eimId has 0 characters"),
        ("updateEim eim.example", "give what is to change"),
        ("updateEim eim.example counter=-1", "is not a counter"),
        ("updateEim eim.example counter=12345678901", "is not a counter"),
        ("updateEim eim.example counter=١", "is not a counter"),
    ],
)
def test_an_operation_that_says_nothing_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(PackageInvalid) as refusal:
        operation(text)
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    ["listProfileInfo class=test", "listProfileInfo aid=a000000559", "listProfileInfo tags=5a", "getRAT",
     "configureImmediateEnable on oid=2.999.1", "configureImmediateEnable off", "deleteEim e", "listEim",
     "deleteEim " + "e" * 128, "updateEim eim.example counter=1234567890"],
)  # fmt: skip
def test_an_operation_at_the_edge_is_taken(text: str) -> None:
    assert operation(text)


# Questions (SGP.32 2.11.1.2)


def test_2_11_1_2_a_question_asks_for_what_an_ipa_tells() -> None:
    with pytest.raises(PackageInvalid, match="'imsi' is not a field of IpaEuiccData"):
        question(["euiccInfo2", "imsi"])
    with pytest.raises(PackageInvalid, match="key identifier of the CI is empty"):
        question(["eumCertificate"], ci_key_id=b"")
    with pytest.raises(PackageInvalid, match="neither a seqNumber nor an event"):
        question(["notificationsList"], notification="notificationInstall2")
    assert question(["EuiccInfo2"]) == tlv(0x5C, b"\xbf\x22")


# Metadata in the device's place (SGP.22 3.1.3)


@pytest.mark.parametrize(
    "fields", [NAMES, tlv(0x5A, bytes(9)) + NAMES, ICCID + tlv(0x91, b"P"), ICCID + tlv(0x92, b"N")]
)
def test_5_14_2_metadata_need_iccid_and_both_names(fields: bytes) -> None:
    with pytest.raises(features.MetadataMismatch):
        features.check_metadata(tlv(0xBF25, fields))


@pytest.mark.parametrize(
    ("rules", "taken"),
    [(b"", True), (b"\5", True), (b"\5\x80", True), (b"\6\x40", False), (b"\5\x20", False), (b"\5\xe0", False)],
)
def test_5_14_2_policy_rules_1_and_2_need_a_consent(rules: bytes, taken: bool) -> None:
    metadata = tlv(0xBF25, ICCID, NAMES, tlv(0x99, rules))
    if taken:
        features.check_metadata(metadata)
    else:
        with pytest.raises(features.PprNotAllowed):
            features.check_metadata(metadata)


# What proves something (SGP.32 5.14.6)


def test_5_14_6_an_unsigned_result_proves_nothing() -> None:
    key = ec.generate_key().public_key()
    with pytest.raises(ec.SignatureInvalid, match="proves nothing"):
        PackageResult.read(parse(UNSIGNED)).verify(key, 0)


@pytest.mark.parametrize(
    ("result", "answer", "proves"),
    [
        (SIGNED, esipa.acknowledge([5]), True),
        (SIGNED, esipa.acknowledge([]), False),
        (SIGNED, esipa.result_error(127), False),
        (UNSIGNED, esipa.acknowledge([5]), False),
        (UNSIGNED, esipa.acknowledge([]), False),
        (tlv(0x30, SIGNED, tlv(0xA0)), esipa.acknowledge([5]), True),
        (tlv(0x30, UNSIGNED, tlv(0xA0)), esipa.acknowledge([5]), False),
    ],
)
def test_5_14_6_a_signed_result_that_was_acknowledged_proves_whose_association_it_is(
    result: bytes, answer: bytes, proves: bool
) -> None:
    request = tlv(0xBF50, tlv(0x5A, bytes.fromhex(EID)), result)
    assert esipa.proved(request, answer) == (EID if proves else None)


def test_6_3_2_6_an_answer_without_acknowledgements_is_the_empty_one_of_v1_2() -> None:
    assert esipa.acknowledge([]) == bytes.fromhex("BF50023000")
    assert esipa.acknowledge([5]) == tlv(0xBF50, tlv(0xBF53, integer(0x80, 5)))


# Associations


def test_6347_4_1_an_association_writes_its_last_record_and_none_without_a_number() -> None:
    records = Records.__new__(Records)
    records._sequence, records._nonce = LAST_SEQUENCE, 0
    records._write, records._write_salt = AESGCM(bytes(16)), bytes(4)
    assert records.protect(23, b"last")[5:11] == b"\xff" * 6
    with pytest.raises(OverflowError, match="no record number left"):
        records.protect(23, b"more")


def test_6347_4_1_a_record_may_be_empty_and_is_none_without_its_tag() -> None:
    key, salt, nonce = AESGCM(bytes(16)), bytes(4), bytes(8)
    head = b"\x17\xfe\xfd" + b"\0\1" + bytes(6)
    sealed = key.encrypt(salt + nonce, b"", head[3:] + head[:3] + b"\0\0")
    assert _opened(key, salt, head + b"\0\x18" + nonce + sealed) == b""
    with pytest.raises(InvalidTag):
        _opened(key, salt, head + b"\0\x17" + nonce + sealed[:-1])


async def test_a_device_that_does_not_answer_in_time_is_given_up_and_its_order_stays(
    desk, listener, monkeypatch  # noqa: F811
) -> None:
    monkeypatch.setattr(listeners, "ANSWER_SECONDS", 0)
    number = desk.order_package(EID, LIST)
    with pytest.raises(Unreachable, match="no longer answers"):
        await desk.inject(EID)
    assert order(desk, number).state in ("queued", "delivered")


# What a stranger must not settle (SGP.32 5.14.6)


@pytest.mark.parametrize("error", [127, 2])
async def test_an_unsigned_error_settles_no_order_of_another_device(desk, ipa, error: int) -> None:
    desk.add_device(OTHER_EID)
    desk.order_data(OTHER_EID, ["euiccInfo2"])
    given = parse(await desk.handle(tlv(0xBF4F, tlv(0x5A, bytes.fromhex(OTHER_EID)))))[0xBF52]
    for _ in range(9):
        with contextlib.suppress(Refusal):
            await ipa.provide(tlv(0xA0, tlv(0x80, given[0x83].value), integer(0x02, error)))
        with contextlib.suppress(Refusal):
            await ipa.provide(tlv(0xBF52, tlv(0xA1, tlv(0x80, given[0x83].value), integer(0x02, error))))
    assert {view.state for view in desk.orders() if view.eid == OTHER_EID} == {"delivered", "queued"}


@pytest.mark.parametrize(
    ("value", "taken"), [(2**31 - 1, True), (2**31, False), (-(2**31), True), (-(2**31) - 1, False)]
)
def test_6_4_a_number_of_json_has_32_bits(value: int, taken: bool) -> None:
    if taken:
        assert _number("counter", value)
    else:
        with pytest.raises(esipa.EsipaRefused, match="is not a number"):
            _number("counter", value)


@pytest.mark.parametrize("whole", [True, False], ids=["BF41", "what is inside"])
async def test_6_4_the_answer_of_a_card_to_cancel_session_may_have_its_outer_tag(whole: bool) -> None:
    sent: list[bytes] = []

    async def handle(message: bytes) -> bytes:
        sent.append(message)
        return b""

    inside = tlv(0xA0, tlv(0x30), tlv(0x5F37, bytes(64)))
    card = base64.b64encode(tlv(0xBF41, inside) if whole else inside).decode()
    body = json.dumps({"transactionId": "0102", "cancelSessionResponse": card}).encode()
    await json_binding.answer(handle, "cancelSession", body)
    assert sent == [tlv(0xBF41, tlv(0x80, b"\1\2"), tlv(0xA1, inside))]


@pytest.mark.parametrize("address", ["\ud800", 7])
async def test_6_4_a_text_has_a_form_in_utf_8(address: Any) -> None:
    async def handle(message: bytes) -> bytes:
        raise AssertionError(message)

    body = json.dumps({"euiccChallenge": base64.b64encode(bytes(16)).decode(), "smdpAddress": address}).encode()
    with pytest.raises(esipa.EsipaRefused, match="smdpAddress is not a string"):
        await json_binding.answer(handle, "initiateAuthentication", body)


def test_5_14_7_a_compact_installation_is_refused_by_its_own_name() -> None:
    with pytest.raises(TlvError, match="not reconstructed"):
        Notification.read(parse(tlv(0xA0)))
    with pytest.raises(TlvError, match="A3 is not a PendingNotification"):
        Notification.read(parse(tlv(0xA3)))


# Compact forms of a session of which the eIM does not know all (SGP.32 5.14)


def session(**known: object) -> Any:
    """A download session that knows nothing but what is given."""
    nothing = dict.fromkeys(
        ("server_signed_1", "server_certificate", "smdp_signed_2", "smdp_signature_2", "profile_metadata",
         "ctx_params_1")
    )  # fmt: skip
    device = {"euicc_info2": None, "euicc_certificate": None, "eum_certificate": None}
    device |= {name: known.pop(name) for name in list(known) if name in device}
    order = SimpleNamespace(eid=EID, device=SimpleNamespace(eid=EID, **device))
    return SimpleNamespace(transaction_id="0102", order=order, **(nothing | known))


SERVER = tlv(0x30, tlv(0x80, b"\1\2"), tlv(0x83, b"smdp.example"), tlv(0x84, bytes(16)))
INFO_2 = tlv(0xBF22, tlv(0x84, b"\0"))
SIGNATURE = tlv(0x5F37, bytes(64))
AUTHENTICATED = tlv(0xBF38, tlv(0xA2, tlv(0xA0, tlv(0x84, b"\1")), SIGNATURE))
PREPARED = tlv(0xBF21, tlv(0xA2, tlv(0x30), SIGNATURE))
CANCELLED = tlv(0xBF41, tlv(0xA2, tlv(0x30), SIGNATURE))
FINAL = tlv(0xA2, tlv(0xA0, tlv(0x4F, b"\0\0")))
INSTALLED = tlv(0xA0, tlv(0xA0, tlv(0x80, b"\1\2"), integer(0x02, 5), FINAL), SIGNATURE)
NAMED = tlv(0x30, tlv(0x30, tlv(0xA3, tlv(0x30))))  # a certificate without extensions


@pytest.mark.parametrize(
    ("rebuild", "message", "known", "why"),
    [
        (compact.prepare_download, PREPARED, {}, "what the SM-DP+ signed is not known"),
        (compact.prepare_download, PREPARED, {"smdp_signed_2": SERVER}, "what the SM-DP+ signed is not known"),
        (compact.prepare_download, PREPARED, {"smdp_signature_2": SIGNATURE}, "what the SM-DP+ signed is not known"),
        (compact.cancel_session, CANCELLED, {}, "the certificate of the SM-DP+ is not known"),
        (compact.cancel_session, CANCELLED, {"server_certificate": NAMED}, "the certificate of the SM-DP+ has no OID"),
        (compact.installation_result, INSTALLED, {}, "the metadata of the profile is not known"),
        (
            compact.installation_result, INSTALLED, {"profile_metadata": tlv(0xBF25, ICCID)},
            "what the SM-DP+ signed is not known",
        ),
    ],
)
def test_5_14_what_was_not_known_before_is_not_rebuilt(rebuild, message: bytes, known, why: str) -> None:
    with pytest.raises(compact.NotRebuilt, match=re.escape(why)):
        rebuild(parse(message), session(**known))


def test_5_14_2_an_answer_without_certificates_is_rebuilt_of_known_ones_alone() -> None:
    with pytest.raises(compact.NotRebuilt, match=f"the certificates of {EID} are not known"):
        compact.authenticate_server(parse(AUTHENTICATED), session(), None)  # type: ignore[arg-type]


def test_5_14_a_signature_needs_the_certificate_of_the_euicc() -> None:
    with pytest.raises(compact.NotRebuilt, match=f"the certificate of {EID} is not known"):
        compact._verify(session(), parse(SIGNATURE), b"")


@pytest.mark.parametrize("lacking", ["server_signed_1", "euicc_info2", "ctx_params_1"])
def test_5_14_2_euicc_signed1_is_rebuilt_of_three_things(lacking: str) -> None:
    known = {"server_signed_1": SERVER, "euicc_info2": INFO_2, "ctx_params_1": tlv(0xA0)}
    assert compact._signed_1(tlv_of(AUTHENTICATED), session(**known))
    del known[lacking]
    with pytest.raises(compact.NotRebuilt, match="is not known"):
        compact._signed_1(tlv_of(AUTHENTICATED), session(**known))


def tlv_of(message: bytes) -> Any:
    return parse(message)[0xA2][0xA0]


# Who is proven


def test_a_device_is_proven_by_a_certificate_or_a_key_of_its_own() -> None:
    device = Device(eid=EID)
    assert (device.is_proven, device.is_unknown) == (False, True)
    device.euicc_certificate = b"0"
    device.token = 0
    assert (device.is_proven, device.is_unknown) == (True, False)


# What the eIM says of itself


def test_2_11_1_the_configuration_is_read_by_its_schema(desk, pki) -> None:
    told = sgp32.decode("EimConfigurationData", desk.configuration())
    assert list(told) == [
        "eimId", "eimFqdn", "eimIdType", "counterValue", "associationToken", "eimPublicKeyData",
        "trustedPublicKeyDataTls", "eimSupportedProtocol", "euiccCiPKId", "indirectProfileDownload",
    ]  # fmt: skip
    assert told["euiccCiPKId"] == subject_key_identifier(pki.ci.certificate)
    assert (told["counterValue"], told["associationToken"], told["eimIdType"]) == (0, -1, 2)


def test_2_11_1_3_an_address_of_an_sm_ds_has_a_longest_length() -> None:
    label = "a" * 60
    longest = ".".join([label] * 9)[:LONGEST]
    assert len(longest) == LONGEST
    assert Smds(longest).address == longest
    with pytest.raises(SmdsAddressInvalid):
        Smds(longest + "a")


@pytest.mark.parametrize("value", [b"\0\0\0\0", b"\7", b"\x0f"])
def test_9177_a_wanted_block_is_a_number_of_three_bytes_and_no_size_7(value: bytes) -> None:
    with pytest.raises(BadOption):
        Wanted._parse(value)
    assert Wanted._parse(b"\xff\xff\xf6").size == 1024


# Sets of operations, and devices that are enrolled


def test_2_11_1_1_a_package_holds_all_psmos_or_all_ecos_or_is_none() -> None:
    for operations in ([], [("listEim", {}), ("getRAT", {})], [("sleep", {})]):
        with pytest.raises(PackageInvalid, match="never both"):
            encode_operations(operations)
    assert encode_operations([("listEim", {})])[0] == 0xA1
    assert encode_operations([("getRAT", {})])[0] == 0xA0


def test_a_package_may_hold_every_psmo_or_every_eco_there_is():
    profile, eim = {"iccid": "8999970000025729519"}, {"eimId": "a.example"}
    psmos = [(name, profile) for name in ("enable", "disable", "delete", "setFallbackAttribute")]
    bare = "listProfileInfo", "getRAT", "configureImmediateEnable", "unsetFallbackAttribute"
    psmos += [(name, {}) for name in bare]
    psmos.append(("setDefaultDpAddress", {"defaultDpAddress": "dp.example"}))
    assert {name for name, _ in psmos} == PSMOS
    assert len(parse(encode_operations(psmos)).children()) == len(PSMOS)
    ecos = [("addEim", eim), ("deleteEim", eim), ("updateEim", eim), ("listEim", {})]
    assert {name for name, _ in ecos} == ECOS
    assert len(parse(encode_operations(ecos)).children()) == len(ECOS)


@pytest.mark.parametrize(
    ("given", "token"), [(None, None), (0, 0), (LARGEST_TOKEN, LARGEST_TOKEN), (str(LARGEST_TOKEN), LARGEST_TOKEN)]
)
def test_a_token_of_a_file_is_a_number_that_a_card_may_give(given: Any, token: int | None) -> None:
    assert _token(given) == token
    for wrong in (LARGEST_TOKEN + 1, -1, True, "1e3", "١"):
        with pytest.raises(BadLine, match="not a number up to"):
            _token(wrong)


def test_euicc_info1_that_agrees_with_the_signed_euicc_info2_is_known() -> None:
    info2 = tlv(0xBF22, tlv(0x81, b"\2\3\1"), tlv(0x82, b"\2\5\0"), tlv(0xA9), tlv(0xAA))
    info1 = tlv(0xBF20, tlv(0x82, b"\2\5\0"), tlv(0xA9), tlv(0xAA))
    device = Device(eid=EID, euicc_info2=info2, info2_signed=True)
    assert signed.info1(device, info1)
    assert not signed.info1(device, info1 + b"\0")
    device.info2_signed = False
    assert not signed.info1(device, info1)
    assert not signed.info1(Device(eid=EID, euicc_info2=None, info2_signed=True), info1)


# What is cut short, or of somebody else


def test_sgp22_2_5_3_a_package_without_its_metadata_is_none() -> None:
    with pytest.raises(features.MetadataMismatch, match="the package cannot be read"):
        features.check_package(parse(tlv(0xBF36, tlv(0xBF23))), b"")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_sgp22_2_5_6_a_notification_has_two_certificates(count: int) -> None:
    pending = tlv(0x30, tlv(0xBF2F, tlv(0x80, b"\1")), SIGNATURE, *[tlv(0x30)] * count)
    with pytest.raises(TlvError, match=f"notification with {count} certificates instead of 2"):
        Notification.read(parse(pending))


def test_2_11_2_a_package_result_has_one_of_its_forms() -> None:
    with pytest.raises(TlvError, match="A5 is not an EuiccPackageResult"):
        PackageResult.read(parse(tlv(0xBF51, tlv(0xA5))))


def test_a_list_of_devices_is_a_text_in_utf_8(tmp_path: Path) -> None:
    (tmp_path / "devices.csv").write_bytes(b"eid\n\xff\xfe\n")
    with pytest.raises(BadFile, match="is neither CSV nor JSON lines in UTF-8"):
        list(_lines(tmp_path / "devices.csv"))


def test_5_14_2_another_euicc_that_answers_in_a_session_is_eid_mismatch(pki: Pki) -> None:
    answer = tlv(0xBF38, tlv(0xA0, tlv(0x30), pki.euicc(EID).der, pki.eum.der, SIGNATURE))
    other: Any = SimpleNamespace(order=SimpleNamespace(eid=OTHER_EID))
    with pytest.raises(RelayFailed, match=f"{EID} answers for {OTHER_EID}") as failed:
        signed.learn(None, other, parse(answer), Issuer.of(pki.ci.certificate))  # type: ignore[arg-type]
    assert failed.value.code == 7


def test_5_14_7_a_notification_that_comes_in_the_name_of_another_device_is_refused(desk: Any, pki: Pki) -> None:
    pending = tlv(0x30, tlv(0xBF2F, tlv(0x80, b"\1"), tlv(0x81, b"\7\x80"), tlv(0x0C, b"a")), SIGNATURE,
                  pki.euicc(EID).der, pki.eum.der)  # fmt: skip
    notices = Notices(desk._orders, Issuer.of(pki.ci.certificate))
    other: Any = SimpleNamespace(eid=OTHER_EID)
    refused = pytest.raises(esipa.ResultRefused, match=f"of {EID} was sent as if by {OTHER_EID}")
    with desk._store.work() as db, refused:
        notices._signer(db, Notification.read(parse(pending)), other)


async def test_5_14_7_a_forged_result_in_handle_notification_is_refused_and_an_alarm(desk: Any) -> None:
    desk_alarms = len(desk.device(EID).alarms)
    forged = tlv(0xBF51, tlv(0xA0, tlv(0x30, tlv(0x80, b"eim.microipa.example"), tlv(0x81, b"\1"),
                                       tlv(0x83, b"\1"), tlv(0x30)), SIGNATURE))  # fmt: skip
    with pytest.raises(esipa.EsipaRefused):
        await desk.handle(tlv(0xBF3D, tlv(0xBF50, tlv(0x5A, bytes.fromhex(EID)), forged)))
    assert len(desk.device(EID).alarms) == desk_alarms + 1


@pytest.mark.parametrize(("tags", "both"), [((), False), ((0xA5,), False), ((0xA6,), False), ((0xA5, 0xA6), True)])
def test_2_11_2_1_an_answer_has_certificates_where_it_has_both(tags: tuple[int, ...], both: bool) -> None:
    answer = DataAnswer.read(parse(tlv(0xBF52, tlv(0xA0, tlv(0x80), *map(tlv, tags)))))
    assert answer.has_certificates is both
