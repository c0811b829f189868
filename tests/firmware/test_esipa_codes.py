"""Every error an eIM can answer with reaches the assistant by its code: all of the schema, none by hand."""

from __future__ import annotations

import pytest
from board_run import Run
from microipa.asn1 import sgp32
from microipa.asn1.kinds import Kind
from microipa.asn1.tlv import integer, tlv

CALLS = {
    "GetEimPackageResponse": "get_eim_package(B)",
    "ProvideEimPackageResultResponse": "provide_eim_package_result(B)",
    "InitiateAuthenticationResponseEsipa": "initiate_authentication(B)",
    "AuthenticateClientResponseEsipa": "authenticate_client(B, b'')",
    "GetBoundProfilePackageResponseEsipa": "get_bound_profile_package(B, b'')",
    "CancelSessionResponseEsipa": "cancel_session(B, b'')",
}
NO_EIM_PACKAGE_AVAILABLE = 1  # of GetEimPackage: not an error, but the end of a poll

SCRIPT = """
from ipa.net.esipa import Esipa
from rooms import Link, failing, run
B = bytes(16)
async def main():
    for answer in {answers}:
        print(await failing(Esipa(Link((None, bytes.fromhex(answer)))).{call}))
run(main())
"""


def errors(message: str) -> Kind:
    """The INTEGER among the alternatives of an answer."""
    return next(member.kind for member in sgp32.kind(message).members if member.kind.base == "INTEGER")


def case(message: str) -> object:
    names = errors(message).names.values()
    rows = [f"error.{message}.{name}" for name in names if name != "noEimPackageAvailable"]
    return pytest.param(message, marks=pytest.mark.covers(*rows))


@pytest.mark.parametrize("message", [case(message) for message in CALLS])
async def test_6_3_2_an_error_of_the_eim_is_told_by_its_code(micropython: Run, message: str) -> None:
    kind = errors(message)
    codes = [code for code in kind.names if (message, code) != ("GetEimPackageResponse", NO_EIM_PACKAGE_AVAILABLE)]
    answers = [tlv(sgp32.kind(message).tags[0], integer(kind.tags[0], code)).hex() for code in codes]
    out = await micropython(SCRIPT.replace("{answers}", repr(answers)).replace("{call}", CALLS[message]))
    function = message.removesuffix("Esipa").removesuffix("Response")
    assert out.splitlines() == [f"EsipaRefused {function}: the eIM refused with {code}" for code in codes]
