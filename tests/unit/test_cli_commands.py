"""`microipa profile`, `pki`, `orders`, `trace`: good input does what it says, bad input is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import Microipa
from microipa.asn1.tlv import tlv
from microipa.lab import forget_all_but_keys
from microipa.saip import ProfilePackage
from microipa.trace import Trace

K = "000102030405060708090a0b0c0d0e0f"


def refused(microipa: Microipa, *words: object) -> str:
    """The one sentence of a command that fails."""
    status, out, err = microipa(*words)
    assert (status, out) == (1, "")
    assert err.startswith("microipa: ")
    assert len(err.splitlines()) == 1
    return err.removeprefix("microipa: ").rstrip("\n")


# profile build, profile show


def test_a_profile_is_built_as_asked_and_shown_without_its_keys(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "profile.der"
    status, out, _ = microipa(
        "profile",
        "build",
        file,
        "--iccid",
        "8999970000000000001",
        "--imsi",
        "999700000000001",
        "--k",
        K.upper(),
        "--opc",
        "ab" * 16,
        "--name",
        "meter",
    )
    package = ProfilePackage.parse(file.read_bytes())
    assert status == 0
    assert out == f"{file}: {len(package.der)} bytes, ICCID 8999970000000000001, IMSI 999700000000001\n"
    assert (package.imsi, package.aka.k.hex(), package.aka.opc.hex()) == ("999700000000001", K, "ab" * 16)
    status, shown, _ = microipa("profile", "show", file)
    assert status == 0
    assert "8999970000000000001" in shown
    assert "meter" in shown
    assert K not in shown.lower()
    assert "ab" * 16 not in shown.lower()


def test_a_profile_built_without_wishes_is_a_fresh_one_each_time(microipa: Microipa, tmp_path: Path) -> None:
    files = [tmp_path / "one.der", tmp_path / "two.der"]
    assert [microipa("profile", "build", file).status for file in files] == [0, 0]
    one, two = (ProfilePackage.parse(file.read_bytes()) for file in files)
    assert one.imsi != two.imsi
    assert one.aka.k != two.aka.k


def test_filler_makes_a_profile_larger(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "large.der"
    assert microipa("profile", "build", file, "--filler", 60_000).status == 0
    assert 60_000 < file.stat().st_size < 63_000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--iccid", "123"], "iccid: '123' has 3 digits, an ICCID has 18 to 20"),
        (["--iccid", ""], "iccid: '' has characters that are no digits"),
        (
            ["--iccid", "8999970000000000004"],
            "iccid: 8999970000000000004 ends in check digit 4, it should be 8999970000000000001",
        ),
        (
            ["--iccid", "89999700000000000xx"],
            "iccid: '89999700000000000xx' has characters that are no digits",
        ),
        (["--imsi", "12345"], "imsi: '12345' is not 6 to 15 digits (MCC, MNC, MSIN)"),
        (["--imsi", "1234567890123456"], "imsi: '1234567890123456' is not 6 to 15 digits (MCC, MNC, MSIN)"),
        (["--imsi", "٩٩٩٧٠٠"], "imsi: '٩٩٩٧٠٠' is not 6 to 15 digits (MCC, MNC, MSIN)"),
        (["--k", "0x00"], "--k has 'x' after 1 digits: give 0 to 9 and A to F only"),
        (["--opc", "123"], "--opc has an odd number of digits, 3: give two for each byte"),
        (["--k", "1234"], "k: has 2 bytes, Milenage wants 16"),
        (["--k", ""], "k: has 0 bytes, Milenage wants 16"),
        (["--name", "x" * 65], "name: has 65 characters, 1 to 64 are allowed"),
    ],
)
def test_a_wish_that_no_profile_can_fulfil_is_refused_and_nothing_written(
    microipa: Microipa, tmp_path: Path, words: list[str], sentence: str
) -> None:
    file = tmp_path / "profile.der"
    assert refused(microipa, "profile", "build", file, *words) == sentence
    assert not file.exists()


def test_a_file_that_cannot_be_written_or_read_is_named(microipa: Microipa, tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "profile.der"
    reason = "No such file or directory"
    assert refused(microipa, "profile", "build", nowhere) == f"cannot write {nowhere}: {reason}"
    assert refused(microipa, "profile", "show", nowhere) == f"cannot read {nowhere}: {reason}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        bytes(100),
        b"\xff" * 100,
        tlv(0x30, b"\x02\x01\x05"),
        tlv(0xA0, b"\x80\x01\x02"),
    ],
)
def test_a_file_that_is_no_package_is_named_with_the_reason(microipa: Microipa, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.der"
    file.write_bytes(content)
    assert refused(microipa, "profile", "show", file).startswith(f"{file} is not a profile package in DER: ")


# pki


def test_pki_makes_the_certificates_once_and_then_shows_them(microipa: Microipa, tmp_path: Path) -> None:
    status, first, _ = microipa("pki", "--lab", tmp_path)
    assert status == 0
    servers = ("smdpp auth", "smdpp pb", "smdpp tls", "smds auth", "smds tls", "eim signing", "eim tls")
    for name in ("ci", "eum", *servers, "operator tls"):
        assert name in first
    kept = {file.name: file.read_bytes() for file in (tmp_path / "pki").glob("*.*")}
    assert microipa("pki", "--lab", tmp_path).out == first
    assert {file.name: file.read_bytes() for file in (tmp_path / "pki").glob("*.*")} == kept


def test_pki_names_a_file_it_cannot_use(microipa: Microipa, tmp_path: Path) -> None:
    assert microipa("pki", "--lab", tmp_path).status == 0
    broken = tmp_path / "pki" / "eim_tls.pem"
    broken.write_text("no certificate")
    sentence = refused(microipa, "pki", "--lab", tmp_path)
    assert sentence == f"{broken} is no PEM certificate: remove it and it is issued again"


def test_pki_names_a_folder_it_cannot_make(microipa: Microipa) -> None:
    assert refused(microipa, "pki", "--lab", "/proc/microipa") == "/proc/microipa: No such file or directory"


# a lab's folder

DATABASES = ("eim.sqlite", "smdpp.sqlite", "smds.sqlite")


@pytest.mark.parametrize("name", DATABASES)
def test_a_file_that_is_no_database_is_named(microipa: Microipa, tmp_path: Path, name: str) -> None:
    microipa("pki", "--lab", tmp_path)
    (tmp_path / name).write_text("what somebody wrote there " * 9)
    sentence = refused(microipa, "orders", "--lab", tmp_path)
    assert sentence == f"{tmp_path / name} cannot be used, remove it: file is not a database"


@pytest.mark.parametrize("content", ["hello", '[{"imsi": 1}]', "[1]"])
def test_a_file_that_holds_no_subscribers_is_named(microipa: Microipa, tmp_path: Path, content: str) -> None:
    microipa("pki", "--lab", tmp_path)
    (tmp_path / "subscribers.json").write_text(content)
    sentence = refused(microipa, "order", "download", "--lab", tmp_path)
    assert sentence.startswith(f"{tmp_path / 'subscribers.json'} is not a list of subscribers: remove it")


@pytest.mark.parametrize(
    "words", [["demo", "--radio", "none"], ["demo", "--radio", "none", "--scenario", "rollback"], ["bill"]]
)
def test_what_is_not_a_labs_is_never_removed(microipa: Microipa, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "board").mkdir()
    sentence = refused(microipa, *words, "--lab", tmp_path)
    assert sentence == f"{tmp_path} contains other files than a lab's: give the name of a new folder"
    assert (tmp_path / "board").is_dir()


def test_a_lab_that_begins_anew_leaves_what_else_is_in_its_folder(tmp_path: Path) -> None:
    ours = ["card.nvm", "eim.sqlite", "eim.sqlite-wal", "keys.json", "subscribers.json", "trace.jsonl"]
    for name in ("pki", "board", "eim2"):
        (tmp_path / name).mkdir()
    for name in (*ours, "notes.txt", "iot.der"):
        (tmp_path / name).touch()
    forget_all_but_keys(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iot.der", "notes.txt", "pki", "trace.1.jsonl"]


# orders, order


@pytest.mark.parametrize(
    "words",
    [
        ["orders"],
        ["orders", "--json"],
        ["order", "list"],
        ["order", "download"],
        ["order", "enable", "8999970000000000001"],
        ["order", "disable", "8999970000000000001"],
        ["order", "delete", "8999970000000000001"],
    ],
)
def test_a_folder_that_is_no_lab_is_said_and_left_as_it_is(
    microipa: Microipa, tmp_path: Path, words: list[str]
) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        sentence = refused(microipa, *words, "--lab", folder)
        assert sentence == f"no lab in {folder}: start one with `microipa lab up --lab {folder}`"
    assert list(tmp_path.iterdir()) == []


def test_a_lab_without_orders_says_how_to_queue_one(microipa: Microipa, tmp_path: Path) -> None:
    microipa("pki", "--lab", tmp_path)
    status, out, _ = microipa("orders", "--lab", tmp_path)
    assert (status, out) == (
        0,
        f"no orders in {tmp_path}: queue one with `microipa order download --lab {tmp_path}`\n",
    )
    assert microipa("orders", "--json", "--lab", tmp_path) == (0, "", "")


# trace

GET_EID, EID = bytes.fromhex("bf3e035c015a"), bytes.fromhex("bf3e125a1089049032123451234512345678901235")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A trace with one event of each kind that is decoded."""
    file = tmp_path / "trace.jsonl"
    trace = Trace(file)
    trace.record("lab", "step", text="order 1")
    trace.record("modem", "at", direction="in", text="AT+CPIN?")
    trace.record("modem", "at", direction="in", data=bytes(range(40)))
    trace.record("card", "apdu", command=b"\x81\xe2\x91\x00\x06" + GET_EID, response=b"\x61\x15")
    trace.record("card", "apdu", command=bytes.fromhex("01c0000015"), response=EID + b"\x90\x00")
    trace.record("card", "apdu", command=bytes.fromhex("81e29100048682aabb"), response=b"\x90\x00")
    trace.record("card", "apdu", command=bytes.fromhex("81e2910006bf3003800107"), response=b"\x61\x06")
    trace.record("card", "apdu", command=bytes.fromhex("01c0000006"), response=bytes.fromhex("bf30038001009000"))
    trace.record("eim", "esipa", direction="out", message=bytes.fromhex("bf4f03020101"))
    trace.record("eim", "esipa", direction="out", message=b"")
    trace.record("radio", "network", event="attached", imsi="999700000000001", operator="99970")
    trace.close()
    return file


def test_a_trace_is_one_line_a_message(microipa: Microipa, recorded: Path) -> None:
    status, out, err = microipa("trace", recorded)
    assert (status, err) == (0, "")
    assert out.startswith("   0.00")
    assert " lab    the session that began at 20" in out.splitlines()[0]
    assert [line[10:] for line in out.splitlines()[1:]] == [
        "lab    order 1",
        "modem  → AT+CPIN?",
        "modem  →  [40 bytes: " + bytes(range(32)).hex() + "…]",
        "card   81e2910006bf3e035c015a → 6115",
        f"card   01c0000015 → {EID.hex()}9000",
        f"card   ES10 GetEuiccDataRequest: tags 5A → GetEuiccDataResponse: EID {EID[5:].hex()}",
        "card   81e29100048682aabb → 9000",
        "card   ES10 BoundProfilePackage, 4 bytes: profile elements, protected → ok",
        "card   81e2910006bf3003800107 → 6106",
        "card   01c0000006 → bf30038001009000",
        "card   ES10 NotificationSentRequest: sequence number 7 → NotificationSentResponse: ok",
        "eim    → GetEimPackageResponse: noEimPackageAvailable",
        "eim    → (empty)",
        "radio  attached 999700000000001 99970",
    ]


def test_a_trace_in_json_has_the_decoded_messages_beside_the_bytes(microipa: Microipa, recorded: Path) -> None:
    status, out, _ = microipa("trace", "--json", recorded)
    events = [json.loads(line) for line in out.splitlines()]
    assert (status, len(events)) == (0, 15)
    assert events[0].keys() == {"t", "part", "kind", "began", "utc"}
    assert events[6].pop("utc") >= events[0]["began"]
    assert events[6] | {"t": 0} == {
        "t": 0,
        "part": "card",
        "kind": "es10",
        "command": GET_EID.hex(),
        "response": EID.hex(),
        "command_type": "GetEuiccDataRequest",
        "command_value": {"tagList": "5A"},
        "response_type": "GetEuiccDataResponse",
        "response_value": {"eidValue": "89049032123451234512345678901235"},
    }
    assert events[12]["message_value"] == {"eimPackageError": {"code": 1, "name": "noEimPackageAvailable"}}


def test_a_message_that_cannot_be_understood_is_shown_with_the_reason(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"t": 1, "part": "eim", "kind": "esipa", "direction": "in", "message": "bf4f"}\n')
    assert microipa("trace", file).out == "   1.000  eim    ← bf4f (no length after tag BF4F at offset 2)\n"
    assert json.loads(microipa("trace", "--json", file).out)["message_error"] == "no length after tag BF4F at offset 2"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "garbage",
        "{}",
        "[]",
        "1",
        "null",
        '{"t": 1}',
        '{"t": "x", "part": "p", "kind": "step", "text": "t"}',
        '{"t": 1, "part": "card", "kind": "apdu"}',
        '{"t": 1, "part": "card", "kind": "apdu", "command": "zz", "response": ""}',
        '{"t": 1, "part": "card", "kind": "apdu", "command": 7, "response": ""}',
        '{"t": 1, "part": "eim", "kind": "esipa", "message": ""}',
        '{"t": 1, "part": "modem", "kind": "at", "direction": 1}',
        '{"t": 1' + "0" * 400 + ', "part": "p", "kind": "k"}',
        "[" * 100_000,
    ],
    ids=range(15),
)
def test_a_file_that_is_no_trace_is_refused_with_the_line(microipa: Microipa, recorded: Path, line: str) -> None:
    recorded.write_text(recorded.read_text() + line + "\n")
    for form in ([], ["--json"]):
        status, out, err = microipa("trace", recorded, *form)
        assert (status, len(out.splitlines())) == (1, 15)  # what was well before it
        sentence = err.removeprefix("microipa: ").rstrip("\n")
        assert sentence == f"{recorded} line 13 is not an event: {line[:60]!r}; give the trace.jsonl of a lab"


def test_binary_is_no_trace(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_bytes(b"\xff\x00\x80" * 100)
    assert "line 1 is not an event" in refused(microipa, "trace", file)
    assert (
        refused(microipa, "trace", tmp_path / "none") == f"cannot read {tmp_path / 'none'}: No such file or directory"
    )


def test_file_content_that_looks_like_markup_is_shown_as_it_is(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"t": 1, "part": "modem", "kind": "at", "direction": "in", "text": "[red]AT[/nothing]"}\n')
    assert microipa("trace", file).out == "   1.000  modem  → [red]AT[/nothing]\n"


# board, modem


def test_a_heap_that_micropython_does_not_take_is_refused(microipa: Microipa, tmp_path: Path) -> None:
    sentence = refused(microipa, "board", "virtual", tmp_path / "flash", "--heap", "much")
    assert sentence == "--heap much is not a heap size: give 144K, 2M or 147456"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--modem", "bg96"], "no modem family 'bg96': choose one of bg95, "),
        (["--modem", "bg95", "--port", "/dev/no-such-port"], "cannot open /dev/no-such-port: "),
        (["--modem", "bg95", "--port", "/dev/no-such-port", "--echo", "here"], "--echo here is not HOST:PORT"),
    ],
)
def test_a_modem_that_cannot_be_recorded_is_one_sentence(
    microipa: Microipa, tmp_path: Path, words: list[str], sentence: str
) -> None:
    assert refused(microipa, "modem", "record", tmp_path / "x.at", *words).startswith(sentence)


def test_a_transcript_that_cannot_be_written_is_said_before_the_modem_is_asked(
    microipa: Microipa, tmp_path: Path
) -> None:
    nowhere = tmp_path / "missing" / "x.at"
    sentence = refused(microipa, "modem", "record", nowhere, "--modem", "bg95", "--port", "/dev/no-such-port")
    assert sentence == f"cannot write {nowhere}: No such file or directory"


# demo


def test_a_wrong_option_of_the_demo_leaves_the_last_run_as_it_was(microipa: Microipa, recorded: Path) -> None:
    before = recorded.read_bytes()
    status, _, err = microipa("demo", "--lab", recorded.parent, "--radio", "fast")
    assert (status, err) == (1, "microipa: no link preset 'fast': choose one of nbiot, short, none\n")
    assert recorded.read_bytes() == before


def test_an_unknown_scenario_is_refused_by_name(microipa: Microipa, tmp_path: Path) -> None:
    reason = refused(microipa, "demo", "--scenario", "intermezzo", "--lab", tmp_path)
    assert reason.startswith("no scenario 'intermezzo': choose one of ")


def test_the_ways_to_the_servers_are_those_of_first_light(microipa: Microipa, tmp_path: Path) -> None:
    words = ("demo", "--scenario", "rollback", "--binding", "json", "--lab", tmp_path)
    assert refused(microipa, *words).endswith("leave out --scenario")
