"""Every result and error a card can sign is told by its name: all codes of the schema (SGP.32 2.11.2.1)."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from eim_ipa import order
from euicc_peer import EID, spec
from microipa.asn1 import sgp32
from microipa.asn1.kinds import Kind
from microipa.asn1.tlv import integer, tlv
from microipa.eim.packages import ROLLED_BACK
from test_eim_results import signed_error, signed_result

ICCID = {"iccid": spec(1).iccid}
EIM = {"eimId": "other.example", "eimFqdn": "other.example", "counterValue": 0}
OPERATIONS: dict[str, dict[str, Any]] = {
    "enable": ICCID,
    "disable": ICCID,
    "delete": ICCID,
    "listProfileInfo": {},
    "configureImmediateEnable": {},
    "setFallbackAttribute": ICCID,
    "unsetFallbackAttribute": {},
    "setDefaultDpAddress": {"defaultDpAddress": "smdp.example"},
    "addEim": EIM,
    "deleteEim": {"eimId": "other.example"},
    "updateEim": EIM,
    "listEim": {},
}
RESULTS = {member.name: member.kind for member in sgp32.kind("EuiccResultData").members}
RESYNCHRONISING = {"replayError", "counterValueOutOfRange"}  # not the end of an order: test_eim_results


def codes(kind: Kind) -> Kind:
    """The INTEGER of a result, which may be an alternative or the one component of it."""
    return kind if kind.base == "INTEGER" else next(m.kind for m in kind.members if m.kind.names)


def with_code(kind: Kind, code: int) -> Any:
    """The result that says ``code``."""
    if kind.base == "INTEGER":
        return code
    name = next(member.name for member in kind.members if member.kind.names)
    return (name, code) if kind.base == "CHOICE" else {name: code}


def case(prefix: str, result: str) -> Any:
    rows = [f"{prefix}.{name}" for name in codes(RESULTS[result]).names.values()]
    return pytest.param(prefix.split(".")[1], result, marks=pytest.mark.covers(*rows))


def cases() -> list[Any]:
    ecos = {member.name for member in sgp32.kind("Eco").members}
    found = [case(f"{'eco' if name in ecos else 'psmo'}.{name}", f"{name}Result") for name in OPERATIONS]
    return [
        *found,
        case("result.rollback", "rollbackResult"),
        case("result.processingTerminated", "processingTerminated"),
    ]


@pytest.mark.parametrize(("operation", "result"), cases())
async def test_2_11_2_1_each_result_of_an_operation_is_told_by_its_name(desk, ipa, pki, operation, result):
    sequence = count(1)
    asked = [(operation, OPERATIONS[operation])] if operation in OPERATIONS else [("enable", ICCID)]
    numbers = {name: desk.order_package(EID, asked) for name in codes(RESULTS[result]).names.values()}
    await ipa.introduce()
    for code, name in codes(RESULTS[result]).names.items():
        signed = (await ipa.get())[0x30]
        said = sgp32.encode("EuiccResultData", (result, with_code(RESULTS[result], code)))
        head = [signed[tag].raw for tag in (0x80, 0x81, 0x82)]
        number = next(sequence)
        assert await ipa.provide(signed_result(pki, tlv(0x30, *head, integer(0x83, number), tlv(0x30, said)))) == [
            number
        ]
        settled = order(desk, numbers[name])
        told = ROLLED_BACK if (operation, name) == ("rollback", "ok") else f"{operation}: {name}"
        assert settled.result == told
        assert settled.state == ("done" if name == "ok" and operation in OPERATIONS else "failed")


ERRORS = {code: name for code, name in sgp32.kind("EuiccPackageErrorCode").names.items() if name not in RESYNCHRONISING}


@pytest.mark.covers(*(f"es10b.LoadEuiccPackage.{name}" for name in ERRORS.values()))
async def test_2_11_2_1_each_error_of_a_package_is_told_by_its_name(desk, ipa, pki):
    numbers = {code: desk.order_package(EID, [("enable", ICCID)]) for code in ERRORS}
    await ipa.introduce()
    for code, name in ERRORS.items():
        assert await ipa.provide(signed_error(pki, await ipa.get(), code)) == []
        assert order(desk, numbers[code]).state == "failed"
        assert order(desk, numbers[code]).result == f"the card refused the package: {name}"
