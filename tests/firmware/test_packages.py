"""ipa.steps.packages and notify under MicroPython: eIM packages carried out and answered (SGP.32 3.3, 3.7)."""

from __future__ import annotations

import pytest
from board_run import Run
from microipa.asn1 import rsp, sgp32
from microipa.asn1.tlv import tlv
from scenes import DEVICE_INFO, EID, SIGNATURE, TX, Scene, acknowledge, epe, epr, play, provide, remove

PACKAGE = tlv(0xBF51, tlv(0x30, bytes(300)), tlv(0x5F37, SIGNATURE))
STORED = bytes.fromhex("bf2b04a0028200")
EMPTY = bytes.fromhex("bf50023000")
NOT_LISTED = [0x6A80, bytes.fromhex("bf2b0381017f"), bytes.fromhex("bf2b03810101"), b"\xbf\x2b\5"]
LIST_PROFILES = bytes.fromhex("bf2d02a000")


def stored(*results: bytes) -> bytes:
    return tlv(0xBF2B, tlv(0xA2, *results))


@pytest.mark.covers("package.euiccPackageRequest", "package.eimAcknowledgements")
async def test_3_3_1_the_card_gets_the_package_unchanged_and_the_acknowledged_result_is_removed(
        micropython: Run) -> None:
    result = epr(7, LIST_PROFILES)
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, result), remove(7)], [acknowledge(7)])
    assert scene.outcome == "no error but False"
    assert scene.said == [("card", PACKAGE), ("eim", provide(result)), ("card", remove(7)[0])]


@pytest.mark.parametrize("answer", [EMPTY, bytes.fromhex("bf5000"), b""])
async def test_3_3_1_what_is_not_acknowledged_stays_on_the_card(micropython: Run, answer: bytes) -> None:
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, epr(7, LIST_PROFILES))], [answer])
    assert scene.to("card") == [PACKAGE]


@pytest.mark.parametrize("results", ["830100", "840100", "bf2d02a000830100"])
async def test_3_3_1_a_switch_leaves_the_result_to_the_new_profile(micropython: Run, results: str) -> None:
    scene = await play(
        micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, epr(7, bytes.fromhex(results)))], [])
    assert scene.outcome == "no error but True"
    assert scene.to("eim") == []


@pytest.mark.parametrize("result", [epr(7, b"\x83\x01\x02"), epe(3), tlv(0xBF51, tlv(0xA2, tlv(0x80, b"eim")))])
async def test_3_3_1_a_refusal_by_the_card_is_delivered_as_well(micropython: Run, result: bytes) -> None:
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, result)], [EMPTY])
    assert scene.outcome == "no error but False"
    assert scene.to("eim") == [provide(result)]


async def test_5_9_1_a_replay_error_brings_out_the_result_the_card_has_kept(micropython: Run) -> None:
    other, ours = epr(6, counter=9), epr(7)
    card = [(PACKAGE, epe(4)), (STORED, stored(other, ours)), remove(7)]
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", card, [acknowledge(7)])
    assert scene.to("eim") == [provide(ours)]
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", card[:1] + [(STORED, stored(other))], [EMPTY])
    assert scene.to("eim") == [provide(epe(4))]


SIGNED = tlv(0x30, tlv(0x80, b"eim.example"), tlv(0x5A, EID), tlv(0x81, b"\1"), tlv(0x82, TX), tlv(0xA0, bytes(2)))
NAMED = tlv(0xBF51, SIGNED, tlv(0x5F37, SIGNATURE))
LONG = tlv(0xBF51, tlv(0x30, SIGNED[2:-2], tlv(0xA0, bytes(900))), tlv(0x5F37, SIGNATURE))
UNDEFINED = tlv(0xA0, tlv(0x80, TX), b"\2\1\x7f")


@pytest.mark.parametrize("package", [NAMED, LONG], ids=["short", "long"])
@pytest.mark.parametrize("answer", [0x6A80, 0x6A84, 0x6985, b"\xbf\x22\0", b"\xbf\x51\5\0"],
                         ids=["6A80", "6A84", "6985", "another tag", "broken"])
async def test_3_3_1_a_package_that_the_card_does_not_take_is_answered_with_undefined_error(
        micropython: Run, package: bytes, answer: bytes | int) -> None:
    scene = await play(micropython, f"package('{package.hex()}')", [(package, answer)], [EMPTY])
    assert (scene.outcome, scene.to("eim")) == ("no error but False", [provide(UNDEFINED)])


async def test_3_3_1_a_package_without_transaction_is_refused_without(micropython: Run) -> None:
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, 0x6985)], [EMPTY])
    assert scene.to("eim") == [provide(tlv(0xA0, b"\2\1\x7f"))]


async def test_3_3_2_a_package_that_the_card_does_not_take_leaves_the_switch_of_another_eim_as_it_was(
        micropython: Run) -> None:
    call = f"[session.journal.set(switch=dict(eim='61')), package('{LONG.hex()}'), state('switch')]"
    scene = await play(micropython, f"in_order({call})", [(LONG, 0x6A80)], [EMPTY])
    assert scene.outcome == "no error but {'eim': '61'}"


async def test_3_1_1_1_a_package_that_no_chain_of_blocks_holds_does_not_stand_before_the_next_for_ever(
        micropython: Run) -> None:
    """TS 102 221 numbers 256 blocks: here of 32 bytes, since this modem carries no more."""
    large = tlv(0xBF51, bytes(8300))
    call = f"setattr(channel, '_segment', 32) or package('{large.hex()}')"
    scene = await play(micropython, call, [], [EMPTY])
    assert (scene.outcome, scene.to("card")) == ("no error but False", [])
    assert scene.to("eim") == [provide(tlv(0xA0, b"\2\1\1"))]


async def test_3_1_1_1_an_unknown_package_is_answered_so(micropython: Run) -> None:
    scene = await play(micropython, f"package('{tlv(0xBF60, bytes(2000)).hex()}')", [], [EMPTY])
    assert scene.to("eim") == [provide(bytes.fromhex("a003020102"))]
    assert scene.log == ["package: the tag BF60 is unknown"]


@pytest.mark.covers("error.ProvideEimPackageResult.invalidPackageFormat")
@pytest.mark.parametrize(("package", "answer"), [
    (tlv(0xBF52, tlv(0x83, TX)), tlv(0xA0, tlv(0x80, TX), b"\x02\x01\x01")),  # no tagList
    (tlv(0xBF52, tlv(0x5C, b"\xbf"), tlv(0x83, TX)), tlv(0xA0, tlv(0x80, TX), b"\x02\x01\x01")),
    (tlv(0xBF52, b"\x5c\x05\xbf"), tlv(0xA0, b"\x02\x01\x01")),  # a length that lies
    (tlv(0xBF52, tlv(0x5C, b"\x5a"), tlv(0x83, TX)), tlv(0xBF52, tlv(0xA1, tlv(0x80, TX), b"\x02\x01\x01"))),
    (tlv(0xBF52, tlv(0x5C, b"\xbf\x2d")), tlv(0xBF52, tlv(0xA1, b"\x02\x01\x01"))),
    (tlv(0xBF52, bytes(600)), tlv(0xA0, b"\x02\x01\x01")),
    (tlv(0xBF54), tlv(0xA0, b"\x02\x01\x01")),
    (tlv(0xBF54, tlv(0xA0), tlv(0x82, TX)), tlv(0xA0, tlv(0x80, TX), b"\x02\x01\x01")),  # no source
    (tlv(0xBF54, tlv(0xA0, tlv(0x80, b"1$a$b"), tlv(0x81)), tlv(0x82, TX)),  # two
     tlv(0xA0, tlv(0x80, TX), b"\x02\x01\x01")),
    (tlv(0xBF54, tlv(0xA0, tlv(0x80, b"LPA:2$a$b")), tlv(0x82, TX)), tlv(0xA0, tlv(0x80, TX), b"\x02\x01\x01")),
    (tlv(0xBF54, tlv(0xA0, tlv(0x80, b"1$only")), tlv(0x82, TX)), tlv(0xA0, tlv(0x80, TX), b"\x02\x01\x01")),
    (tlv(0xBF54, tlv(0xA0, tlv(0x80, b"1$$m")), tlv(0x82, TX)), tlv(0xA0, tlv(0x80, TX), b"\x02\x01\x01")),
    (tlv(0xBF54, tlv(0xA0, tlv(0x80, b"\xff")), tlv(0x82, TX)), tlv(0xA0, tlv(0x80, TX), b"\x02\x01\x01")),
])
async def test_3_1_1_1_a_bad_package_is_answered_with_its_transaction_and_the_standards_code(
        micropython: Run, package: bytes, answer: bytes) -> None:
    scene = await play(micropython, f"package('{package.hex()}')", [], [EMPTY])
    assert scene.outcome == "no error but False"
    assert scene.said == [("eim", provide(answer))]


@pytest.mark.parametrize(("size", "why"), [
    (512, "without tagList"), (513, "513 bytes where at most 512 may be")])
async def test_a_request_of_512_bytes_is_read_and_one_of_513_is_not(micropython: Run, size: int, why: str) -> None:
    value = tlv(0x83, bytes(size - 4))
    scene = await play(micropython, f"package('{tlv(0xBF52, value).hex()}')", [], [EMPTY])
    assert why in "".join(scene.log)


async def test_a_request_that_is_cut_off_inside_is_told_with_the_place(micropython: Run) -> None:
    scene = await play(micropython, f"package('{tlv(0xBF52, tlv(0xA1, bytes.fromhex('5c05bf'))).hex()}')", [], [EMPTY])
    assert [line for line in scene.log if "5C wants 5 bytes" in line]


INFO_2 = tlv(0xBF22, tlv(0x81, b"\x02\x03\x01"))
EUM, EUICC = tlv(0xA5, bytes(500)), tlv(0xA6, bytes(600))
TOKEN = bytes.fromhex("840105")
CONFIGURATION = tlv(0xBF55, tlv(0xA0, tlv(0x30, tlv(0x80, b"another"), b"\x84\x01\x09"),
                                tlv(0x30, tlv(0x80, b"eim.example"), TOKEN)))


@pytest.mark.covers("IpaEuiccDataRequest.tagList", "IpaEuiccDataRequest.eimTransactionId",
                    "IpaEuiccData.eimTransactionId")
async def test_2_11_1_2_data_requests_are_answered_in_the_order_of_the_type(micropython: Run) -> None:
    notification = tlv(0x30, tlv(0xBF2F, tlv(0x80, b"\x05")), tlv(0x5F37, SIGNATURE))
    request = tlv(0xBF52, tlv(0x5C, bytes.fromhex("a8a9a6a58483bf22bf20a281a0")), tlv(0x83, TX))
    card = [
        (tlv(0xBF2B), tlv(0xBF2B, tlv(0xA0, notification))),
        (tlv(0xBF3C), tlv(0xBF3C, tlv(0x80, b"dp.example"), tlv(0x81, b"ds.example"))),
        (STORED, stored(epr(6))),
        (tlv(0xBF20), tlv(0xBF20, b"\x82\x00")),
        (tlv(0xBF22), INFO_2),
        (tlv(0xBF3C), tlv(0xBF3C, tlv(0x80, b"dp.example"), tlv(0x81, b"ds.example"))),
        (tlv(0xBF55), CONFIGURATION),
        (tlv(0xBF56), tlv(0xBF56, tlv(0xA0, EUM, EUICC))),
        (tlv(0xBF56), tlv(0xBF56, tlv(0xA0, EUM, EUICC))),
        remove(5), remove(6),
    ]
    scene = await play(micropython, f"package('{request.hex()}')", card, [acknowledge(5, 6)])
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert scene.to("eim") == [provide(tlv(0xBF52, tlv(
        0xA0, tlv(0xA0, notification), tlv(0x81, b"dp.example"), tlv(0xA2, epr(6)), tlv(0xBF20, b"\x82\x00"),
        INFO_2, tlv(0x83, b"ds.example"), TOKEN, EUM, EUICC, tlv(0x87, TX),
        bytes.fromhex("a8088002064081020640"), tlv(0xA9, DEVICE_INFO))))]


async def test_2_11_1_2_the_answer_is_what_the_host_codec_reads(micropython: Run) -> None:
    request = tlv(0xBF52, tlv(0x5C, bytes.fromhex("a8a9")), tlv(0x83, TX))
    scene = await play(micropython, f"package('{request.hex()}')", [], [EMPTY])
    kind, value = sgp32.decode("ProvideEimPackageResult", scene.to("eim")[0])["eimPackageResult"]
    data = value[1]
    assert (kind, value[0]) == ("ipaEuiccDataResponse", "ipaEuiccData")
    assert data["eimTransactionId"] == TX
    assert data["deviceInfo"]["tac"] == bytes.fromhex("68273220")
    assert data["ipaCapabilities"]["ipaFeatures"] == (b"\x40", 2)


@pytest.mark.covers("IpaEuiccDataRequest.searchCriteriaNotification.seqNumber",
                    "IpaEuiccDataRequest.searchCriteriaEuiccPackageResult.seqNumber")
async def test_2_11_1_2_searches_go_to_the_card_and_absent_fields_are_left_out(micropython: Run) -> None:
    request = tlv(0xBF52, tlv(0x5C, bytes.fromhex("a081a2")), tlv(0xA1, b"\x80\x01\x05"), tlv(0xA2, b"\x80\x01\x07"))
    card = [(bytes.fromhex("bf2b05a003800105"), tlv(0xBF2B, tlv(0xA0))), (tlv(0xBF3C), tlv(0xBF3C)),
            (STORED, stored(epr(6), epr(7)))]
    scene = await play(micropython, f"package('{request.hex()}')", card, [EMPTY])
    assert scene.to("eim") == [provide(tlv(0xBF52, tlv(0xA0, tlv(0xA0), tlv(0xA2, epr(7)))))]


ADDRESSES = tlv(0xBF3C, tlv(0x80, b"dp.example"), tlv(0x81, b"ds.example"))
CERTIFICATES = tlv(0xBF56, tlv(0xA0, EUM, EUICC))
NAMES = {member.kind.tags[0]: member.name for member in sgp32.kind("IpaEuiccData").members}
ALONE = {  # tag: what the card is asked and answers, the field
    "a0": ([(tlv(0xBF2B), tlv(0xBF2B, tlv(0xA0)))], "a000"),
    "81": ([(tlv(0xBF3C), ADDRESSES)], tlv(0x81, b"dp.example").hex()),
    "a2": ([(STORED, stored())], "a200"),
    "bf20": ([(tlv(0xBF20), bytes.fromhex("bf20028200"))], "bf20028200"),
    "bf22": ([(tlv(0xBF22), INFO_2)], INFO_2.hex()),
    "83": ([(tlv(0xBF3C), ADDRESSES)], tlv(0x83, b"ds.example").hex()),
    "84": ([(tlv(0xBF55), CONFIGURATION)], TOKEN.hex()),
    "a5": ([(tlv(0xBF56), CERTIFICATES)], EUM.hex()),
    "a6": ([(tlv(0xBF56), CERTIFICATES)], EUICC.hex()),
    "a8": ([], "a8088002064081020640"),
    "a9": ([], tlv(0xA9, DEVICE_INFO).hex()),
}


@pytest.mark.parametrize("tag", [
    pytest.param(tag, marks=pytest.mark.covers(f"IpaEuiccData.{NAMES[int(tag, 16)]}")) for tag in ALONE])
async def test_2_11_1_2_each_tag_is_answered_alone(micropython: Run, tag: str) -> None:
    card, field = ALONE[tag]
    request = tlv(0xBF52, tlv(0x5C, bytes.fromhex(tag)))
    scene = await play(micropython, f"package('{request.hex()}')", card, [EMPTY])
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert scene.to("eim") == [provide(tlv(0xBF52, tlv(0xA0, bytes.fromhex(field))))]


@pytest.mark.covers("IpaEuiccDataRequest.euiccCiPKIdentifierToBeUsed")
async def test_2_11_1_2_certificates_are_those_of_the_ci_that_the_eim_names(micropython: Run) -> None:
    key_id = bytes(range(20))
    request = tlv(0xBF52, tlv(0x5C, b"\xa5"), tlv(0x04, key_id))
    card = [(tlv(0xBF56, tlv(0x80, key_id)), CERTIFICATES)]
    scene = await play(micropython, f"package('{request.hex()}')", card, [EMPTY])
    assert (scene.left, scene.to("eim")) == ([], [provide(tlv(0xBF52, tlv(0xA0, EUM)))])


@pytest.mark.covers("IpaEuiccDataRequest.searchCriteriaNotification.profileManagementOperation")
async def test_2_11_1_2_notifications_can_be_searched_by_event(micropython: Run) -> None:
    request = tlv(0xBF52, tlv(0x5C, b"\xa0"), tlv(0xA1, bytes.fromhex("81020640")))  # notificationEnable
    card = [(bytes.fromhex("bf2b06a00481020640"), tlv(0xBF2B, tlv(0xA0, pending(5))))]
    scene = await play(micropython, f"package('{request.hex()}')", card, [EMPTY])
    assert scene.to("eim") == [provide(tlv(0xBF52, tlv(0xA0, tlv(0xA0, pending(5)))))]


@pytest.mark.parametrize(("setting", "capabilities"), [
    pytest.param("pass", {"ipaFeatures": (b"\x40", 2), "ipaSupportedProtocols": (b"\x40", 2)}, marks=pytest.mark.covers(
        "IpaCapabilities.ipaFeatures.indirectRspServerCommunication",
        "IpaCapabilities.ipaSupportedProtocols.ipaRetrieveCoaps")),
    pytest.param(
        "session.tcp = print", {"ipaFeatures": (b"\xc0", 2), "ipaSupportedProtocols": (b"\x40", 2)},
        marks=pytest.mark.covers("IpaCapabilities.ipaFeatures.directRspServerCommunication")),
    ("session.features |= 4; session.protocols = 0xc0",
     {"ipaFeatures": (b"\x44", 6), "ipaSupportedProtocols": (b"\xc0", 2)}),
])
async def test_2_11_1_2_capabilities_are_what_the_device_is_set_up_for(
        micropython: Run, setting: str, capabilities: object) -> None:
    out = await micropython(
        "from ipa.steps import Session, ipa_capabilities\nsession = Session(b'', b'', None, None, b'', None)\n"
        f"{setting}\nprint(ipa_capabilities(session).hex())")
    assert tlv(0x30, bytes.fromhex(out)) == sgp32.encode("IpaCapabilities", capabilities)


P = "IpaCapabilities.ipaSupportedProtocols"


@pytest.mark.parametrize(("settings", "protocols"), [
    pytest.param({"transport": "https"}, ["ipaRetrieveHttps"], marks=pytest.mark.covers(f"{P}.ipaRetrieveHttps")),
    pytest.param({}, ["ipaRetrieveCoaps"], marks=pytest.mark.covers(f"{P}.ipaRetrieveCoaps")),
    pytest.param({"inject_wait_s": 9}, ["ipaRetrieveCoaps", "ipaInjectCoaps"],
                 marks=pytest.mark.covers(f"{P}.ipaInjectCoaps")),
])
async def test_2_11_1_2_protocols_are_those_of_the_settings(
        micropython: Run, settings: dict[str, object], protocols: list[str]) -> None:
    out = await micropython(
        "from ipa import config\nfrom ipa.conversation import Conversation\nfrom ipa.steps import ipa_capabilities\n"
        f"settings = dict(config.DEFAULTS, **{settings})\n"
        "session = Conversation(None, settings, None, None, None).session(b'eim', bytes(16), b'')\n"
        "print(ipa_capabilities(session).hex())")
    told = sgp32.decode("IpaCapabilities", tlv(0x30, bytes.fromhex(out)))["ipaSupportedProtocols"]
    names = sgp32.kind("IpaCapabilities").members[1].kind.names
    assert [names[bit] for bit in names if told[0][0] << bit & 0x80] == protocols


@pytest.mark.parametrize(("setting", "feature"), [
    pytest.param(setting, feature, marks=pytest.mark.covers(f"IpaCapabilities.ipaFeatures.{feature}"))
    for setting, feature in (
        ("eim_download_data", "eimDownloadDataHandling"), ("eim_ctx_params_1", "eimCtxParams1Generation"),
        ("eim_metadata", "eimProfileMetadataVerification"), ("compact", "minimizeEsipaBytes"))
])
async def test_2_11_1_2_features_are_those_of_the_settings(micropython: Run, setting: str, feature: str) -> None:
    out = await micropython(
        "from ipa import config\nfrom ipa.conversation import Conversation\nfrom ipa.steps import ipa_capabilities\n"
        f"settings = dict(config.DEFAULTS, {setting}=True)\n"
        "session = Conversation(None, settings, None, None, None).session(b'eim', bytes(16), b'')\n"
        "print(ipa_capabilities(session).hex())")
    told = sgp32.decode("IpaCapabilities", tlv(0x30, bytes.fromhex(out)))["ipaFeatures"]
    names = sgp32.kind("IpaCapabilities").members[0].kind.names
    assert [names[bit] for bit in names if told[0][0] << bit & 0x80] == ["indirectRspServerCommunication", feature]


@pytest.mark.parametrize(("modem", "capabilities"), [
    ("bg95", {"gsmSupportedRelease": b"\x0e\0\0", "eutranEpcSupportedRelease": b"\x0e\0\0"}),
    ("bg77", {"eutranEpcSupportedRelease": b"\x0e\0\0"}),
    ("sim7000", {"gsmSupportedRelease": b"\x0d\0\0", "eutranEpcSupportedRelease": b"\x0d\0\0"}),
    ("sim7080g", {"eutranEpcSupportedRelease": b"\x0e\0\0"}),
    ("gm02s", {"eutranEpcSupportedRelease": b"\x0e\0\0"}),
    ("sara-r5", {"eutranEpcSupportedRelease": b"\x0e\0\0"}),
    ("sara-r422", {"gsmSupportedRelease": b"\x0e\0\0", "eutranEpcSupportedRelease": b"\x0e\0\0"}),
    ("nrf91", {"eutranEpcSupportedRelease": b"\x0d\0\0"}),
])
async def test_sgp_22_4_2_device_capabilities_are_those_of_the_modem_family(
        micropython: Run, modem: str, capabilities: object) -> None:
    out = await micropython(
        f"from ipa.modem import driver\nprint(driver('{modem}').device_capabilities.hex())", heapsize="192K")
    assert tlv(0x30, bytes.fromhex(out)) == rsp.encode("DeviceCapabilities", capabilities)


@pytest.mark.covers(
    "error.IpaEuiccDataResponse.euiccCiPKIdNotFound",
    "error.IpaEuiccDataResponse.undefinedError",
)
@pytest.mark.parametrize(("answer", "code"), [(bytes.fromhex("bf5603810101"), 5), (0x6A88, 127), (b"\xbf\x56\5", 127)])
async def test_2_11_1_2_what_the_card_refuses_is_answered_with_a_code(
        micropython: Run, answer: bytes | int, code: int) -> None:
    ci = bytes(range(20))
    request = tlv(0xBF52, tlv(0x5C, b"\xa6"), tlv(0x04, ci), tlv(0x83, TX))
    scene = await play(micropython, f"package('{request.hex()}')", [(tlv(0xBF56, tlv(0x80, ci)), answer)], [EMPTY])
    assert scene.to("eim") == [provide(tlv(0xBF52, tlv(0xA1, tlv(0x80, TX), tlv(0x02, bytes([code])))))]


@pytest.mark.covers("error.IpaEuiccDataResponse.ecallActive", "error.ProfileDownloadTriggerResult.ecallActive")
@pytest.mark.parametrize(("package", "answer"), [
    (tlv(0xBF52, tlv(0x5C, b"\xa9"), tlv(0x83, TX)), tlv(0xBF52, tlv(0xA1, tlv(0x80, TX), b"\x02\x01\x68"))),
    (tlv(0xBF54, tlv(0xA0, tlv(0x80, b"1$smdp.example$A")), tlv(0x82, TX)),
     tlv(0xBF54, tlv(0x82, TX), tlv(0x30, b"\x80\x01\x68"))),
])
async def test_5_9_22_in_an_emergency_the_card_is_left_alone_and_the_eim_hears_why(
        micropython: Run, package: bytes, answer: bytes) -> None:
    call = f"session.journal.set(emergency=True) or package('{package.hex()}')"
    scene = await play(micropython, call, [], [EMPTY])
    assert (scene.outcome, scene.said) == ("no error but False", [("eim", provide(answer))])


async def test_3_2_3_2_an_sm_dp_whose_address_is_no_text_has_failed_and_the_eim_hears_of_it(micropython: Run) -> None:
    trigger = tlv(0xBF54, tlv(0x82, TX), tlv(0xA0, tlv(0x80, b"1$smdp.example$A")))
    card = [(tlv(0xBF2E), tlv(0xBF2E, tlv(0x80, bytes(16)))), (tlv(0xBF20), tlv(0xBF20))]
    signed = tlv(0x30, tlv(0x80, TX), tlv(0x81, bytes(16)), tlv(0x83, b"\xff\xfe"))
    answer = tlv(0xBF39, tlv(0xA0, tlv(0x80, TX), signed, tlv(0x5F37, SIGNATURE), tlv(0x04, bytes(20)), tlv(0x30)))
    scene = await play(micropython, f"package('{trigger.hex()}')", card, [answer, EMPTY])
    assert scene.outcome == "no error but False"
    why = tlv(0x04, b"a name or an address that is no text")
    assert scene.to("eim")[-1] == provide(tlv(0xBF54, tlv(0x82, TX), tlv(0x30, b"\x80\x01\x7f", why)))


# Notifications, 3.7

INSTALLED = tlv(0xBF37, tlv(0xBF27, tlv(0x80, bytes(16)), tlv(0xBF2F, tlv(0x80, b"\x05"))), tlv(0x5F37, SIGNATURE))
LISTED = tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\x09")), tlv(0xBF2F, tlv(0x80, b"\x05"))))


def one(seq: int) -> tuple[bytes, bytes]:
    """The card's part in retrieving one notification."""
    return tlv(0xBF2B, tlv(0xA0, tlv(0x80, bytes([seq])))), tlv(0xBF2B, tlv(0xA0, pending(seq)))


def pending(seq: int) -> bytes:
    return tlv(0x30, tlv(0xBF2F, tlv(0x80, bytes([seq]))), tlv(0x5F37, SIGNATURE), tlv(0x30, bytes(300)))


async def test_3_7_results_and_then_notifications_by_number_and_each_leaves_the_card_after_its_answer(
        micropython: Run) -> None:
    card = [(STORED, stored(epr(6), epr(7))), remove(6), (STORED, stored(epr(7))), remove(7), (STORED, stored()),
            (tlv(0xBF28), LISTED), one(5), remove(5), one(9), remove(9)]
    scene = await play(micropython, "notify.deliver(session)", card, [acknowledge(6), acknowledge(7), b"", b""])
    assert (scene.outcome, scene.left) == ("no error but True", [])
    said = " ".join(who for who, _ in scene.said)
    assert said == "card eim card card eim card card card card eim card card eim card"
    assert scene.to("eim") == [provide(epr(6)), provide(epr(7)), tlv(0xBF3D, tlv(0xA0, pending(5))),
                               tlv(0xBF3D, tlv(0xA0, pending(9)))]


async def test_3_7_results_of_another_eim_and_its_installations_wait_for_its_turn(micropython: Run) -> None:
    other = epr(6).replace(b"eim.example", b"eim.another")
    installed = tlv(0xBF37, tlv(0xBF27, tlv(0x80, bytes(16))), tlv(0x5F37, SIGNATURE))
    mine, card = "session.journal.set(download='a1', eim='{}') or notify.deliver(session)", [
        (STORED, stored(other)), (tlv(0xBF28), tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\x05"))))),
        (one(5)[0], tlv(0xBF2B, tlv(0xA0, installed)))]
    scene = await play(micropython, mine.format("eim.another"), card, [])
    assert (scene.outcome, scene.to("eim")) == ("no error but True", [])
    scene = await play(micropython, mine.format("eim.example"), [*card, remove(5)], [b""])
    assert scene.to("eim") == [tlv(0xBF3D, tlv(0xA0, installed))]


async def test_3_7_what_another_eim_ordered_is_not_this_ones_to_acknowledge(micropython: Run) -> None:
    other = epr(6).replace(b"eim.example", b"eim.another")
    card = [(PACKAGE, epr(7, LIST_PROFILES)), remove(7)]
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", card, [acknowledge(5, 6, 7)])
    assert (scene.outcome, scene.to("card")) == ("no error but False", [PACKAGE, remove(7)[0]])
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, other)], [acknowledge(6)])
    assert scene.to("card") == [PACKAGE]  # a package of the other that this one has brought


async def test_2_11_1_2_the_results_and_installations_of_another_eim_are_not_told(micropython: Run) -> None:
    other = epr(6).replace(b"eim.example", b"eim.another")
    request = tlv(0xBF52, tlv(0x5C, bytes.fromhex("a0a2")))
    card = [(tlv(0xBF2B), tlv(0xBF2B, tlv(0xA0, INSTALLED, pending(9)))), (STORED, stored(other, epr(7))),
            remove(7), remove(9)]
    call = f"session.journal.set(ended=[['eim.another', 'a1', 5]]) or package('{request.hex()}')"
    scene = await play(micropython, call, card, [acknowledge(5, 6, 7, 9)])
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert scene.to("eim") == [provide(tlv(0xBF52, tlv(0xA0, tlv(0xA0, pending(9)), tlv(0xA2, epr(7)))))]


@pytest.mark.parametrize("refusal", NOT_LISTED)
async def test_2_11_1_2_a_card_that_does_not_list_has_nothing_in_its_lists_and_the_rest_is_answered(
        micropython: Run, refusal: bytes | int) -> None:
    request = tlv(0xBF52, tlv(0x5C, bytes.fromhex("a0a2bf22")))
    card = [(tlv(0xBF2B), refusal), (STORED, refusal), (tlv(0xBF22), INFO_2)]
    scene = await play(micropython, f"package('{request.hex()}')", card, [EMPTY])
    assert scene.to("eim") == [provide(tlv(0xBF52, tlv(0xA0, tlv(0xA0), tlv(0xA2), INFO_2)))]


async def test_3_7_nothing_waiting_costs_the_network_nothing(micropython: Run) -> None:
    card = [(STORED, bytes.fromhex("bf2b02a200")), (tlv(0xBF28), bytes.fromhex("bf2802a000"))]
    scene = await play(micropython, "notify.deliver(session)", card, [])
    assert scene.outcome == "no error but True"


async def test_3_7_what_the_eim_refuses_stays_and_the_next_one_is_delivered(micropython: Run) -> None:
    card = [(STORED, stored(epr(7))), (STORED, stored(epr(7))), (tlv(0xBF28), LISTED), one(5), one(9), remove(9)]
    eim: list[bytes | str] = [EMPTY, "CoapRefused(0x80)", b""]
    scene = await play(micropython, "notify.deliver(session)", card, eim)
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert scene.to("card")[-1] == remove(9)[0]


@pytest.mark.parametrize("refusal", NOT_LISTED)
async def test_3_7_a_card_that_does_not_list_has_nothing_waiting(micropython: Run, refusal: bytes | int) -> None:
    scene = await play(micropython, "notify.waiting(session)", [(STORED, refusal), (tlv(0xBF28), 0x6A80)], [])
    assert scene.outcome == "no error but False"
    scene = await play(micropython, "notify.deliver(session)", [(STORED, refusal), (tlv(0xBF28), 0x6A80)], [])
    assert scene.outcome == "no error but True"


@pytest.mark.parametrize("refusal", [0x6A80, b"\xbf\x2b\5"])
async def test_3_7_a_notification_that_cannot_be_read_does_not_hold_up_the_next(
        micropython: Run, refusal: bytes | int) -> None:
    card = [(STORED, stored()), (tlv(0xBF28), LISTED), (one(5)[0], refusal), one(9), remove(9)]
    scene = await play(micropython, "notify.deliver(session)", card, [b""])
    assert (scene.outcome, scene.left) == ("no error but True", [])


async def test_3_7_what_the_eim_refuses_is_offered_ever_more_seldom_and_what_is_new_at_once(
        micropython: Run) -> None:
    asked = [(STORED, stored()), (tlv(0xBF28), LISTED), one(5), one(9)]
    held = [(STORED, stored()), (tlv(0xBF28), LISTED)]
    script = "in_order([session.journal.set(refused=None), conversations({})])"
    card = asked * 2 + held + asked + held * 3 + asked
    eim: list[bytes | str] = ["CoapRefused(0x80)"] * 8
    scene = await play(micropython, script.format(8), card, eim)
    assert (scene.outcome, scene.left) == ("no error but [['eim.example', 9, 4, 7]]", [])
    newer = tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\x09")), tlv(0xBF2F, tlv(0x80, b"\x0a"))))
    card = asked * 2 + [(STORED, stored()), (tlv(0xBF28), newer), one(10), remove(10)]
    scene = await play(micropython, script.format(3), card, eim[:4] + [b""])
    assert (scene.outcome, scene.left) == ("no error but [['eim.example', 9, 2, 0]]", [])
    taken = asked[:2] + [one(5), remove(5), one(9), remove(9)]
    scene = await play(micropython, script.format(2), asked + taken, eim[:2] + [b"", b""])
    assert (scene.outcome, scene.left) == ("no error but None", [])


async def test_3_7_what_the_eim_cannot_take_now_is_due_and_not_refused(micropython: Run) -> None:
    card = [(STORED, stored(epr(7))), (STORED, stored(epr(7))), (tlv(0xBF28), LISTED), one(5), one(9), remove(9)]
    call = "in_order([notify.deliver(session), gather([state('refused'), due()])])"
    scene = await play(micropython, call, card, ["CoapRefused(0xA3)", "CoapRefused(0xA3)", b""])
    assert scene.outcome == "no error but [None, EsipaRefused('HandleNotification: the eIM refused with 5.03',)]"
    assert scene.left == []


async def test_3_7_a_broken_network_leaves_everything_on_the_card(micropython: Run) -> None:
    card = [(STORED, stored()), (tlv(0xBF28), LISTED), one(5)]
    scene = await play(micropython, "notify.deliver(session)", card, ["OSError(110)"])
    assert scene.outcome.startswith("OSError")
    assert scene.to("card")[-1] == one(5)[0]


@pytest.mark.parametrize("answer", ["JsonError('no JSON')", "Es9Malformed('handleNotification', 'no header')",
                                    "HttpsRefused(502)", "HttpsClosed('TLS')"])
async def test_3_2_3_1_an_sm_dp_that_answers_with_rubbish_does_not_keep_the_device_from_its_eim(
        micropython: Run, answer: str) -> None:
    """The page of a captive portal, say. What the SM-DP+ does not take is then the eIM's to have."""
    result = tlv(0xBF37, tlv(0xBF27, tlv(0x80, TX), tlv(0xBF2F, tlv(0x80, b"\x05"), tlv(0x0C, b"smdp.example")),
                             tlv(0xA2, tlv(0xA0))), tlv(0x5F37, SIGNATURE))
    card = [(STORED, stored()), (tlv(0xBF28), tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\x05"))))),
            (one(5)[0], tlv(0xBF2B, tlv(0xA0, result)))]
    call = f"direct(\"{answer}\", '{TX.hex()}')"
    scene = await play(micropython, call, card, [])
    assert scene.outcome == "no error but True"
    assert [line for line in scene.log if "stays on the card" in line]
    due = f"in_order([direct(\"{answer}\", '{TX.hex()}'), state('tries'), due()])"
    scene = await play(micropython, due, card, [])
    assert scene.outcome.startswith("no error but a result waits for its SM-DP+: ")


async def test_3_2_3_1_a_result_that_the_sm_dp_refuses_for_good_has_come_to_its_end(micropython: Run) -> None:
    result = tlv(0xBF37, tlv(0xBF27, tlv(0x80, TX), tlv(0xBF2F, tlv(0x80, b"\x05"), tlv(0x0C, b"smdp.example")),
                             tlv(0xA2, tlv(0xA0))), tlv(0x5F37, SIGNATURE))
    card = [(STORED, stored()), (tlv(0xBF28), tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\x05"))))),
            (one(5)[0], tlv(0xBF2B, tlv(0xA0, result))), remove(5)]
    refusal = "Es9Refused('handleNotification', '8.1/6.1', '')"
    scene = await play(micropython, f"in_order([direct(\"{refusal}\", '{TX.hex()}'), state('direct')])", card, [])
    assert (scene.outcome, scene.left) == ("no error but None", [])


async def test_3_2_3_1_results_of_several_direct_downloads_wait_and_the_eim_gets_one_after_eight_tries(
        micropython: Run) -> None:
    result = tlv(0xBF37, tlv(0xBF27, tlv(0x80, TX), tlv(0xBF2F, tlv(0x80, b"\x05"), tlv(0x0C, b"smdp.example")),
                             tlv(0xA2, tlv(0xA0))), tlv(0x5F37, SIGNATURE))
    card = [(STORED, stored()), (tlv(0xBF28), tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\x05"))))),
            (one(5)[0], tlv(0xBF2B, tlv(0xA0, result)))]
    call = (f"in_order([session.journal.set(tries=7), direct(\"HttpsRefused(503)\", ['aa', '{TX.hex()}', 'bb']),"
            " gather([state('direct'), due()])])")
    scene = await play(micropython, call, card, [])
    assert scene.outcome == "no error but [['aa', 'bb'], None]"


async def test_removing_what_is_gone_already_is_no_error(micropython: Run) -> None:
    gone = (remove(7)[0], bytes.fromhex("bf3003800101"))
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, epr(7, LIST_PROFILES)), gone],
                       [acknowledge(7)])
    assert scene.outcome == "no error but False"
    refused = (remove(7)[0], bytes.fromhex("bf300380017f"))
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, epr(7, LIST_PROFILES)), refused],
                       [acknowledge(7)])
    assert scene.outcome == "no error but False"
    assert "notify: 7 stays on the card: RemoveNotificationFromList: the card refused with 127" in scene.log
    assert "package: result delivered, 0 acknowledged and removed from the card" in scene.log


INSTALLED = tlv(0xBF37, tlv(0xBF27, tlv(0x80, TX), tlv(0xBF2F, tlv(0x80, b"\x05"), tlv(0x0C, b"smdp.example:none")),
                            tlv(0xA2, tlv(0xA0))), tlv(0x5F37, SIGNATURE))


@pytest.mark.parametrize("noted", ["aa", TX.hex()], ids=["of another download", "of an SM-DP+ that cannot be reached"])
async def test_5_7_4_a_result_that_the_device_cannot_deliver_itself_goes_to_the_eim(
        micropython: Run, noted: str) -> None:
    card = [(STORED, stored()), (tlv(0xBF28), tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\x05"))))),
            (one(5)[0], tlv(0xBF2B, tlv(0xA0, INSTALLED))), remove(5)]
    scene = await play(micropython, f"direct('OSError(1)', '{noted}')", card, [b""])
    assert (scene.outcome, scene.left) == ("no error but True", [])
    assert scene.to("eim") == [tlv(0xBF3D, tlv(0xA0, INSTALLED))]


NOTHING_LISTED = [(STORED, stored()), (tlv(0xBF28), tlv(0xBF28, tlv(0xA0)))]


@pytest.mark.parametrize(("owner", "answers", "delivered", "stays"), [
    ("eim.example", [acknowledge(7)], True, False),
    ("eim.example", ["CoapRefused(0x80)"], True, False),  # 4.00 will be so the next time as well
    ("eim.example", ["CoapRefused(0xA3)"], False, True),  # 5.03 passes
    ("eim.other", [], True, True),
], ids=["taken", "refused", "not now", "of another eIM"])
async def test_a_result_that_the_card_does_not_list_is_kept_until_its_eim_has_said_yes_or_no(
        micropython: Run, owner: str, answers: list[bytes | str], delivered: bool, stays: bool) -> None:
    kept = {owner.encode().hex(): epr(7).hex()}
    call = f"in_order([session.journal.set(unlisted={kept!r}), gather([notify.deliver(session), state('unlisted')])])"
    scene = await play(micropython, call, NOTHING_LISTED, answers)
    assert scene.outcome == f"no error but [{delivered}, {kept if stays else None}]"
    assert scene.to("eim") == ([provide(epr(7))] if answers else [])


@pytest.mark.parametrize(("card", "kept", "waits"), [
    (NOTHING_LISTED, None, False),
    (NOTHING_LISTED, {b"eim.example".hex(): epr(7).hex()}, True),
    ([(STORED, stored(epr(7)))], None, True),
    ([(STORED, stored()), (tlv(0xBF28), LISTED)], None, True),
], ids=["nothing", "in the journal", "a result", "a notification"])
async def test_3_7_something_waits_where_card_or_journal_keeps_it(
        micropython: Run, card: list[tuple[bytes, bytes]], kept: dict[str, str] | None, waits: bool) -> None:
    call = f"in_order([session.journal.set(unlisted={kept!r}), notify.waiting(session)])"
    assert (await play(micropython, call, card, [])).outcome == f"no error but {waits}"


async def lost(micropython: Run, lists: str, listed: object) -> Scene:
    """A package of which the result does not reach the eIM, and what the journal keeps of it then."""
    kept = f"in_order([failing(package('{PACKAGE.hex()}')), state('unlisted')])"
    script = [*([] if listed is None else [(STORED, listed)]), (PACKAGE, epr(7, LIST_PROFILES))]
    return await play(micropython, f"(setattr(es10, 'lists', {lists}), {kept})[1]", script, ["CoapTimeout('lost')"])


KEPT = f"no error but {({b'eim.example'.hex(): epr(7, LIST_PROFILES).hex()})}"


@pytest.mark.parametrize("listed", NOT_LISTED[:2], ids=["6A80", "code 127"])
async def test_a_poll_that_has_not_asked_the_card_for_its_results_asks_before_a_package_and_keeps_what_it_does_not_list(
        micropython: Run, listed: bytes | int) -> None:
    scene = await lost(micropython, "None", listed)
    assert (scene.outcome, scene.left) == (KEPT, [])
    assert scene.to("card") == [STORED, PACKAGE]


async def test_a_card_that_lists_its_results_keeps_them_itself(micropython: Run) -> None:
    scene = await lost(micropython, "None", stored())
    assert (scene.outcome, scene.to("card")) == ("no error but None", [STORED, PACKAGE])
    scene = await lost(micropython, "True", None)
    assert (scene.outcome, scene.to("card")) == ("no error but None", [PACKAGE])


@pytest.mark.parametrize("acknowledged", [7, 9])
async def test_3_1_1_2_the_result_of_an_injected_package_is_kept_until_it_is_acknowledged(
        micropython: Run, acknowledged: int) -> None:
    ordered = tlv(0xBF4E, PACKAGE).hex()
    content = tlv(0xBF4E, tlv(0xBF53, tlv(0x80, bytes([acknowledged])))).hex()
    call = f"(setattr(es10, 'lists', False), in_order([transfers('{ordered}', '{content}'), state('unlisted')]))[1]"
    scene = await play(micropython, call, [(PACKAGE, epr(7, LIST_PROFILES))], [])
    assert scene.outcome == ("no error but None" if acknowledged == 7 else KEPT)


async def test_5_7_4_a_device_without_tcp_leaves_the_result_of_a_direct_download_to_the_eim(
        micropython: Run) -> None:
    card = [(STORED, stored()), (tlv(0xBF28), tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\x05"))))),
            (one(5)[0], tlv(0xBF2B, tlv(0xA0, INSTALLED))), remove(5)]
    call = f"in_order([session.journal.set(direct='{TX.hex()}'), notify.deliver(session)])"
    scene = await play(micropython, call, card, [b""])
    assert (scene.outcome, scene.to("eim")) == ("no error but True", [tlv(0xBF3D, tlv(0xA0, INSTALLED))])
    assert not [line for line in scene.log if line.startswith("download:")]  # and does not try it itself


async def test_an_eim_that_acknowledges_what_it_was_not_sent_has_removed_nothing(micropython: Run) -> None:
    scene = await play(micropython, f"package('{PACKAGE.hex()}')", [(PACKAGE, epr(7, LIST_PROFILES))], [acknowledge(9)])
    assert scene.to("card") == [PACKAGE]
    assert "package: result delivered, 0 acknowledged and removed from the card" in scene.log
