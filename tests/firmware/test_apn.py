"""ipa.apn under MicroPython: the profile's own APN (SGP.32 5.9.24), else that of the settings."""

from __future__ import annotations

import pytest
from board_run import Run
from microipa.asn1.tlv import integer, tlv

SCRIPT = """
from ipa import apn, compat, config
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from rooms import Carrier, run
compat.log_sink = lambda line: None
answer = {answer}

async def main():
    es10 = Es10(Channel(Carrier(lambda command: answer if command == b"\\xbf\\x5f\\x00" else 0x6a88)))
    print(repr(await apn.choose(es10, {{"apn": {setting}}}, "{iccid}", "{imsi}")))
run(main())
"""
NONE = tlv(0xBF5F, integer(0x81, 1))
TABLE = {"default": "d", "iccid:8988": "short", "iccid:8988303": "long", "plmn:26201": "", "plmn:262017": "six"}


async def chosen(micropython: Run, answer: object = NONE, setting: object = "iot", iccid: str = "8988303000000000014",
                 imsi: str = "262010000000001") -> str:
    out = await micropython(SCRIPT.format(answer=repr(answer), setting=repr(setting), iccid=iccid, imsi=imsi))
    return out.strip()


@pytest.mark.parametrize(("iccid", "imsi", "expected"), [
    ("8988303000000000014", "262010000000001", "'long'"),
    ("8988211000000000014", "262010000000001", "'short'"),
    ("8949000000000000014", "262010000000001", "''"),
    ("8949000000000000014", "262017000000001", "'six'"),
    ("8949000000000000014", "26201", "''"),
    ("8949000000000000014", "228010000000001", "'d'"),
    ("", "", "'d'"),
])
async def test_the_longest_prefix_of_the_iccid_counts_then_that_of_the_imsi_then_the_default(
        micropython: Run, iccid: str, imsi: str, expected: str) -> None:
    assert await chosen(micropython, setting=TABLE, iccid=iccid, imsi=imsi) == expected


async def test_without_a_default_the_network_has_the_word(micropython: Run) -> None:
    assert await chosen(micropython, setting={"plmn:22801": "x"}) == "''"
    assert await chosen(micropython, setting="") == "''"


def told(parameters: bytes) -> bytes:
    return tlv(0xBF5F, tlv(0xA0, tlv(0x81, parameters)))


@pytest.mark.parametrize(("answer", "expected"), [
    (told(tlv(0x47, b"\x03iot\x07example")), "'iot.example'"),
    (told(tlv(0xC7, b"\x03iot")), "'iot'"),
    (told(tlv(0x35, b"\x03\x00") + tlv(0x47, b"\x03own") + tlv(0x3E, b"\x21\x7f\x00\x00\x01")), "'own'"),
    (told(tlv(0xA1, tlv(0x35, b"\x03") + tlv(0x47, b"\x03own"))), "'own'"),
    (told(tlv(0x47, b"iot.example")), "'iot.example'"),
    (told(tlv(0x47, b"")), "''"),
])
async def test_5_9_24_the_profiles_own_network_access_name_comes_first(
        micropython: Run, answer: bytes, expected: str) -> None:
    assert await chosen(micropython, answer, TABLE) == expected


@pytest.mark.parametrize("answer", [
    NONE, 0x6A88, 0x6985, b"", b"\xbf\x5f\x03\x81", told(b""), told(tlv(0x35, b"\x03")), told(b"\x47\x09abc"),
    told(tlv(0x47, b'\x05a"\r b')), told(tlv(0x47, b"\x02\xff\xfe")), tlv(0xBF5F, tlv(0xA0, b"")),
], ids=lambda answer: hex(answer) if isinstance(answer, int) else answer.hex() or "nothing")
async def test_parameters_that_are_none_or_nobody_can_read_leave_it_to_the_settings(
        micropython: Run, answer: object) -> None:
    assert await chosen(micropython, answer) == "'iot'"
