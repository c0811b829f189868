"""What no schema allows is refused: on the way in with offset and reason, on the way out with the path."""

from __future__ import annotations

from typing import Any

import pytest
from microipa.asn1 import SchemaError, rsp, saip, sgp32
from microipa.asn1.describe import describe
from microipa.asn1.tlv import tlv


@pytest.mark.parametrize(
    ("der", "offset", "reason"),
    [
        ("", 0, "nothing to decode"),
        ("bf4f", 2, "no length after tag BF4F"),
        ("bf4f820012", 5, "BF4F wants 18 bytes, 0 are there"),
        ("bf4f03020101ff", 6, "1 byte after the end of BF4F"),
        ("bf4f0302010100ff", 6, "2 bytes after the end of BF4F"),
        ("bf4f850000000003020101", 2, "length form 85 of BF4F is not allowed"),
        ("bf4f800201010000", 2, "length form 80 of BF4F is not allowed"),
        ("bf4f030203ff", 5, "02 wants 3 bytes, 1 is there"),
        ("ff70023000", 0, "no type begins with FF70"),
        ("bfffffff01023000", 0, "tag without an end"),
        ("04020102", 0, "no type begins with 04"),  # only a universal type: it says nothing
        ("bf4f135a11" + "89" * 17, 5, "GetEimPackageRequest.eidValue: 17 octets where 16 are allowed"),
        ("bf4f03050100", 3, "GetEimPackageRequest: eidValue (5A) is missing, 05 stands in its place"),
        ("bf4f020200", 5, "GetEimPackageResponse.eimPackageError: INTEGER without contents"),
        ("bf4f175a10" + "00" * 16 + "8101018000", 24, "GetEimPackageRequest: 80 comes twice or too late"),
        (
            "bf4f165a10" + "00" * 16 + "82020000",
            23,
            "GetEimPackageRequest.rPLMN: 2 octets where 3 are allowed",
        ),
        (
            "bf570da00b3009800365696d8102c328",
            14,
            "AddInitialEimRequest.eimConfigurationDataList[0].eimFqdn: not UTF-8",
        ),
        (
            "bf5504a0028000",
            7,
            "GetEimConfigurationDataRequest.searchCriteria.eimId: 0 characters where 1 to 128 are allowed",
        ),
        (
            "e104800208ff",
            4,
            "ISDRProprietaryApplicationTemplateIoT.euiccConfiguration: BIT STRING of 1 octets with 8 unused bits",
        ),
        ("bf5003800101", 3, "ProvideEimPackageResult: eimPackageResult"),
    ],
)
def test_undecodable_bytes_are_refused_with_offset_and_reason(der: str, offset: int, reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        describe(bytes.fromhex(der))
    assert caught.value.reason.startswith(reason)
    assert caught.value.offset == offset
    assert str(caught.value) == f"{caught.value.reason} at offset {offset}"


@pytest.mark.parametrize(
    ("type_name", "der", "offset", "reason"),
    [
        (
            "ImmediateEnableRequest",
            "bf5a0480020000",
            5,
            "ImmediateEnableRequest.refreshFlag: BOOLEAN of 2 octets",
        ),
        (
            "GetEimPackageRequest",
            "bf4f155a10" + "00" * 16 + "800100",
            23,
            "GetEimPackageRequest.notifyStateChange: NULL with contents",
        ),
        (
            "ConfigureImmediateProfileEnablingRequest",
            "bf5904810288b7",
            5,
            "ConfigureImmediateProfileEnablingRequest.defaultSmdpOid: OBJECT IDENTIFIER without an end",
        ),
        (
            "ProvideEimPackageResultResponse",
            "bf5003bf5000",
            3,
            "ProvideEimPackageResultResponse: expected one of BF53 eimAcknowledgements, 30 emptyResponse",
        ),
        (
            "HandleNotificationEsipa",
            "bf3d02a000",
            5,
            "HandleNotificationEsipa.pendingNotification: A0 must hold one element, not 0",
        ),
    ],
)
def test_a_value_that_is_none_is_refused_where_it_stands(type_name: str, der: str, offset: int, reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        sgp32.decode(type_name, bytes.fromhex(der))
    assert caught.value.reason.startswith(reason)
    assert caught.value.offset == offset


def test_of_several_failures_the_one_that_came_furthest_is_told() -> None:
    broken = tlv(
        0xBF51,
        tlv(0xA0, tlv(0x30, tlv(0x80, b"eim"), tlv(0x81, b"\x01"), tlv(0x83, b"\x01")), b"\x5f\x37\x00"),
    )
    with pytest.raises(SchemaError, match=r"EuiccPackageResult.*euiccResult \(30\) is missing"):
        describe(broken)


def test_elements_inside_each_other_without_end_are_refused() -> None:
    der = b""
    for _ in range(2000):
        der = tlv(0xA0, der)
    with pytest.raises(SchemaError, match="more than 32 TLVs inside each other"):
        describe(tlv(0xBF51, der))


def test_a_profile_package_is_refused_at_the_offset_in_the_whole() -> None:
    header = saip.encode("ProfileElement", ("end", {"end-header": {"identification": 1}}))
    bad = b"\xaa\x03\xa0\x01\x00"
    with pytest.raises(SchemaError) as caught:
        describe(header + bad, "ProfilePackage")
    assert caught.value.offset is not None
    assert caught.value.offset >= len(header)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GetEimPackageReq", "; did you mean GetEimPackageRequest or"),
        ("euiccPackageResult", "; did you mean EuiccPackageResult or"),
        ("Banana", ""),
        ("", ""),
    ],
)
def test_a_type_that_is_not_there_is_refused_with_near_matches(name: str, hint: str) -> None:
    with pytest.raises(SchemaError) as caught:
        describe(bytes.fromhex("bf4f03020101"), name)
    assert str(caught.value).startswith(f"no type {name!r} in SGP.32, SGP.22 or SAIP{hint}")
    assert caught.value.offset is None


def test_the_tag_of_another_message_is_refused_when_a_type_is_given() -> None:
    with pytest.raises(SchemaError, match="GetEimPackageRequest: expected BF4F, found BF50 at offset 0"):
        describe(bytes.fromhex("bf5003020104"), "GetEimPackageRequest")


def test_a_schema_knows_only_its_own_types() -> None:
    with pytest.raises(SchemaError, match="SGP.22 has no type 'GetEimPackageRequest'"):
        rsp.encode("GetEimPackageRequest", {})


# Encoding


@pytest.mark.parametrize(
    ("type_name", "value", "reason"),
    [
        ("GetEimPackageRequest", {}, "GetEimPackageRequest: eidValue is missing"),
        (
            "GetEimPackageRequest",
            {"eidvalue": bytes(16)},
            "GetEimPackageRequest: no component 'eidvalue'; there are eidValue,",
        ),
        (
            "GetEimPackageRequest",
            {"eidValue": bytes(15)},
            "GetEimPackageRequest.eidValue: 15 octets where 16 are allowed",
        ),
        ("GetEimPackageRequest", {"eidValue": "89"}, "GetEimPackageRequest.eidValue: '89' is not bytes"),
        ("GetEimPackageRequest", [], "GetEimPackageRequest: [] is not a dict of components"),
        ("StateChangeCause", True, "StateChangeCause: True is not an int"),
        ("ImmediateEnableRequest", {"refreshFlag": 1}, "ImmediateEnableRequest.refreshFlag: 1 is not a bool"),
        ("EimAcknowledgements", (1,), "EimAcknowledgements: (1,) is not a list"),
        ("EimAcknowledgements", ["1"], "EimAcknowledgements[0]: '1' is not an int"),
        (
            "GetEimPackageResponse",
            "eimPackageError",
            "GetEimPackageResponse: 'eimPackageError' is not a pair (alternative, value)",
        ),
        (
            "GetEimPackageResponse",
            ("error", 1),
            "GetEimPackageResponse: no alternative 'error'; there are euiccPackageRequest,",
        ),
        (
            "TransferEimPackageResponse",
            ("eimPackageReceived", 0),
            "TransferEimPackageResponse.eimPackageReceived: NULL takes None, not 0",
        ),
        (
            "IpaeActivationRequest",
            {"ipaeOption": b"\x80"},
            "IpaeActivationRequest.ipaeOption: b'\\x80' is not a pair (bytes, number of bits)",
        ),
        (
            "IpaeActivationRequest",
            {"ipaeOption": (b"\x80", 9)},
            "IpaeActivationRequest.ipaeOption: 9 bits do not fit 1 octets",
        ),
        (
            "SetDefaultDpAddressRequest",
            {"defaultDpAddress": b"x"},
            "SetDefaultDpAddressRequest.defaultDpAddress: b'x' is not a str",
        ),
        (
            "SetDefaultDpAddressRequest",
            {"defaultDpAddress": "\ud800"},
            "SetDefaultDpAddressRequest.defaultDpAddress: '\\ud800' has no UTF-8 form",
        ),
        ("EimId", "", "EimId: 0 characters where 1 to 128 are allowed"),
        (
            "ConfigureImmediateProfileEnablingRequest",
            {"defaultSmdpOid": "1.2.x"},
            "ConfigureImmediateProfileEnablingRequest.defaultSmdpOid: '1.2.x' is not an object identifier",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_path(type_name: str, value: Any, reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        sgp32.encode(type_name, value)
    assert str(caught.value).startswith(reason)
    assert caught.value.offset is None


@pytest.mark.parametrize("certificate", [b"", b"\x30\x05\x00", b"\x04\x00", b"\x30\x00\x00"])
def test_what_is_not_one_sequence_is_no_certificate(certificate: bytes) -> None:
    signed = {
        "transactionId": b"\1",
        "euiccChallenge": bytes(16),
        "serverAddress": "a",
        "serverChallenge": bytes(16),
    }
    context = (
        "ctxParamsForCommonAuthentication",
        {"deviceInfo": {"tac": bytes(4), "deviceCapabilities": {}}},
    )
    request = {
        "serverSigned1": signed,
        "serverSignature1": bytes(64),
        "euiccCiPKIdToBeUsed": bytes(20),
        "serverCertificate": certificate,
        "ctxParams1": context,
    }
    with pytest.raises(SchemaError, match="AuthenticateServerRequest.serverCertificate: "):
        sgp32.encode("AuthenticateServerRequest", request)


def test_named_bits_are_written_without_trailing_zeros() -> None:
    """X.690 11.2.2: the only form that DER has."""
    for bits in ((b"\x40", 2), (b"\x40", 8), (b"\x40\x00", 16)):
        value = {"euiccConfiguration": bits}
        assert sgp32.encode("ISDRProprietaryApplicationTemplateIoT", value).hex() == "e10480020640"
