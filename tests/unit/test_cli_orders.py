"""`microipa order …`, `orders`, `devices`: each verb orders what its name says, bad input is one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_runner import Microipa
from eim_ipa import OTHER_EID, Ipa
from euicc_peer import Terminal
from microipa.asn1.tlv import integer, tlv
from microipa.eim import devices
from microipa.eim.packages import operations
from microipa.eim.store import Device, Order, Store
from microipa.lab import EID, LabFolder
from microipa.storage.unit_of_work import table_of
from sqlalchemy import select

ICCID = "8999970000000000001"
PACKED = bytes.fromhex("989979000000000000F1")
CODE = "LPA:1$smdpp.example$A"


@pytest.fixture(scope="module")
def new_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orders") / "lab"
    LabFolder(folder, create=True)
    return folder


@pytest.fixture
def lab(new_lab: Path, tmp_path: Path) -> Path:
    return shutil.copytree(new_lab, tmp_path / "lab")


@pytest.fixture
def configuration(lab: Path, microipa: Microipa) -> Path:
    """The EimConfigurationData of the lab's own eIM, in a file."""
    file = lab / "eim.der"
    assert microipa("order", "eim", "configuration", file, "--lab", lab).status == 0
    return file


def ordered(lab: Path) -> list[Order]:
    with Store(lab / "eim.sqlite").work() as db:
        return db.all(Order, select(table_of(Order)).order_by(Order.id))


def refused(microipa: Microipa, *words: object) -> str:
    """The one sentence of a command that fails."""
    status, out, err = microipa(*words)
    assert (status, out) == (1, ""), out + err
    assert err.startswith("microipa: ")
    assert len(err.splitlines()) == 1
    return err.removeprefix("microipa: ").rstrip("\n")


# Every operation --------------------------------------------------------------------------------------------

LIST = ("listProfileInfo", {})


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (["enable", ICCID], [LIST, ("enable", {"iccid": PACKED, "rollbackFlag": None})]),
        (["enable", ICCID, "--no-rollback"], [LIST, ("enable", {"iccid": PACKED})]),
        (["disable", ICCID], [LIST, ("disable", {"iccid": PACKED})]),
        (["delete", ICCID], [LIST, ("delete", {"iccid": PACKED})]),
        (["list"], [LIST]),
        (["list", "--iccid", ICCID], [("listProfileInfo", {"searchCriteria": ("iccid", PACKED)})]),
        (
            ["list", "--class", "operational", "--tags", "5A9F70"],
            [("listProfileInfo", {"searchCriteria": ("profileClass", 2), "tagList": b"\x5a\x9f\x70"})],
        ),
        (["rat"], [("getRAT", {})]),
        (["immediate-enable", "off"], [("configureImmediateEnable", {})]),
        (
            ["immediate-enable", "on", "--smdp-oid", "2.999.10", "--smdp-address", "dp.example"],
            [
                (
                    "configureImmediateEnable",
                    {
                        "immediateEnableFlag": None,
                        "defaultSmdpOid": "2.999.10",
                        "defaultSmdpAddress": "dp.example",
                    },
                )
            ],
        ),
        (["fallback", "set", ICCID], [("setFallbackAttribute", {"iccid": PACKED})]),
        (["fallback", "unset"], [("unsetFallbackAttribute", {})]),
        (["default-dp", "dp.example"], [("setDefaultDpAddress", {"defaultDpAddress": "dp.example"})]),
        (["default-dp"], [("setDefaultDpAddress", {"defaultDpAddress": ""})]),
        (["eim", "delete", "eim.other.example"], [("deleteEim", {"eimId": "eim.other.example"})]),
        (
            ["eim", "update", "eim.other.example", "--fqdn", "new.example:5685", "--counter", "7"],
            [("updateEim", {"eimId": "eim.other.example", "eimFqdn": "new.example:5685", "counterValue": 7})],
        ),
        (["eim", "list"], [("listEim", {})]),
        (
            ["package", "listprofileinfo", f"enable {ICCID} rollback"],
            [LIST, ("enable", {"iccid": PACKED, "rollbackFlag": None})],
        ),
        (
            ["package", "listProfileInfo aid=A0000005591010FFFFFFFF8900001000", "getRAT"],
            [
                ("listProfileInfo", {"searchCriteria": ("isdpAid", bytes.fromhex("A0000005591010FFFFFFFF8900001000"))}),
                ("getRAT", {}),
            ],
        ),
        (["package", "deleteEim 'a name with spaces'"], [("deleteEim", {"eimId": "a name with spaces"})]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_2_11_1_1_each_verb_orders_the_operation_of_its_name(microipa, lab, words, content) -> None:
    status, out, err = microipa("order", *words, "--lab", lab)
    assert (status, err) == (0, "")
    assert out.startswith("order 1 queued: ")
    (order,) = ordered(lab)
    assert (order.eid, order.kind) == (EID, "package")
    assert operations(order.content) == content


def test_2_11_1_1_an_eim_is_added_or_updated_from_the_file_another_eim_wrote(microipa, lab, configuration) -> None:
    assert microipa("order", "eim", "add", configuration, "--lab", lab).status == 0
    assert microipa("order", "eim", "update", "x", "--from", configuration, "--lab", lab).status == 0
    ((added,), (updated,)) = (operations(order.content) for order in ordered(lab))
    assert (added[0], updated[0]) == ("addEim", "updateEim")
    assert added[1]["eimId"] == "eim.microipa.example"
    assert (added[1]["counterValue"], added[1]["associationToken"]) == (0, -1)
    left = {"counterValue", "associationToken"}
    assert updated[1] == {name: v for name, v in added[1].items() if name not in left} | {"eimId": "x"}


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ([], "5c0da081a2bf20bf228384a5a6a8a9"),
        (["associationToken", "eumcertificate", "euiccCertificate"], "5c0384a5a6"),
        (["euiccCertificate", "--ci", "F5 41"], "5c01a6" "0402f541"),
        (["notificationsList", "--notifications", "7"], "5c01a0" "a103800107"),
        (["notificationsList", "--notifications", "delete"], "5c01a0" "a10481020410"),
        (["euiccPackageResultList", "--result", "200"], "5c01a2" "a204800200c8"),
    ],
)
def test_2_11_1_2_a_data_request_asks_by_name_and_search(microipa, lab, words, fields) -> None:
    assert microipa("order", "data", *words, "--lab", lab).status == 0
    (order,) = ordered(lab)
    assert (order.kind, order.content.hex()) == ("query", fields)


def test_a_download_may_name_the_code_of_another_smdp(microipa, lab) -> None:
    assert microipa("order", "download", "--activation-code", CODE, "--lab", lab).status == 0
    (order,) = ordered(lab)
    assert (order.kind, order.content.decode()) == ("download", CODE)


@pytest.mark.parametrize(
    ("text", "end"),
    [("30m", timedelta(minutes=30)), ("12h", timedelta(hours=12)), ("7d", timedelta(days=7))],
)
def test_an_order_may_expire(microipa, lab, text, end) -> None:
    assert microipa("order", "list", "--expires", text, "--lab", lab).status == 0
    moment = (datetime.now(UTC) + timedelta(hours=5)).isoformat()
    assert microipa("order", "data", "--expires", moment, "--lab", lab).status == 0
    soon, later = ordered(lab)
    assert abs(soon.expires - (datetime.now(UTC) + end).timestamp()) < 60
    assert later.expires == datetime.fromisoformat(moment).timestamp()


def test_an_order_is_cancelled_once(microipa, lab) -> None:
    microipa("order", "rat", "--lab", lab)
    assert microipa("order", "cancel", 1, "--lab", lab) == (0, "order 1 cancelled\n", "")
    assert refused(microipa, "order", "cancel", 1, "--lab", lab) == "order 1 is cancelled already"
    assert refused(microipa, "order", "cancel", 2, "--lab", lab) == "there is no order 2"
    assert refused(microipa, "order", "cancel", 1 << 64, "--lab", lab) == f"there is no order {1 << 64}"
    assert ordered(lab)[0].state == "cancelled"


# What became of it ------------------------------------------------------------------------------------------


async def test_results_and_the_device_are_shown_in_words(microipa, lab) -> None:
    for words in (["list"], ["eim", "list"], ["default-dp", "dp.example"], ["data", "euiccInfo2", "deviceInfo"]):
        assert microipa("order", *words, "--lab", lab).status == 0
    desk = LabFolder(lab)
    terminal = Terminal(desk.card()).start()
    terminal.es10(tlv(0xBF57, tlv(0xA0, desk.eim.configuration())))
    ipa = Ipa(desk.eim.handle, terminal)
    await ipa.work()
    views = [json.loads(line) for line in microipa("orders", "--json", "--lab", lab, "--eid", EID).out.splitlines()]
    assert {view["state"] for view in views} == {"done"}
    results = {view["summary"]: view for view in views}
    assert results["listEim"]["result"] == "listEim: eim.microipa.example"
    data = results["ask for euiccInfo2, deviceInfo"]["details"]["ipaEuiccData"]
    assert "euiccInfo2" in str(data)
    assert "deviceInfo" in str(data)
    shown = "".join(microipa("devices", EID, "--lab", lab).out.replace("│", " ").split())
    for words in ("Bootstrap", "eim.microipa.example", "dp.example", "ipaRetrieveCoaps", "CN=microipatesteUICC"):
        assert words in shown
    (told,) = [json.loads(line) for line in microipa("devices", "--json", "--lab", lab).out.splitlines()]
    assert (told["eid"], told["association_token"], told["counter"]) == (EID, 1, 3)
    short = microipa("devices", "--lab", lab).out
    assert short.startswith(f"{EID}  ")
    assert len(short.splitlines()) == 1


async def test_what_the_card_does_not_have_is_refused_once_the_eim_knows_its_list(microipa, lab) -> None:
    assert microipa("order", "delete", ICCID, "--lab", lab).status == 0  # nothing is known yet
    assert microipa("order", "cancel", 1, "--lab", lab).status == 0
    for words in (["list"], ["eim", "list"]):
        assert microipa("order", *words, "--lab", lab).status == 0
    desk = LabFolder(lab)
    terminal = Terminal(desk.card()).start()
    terminal.es10(tlv(0xBF57, tlv(0xA0, desk.eim.configuration())))
    ipa = Ipa(desk.eim.handle, terminal)
    await ipa.work()
    [bootstrap] = [profile["iccid"] for profile in desk.eim.device(EID).profiles]
    how = "see `microipa devices EID`; `microipa order package` sends it to the card anyway"
    for words in (["enable"], ["disable"], ["delete"], ["fallback", "set"]):
        told = refused(microipa, "order", *words, ICCID, "--lab", lab)
        assert told == f"the card has no profile {ICCID}, but {bootstrap}: {how}"
    told = refused(microipa, "order", "eim", "delete", "other", "--lab", lab)
    assert told == f"the card has no eIM other, but eim.microipa.example: {how}"
    assert microipa("order", "package", f"delete {ICCID}", "--lab", lab).status == 0
    assert microipa("order", "enable", ICCID, "--lab", lab).status == 0  # what waits may bring it


async def test_a_downloaded_profile_is_known_before_the_card_has_sent_its_list(lab) -> None:
    with Store(lab / "eim.sqlite").work() as db:
        devices.add_profile(db.get(Device, EID), ICCID)
    view = LabFolder(lab).eim.device(EID)
    assert (view.profiles, view.profiles_known) == ([{"iccid": ICCID, "state": "disabled"}], None)


def test_one_order_is_shown_in_full_and_of_many_the_newest(microipa, lab) -> None:
    for _ in range(3):
        microipa("order", "enable", ICCID, "--lab", lab)
    one = microipa("orders", 2, "--lab", lab).out
    assert "order 2" in one
    assert "queued" in one
    rows = microipa("orders", "--limit", 2, "--json", "--lab", lab).out.splitlines()
    assert [json.loads(row)["id"] for row in rows] == [2, 3]
    assert "only the newest 2 are shown: use --limit to see more" in microipa("orders", "--limit", 2, "--lab", lab).out
    assert refused(microipa, "orders", 9, "--lab", lab) == "there is no order 9"


def test_an_iccid_is_whole_in_a_table_of_80_columns(microipa, lab, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    LabFolder(lab).eim.add_device(OTHER_EID)
    for eid in (EID, OTHER_EID):
        microipa("order", "enable", ICCID, "--lab", lab, "--eid", eid)
    shown = microipa("orders", "--lab", lab).out
    assert shown.count(ICCID) == 2
    assert "…" not in shown


@pytest.mark.parametrize(("state", "status"), [("done", 0), ("cancelled", 1)])
def test_wait_ends_with_the_order_and_tells_how_it_went(lab, state, status) -> None:
    words = [Path(sys.executable).with_name("microipa"), "order", "rat", "--wait", "--lab", lab]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout
        assert waiting.stdout.readline().startswith("order 1 queued")
        with Store(lab / "eim.sqlite").work() as db:
            db.get(Order, 1).state = state
        assert waiting.stdout.readline() == f"order 1 {state}\n"
        assert waiting.wait(20) == status


def test_a_device_is_managed_no_more_when_it_is_removed(microipa, lab) -> None:
    assert microipa("enrol", OTHER_EID, "--lab", lab).status == 0
    microipa("order", "rat", "--lab", lab, "--eid", OTHER_EID)
    assert "has open orders, 1: cancel them with" in refused(microipa, "enrol", OTHER_EID, "--remove", "--lab", lab)
    microipa("order", "cancel", 1, "--lab", lab)
    assert microipa("enrol", OTHER_EID, "--remove", "--lab", lab) == (0, f"{OTHER_EID} has been removed\n", "")
    assert ordered(lab) == []
    assert refused(microipa, "devices", OTHER_EID, "--lab", lab).startswith("this eIM does not manage")
    assert refused(microipa, "enrol", f"{OTHER_EID[:-1]}4", "--lab", lab).endswith("but must be 63")


async def test_alarms_and_state_changes_are_shown(microipa, lab) -> None:
    desk = LabFolder(lab)
    about = (tlv(0x80), integer(0x81, 1), tlv(0x82, b"\x09\xf1\x07"))
    await desk.eim.handle(tlv(0xBF4F, tlv(0x5A, bytes.fromhex(EID)), *about))
    signed = tlv(0x30, tlv(0x80, b"other.example"), integer(0x81, 1), integer(0x83, 1), tlv(0x30))
    foreign = tlv(0xBF51, tlv(0xA0, signed, tlv(0x5F37, bytes(64))))
    await desk.eim.handle(tlv(0xBF50, tlv(0x5A, bytes.fromhex(EID)), foreign))
    shown = microipa("devices", EID, "--lab", lab).out
    assert "fallback, 20" in shown
    assert "901-70" in shown
    assert "other.example" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--default"], "download from the card's default SM-DP+"),
        (["--smds"], "download what the SM-DS of the card has"),
        (["--smds-address", "smds.example"], "download what the SM-DS smds.example has"),
        (["--activation-code", CODE, "--confirmation-code", "4711"], f"download {CODE}"),
    ],
)
def test_a_profile_comes_from_where_it_is_said_to_be(microipa, lab, words, told) -> None:
    assert f"queued: {told}. The" in " ".join(microipa("order", "download", *words, "--lab", lab).out.split())
    (order,) = ordered(lab)
    assert (order.kind, order.confirmation_hash is not None) == ("download", "--confirmation-code" in words)


# Bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["enable", "disable", "delete", "fallback set"])
@pytest.mark.parametrize(
    ("iccid", "sentence"),
    [
        ("123", "iccid: '123' has 3 digits, an ICCID has 18 to 20"),
        ("89x9970000000000001", "iccid: '89x9970000000000001' has characters that are no digits"),
        ("", "iccid: '' has characters that are no digits"),
    ],
)
def test_an_iccid_that_is_none_is_refused(microipa, lab, verb, iccid, sentence) -> None:
    assert refused(microipa, "order", *verb.split(), iccid, "--lab", lab) == sentence
    assert ordered(lab) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "--class", "x"], "listProfileInfo: 'x' is not a profile class: test, provisioning, operational"),
        (["list", "--tags", "5"], "listProfileInfo: tags=5 is not 1 to 64 bytes in hex"),
        (
            ["list", "--class", "test", "--iccid", ICCID],
            "listProfileInfo: search by iccid, aid or class, only one of them",
        ),
        (["immediate-enable", "maybe"], "configureImmediateEnable: 'maybe' is neither on nor off"),
        (
            ["immediate-enable", "on", "--smdp-oid", "2..999"],
            "configureImmediateEnable: '2..999' is not an object identifier such as 2.999.10",
        ),
        (
            ["immediate-enable", "on", "--smdp-address", "dp example"],
            "configureImmediateEnable: 'dp example' is not a host name",
        ),
        (["default-dp", "https://dp"], "setDefaultDpAddress: 'https://dp' is not a host name"),
        (["default-dp", "x" * 254], f"setDefaultDpAddress: '{'x' * 64}' is not a host name"),
        (["default-dp", "dp.example:"], "setDefaultDpAddress: 'dp.example:' is not a host name"),
        (["eim", "delete", ""], "deleteEim: the eimId has 0 characters, 1 to 128 are allowed"),
        (["eim", "delete", "x" * 129], "deleteEim: the eimId has 129 characters, 1 to 128 are allowed"),
        (["eim", "update", "x"], "updateEim: give what is to change: from=FILE, fqdn=NAME or counter=NUMBER"),
        (["eim", "update", "x", "--counter", "-1"], "updateEim: '-1' is not a counter: it is a number from 0 on"),
        (["eim", "update", "x", "--fqdn", "a b"], "updateEim: 'a b' is not a host name"),
        (["data", "iccid"], "'iccid' is not a field of IpaEuiccData: choose among notificationsList, "),
        (["data", "--ci", "xy"], "--ci has 'x' after 0 digits: give 0 to 9 and A to F only"),
        (
            ["data", "--notifications", "never"],
            "'never' is neither a seqNumber nor an event: install, enable, disable, delete",
        ),
        (["rat", "--expires", "soon"], "--expires 'soon' is not a time: give 30m, 12h, 7d or 2027-01-31T12:00"),
        (["rat", "--expires", "2020-01-01"], "--expires 2020-01-01 is past"),
        (["rat", "--expires", "9999999d"], "--expires 9999999d is more than ten years away"),
        (["rat", "--expires", "0m"], "--expires 0m is past"),
        (["rat", "--eid", "8904"], "'8904' is not an EID: an EID has 32 digits, this has 4 digits"),
        (["rat", "--eid", f"{EID[:-1]}6"], f"{EID[:-1]}6 is not an EID: its check digits are 36, "),
        (["eim", "list", "--eid", OTHER_EID], f"this eIM does not manage {OTHER_EID} but {EID}: "),
        (["fallback", "unset", "--eid", ""], "'' is not an EID: an EID has 32 digits, this has 0 digits"),
        (["download", "--activation-code", "x"], "'x' is not an activation code: "),
        (["download", "--activation-code", ""], "'' is not an activation code: "),
        (["download", "/nowhere/p.der"], "cannot read /nowhere/p.der: No such file or directory"),
        (["download", __file__], f"{__file__} is not a profile package in DER: "),
        (["download", "p.der", "--activation-code", CODE], "give only one of profile files, "),
        (["download", "--default", "--smds"], "give only one of profile files, "),
        (["download", "--smds-address", "a b"], "'a b' is not an address of an SM-DS: host name[:port]"),
        (["download", "--confirmation-code", "", "--default"], "an empty confirmation code: "),
        (["download", "--confirmation-code", "1", "--smds"], "the confirmation code cannot be given: "),
        (["download", "--eid", OTHER_EID], f"this eIM does not manage {OTHER_EID} but {EID}: "),
        (["package", ""], "'' is not an operation: they are addEim, "),
        (["package", "format"], "'format' is not an operation: they are addEim, "),
        (["package", "enable"], "enable: the ICCID is missing"),
        (["package", f"enable {ICCID} rolback"], "enable: 'rolback' is not known here"),
        (["package", "getRAT now"], "getRAT: 'now' is not known here"),
        (["package", "getRAT", "listEim"], "getRAT, listEim: a package holds PSMOs or eCOs, never both; "),
        (["package", "listProfileInfo tags=5A tags=4F"], "listProfileInfo: tags= is given 2 times"),
        (["package", "deleteEim 'x"], "\"deleteEim 'x\" is not an operation: No closing quotation"),
        (["package", "addEim /nowhere/e.der"], "/nowhere/e.der: No such file or directory"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_ordered_is_one_sentence_and_leaves_no_order(microipa, lab, words, sentence) -> None:
    told = refused(microipa, "order", *words, "--lab", lab)
    assert told == sentence or (sentence.endswith(" ") and told.startswith(sentence))
    assert ordered(lab) == []


@pytest.mark.parametrize("content", [b"", b"hello", tlv(0x30, tlv(0x81, b"x"))], ids=["empty", "text", "no eimId"])
def test_a_file_that_is_no_eim_configuration_is_named(microipa, lab, content) -> None:
    file = lab / "other.der"
    file.write_bytes(content)
    told = refused(microipa, "order", "eim", "add", file, "--lab", lab)
    assert told.startswith(f"{file} is not an EimConfigurationData in DER: ")
    assert refused(microipa, "order", "eim", "update", "x", "--from", file, "--lab", lab) == told


def test_an_eim_without_key_or_counter_cannot_be_added(microipa, lab) -> None:
    file = lab / "other.der"
    file.write_bytes(tlv(0x30, tlv(0x80, b"x"), integer(0x83, 0)))
    sentence = "addEim: the configuration of x has no eimPublicKeyData"
    assert refused(microipa, "order", "eim", "add", file, "--lab", lab) == sentence


@pytest.mark.parametrize("trust", ["", "none", "CA"])
def test_a_trust_that_is_none_is_refused(microipa, lab, trust) -> None:
    file = lab / "eim.der"
    told = refused(microipa, "order", "eim", "configuration", file, "--trust", trust, "--lab", lab)
    assert told == f"{trust!r} is not a way to trust a TLS server: ca, certificate, pin"
    assert not file.exists()


@pytest.mark.parametrize("words", [["devices", OTHER_EID], ["orders", "--eid", OTHER_EID]])
def test_a_device_that_is_none_of_this_eim_is_refused(microipa, lab, words) -> None:
    assert refused(microipa, *words, "--lab", lab).startswith("this eIM does not manage ")


@pytest.mark.parametrize(
    "words",
    ["order rat", "order data", "order cancel 1", "order package getRAT", "order fallback unset", "order eim list",
     "order default-dp", "order immediate-enable on", "devices"],
)
def test_without_a_lab_every_verb_says_how_to_start_one(microipa, tmp_path, words) -> None:
    told = refused(microipa, *words.split(), "--lab", tmp_path)
    assert told == f"no lab in {tmp_path}: start one with `microipa lab up --lab {tmp_path}`"
