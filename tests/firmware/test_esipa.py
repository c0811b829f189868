"""ipa.net.esipa under MicroPython: the bytes of the host codec out, what real eIMs send in (SGP.32 6.3)."""

from __future__ import annotations

import pytest
from board_run import Run
from microipa.asn1 import sgp32
from microipa.asn1.tlv import tlv

EID = bytes.fromhex("89049032123451234512345678901235")
TX = bytes.fromhex("A1A2A3A4A5A6A7A8")
TID = bytes(range(16))
SIGNATURE = bytes(range(64))
PIR = tlv(0xBF37, tlv(0xBF27, tlv(0x80, TID)), tlv(0x5F37, SIGNATURE))
EPR = bytes.fromhex(  # ../shared/data/vectors.txt
    "bf5169a0673022800b65696d2e6578616d706c658101018208a1a2a3a4a5a6a7a883010730038301005f3740") + SIGNATURE

START = """
from ipa import tlv
from ipa.net.coap_message import CoapRefused
from ipa.net.esipa import Esipa
from rooms import Link, failing, run
EID, TX, TID = [bytes.fromhex(text) for text in ("{EID}", "{TX}", "{TID}")]
async def main():
    link = Link((None, bytes.fromhex("{answer}")))
    esipa = Esipa(link)
    print(await failing(body(esipa)))
    esipa.close()
    print(link.requests[0].hex())
    assert link.done()
async def body(esipa):
"""


def script(body: str, answer: bytes) -> str:
    prelude = START
    for name, value in {"EID": EID, "TX": TX, "TID": TID, "answer": answer}.items():
        prelude = prelude.replace("{" + name + "}", value.hex())
    return prelude + f"    {body.strip()}\nrun(main())\n"


async def said(micropython: Run, body: str, answer: bytes) -> tuple[str, bytes]:
    """What ``body`` came to and the request it sent, when the eIM gives ``answer``."""
    out = (await micropython(script(body, answer))).splitlines()
    return out[0], bytes.fromhex(out[1])


GET_PACKAGE = """
    package = await esipa.get_eim_package(EID, {rplmn})
    return package and "{:X} {}".format(package.tag, bytes(await package.read()).hex() or "")
"""


async def test_6_3_2_5_get_eim_package_asks_with_eid_and_network(micropython: Run) -> None:
    trigger = ("profileDownloadTriggerRequest", {"eimTransactionId": TX})
    answer = sgp32.encode("GetEimPackageResponse", trigger)
    for rplmn, more in (("None", {}), (r"b'\x09\xf1\x07'", {"rPLMN": b"\x09\xf1\x07"})):
        got, request = await said(micropython, GET_PACKAGE.replace("{rplmn}", rplmn), answer)
        assert got == f"no error but BF54 8208{TX.hex()}"
        assert request == sgp32.encode("GetEimPackageRequest", {"eidValue": EID, **more})


CAUSES = sgp32.kind("StateChangeCause").names


@pytest.mark.parametrize("code", [
    pytest.param(code, marks=pytest.mark.covers(f"cause.{name}"), id=name) for code, name in CAUSES.items()])
async def test_6_3_2_5_a_change_the_eim_did_not_order_is_told_with_its_cause(micropython: Run, code: int) -> None:
    body = GET_PACKAGE.replace("{rplmn}", f"None, {code}")
    got, request = await said(micropython, body, bytes.fromhex("bf4f03020101"))
    assert got == "no error but None"
    told = {"notifyStateChange": None, "stateChangeCause": code}
    assert request == sgp32.encode("GetEimPackageRequest", {"eidValue": EID, **told})


@pytest.mark.parametrize(("answer", "outcome"), [
    ("bf4f03020101", "no error but None"),
    ("bf4f03020102", "EsipaRefused GetEimPackage: the eIM refused with 2"),
    ("bf4f0402020080", "EsipaRefused GetEimPackage: the eIM refused with 128"),
    ("bf4f0602047fffffff", "EsipaRefused GetEimPackage: the eIM refused with 2147483647"),
    ("bf4f070205017fffffff", "TlvError 5 bytes where at most 4 may be at offset 5"),
    ("bf4f03bf5400", "no error but BF54 "),
    ("bf4f05bf54043000", "EsipaMalformed GetEimPackage: BF54 is longer than what holds it"),
    ("bf5003020101", "EsipaMalformed GetEimPackage: answered with BF50"),
    ("bf4f00", "TlvCut stream ends inside a TLV at offset 3"),
    ("bf4f0a02", "TlvCut stream ends inside a TLV at offset 3"),
    ("", "TlvCut stream ends inside a TLV at offset 0"),
    ("bf4f820401bf548203fc" + "00" * 1020, "TlvError 1020 bytes where at most 512 may be at offset 10"),
])
async def test_answers_to_get_eim_package_good_and_bad(micropython: Run, answer: str, outcome: str) -> None:
    got, _ = await said(micropython, GET_PACKAGE.replace("{rplmn}", "None"), bytes.fromhex(answer))
    assert got == outcome


PROVIDE = "    return await esipa.provide_eim_package_result(EID, bytes.fromhex('{}'))".format


async def test_6_3_2_6_a_result_goes_out_as_the_card_wrote_it(micropython: Run) -> None:
    answer = sgp32.encode("ProvideEimPackageResultResponse", ("eimAcknowledgements", [7, 200]))
    got, request = await said(micropython, PROVIDE(EPR.hex()), answer)
    assert got == "no error but [7, 200]"
    assert request == tlv(0xBF50, tlv(0x5A, EID), EPR)
    assert sgp32.decode("ProvideEimPackageResult", request)["eimPackageResult"][0] == "euiccPackageResult"


@pytest.mark.covers("package.emptyResponse", "esipa.ProvideEimPackageResultResponse")
@pytest.mark.parametrize(("answer", "outcome"), [
    ("bf5000", "no error but []"),  # empty answer of 1.1
    ("bf50023000", "no error but []"),  # of 1.2
    ("", "no error but []"),  # and 2.04 without payload
    ("bf5003020104", "EsipaRefused ProvideEimPackageResult: the eIM refused with 4"),
    ("bf4f00", "EsipaMalformed ProvideEimPackageResult: answered with BF4F"),
    ("bf5006bf53058001", "TlvCut stream ends inside a TLV at offset 3"),
    ("bf5006bf5305800107", "TlvError BF53 wants 5 bytes, 3 there at offset 3"),
])
async def test_answers_to_a_result_good_and_bad(micropython: Run, answer: str, outcome: str) -> None:
    got, _ = await said(micropython, PROVIDE(EPR.hex()), bytes.fromhex(answer))
    assert got == outcome


async def test_6_3_2_7_a_notification_is_handed_over_and_its_answer_is_empty(micropython: Run) -> None:
    body = f"    return await esipa.handle_notification(bytes.fromhex('{PIR.hex()}'))"
    got, request = await said(micropython, body, b"")
    assert got == "no error but None"
    assert request == tlv(0xBF3D, tlv(0xA0, PIR))


INITIATE = """
    return bytes(await esipa.initiate_authentication(TID, "smdp.example", b"\\xbf\\x20\\x00", TX)).hex()
"""


async def test_6_3_2_1_initiate_authentication(micropython: Run) -> None:
    fields = tlv(0x80, TID) + tlv(0x30, b"") + tlv(0x5F37, SIGNATURE) + tlv(0x0C, b"MATCH")
    for inside in (tlv(0xA0, fields), fields):  # some eIMs leave the A0 out
        got, request = await said(micropython, INITIATE, tlv(0xBF39, inside))
        assert got == f"no error but {fields.hex()}"
    assert request == tlv(0xBF39, tlv(0x81, TID), tlv(0x83, b"smdp.example"), tlv(0xBF20), tlv(0x82, TX))
    body = "    return await esipa.initiate_authentication(TID, transaction=TX)"
    got, request = await said(micropython, body, bytes.fromhex("bf3903810132"))
    assert got == "EsipaRefused InitiateAuthentication: the eIM refused with 50"
    values = {"euiccChallenge": TID, "eimTransactionId": TX}
    assert request == sgp32.encode("InitiateAuthenticationRequestEsipa", values)


AUTHENTICATE = "    return bytes(await esipa.authenticate_client(TID, b'\\xbf\\x38\\x00')).hex()"


async def test_6_3_2_2_authenticate_client(micropython: Run) -> None:
    fields = tlv(0x80, TID) + tlv(0x30, b"") + tlv(0x5F37, SIGNATURE)
    got, request = await said(micropython, AUTHENTICATE, tlv(0xBF3B, tlv(0xA0, fields)))
    assert got == f"no error but {fields.hex()}"
    assert request == tlv(0xBF3B, tlv(0x80, TID), tlv(0xBF38))
    got, _ = await said(micropython, AUTHENTICATE, bytes.fromhex("bf3b03820108"))
    assert got == "EsipaRefused AuthenticateClient: the eIM refused with 8"
    got, _ = await said(micropython, AUTHENTICATE, tlv(0xBF3B, tlv(0xA0, tlv(0x80, TX))))
    assert got == "EsipaMalformed AuthenticateClient: answers another transaction"


GET_BPP = """
    reader, length = await esipa.get_bound_profile_package(TID, b'\\xbf\\x21\\x00')
    return "{} {}".format(bytes(reader.head).hex(), bytes(await reader.read(length, 9999)).hex())
"""


async def test_6_3_2_3_the_bound_profile_package_stays_a_stream(micropython: Run) -> None:
    bpp = tlv(0xBF36, bytes(range(200)))
    expected = f"no error but bf3681c8 {bytes(range(200)).hex()}"
    for inside in (tlv(0xA0, tlv(0x80, TID), bpp), tlv(0xA0, bpp), tlv(0x80, TID) + bpp, bpp):
        got, request = await said(micropython, GET_BPP, tlv(0xBF3A, inside))
        assert got == expected
    assert request == tlv(0xBF3A, tlv(0x80, TID), tlv(0xBF21))
    for inside, reason in (
        (tlv(0x81, b"\x06"), "EsipaRefused GetBoundProfilePackage: the eIM refused with 6"),
        (tlv(0xA0, tlv(0x80, TX), bpp), "EsipaMalformed GetBoundProfilePackage: answers another transaction"),
        (tlv(0xA0, tlv(0x30)), "EsipaMalformed GetBoundProfilePackage: 30 where the package was due"),
        (tlv(0xA0, bpp)[:-1] + b"\xa0", "no error"),
    ):
        got, _ = await said(micropython, GET_BPP, tlv(0xBF3A, inside))
        assert got.startswith(reason)


async def test_6_3_2_4_cancel_session_puts_one_tag_for_two(micropython: Run) -> None:
    body = "    return await esipa.cancel_session(TX, b'\\x81\\x01\\x05')"
    got, request = await said(micropython, body, bytes.fromhex("bf4102a000"))
    assert got == "no error but None"
    assert request.hex() == "bf410f8008a1a2a3a4a5a6a7a8a103810105"  # ../shared/data/vectors.txt
    got, _ = await said(micropython, body, bytes.fromhex("bf4103810102"))
    assert got == "EsipaRefused CancelSession: the eIM refused with 2"
