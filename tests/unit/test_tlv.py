"""BER-TLV slices: nothing is lost, nothing is believed (X.690 8.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from microipa.asn1 import tlv
from microipa.asn1.tlv import TlvError

TAGS = st.sampled_from([0x04, 0x30, 0x5A, 0x5F37, 0x80, 0x9F70, 0xA0, 0xBF23, 0xBF51, 0xE3])


@given(TAGS, st.binary(max_size=70_000))
def test_what_was_encoded_is_read_back(tag: int, value: bytes) -> None:
    parsed = tlv.parse(tlv.tlv(tag, value))
    assert (parsed.tag, parsed.value) == (tag, value)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_by_name(data: bytes) -> None:
    try:
        parsed = tlv.parse_all(data)
    except TlvError as error:
        assert 0 <= error.offset <= len(data)
    else:
        assert b"".join(item.raw for item in parsed) == data


@given(st.integers(min_value=-(2**63), max_value=2**63))
def test_integers_are_minimal_and_signed(value: int) -> None:
    body = tlv.parse(tlv.integer(0x02, value)).value
    assert int.from_bytes(body, "big", signed=True) == value
    assert len(body) == 1 or body[0] != (0xFF if body[1] & 0x80 else 0x00)


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        ("", "nothing where a tag", 0),
        ("BF", "tag without an end", 0),
        ("5A", "no length", 1),
        ("5A80", "length form 80", 1),
        ("5A8200", "cut short", 2),
        ("5A0A9810", "wants 10 bytes, 2 are there", 2),
        ("05000500", "2 bytes after the end", 2),
    ],
)
def test_refusals_name_reason_and_offset(data: str, reason: str, offset: int) -> None:
    with pytest.raises(TlvError, match=reason) as caught:
        tlv.parse(bytes.fromhex(data))
    assert caught.value.offset == offset


def test_errors_inside_point_into_the_whole_input() -> None:
    outer = tlv.parse(bytes.fromhex("3006BF2303800901"))
    with pytest.raises(TlvError, match="80 wants 9 bytes") as caught:
        outer[0xBF23].children()
    assert caught.value.offset == 7


def test_a_missing_child_is_named() -> None:
    with pytest.raises(TlvError, match="no BF23 inside 30"):
        tlv.parse(bytes.fromhex("30020500"))[0xBF23]
