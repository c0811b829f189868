"""A record of a session (trace.jsonl, the cases of a bench) is its owner's alone and tells no secrets."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from microipa.asn1 import describe, sgp32
from microipa.asn1.masking import Mask, masked
from microipa.asn1.tlv import tlv
from microipa.hil.record import FAILED, Case, Recorder, Run
from microipa.trace import Event, Trace

ID = "K2X7-SECRET-PART-0123456"
CODE = f"LPA:1$smdpp.example$K2X7{ID[4:]}$2.999.10"
KEYS = bytes(range(0xA0, 0xB0))
CTX = tlv(0xA0, tlv(0x80, ID.encode()), tlv(0xA1, tlv(0x80, b"\x35\x29\x06\x11"), tlv(0xA1)))
TRIGGER = tlv(0xBF54, tlv(0xA0, tlv(0x80, CODE.encode())), tlv(0x82, b"12345678"))
ASK_SERVER = tlv(0xBF38, tlv(0x30, tlv(0x80, bytes(16))), tlv(0x5F37, bytes(64)), tlv(0x04, bytes(20)),
                 tlv(0x30, b"\x02\x01\x01" * 60), CTX)  # fmt: skip
PREPARE = tlv(0xBF21, tlv(0x30, tlv(0x80, bytes(16))), tlv(0x5F37, bytes(64)), tlv(0x04, b"h" * 32), tlv(0x30))


def kept(tmp_path: Path, *events: tuple[str, dict]) -> str:
    """What a trace keeps of events."""
    trace = Trace(tmp_path / "trace.jsonl")
    for kind, fields in events:
        trace.record("x", kind, **fields)
    trace.close()
    return (tmp_path / "trace.jsonl").read_text()


def tells(record: str, secret: str | bytes) -> bool:
    octets = secret.encode() if isinstance(secret, str) else secret
    return any(form in record.lower() for form in (octets.hex(), octets.hex().encode().hex(), str(secret).lower()))


def store_data(message: bytes, size: int = 100) -> list[bytes]:
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    last = len(pieces) - 1
    return [bytes([0x81, 0xE2, 0x91 if number == last else 0x11, number, len(piece)]) + piece
            for number, piece in enumerate(pieces)]  # fmt: skip


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_trace_is_its_owners_alone_also_where_an_older_file_was_not(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("old\n")
    file.chmod(0o644)
    Trace(file).close()
    assert (file.stat().st_mode & 0o777, file.read_text()) == (0o600, "old\n")
    file.unlink()
    Trace(file).close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_record_of_a_bench_is_its_owners_alone(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Run("a", "b", "", "", "", "", "", "", "", "", False, ""))
    recorder.add(Case("one", "", "", "", FAILED), [Event(1.0, "board", "log", {"text": CODE})])
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 3
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert not any(tells(file.read_text(), ID) for file in files)


@pytest.mark.parametrize("event", [
    ("log", {"text": f"download {CODE}"}),
    ("step", {"text": f"the SM-DP+ holds it as {CODE}"}),
    ("order", {"order": 1, "state": "queued", "summary": f"download {ID} from smdpp.example", "what": "download"}),
    ("order", {"matching_id": ID, "text": f"order {ID}: released"}),
    ("es9", {"function": "authenticateClient", "outcome": f"8.2.6/3.8: no order with matchingId '{ID}'"}),
    ("alarm", {"text": f"device asks for matching id {ID}"}),
    ("esipa", {"direction": "out", "message": TRIGGER}),
    ("esipa", {"direction": "out", "message": tlv(0xBF4F, TRIGGER)}),
    ("esipa", {"direction": "out", "message": tlv(0xBF39, tlv(0xA0, tlv(0x80, b"t"), tlv(0xA2, CTX)))}),
    ("esipa", {"direction": "out", "message": tlv(0xBF39, tlv(0xA0, tlv(0x80, b"t"), tlv(0x0C, ID.encode())))}),
    ("esipa", {"direction": "in", "message": tlv(0xBF3B, tlv(0xBF38, tlv(0xA0, tlv(0x30, tlv(0x80, b"t"), CTX))))}),
    ("at", {"direction": "in", "text": f'AT+QISEND=0,"{TRIGGER.hex()}"'}),
    ("at", {"direction": "out", "data": bytes(40) + TRIGGER}),
], ids=lambda event: event[0])  # fmt: skip
def test_a_whole_activation_code_is_not_kept(tmp_path: Path, event: tuple[str, dict]) -> None:
    assert not tells(kept(tmp_path, event), ID)


@pytest.mark.parametrize("size", [17, 100, 250])
def test_a_matching_id_is_not_kept_where_it_goes_to_the_card_in_pieces(tmp_path: Path, size: int) -> None:
    blocks = store_data(ASK_SERVER, size)
    blocks.insert(2, blocks[1])  # said again
    answer = tlv(0xBF38, tlv(0xA0, tlv(0x30, tlv(0x80, bytes(16)), tlv(0x83, b"smdp"), CTX)))
    events = [("apdu", {"command": block, "response": b"\x61\x20"}) for block in blocks]
    events += [("apdu", {"command": b"\x01\xc0\x00\x00\x20", "response": answer[start : start + 32] + b"\x61\x20"})
               for start in range(0, len(answer), 32)]  # fmt: skip
    events += [("at", {"direction": way, "text": text}) for block in blocks
               for way, text in (("in", f'AT+CGLA=1,{2 * len(block)},"{block.hex().upper()}"'),
                                 ("out", '+CGLA: 4,"6120"'))]  # fmt: skip
    record = kept(tmp_path, *events)
    rows = [json.loads(row) for row in record.splitlines()]
    told = b"".join(bytes.fromhex(row["command"])[5:] for row in rows if row["kind"] == "apdu")
    answered = b"".join(bytes.fromhex(row["response"])[:-2] for row in rows if row["kind"] == "apdu")
    by_at = b"".join(bytes.fromhex(row["text"].split('"')[1])[5:] for row in rows if "AT+CGLA" in row.get("text", ""))
    for text in (told, answered, by_at):
        assert b"K2X7" in text
        assert b"SECRET" not in text
        assert ID.encode()[8:] not in text


def test_a_masked_message_can_still_be_decoded() -> None:
    hidden = masked(tlv(0xBF4F, TRIGGER))
    assert len(hidden) == len(tlv(0xBF4F, TRIGGER))
    code = sgp32.decode("ProfileDownloadTriggerRequest", masked(TRIGGER))["profileDownloadData"][1]
    assert code == f"LPA:1$smdpp.example$K2X7{'*' * (len(ID) - 4)}$2.999.10"
    assert describe.describe(hidden).summary().endswith("LPA:1$smdpp.example$K2X7…$2.999.10")


def test_the_hash_of_a_confirmation_code_is_not_kept(tmp_path: Path) -> None:
    assert b"h" * 32 in PREPARE
    record = kept(tmp_path, *(("apdu", {"command": block, "response": b"\x90\0"}) for block in store_data(PREPARE)))
    assert "68" * 8 not in record


@given(st.binary(max_size=80), st.lists(st.integers(1, 20), max_size=8))
def test_what_is_no_message_of_ours_passes_as_it_is(noise: bytes, cuts: list[int]) -> None:
    mask, rest, seen = Mask(), tlv(0x7F21, noise) + noise, b""
    for cut in cuts:
        seen += mask.feed(rest[:cut])
        rest = rest[cut:]
    assert seen + mask.feed(rest) == tlv(0x7F21, noise) + noise


CHALLENGE = bytes.fromhex("0088008122") + b"\x10" + KEYS + b"\x10" + KEYS[::-1]
ANSWER = b"\xdb\x08" + KEYS[:8] + b"\x10" + KEYS + b"\x10" + KEYS[::-1] + b"\x90\x00"


def test_values_of_aka_are_not_kept_on_the_cards_contacts_nor_in_at_commands(tmp_path: Path) -> None:
    record = kept(
        tmp_path,
        ("apdu", {"command": CHALLENGE, "response": b"\x61\x2c"}),
        ("apdu", {"command": bytes.fromhex("00c000002c"), "response": ANSWER}),
        ("at", {"direction": "in", "text": f'AT+CSIM={2 * len(CHALLENGE)},"{CHALLENGE.hex().upper()}"'}),
        ("at", {"direction": "out", "text": f'+CSIM: {2 * len(ANSWER)},"{ANSWER.hex().upper()}"'}),
    )
    for secret in (KEYS, KEYS[::-1], KEYS[:8]):
        assert not tells(record, secret)
    assert record.count("0088008122") == 2
    assert '9000\\"' in record


def test_key_files_and_pins_are_not_kept(tmp_path: Path) -> None:
    select, read = bytes.fromhex("00a40004026f08"), bytes.fromhex("00b0000021")
    record = kept(
        tmp_path,
        ("apdu", {"command": select, "response": b"\x90\x00"}),
        ("apdu", {"command": read, "response": b"\x07" + KEYS + KEYS + b"\x90\x00"}),
        ("apdu", {"command": bytes.fromhex("00d6000011") + b"\x07" + KEYS, "response": b"\x90\x00"}),
        ("apdu", {"command": bytes.fromhex("0020000108") + b"1234\xff\xff\xff\xff", "response": b"\x90\x00"}),
        ("at", {"direction": "in", "text": 'AT+CPIN="1234"'}),
        ("at", {"direction": "in", "text": 'AT+CLCK="SC",1,"1234"'}),
        ("at", {"direction": "in", "text": 'AT+CGAUTH=1,2,"user","1234"'}),
    )
    assert not tells(record, KEYS)
    assert not tells(record, b"1234")
    assert "1234" not in record
    other = kept(tmp_path, ("apdu", {"command": bytes.fromhex("00a40004026f07"), "response": b"\x90\x00"}),
                 ("apdu", {"command": read, "response": KEYS + b"\x90\x00"}))  # fmt: skip
    assert tells(other, KEYS)  # no file of keys


def test_a_client_key_that_is_loaded_into_a_modem_is_not_kept_whole(tmp_path: Path) -> None:
    pem = "-----BEGIN EC PRIVATE KEY-----\n" + "MHcCAQEEIFake" * 20
    assert "Fake" * 3 not in kept(tmp_path, ("at", {"direction": "in", "text": f'AT%CMNG=0,1,2,"{pem}"'}))


def test_parts_of_a_lab_see_the_whole(tmp_path: Path) -> None:
    trace, seen = Trace(tmp_path / "trace.jsonl"), []
    trace.listen(lambda event: seen.append(event))
    trace.record("eim", "esipa", direction="out", message=TRIGGER)
    assert seen[0].fields["message"] == TRIGGER.hex()


# A disk that is full


def test_a_full_disk_ends_the_record_with_one_warning_and_nothing_else(tmp_path: Path, caplog) -> None:
    (tmp_path / "trace.jsonl").symlink_to("/dev/full")
    trace, seen = Trace(tmp_path / "trace.jsonl"), []
    trace.listen(lambda event: seen.append(event.kind))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            trace.record("modem", "at", direction="in", text="AT")
        trace.close()
    assert seen == ["at"] * 3
    [warning] = caplog.messages
    assert warning == f"{tmp_path / 'trace.jsonl'} ends here: No space left on device"


def test_a_record_that_ends_for_lack_of_space_has_whole_lines(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    trace = Trace(tmp_path / "trace.jsonl")
    resource.setrlimit(resource.RLIMIT_FSIZE, (350, before[1]))
    try:
        for number in range(5):
            trace.record("lab", "step", text=f"{number} " + "x" * 60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    rows = (tmp_path / "trace.jsonl").read_text().splitlines()
    assert [json.loads(row)["text"][0] for row in rows[1:]] == ["0", "1"]


def test_a_full_disk_does_not_end_a_run_on_a_bench(tmp_path: Path, caplog) -> None:
    recorder = Recorder(tmp_path, Run("a", "b", "", "", "", "", "", "", "", "", False, ""))
    (tmp_path / "cases.jsonl").unlink()
    (tmp_path / "cases.jsonl").symlink_to("/dev/full")
    for number in range(3):
        recorder.add(Case(f"case{number}", "", "", "", FAILED), [Event(1.0, "board", "log", {"text": "x"})])
    recorder.learn(eid="8904")
    assert len(caplog.messages) == 1
