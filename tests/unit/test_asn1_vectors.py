"""The schemas against reference messages made with another compiler (../shared/data/vectors.txt)."""

from __future__ import annotations

from pathlib import Path

import pytest
from microipa.asn1 import SchemaError, sgp32
from microipa.asn1.describe import describe, identify

FILE = Path(__file__).parents[3] / "shared" / "data" / "vectors.txt"
NAMES = {
    "EID": bytes.fromhex("89049032123451234512345678901235"),
    "ICCID": bytes.fromhex("98100000000000000010"),
    "TX": bytes.fromhex("A1A2A3A4A5A6A7A8"),
    "SIG": bytes(range(64)),
}


def vectors() -> list[tuple[str, bytes, str]]:
    rows = [row.split("\t") for row in FILE.read_text().splitlines() if not row.startswith("#")]
    return [(type_name, bytes.fromhex(digits), content) for type_name, digits, content in rows]


pytestmark = pytest.mark.skipif(not FILE.exists(), reason="../shared/data is not there")
EACH = pytest.mark.parametrize(("type_name", "der", "content"), vectors() if FILE.exists() else [])


@EACH
def test_a_reference_message_is_read_as_its_content_and_written_as_its_bytes(
    type_name: str, der: bytes, content: str
) -> None:
    value = eval(content, {"__builtins__": {}}, NAMES)
    assert sgp32.decode(type_name, der) == value
    assert sgp32.encode(type_name, value) == der


@EACH
def test_a_reference_message_is_recognised_by_its_tag(type_name: str, der: bytes, content: str) -> None:
    description = describe(der)
    assert description.type_name == type_name
    assert type_name in identify(der)
    assert description.reencode() == der


@EACH
def test_a_reference_message_cut_short_or_with_more_behind_it_is_refused(
    type_name: str, der: bytes, content: str
) -> None:
    for end in range(len(der)):
        assert_refused(der[:end], type_name)
    assert_refused(der + b"\0", type_name)


def assert_refused(der: bytes, type_name: str) -> None:
    with pytest.raises(SchemaError) as caught:
        sgp32.decode(type_name, der)
    assert caught.value.offset is not None
    assert 0 <= caught.value.offset <= len(der)
