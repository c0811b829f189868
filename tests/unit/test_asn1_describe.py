"""Messages for people: found by their tag, said in words, in JSON, in one line; keys stay hidden."""

from __future__ import annotations

import json

import pytest
from microipa.asn1 import saip, sgp32
from microipa.asn1.describe import PROFILE_PACKAGE, describe, identify
from microipa.asn1.tlv import tlv
from microipa.saip import ProfilePackage, ProfileSpec, build

EID = bytes.fromhex("89049032123451234512345678901235")
ICCID = bytes.fromhex("98100000000000000010")
TX = bytes.fromhex("A1A2A3A4A5A6A7A8")
SIGNATURE = bytes(range(64))
K, OPC = bytes.fromhex("4b" * 16), bytes.fromhex("0c" * 16)
PACKAGE = build(ProfileSpec(iccid="8999970000000000001", imsi="999700000000001", k=K, opc=OPC))
RESULT = {
    "eimId": "eim.example",
    "counterValue": 1,
    "eimTransactionId": TX,
    "seqNumber": 7,
    "euiccResult": [
        ("enableResult", 0),
        (
            "listProfileInfoResult",
            (
                "profileInfoListOk",
                [{"iccid": ICCID, "profileState": 1, "profileName": "Größe", "fallbackAttribute": False}],
            ),
        ),
    ],
}
SIGNED = {"euiccPackageResultDataSigned": RESULT, "euiccSignEPR": SIGNATURE}
EPR = sgp32.encode("EuiccPackageResult", ("euiccPackageResultSigned", SIGNED))


def test_sgp22_5_7_10_a_card_without_a_result_says_so() -> None:
    assert describe(bytes.fromhex("BF2B03810101")).summary() == "RetrieveNotificationsListResponse: noResultAvailable"


def test_text_has_the_standards_names_codes_in_words_and_identities_in_digits() -> None:
    assert describe(EPR).text().splitlines() == [
        "EuiccPackageResult (SGP.32)",
        "  euiccPackageResultSigned",
        "    euiccPackageResultDataSigned",
        "      eimId: eim.example",
        "      counterValue: 1",
        "      eimTransactionId: a1a2a3a4a5a6a7a8",
        "      seqNumber: 7",
        "      euiccResult",
        "        enableResult: ok (0)",
        "        listProfileInfoResult",
        "          profileInfoListOk",
        "            [0]",
        "              iccid: 89010000000000000001",
        "              profileState: enabled (1)",
        "              profileName: Größe",
        "              fallbackAttribute: no",
        "    euiccSignEPR: " + SIGNATURE[:32].hex() + "… (64 octets)",
    ]


def test_json_has_objects_lists_codes_with_names_and_hex() -> None:
    said = json.loads(json.dumps(describe(EPR).json()))
    assert (said["type"], said["standard"]) == ("EuiccPackageResult", "SGP.32")
    signed = said["value"]["euiccPackageResultSigned"]
    assert signed["euiccSignEPR"] == SIGNATURE.hex()
    assert signed["euiccPackageResultDataSigned"]["euiccResult"] == [
        {"enableResult": {"code": 0, "name": "ok"}},
        {
            "listProfileInfoResult": {
                "profileInfoListOk": [
                    {
                        "iccid": "89010000000000000001",
                        "profileState": {"code": 1, "name": "enabled"},
                        "profileName": "Größe",
                        "fallbackAttribute": False,
                    }
                ]
            }
        },
    ]


def test_a_code_the_standard_does_not_know_is_shown_as_a_number_without_a_name() -> None:
    description = describe(bytes.fromhex("bf4f03020163"))
    assert "eimPackageError: not a value of the standard (99)" in description.text()
    assert description.json()["value"] == {"eimPackageError": {"code": 99, "name": None}}


@pytest.mark.parametrize(
    ("der", "line"),
    [
        ("bf4f03020101", "GetEimPackageResponse: noEimPackageAvailable"),
        ("bf5006bf5303800107", "ProvideEimPackageResultResponse: EimAcknowledgements, acknowledged 7"),
        ("bf5a038001ff", "ImmediateEnableRequest: with REFRESH"),
        (
            "bf640482020186",
            "EuiccMemoryResetRequest: deleteOperationalProfiles + resetEimConfigData + resetImmediateEnableConfig",
        ),
    ],
)
def test_the_summary_is_one_line_of_what_matters(der: str, line: str) -> None:
    assert describe(bytes.fromhex(der)).summary() == line


@pytest.mark.parametrize(
    ("der", "first", "others"),
    [
        ("bf3003800101", "NotificationSentRequest", {"NotificationSentResponse"}),
        ("bf2e00", "GetEuiccChallengeRequest", {"GetEuiccChallengeResponse"}),
        ("bf5500", "GetEimConfigurationDataRequest", {"GetEimConfigurationDataResponse"}),
        ("bf650e800c736d64702e6578616d706c65", "SetDefaultDpAddressRequest", {"SetDefaultDpAddressResponse"}),
    ],
)
def test_of_the_types_with_one_tag_the_fitting_one_is_taken(der: str, first: str, others: set[str]) -> None:
    message = bytes.fromhex(der)
    assert describe(message).type_name == first
    assert others | {first} <= set(identify(message))


def test_bytes_that_fit_two_types_name_the_other_and_a_type_settles_it() -> None:
    message = bytes.fromhex("bf3003800101")
    assert describe(message).text().startswith("NotificationSentRequest (SGP.22), or NotificationSentResponse")
    answer = describe(message, "NotificationSentResponse")
    assert answer.summary() == "NotificationSentResponse: nothingToDelete"
    assert "or" not in answer.text().splitlines()[0].split()


def test_a_name_of_both_standards_means_that_of_sgp_32() -> None:
    """SGP.22 knows no profileChangeOngoing (reference 1.11)."""
    description = describe(bytes.fromhex("bf2d0381010b"))
    assert description.summary() == "ProfileInfoListResponse: profileChangeOngoing"
    assert description.schema.title == "SGP.32"


def test_a_type_that_no_tag_tells_is_read_by_name() -> None:
    data = sgp32.encode("EimConfigurationData", {"eimId": "eim.example"})
    assert describe(data, "EimConfigurationData").value == {"eimId": "eim.example"}
    assert describe(b"\x02\x01\x05", "StateChangeCause").text() == (
        "StateChangeCause (SGP.32)\n  : immediateEnableProfile (5)"
    )


def test_what_is_signed_by_another_comes_back_byte_for_byte() -> None:
    """Certificates and parameters of keys are raw slices, whatever is in them (design.md, decision 1)."""
    certificate = tlv(0x30, tlv(0x30, b"\x02\x02\x00\x01"), tlv(0x30), b"\x03\x02\x07\x80")  # no DER inside
    body = certificate[2:]
    value = sgp32.decode("GetCertsResponse", tlv(0xBF56, tlv(0xA0, tlv(0xA5, body), tlv(0xA6, body))))
    fields = value[1]["eumCertificate"]
    assert fields["tbsCertificate"] == tlv(0x30, b"\x02\x02\x00\x01")
    assert sgp32.encode("CertificateFields", fields) == certificate


def test_a_length_that_is_not_in_its_shortest_form_is_read_and_written_shortest() -> None:
    description = describe(bytes.fromhex("bf4f820003020101"))
    assert description.summary() == "GetEimPackageResponse: noEimPackageAvailable"
    assert description.reencode().hex() == "bf4f03020101"


def test_bits_that_der_leaves_out_are_read_and_not_written() -> None:
    """X.690 11.2.2: one IPAd sends a whole octet for each BIT STRING (reference/interop.md)."""
    description = describe(bytes.fromhex("e10480020040"))
    assert description.json()["value"] == {"euiccConfiguration": ["enabledProfile"]}
    assert description.reencode().hex() == "e10480020640"


# Profile packages


def test_a_profile_package_is_known_by_its_header_and_comes_back() -> None:
    description = describe(PACKAGE)
    assert description.type_name == PROFILE_PACKAGE
    assert description.summary() == "ProfilePackage: 9 elements, header, 8999970000000000001"
    assert description.reencode() == PACKAGE


@pytest.mark.parametrize("wrapped", [False, True])
def test_keys_and_codes_of_a_profile_are_counted_and_not_shown(wrapped: bool) -> None:
    """Nowhere: not in text, not in JSON, not in the one line; nor for an element that stands alone."""
    aka = next(element for element in describe(PACKAGE).value if element[0] == "akaParameter")
    description = describe(saip.encode("ProfileElement", aka)) if wrapped else describe(PACKAGE)
    said = description.text() + json.dumps(description.json()) + description.summary()
    assert K.hex() not in said
    assert OPC.hex() not in said
    assert "key: 16 octets (hidden)" in said
    assert '"opc": "16 octets (hidden)"' in said


def test_every_secret_of_a_profile_is_hidden() -> None:
    said = describe(PACKAGE).text()
    for field in ("key", "opc", "keyData", "pinValue", "pukValue"):
        shown = [line for line in said.splitlines() if line.strip().startswith(f"{field}:")]
        assert shown
        assert all(line.endswith("octets (hidden)") for line in shown)


def test_files_that_hold_keys_are_hidden_and_others_are_shown() -> None:
    content = [("fillFileContent", b"\x07" + bytes(range(32)))]
    header = {"mandated": None, "identification": 1}
    element = (
        "usim",
        {
            "usim-header": header,
            "templateID": "2.23.143.1.2.4",
            "adf-usim": [],
            "ef-imsi": content,
            "ef-arr": [],
            "ef-keys": content,
            "ef-keysPS": content,
            "ef-ust": [],
            "ef-spn": [],
            "ef-est": [],
            "ef-acc": [],
            "ef-ecc": [],
        },
    )
    lines = describe(saip.encode("ProfileElement", element)).text().splitlines()
    shown = {lines[i - 1].strip(): line.strip() for i, line in enumerate(lines) if "fillFileContent" in line}
    assert shown["ef-keys"] == shown["ef-keysPS"] == "fillFileContent: 33 octets (hidden)"
    assert shown["ef-imsi"].startswith("fillFileContent: 07000102")


def test_what_a_card_says_of_an_installation_is_read_inside_its_octets() -> None:
    sima = saip.encode("EUICCResponse", {"peStatus": [{"status": 4, "identification": 3}]})
    error = {"bppCommandId": 5, "errorReason": 10, "simaResponse": sima}
    text = describe(sgp32.encode("ErrorResult", error), "ErrorResult").text()
    assert "errorReason: installFailedDueToInsufficientMemoryForProfile (10)" in text
    assert "status: not-enough-memory (4)" in text
    assert "identification: 3" in text


def test_data_that_personalise_a_security_domain_or_an_applet_are_hidden() -> None:
    instance = {
        "applicationLoadPackageAID": bytes(5),
        "classAID": bytes(5),
        "instanceAID": bytes(5),
        "applicationPrivileges": b"\x00",
        "applicationSpecificParametersC9": b"",
        "processData": [b"\x80\xe2\x90\x00" + K],
    }
    body = {"sd-Header": {"identification": 1}, "instance": instance, "sdPersoData": [b"\x81\x13" + K]}
    description = describe(saip.encode("ProfileElement", ("securityDomain", body)))
    said = description.text() + json.dumps(description.json())
    assert K.hex() not in said
    assert said.count("20 octets (hidden)") == said.count("18 octets (hidden)") == 2
    body |= {"sd-Header": {"identification": 1, "mandated": None}}
    assert K.hex() not in ProfilePackage.parse(saip.encode("ProfileElement", ("securityDomain", body))).tree()
