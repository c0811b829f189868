"""The codec under whatever may come: every type both ways, and any bytes are read or refused by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import asn1tools
import microipa.asn1
from hypothesis import given, settings
from hypothesis import strategies as st
from microipa.asn1 import Schema, SchemaError, rsp, saip, sgp32
from microipa.asn1.describe import describe
from microipa.asn1.kinds import Kind
from microipa.asn1.tlv import tlv
from microipa.saip import ProfileSpec, build

PACKAGE = build(ProfileSpec(iccid="8999970000000000001", imsi="999700000000001", k=bytes(16), opc=bytes(16)))
MESSAGES = [  # one of each way a message can be nested
    sgp32.encode("GetEimPackageRequest", {"eidValue": bytes(16), "stateChangeCause": 1, "rPLMN": b"\0\1\2"}),
    sgp32.encode("ProvideEimPackageResultResponse", ("eimAcknowledgements", [1, 200, 70_000])),
    sgp32.encode(
        "EuiccPackage",
        (
            "psmoList",
            [
                ("enable", {"iccid": bytes(10), "rollbackFlag": None}),
                ("listProfileInfo", {}),
                ("getRAT", {}),
                ("setDefaultDpAddress", {"defaultDpAddress": "smdp.example"}),
            ],
        ),
    ),
    sgp32.encode(
        "AddInitialEimRequest",
        {
            "eimConfigurationDataList": [
                {
                    "eimId": "eim",
                    "counterValue": 0,
                    "associationToken": -1,
                    "eimSupportedProtocol": (b"\x40", 2),
                }
            ]
        },
    ),
    sgp32.encode(
        "ProvideEimPackageResult",
        {
            "eimPackageResult": (
                "profileDownloadTriggerResult",
                {
                    "profileDownloadTriggerResultData": (
                        "profileDownloadError",
                        {"profileDownloadErrorReason": 127},
                    )
                },
            )
        },
    ),
    PACKAGE,
]
TYPES = [(schema, name) for schema in (rsp, sgp32, saip) for name in schema.types]
TAGS = [
    0x30,
    0xA0,
    0xA2,
    0xBF22,
    0xBF2B,
    0xBF2D,
    0xBF37,
    0xBF3D,
    0xBF41,
    0xBF4F,
    0xBF50,
    0xBF51,
    0xBF52,
    0xE3,
]
OIDS = ["2.23.146.1.2.1.0", "1.2.840.10045.3.1.7", "2.999.10", "1.3.6.1"]


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[Schema, str, Any]:
    schema, name = draw(st.sampled_from(TYPES))
    return schema, name, value(draw, schema.kind(name))


def value(draw: st.DrawFn, kind: Kind) -> Any:
    """Some value of a kind, in the form that decoding gives."""
    match kind.base:
        case "SEQUENCE":
            present = [m for m in kind.members if m.required or m.default is not None or draw(st.booleans())]
            return {member.name: value(draw, member.kind) for member in present}
        case "SEQUENCE OF":
            assert kind.element is not None
            return [value(draw, kind.element) for _ in range(draw(sizes(kind, 2)))]
        case "CHOICE":
            member = draw(st.sampled_from(kind.members))
            return member.name, value(draw, member.kind)
        case "INTEGER":
            low, high = kind.limits or (-(2**40), 2**40)
            return draw(st.sampled_from(sorted(kind.names)) if kind.names else st.integers(low, high))
        case "BOOLEAN":
            return draw(st.booleans())
        case "NULL":
            return None
        case "BIT STRING" if kind.names:
            count = draw(st.integers(0, max(kind.names) + 1))
            bits = draw(st.integers(0, 2**count - 1)) | 1 if count else 0  # the last is set: X.690 11.2.2
            return (bits << -count % 8).to_bytes((count + 7) // 8, "big"), count
        case "BIT STRING":
            octets = draw(st.binary(max_size=9))
            return octets, 8 * len(octets)
        case "OCTET STRING":
            size = draw(sizes(kind, 20))
            return draw(st.binary(min_size=size, max_size=size))
        case "UTF8String":
            size = draw(sizes(kind, 20))
            return draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=size, max_size=size))
        case "OBJECT IDENTIFIER":
            return draw(st.sampled_from(OIDS))
        case _:
            return tlv(min(kind.accepts) if kind.accepts else 0x04, tlv(0x0C, draw(st.binary(max_size=3))))


def sizes(kind: Kind, enough: int) -> st.SearchStrategy[int]:
    low, high = kind.size or (0, None)
    return st.integers(low, low + enough if high is None else min(high, low + enough))


@settings(max_examples=300, deadline=None)
@given(typed_values())
def test_every_type_reads_what_it_wrote(example: tuple[Schema, str, Any]) -> None:
    schema, name, written = example
    der = schema.encode(name, written)
    assert schema.decode(name, der) == written
    assert schema.encode(name, schema.decode(name, der)) == der


@cache
def as_asn1tools_has_it(schema: Schema) -> Any:
    folder = Path(microipa.asn1.__file__).parent
    files = {rsp: ["rsp.asn"], sgp32: ["rsp.asn", "sgp32.asn"], saip: ["saip.asn"]}[schema]
    return asn1tools.compile_files([str(folder / file) for file in files], "der")


@settings(max_examples=300, deadline=None)
@given(typed_values())
def test_asn1tools_writes_the_same(example: tuple[Schema, str, Any]) -> None:
    schema, name, written = example
    module = schema.kinds.home(name)
    assert schema.encode(name, written) == as_asn1tools_has_it(schema).modules[module][name].encode(written)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.builds(tlv, st.sampled_from(TAGS), st.binary(max_size=40)))
def test_any_bytes_are_read_or_refused_with_offset_and_reason(data: bytes) -> None:
    understood(data)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    message = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(message) - 1))
        match draw(st.sampled_from(["change", "insert", "drop", "cut"])):
            case "change":
                message[place] = draw(st.integers(0, 255))
            case "insert":
                message[place:place] = draw(st.binary(min_size=1, max_size=4))
            case "drop":
                del message[place : place + draw(st.integers(1, 4))]
            case "cut":
                del message[place + 1 :]
        message = message or bytearray(1)
    return bytes(message)


@settings(max_examples=600, deadline=None)
@given(mutations())
def test_a_damaged_message_is_read_or_refused_with_offset_and_reason(data: bytes) -> None:
    understood(data)


def understood(data: bytes) -> None:
    """Read or refuse ``data``; what was understood has one DER, which says the same again."""
    try:
        description = describe(data)
    except SchemaError as error:
        assert error.reason
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)
        return
    assert description.text()
    assert description.json()["type"] == description.type_name
    assert description.summary()
    der = description.reencode()
    again = describe(der, description.type_name)
    assert again.reencode() == der
    assert again.text().splitlines()[1:] == description.text().splitlines()[1:]


def test_what_a_later_version_adds_is_passed_over_and_not_written_again() -> None:
    """EXTENSIBILITY IMPLIED (X.680 13.4): an unknown element behind the known ones."""
    known = sgp32.encode("EimConfigurationData", {"eimId": "eim"})
    extended = tlv(0x30, known[2:], tlv(0xAA, b"\x80\x01\x00"))  # eSipaProprietaryProtocolInformation of 1.3
    assert sgp32.decode("EimConfigurationData", extended) == {"eimId": "eim"}
    assert describe(extended, "EimConfigurationData").reencode() == known
