"""ipa.net.es9 and ipa.net.jsonstream: the JSON binding as a stream, in any order and pieces (SGP.22 6.5)."""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from board_run import Run
from microipa.asn1.tlv import tlv

SCRIPT = '''
import hashlib
from ipa import tlv
from ipa.net import ServerError
from ipa.net.es9 import Es9
from rooms import Stream, failing, run

class Https:
    """Answers each POST with the next of `answers`, in pieces of `piece` bytes."""

    def __init__(self, answers, piece):
        self.answers, self.piece = answers, piece

    async def post(self, path, length, chunks):
        body = b"".join(chunks())
        assert length == len(body) and body == b"".join(chunks())
        assert max([len(chunk) for chunk in chunks()]) <= 256
        print(path, body.decode())
        return Stream(self.answers.pop(0), self.piece)

async def package(es9):
    """The hash of the value that flows out."""
    reader, length = await es9.get_bound_profile_package(TID, b"\\xbf\\x21\\x00")
    digest = hashlib.sha256()
    piece = memoryview(bytearray(100))
    while length:
        n = await reader.readinto(piece[:min(100, length)])
        assert n
        digest.update(piece[:n])
        length -= n
    return digest.digest().hex()

async def hexed(awaitable):
    return bytes(await awaitable).hex()

async def sized(awaitable):
    return len(await awaitable)

TID = bytes.fromhex("A1B2C3D4")
'''

TID = "A1B2C3D4"
OK = {"functionExecutionStatus": {"status": "Executed-Success"}}
SERVER = {
    "serverSigned1": tlv(0x30, tlv(0x80, bytes.fromhex(TID)), bytes(60)),
    "serverSignature1": tlv(0x5F37, b"\xff" * 64),
    "euiccCiPKIdToBeUsed": tlv(0x04, bytes(20)),
    "serverCertificate": tlv(0x30, bytes(500)),
}
OFFER = {
    "profileMetadata": tlv(0xBF25, bytes(90)),
    "smdpSigned2": tlv(0x30, bytes(20)),
    "smdpSignature2": tlv(0x5F37, b"\x5f\x37" * 32),
    "smdpCertificate": tlv(0x30, bytes(500)),
}
CONTENT = bytes(range(256)) * 30
PACKAGE = tlv(0xBF36, CONTENT)
FLOWED = f"no error but {hashlib.sha256(CONTENT).hexdigest()}"


def answer(fields: dict[str, Any], **more: Any) -> bytes:
    """The JSON of an answer: bytes become base64."""
    whole = {"header": OK, **fields, **more}
    return json.dumps({name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
                       for name, value in whole.items()}).encode()


def refusal(subject: str, reason: str, message: str = "") -> bytes:
    data = {"subjectCode": subject, "reasonCode": reason, **({"message": message} if message else {})}
    return json.dumps({"header": {"functionExecutionStatus": {
        "status": "Failed", "statusCodeData": data}}}).encode()


async def call(micropython: Run, expression: str, *answers: bytes, piece: int = 100) -> list[str]:
    """What ``expression`` gives or raises when ``es9`` is answered so; the requests stand before it."""
    out = await micropython(SCRIPT + f"""
es9 = Es9(Https({list(answers)!r}, {piece}))
async def main():
    es9._transaction = b"{TID}"
    print(await failing({expression}))
run(main())
""")
    return out.splitlines()


INITIATE = 'hexed(es9.initiate_authentication(bytes(16), "smdp.example", b"\\xbf\\x20\\x00"))'
AUTHENTICATE = 'hexed(es9.authenticate_client(TID, b"\\xbf\\x38\\x00"))'
FIELDS = tlv(0x80, bytes.fromhex(TID)) + b"".join(SERVER.values())


# requests


async def test_6_5_2_a_request_has_the_fields_of_its_function(micropython: Run) -> None:
    out = await call(micropython, INITIATE, answer(SERVER, transactionId=TID))
    path, body = out[0].split(" ", 1)
    assert path == "/gsma/rsp2/es9plus/initiateAuthentication"
    assert json.loads(body) == {"smdpAddress": "smdp.example", "euiccChallenge": "AAAAAAAAAAAAAAAAAAAAAA==",
                                "euiccInfo1": "vyAA"}
    out = await call(micropython, AUTHENTICATE, answer(OFFER, transactionId=TID))
    assert json.loads(out[0].split(" ", 1)[1]) == {"transactionId": TID, "authenticateServerResponse": "vzgA"}


@pytest.mark.parametrize("size", [1, 191, 192, 193, 1800])
async def test_what_the_card_signed_goes_out_to_the_last_byte(micropython: Run, size: int) -> None:
    out = await call(micropython, f"es9.handle_notification(bytes(range(200)) * 10 + bytes({size}))", b"")
    path, body = out[0].split(" ", 1)
    assert path.endswith("/handleNotification")
    sent = base64.b64decode(json.loads(body)["pendingNotification"], validate=True)
    assert sent == bytes(range(200)) * 10 + bytes(size)


async def test_the_transaction_id_goes_back_as_the_server_spells_it(micropython: Run) -> None:
    out = await micropython(SCRIPT + f"""
es9 = Es9(Https({[answer(SERVER, transactionId="a1B2c3d4"), answer(OFFER, transactionId="A1b2C3D4")]!r}, 99))
async def main():
    await es9.initiate_authentication(bytes(16), "smdp.example", b"")
    await es9.authenticate_client(TID, b"")
run(main())
""")
    assert '"transactionId":"a1B2c3d4"' in out


async def test_5_6_5_cancel_session_carries_the_whole_answer_of_the_card(micropython: Run) -> None:
    out = await call(micropython, 'es9.cancel_session(TID, b"\\x81\\x01\\x05")', answer({}))
    assert json.loads(out[0].split(" ", 1)[1])["cancelSessionResponse"] == "v0EDgQEF"
    assert out[1] == "no error but None"


# answers


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100, 5000])
async def test_fields_come_out_in_the_order_of_asn1_whatever_the_pieces(micropython: Run, piece: int) -> None:
    unknown = {"a": [1, -2.5e3, None, True, {"b": "}\""}], "c": {}}
    body = answer({"transactionId": TID, **dict(reversed(SERVER.items())), "unknown": unknown})
    out = await call(micropython, INITIATE, body, piece=piece)
    assert out[-1] == f"no error but {FIELDS.hex()}"


async def test_white_space_and_escapes_are_read_as_rfc_8259_has_them(micropython: Run) -> None:
    text = json.dumps({name: base64.b64encode(value).decode() for name, value in SERVER.items()}, indent=4)
    text = text.replace("/", "\\/").replace("serverSigned1", "server\\u0053igned1").replace("+", "\\u002B")
    body = ('\r\n\t {"transactionId" : "' + TID + '" , ' + text[1:]).encode()
    assert (await call(micropython, INITIATE, body, piece=11))[-1] == f"no error but {FIELDS.hex()}"


NULLS: dict[str, Any] = {"functionExecutionStatus": {
    "status": "Executed-Success", "statusCodeData": None, "message": None}}


@pytest.mark.parametrize("piece", [1, 100])
async def test_members_that_are_null_are_absent_and_a_byte_order_mark_may_come_first(
        micropython: Run, piece: int) -> None:
    body = answer({"transactionId": TID, **SERVER, "matchingId": None}, header=NULLS)
    out = await call(micropython, INITIATE, codecs.BOM_UTF8 + body, piece=piece)
    assert out[-1] == f"no error but {FIELDS.hex()}"
    nothing = json.dumps({"header": None}).encode()
    assert (await call(micropython, 'es9.handle_notification(b"0")', nothing, piece=piece))[-1] == "no error but None"
    data = {"subjectCode": "8.1", "reasonCode": "6.1", "subjectIdentifier": None, "message": None}
    status = {"functionExecutionStatus": {"status": "Failed", "statusCodeData": data}}
    out = await call(micropython, INITIATE, codecs.BOM_UTF8 + json.dumps({"header": status}).encode(), piece=piece)
    assert out[-1] == "Es9Refused initiateAuthentication: the SM-DP+ refused with 8.1/6.1"


@pytest.mark.parametrize("body", [b"\xef\xbb", b"\xef\xbb\xbf", b"\xef\xbb{}", b"\xef{}"])
async def test_what_only_begins_like_a_byte_order_mark_is_no_json(micropython: Run, body: bytes) -> None:
    assert (await call(micropython, INITIATE, body))[-1].startswith("JsonError ")


async def test_a_member_that_must_be_there_may_not_be_null(micropython: Run) -> None:
    out = await call(micropython, INITIATE, answer({**SERVER, "serverSigned1": None}, transactionId=TID))
    assert out[-1] == "Es9Malformed initiateAuthentication: no serverSigned1"


@pytest.mark.parametrize("end", ["\\r\\n", "\\n", " "])
async def test_base64_in_lines_is_taken(micropython: Run, end: str) -> None:
    letters = base64.b64encode(PACKAGE).decode()
    lines = end.join(letters[i : i + 76] for i in range(0, len(letters), 76)) + end
    body = f'{{"boundProfilePackage":"{lines}"}}'.encode()
    assert (await call(micropython, "package(es9)", body))[-1] == FLOWED


@pytest.mark.parametrize("field", ["serverSignature1", "euiccCiPKIdToBeUsed"])
async def test_a_field_wrapped_twice_is_unwrapped(micropython: Run, field: str) -> None:
    tag = 0x5F37 if field == "serverSignature1" else 0x04
    body = answer({**SERVER, field: tlv(tag, SERVER[field])}, transactionId=TID)
    assert (await call(micropython, INITIATE, body))[-1] == f"no error but {FIELDS.hex()}"


@pytest.mark.parametrize("piece", [1, 64, 100, 1000])
@pytest.mark.parametrize("first", [True, False])
async def test_the_package_flows_before_and_after_other_members(
        micropython: Run, piece: int, first: bool) -> None:
    others: dict[str, Any] = {"transactionId": TID.lower(), "header": OK}
    package = {"boundProfilePackage": base64.b64encode(PACKAGE).decode()}
    body = json.dumps({**package, **others} if first else {**others, **package}).encode()
    assert (await call(micropython, "package(es9)", body, piece=piece))[-1] == FLOWED


async def test_a_package_of_200_kb_needs_no_more_memory_than_one_of_6_kb(
        micropython: Run, tmp_path: Path) -> None:
    peaks = []
    for size in (6_000, 200_000):
        package = tlv(0xBF36, bytes(size))
        (tmp_path / "answer").write_bytes(answer({"boundProfilePackage": package}, transactionId=TID))
        out = await micropython(SCRIPT + f"""
import gc
class File:
    def __init__(self):
        self.file = open("answer", "rb")
    async def readinto(self, view):
        return self.file.readinto(view)
class Https:
    async def post(self, path, length, chunks):
        return File()
async def main():
    es9 = Es9(Https())
    es9._transaction = b"{TID}"
    reader, length = await es9.get_bound_profile_package(TID, b"")
    piece = memoryview(bytearray(255))
    print(length)
    peak = 0
    while length:
        length -= await reader.readinto(piece[:min(255, length)])
        gc.collect()
        peak = max(peak, gc.mem_alloc())
    print(peak)
run(main())
""")
        length, peak = map(int, out.split())
        assert length == size
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 100


@pytest.mark.parametrize(("subject", "reason"), [("8.2.6", "3.8"), ("8.8.5", "4.10")])
async def test_5_2_6_a_refusal_is_told_by_its_codes(micropython: Run, subject: str, reason: str) -> None:
    for expression in (INITIATE, AUTHENTICATE, "package(es9)"):
        out = await call(micropython, expression, refusal(subject, reason))
        assert out[-1].startswith("Es9Refused ")
        assert out[-1].endswith(f": the SM-DP+ refused with {subject}/{reason}")


async def test_5_2_6_the_words_of_a_refusal_are_kept_short_and_clean(micropython: Run) -> None:
    out = await call(micropython, INITIATE, refusal("8.1", "6.1", "no\n\u4e2d\u001b[1m" + "x" * 500))
    words = "no???[1m" + "x" * 112
    assert out[-1] == f"Es9Refused initiateAuthentication: the SM-DP+ refused with 8.1/6.1 {words}"


async def test_5_6_4_every_empty_answer_to_a_notification_is_success(micropython: Run) -> None:
    assert (await call(micropython, 'es9.handle_notification(b"0")', b""))[-1] == "no error but None"
    assert (await call(micropython, 'es9.handle_notification(b"0")', answer({})))[-1] == "no error but None"
    out = await call(micropython, 'es9.handle_notification(b"0")', refusal("8.1", "6.1"))
    assert out[-1] == "Es9Refused handleNotification: the SM-DP+ refused with 8.1/6.1"


# what no server should send


@pytest.mark.parametrize(("body", "reason"), [
    (b"", "JsonError JSON ends early"),
    (b"[]", "JsonError no JSON object where one was due"),
    (b"<html>", "JsonError no JSON object where one was due"),
    (b'{"a"', "JsonError JSON ends early"),
    (b'{"a":1', "JsonError JSON ends early"),
    (b'{"a" 1}', "JsonError no colon after a name"),
    (b'{"a":1 "b":2}', "JsonError neither a comma nor the end of an object"),
    (b'{"a":1,}', "JsonError no string where one was due"),
    (b"{a:1}", "JsonError no string where one was due"),
    (b'{"a":}', "JsonError a value is missing"),
    (b'{"a":,}', "JsonError no JSON value begins with ','"),
    (b'{"a":"\\x"}', "JsonError an escape that JSON does not have"),
    (b'{"a":"\\u00zz"}', "JsonError an escape that JSON does not have"),
    (b'{"a":' + b"[" * 5000, "JsonError JSON nested deeper than 16"),
    (b'{"a":"' + b"x" * 20000, "JsonError JSON without end"),
    (b'{"header":[]}', "JsonError no JSON object where one was due"),
    (b'{"transactionId":5}', "JsonError no string where one was due"),
    (b"{}", "Es9Malformed initiateAuthentication: no serverSigned1"),
    (answer(SERVER), "Es9Malformed initiateAuthentication: transactionId is not hexadecimal"),
    (answer(SERVER, transactionId="xy"), "Es9Malformed initiateAuthentication: transactionId is not hexadecimal"),
    (answer({**SERVER, "serverSigned1": b"0\x05"}),
     "Es9Malformed initiateAuthentication: serverSigned1 is no 30"),
    (answer({**SERVER, "serverSigned1": tlv(0x31)}),
     "Es9Malformed initiateAuthentication: serverSigned1 is no 30"),
    (answer({**SERVER, "serverSigned1": b"0\x00\x00"}),
     "Es9Malformed initiateAuthentication: serverSigned1 is no 30"),
    (answer({**SERVER, "serverSigned1": "!!!!"}), "JsonError letters that base64 does not have"),
    (answer({**SERVER, "serverSigned1": "MAA"}), "JsonError base64 of 3 characters"),
    (answer({**SERVER, "serverSigned1": "M===" + "MA" * 160}), "JsonError letters that base64 does not have"),
    (answer({**SERVER, "serverSigned1": "MIHA" + "A" * 250 + "==" + "MAAA"}), "JsonError base64 of 4 characters"),
    (answer({**SERVER, "serverCertificate": tlv(0x30, bytes(4200))}),
     "Es9Malformed initiateAuthentication: a field of more than 4096 bytes"),
], ids=range(28))
async def test_6_5_what_is_no_answer_has_a_name(micropython: Run, body: bytes, reason: str) -> None:
    assert (await call(micropython, INITIATE, body))[-1] == reason


@pytest.mark.parametrize(("size", "told"), [(16384, "no error but "), (16385, "JsonError JSON without end")])
async def test_an_answer_of_16384_bytes_is_read_and_one_of_16385_is_not(
        micropython: Run, size: int, told: str) -> None:
    body = answer(SERVER, transactionId=TID, padding="")
    body = body.replace(b'"padding": ""', b'"padding": "' + b"x" * (size - len(body)) + b'"')
    assert len(body) == size
    assert (await call(micropython, INITIATE, body))[-1].startswith(told)


@pytest.mark.parametrize(("depth", "told"), [(16, "no error but "), (17, "JsonError JSON nested deeper than 16")])
async def test_what_is_read_over_is_16_deep_at_most(micropython: Run, depth: int, told: str) -> None:
    body = answer(SERVER, transactionId=TID, padding="").replace(b'""', b"[" * depth + b"]" * depth)
    assert (await call(micropython, INITIATE, body))[-1].startswith(told)


async def test_a_field_of_4096_bytes_is_taken_and_one_of_4097_refused(micropython: Run) -> None:
    body = answer({**SERVER, "serverCertificate": tlv(0x30, bytes(4096))}, transactionId=TID)
    expression = INITIATE.replace("hexed(es9.", "sized(es9.")
    assert (await call(micropython, expression, body))[-1] == f"no error but {len(FIELDS) - 504 + 4100}"
    body = answer({**SERVER, "serverCertificate": tlv(0x30, bytes(4097))}, transactionId=TID)
    assert (await call(micropython, expression, body))[-1] == (
        "Es9Malformed initiateAuthentication: a field of more than 4096 bytes")


@pytest.mark.parametrize("expression", [AUTHENTICATE, "package(es9)"])
async def test_an_answer_to_another_transaction_is_refused(micropython: Run, expression: str) -> None:
    body = answer({"transactionId": "A1B2C3D5", **OFFER, "boundProfilePackage": PACKAGE})
    assert (await call(micropython, expression, body))[-1] == (
        f"Es9Malformed {'getBoundProfilePackage' if 'package' in expression else 'authenticateClient'}: "
        "answers another transaction")


async def test_what_is_no_package_is_not_given_to_the_card(micropython: Run) -> None:
    out = await call(micropython, "package(es9)", answer({"boundProfilePackage": tlv(0xBF37)}))
    assert out[-1] == "Es9Malformed getBoundProfilePackage: BF37 where the package was due"
    out = await call(micropython, "package(es9)", answer({"boundProfilePackage": PACKAGE[:300]}))
    assert out[-1].startswith("AssertionError")
    assert (await call(micropython, "package(es9)", answer({})))[-1] == (
        "Es9Malformed getBoundProfilePackage: no boundProfilePackage")
