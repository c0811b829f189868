"""`checks`: each objection there is, found in a package that has nothing else against it."""

from __future__ import annotations

from typing import Any

import pytest
from microipa.saip import ProfilePackage
from microipa.saip.checks import FINDINGS
from saip_packages import built, edited, elements, findings, ordered, without

FULL = ("header", "mf", "pukCodes", "pinCodes", "usim", "opt-usim", "akaParameter", "securityDomain", "end")
MINIMAL = ("header", "iot", "akaParameter", "securityDomain", "end")
ADF = ("fileDescriptor", {"fileID": b"\x7f\xf0", "dfName": bytes(12), "pinStatusTemplateDO": b"\x81"})


def changed(element: str, template: str = "iot", **fields: Any) -> bytes:
    """The package with other values of some fields of an element; None takes a field out."""

    def change(value: dict[str, Any]) -> dict[str, Any]:
        return {name: field for name, field in (value | fields).items() if field is not None}

    return edited(element, change, built(template))


def aka(**fields: Any) -> bytes:
    """The package with other parameters of Milenage."""

    def change(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "algoConfiguration": ("algoParameter", value["algoConfiguration"][1] | fields)}

    return edited("akaParameter", change)


def pins(*references: int) -> bytes:
    """The package with those PINs defined for the MF."""
    codes = [{"keyReference": number, "pinValue": b"1234\xff\xff\xff\xff"} for number in references]
    return changed("pinCodes", pinCodes=("pinconfig", codes))


def double_key() -> bytes:
    def change(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "keyList": [value["keyList"][0], *value["keyList"]]}

    return edited("securityDomain", change)


def with_unknown_field() -> bytes:
    """PE-End with a component the standard does not have yet."""
    end = elements()["end"]
    return without("end") + end[:1] + bytes([end[1] + 3]) + end[2:] + b"\x8f\x01\x00"


CASES = {
    "missing-header": lambda: without("header"),
    "missing-end": lambda: without("end"),
    "repeated-element": lambda: ordered(*FULL, "end"),
    "repeated-identification": lambda: ordered(*FULL, "end"),
    "misplaced-element": lambda: ordered("header", "mf", "pukCodes", "pinCodes", "opt-usim", "usim", *FULL[-3:]),
    "misplaced-puks": lambda: ordered("header", "mf", "pinCodes", "pukCodes", *FULL[4:]),
    "unknown-content": with_unknown_field,
    "version": lambda: changed("header", **{"major-version": 4}),
    "missing-service": lambda: changed("header", **{"eUICC-Mandatory-services": {"usim": None}}),
    "missing-template": lambda: changed("header", **{"eUICC-Mandatory-GFSTEList": []}),
    "wrong-template": lambda: changed("usim", templateID="2.23.143.1.2.1"),
    "not-minimal": lambda: changed("header", "iot-minimal", iotOptions=None),
    "not-full": lambda: changed("header", iotOptions={"pix": bytes(7)}),
    "no-file-system": lambda: ordered("header", "akaParameter", "securityDomain", "end"),
    "no-network-application": lambda: ordered("header", "mf", "pukCodes", "pinCodes", "securityDomain", "end"),
    "no-security-domain": lambda: without("securityDomain"),
    "files": lambda: changed("usim", **{"ef-acc": [("fillFileContent", bytes(3))]}),
    "missing-pin": lambda: changed("usim", **{"adf-usim": [ADF]}),
    "misplaced-pin": lambda: pins(1, 10, 129),
    "missing-puk": lambda: without("pukCodes"),
    "repeated-key": double_key,
    "missing-iccid": lambda: changed("mf", **{"ef-iccid": [("doNotCreate", None)]}),
    "iccid-mismatch": lambda: changed("header", iccid=bytes.fromhex("89000123456789012341")),
    "imsi": lambda: changed("usim", **{"ef-imsi": [("fillFileContent", b"\xff" * 9)]}),
    "aka": lambda: without("akaParameter"),
    "test-algorithm": lambda: aka(algorithmID=3),
}


def test_every_finding_has_its_case():
    assert list(CASES) == list(FINDINGS)


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_found(name):
    found = ProfilePackage.parse(CASES[name]()).checks()
    assert name in {finding.name for finding in found}
    assert all(finding.severity in ("error", "warning") and finding.text for finding in found)


@pytest.mark.parametrize("template", ["iot", "iot-minimal", "ts48-like"])
def test_nothing_stands_against_what_we_build(template):
    assert findings(built(template)) == set()


def test_8_5_2_the_puks_of_a_minimal_profile_come_right_after_the_header():
    puks = elements()["pukCodes"]
    there = [elements(built("iot-minimal"))[name] for name in MINIMAL]
    assert "misplaced-puks" not in findings(b"".join([there[0], puks, *there[1:]]))
    assert "misplaced-puks" in findings(b"".join([*there[:2], puks, *there[2:]]))


def test_7_5_a_minimal_profile_has_no_mf():
    there = [elements(built("iot-minimal"))[name] for name in MINIMAL]
    assert "not-full" in findings(b"".join([there[0], elements()["mf"], *there[1:]]))


def test_8_1_3_a_local_pin_may_be_defined_for_a_directory_above():
    package = ProfilePackage.parse(built("ts48-like"))
    assert 0x81 in package.file("DF.PHONEBOOK").pins  # defined for DF.TELECOM
    assert findings(package.der) == set()
