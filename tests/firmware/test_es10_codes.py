"""The functions of ES10b in firmware: commands in the bytes of the schema, and every error code of the schema."""

from __future__ import annotations

import pytest
from board_run import Run
from microipa.asn1 import sgp32
from microipa.asn1.kinds import Kind
from microipa.asn1.tlv import integer, tlv

CALLS = {  # function: type that answers it, call, codes that the assistant takes for success
    "AddInitialEim": ("AddInitialEimResponse", "es10.add_initial_eim(b'')", set()),
    "GetCerts": ("GetCertsResponse", "es10.get_certs()", set()),
    "ListNotification": ("ListNotificationResponse", "es10.list_notifications()", set()),
    "RetrieveNotificationsList": ("RetrieveNotificationsListResponse", "es10.retrieve_results()", set()),
    "RemoveNotificationFromList":
        ("NotificationSentResponse", "es10.remove_notification(1)", {"ok", "nothingToDelete"}),
    "ProfileRollback": ("ProfileRollbackResponse", "local.profile_rollback(es10)", {"ok"}),
    "ImmediateEnable": ("ImmediateEnableResponse", "local.immediate_enable(es10)", {"ok"}),
    "ExecuteFallbackMechanism":
        ("ExecuteFallbackMechanismResponse", "local.execute_fallback_mechanism(es10)", {"ok"}),
    "ReturnFromFallback": ("ReturnFromFallbackResponse", "local.return_from_fallback(es10)", {"ok"}),
    "EnableEmergencyProfile": ("EnableEmergencyProfileResponse", "local.enable_emergency_profile(es10)", {"ok"}),
    "DisableEmergencyProfile": ("DisableEmergencyProfileResponse", "local.disable_emergency_profile(es10)", {"ok"}),
    "ConfigureImmediateProfileEnabling": ("ConfigureImmediateProfileEnablingResponse",
                                          "local.configure_immediate_profile_enabling(es10, True)", {"ok"}),
    "SetDefaultDpAddress": ("SetDefaultDpAddressResponse", "local.set_default_dp_address(es10, 'dp')", {"ok"}),
    "IpaeActivation": ("IpaeActivationResponse", "local.ipae_activation(es10)", {"ok"}),
    "GetConnectivityParameters":
        ("GetConnectivityParametersResponse", "local.get_connectivity_parameters(es10)", set()),
}
COMMANDS = [  # call, request type, its value
    ("profile_rollback(es10, False)", "ProfileRollbackRequest", {"refreshFlag": False}),
    ("immediate_enable(es10)", "ImmediateEnableRequest", {"refreshFlag": True}),
    ("execute_fallback_mechanism(es10)", "ExecuteFallbackMechanismRequest", {"refreshFlag": True}),
    ("return_from_fallback(es10)", "ReturnFromFallbackRequest", {"refreshFlag": True}),
    ("enable_emergency_profile(es10)", "EnableEmergencyProfileRequest", {"refreshFlag": True}),
    ("disable_emergency_profile(es10)", "DisableEmergencyProfileRequest", {"refreshFlag": True}),
    ("configure_immediate_profile_enabling(es10, True, b'\\x2a\\x03', 'dp.example')",
     "ConfigureImmediateProfileEnablingRequest",
     {"immediateEnableFlag": None, "defaultSmdpOid": "1.2.3", "defaultSmdpAddress": "dp.example"}),
    ("configure_immediate_profile_enabling(es10, False)", "ConfigureImmediateProfileEnablingRequest", {}),
    ("set_default_dp_address(es10, 'dp.example')", "SetDefaultDpAddressRequest", {"defaultDpAddress": "dp.example"}),
    ("ipae_activation(es10)", "IpaeActivationRequest", {"ipaeOption": (b"\x80", 1)}),
    ("euicc_memory_reset(es10, 0, 2, 5)", "EuiccMemoryResetRequest", {"resetOptions": (b"\xa4", 6)}),
    ("get_rat(es10)", "GetRatRequest", {}),
    ("get_connectivity_parameters(es10)", "GetConnectivityParametersRequest", {}),
]

SCRIPT = """
from ipa.card import local
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from rooms import Carrier, failing, run
async def main():
    for answer in {answers}:
        channel = Channel(Carrier(lambda command: bytes.fromhex(answer)))
        await channel.open()
        es10 = Es10(channel)
        print(await failing({call}))
run(main())
"""

SPY = """
from ipa.card import local
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from rooms import Carrier, failing, run
def answer(command):
    print(command.hex())
    return 0x6a88
async def main():
    channel = Channel(Carrier(answer))
    await channel.open()
    es10 = Es10(channel)
    for call in ({calls}):
        await failing(call())
run(main())
"""

DATA = """
from ipa.card import local
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from rooms import Carrier, failing, run
answers = [bytes.fromhex(text) for text in {answers}]
async def main():
    channel = Channel(Carrier(lambda command: answers.pop(0)))
    await channel.open()
    es10 = Es10(channel)
    print(bytes(await local.profile_rollback(es10)).hex(), await local.profile_rollback(es10))
    print(await local.euicc_memory_reset(es10, 0, 5) == {0x80: 0, 0x81: 1})
    print(bytes(await local.get_connectivity_parameters(es10)).hex(), await local.get_connectivity_parameters(es10))
    print(bytes(await local.get_rat(es10)).hex())
    print(await failing(local.immediate_enable(es10)))
run(main())
"""


def codes(type_name: str) -> Kind:
    """The INTEGER with names among the components or alternatives of an answer."""
    return next(member.kind for member in sgp32.kind(type_name).members if member.kind.names)


async def test_5_9_commands_have_the_bytes_of_the_schema(micropython: Run) -> None:
    calls = "".join(f"lambda: local.{call}, " for call, _, _ in COMMANDS)
    out = await micropython(SPY.replace("{calls}", calls))
    assert out.splitlines() == [sgp32.encode(kind, value).hex() for _, kind, value in COMMANDS]


async def test_5_9_what_functions_of_the_device_answer_is_given_to_the_caller(micropython: Run) -> None:
    answers = [tlv(0xBF58, b"\x02\x01\x00", tlv(0xBF51, tlv(0xA2, tlv(0x80, b"eim")))).hex(), "bf5803020100",
               "bf6406800100810101", "bf5f06a0048102abcd", "bf5f02a000", "bf4302a000", "bf5a00"]
    out = await micropython(DATA.replace("{answers}", repr(answers)))
    assert out.splitlines() == [
        tlv(0xBF51, tlv(0xA2, tlv(0x80, b"eim"))).hex() + " None", "True", "abcd None", "bf4302a000",
        "UnexpectedAnswer ImmediateEnable without a result"]


def case(function: str) -> object:
    names = codes(CALLS[function][0]).names.values()
    return pytest.param(function, marks=pytest.mark.covers(*(f"es10b.{function}.{name}" for name in names)))


@pytest.mark.parametrize("function", [case(function) for function in CALLS])
async def test_5_9_an_error_of_the_card_is_told_by_its_code(micropython: Run, function: str) -> None:
    type_name, call, good = CALLS[function]
    kind, outer = codes(type_name), sgp32.kind(type_name).tags[0]
    answers = [tlv(outer, integer(kind.tags[0], code)).hex() for code in kind.names]
    out = await micropython(SCRIPT.replace("{answers}", repr(answers)).replace("{call}", call))
    assert out.splitlines() == [
        "no error but None" if name in good else f"CardRefused {function}: the card refused with {code}"
        for code, name in kind.names.items()
    ]


async def test_5_9_2_iot_specific_info_alone_means_an_ipa_in_the_device(micropython: Run) -> None:
    """EUICCInfo2 of v1.0 has no ipaMode; a card without iotSpecificInfo is none of SGP.32."""
    answers = [tlv(0xBF22, *fields).hex() for fields in (
        (), (tlv(0xB4),), (tlv(0xB4), integer(0x90, 0)), (tlv(0xB4), integer(0x90, 1)))]
    out = await micropython(SCRIPT.replace("{answers}", repr(answers)).replace("{call}", "es10.ipa_mode()"))
    assert out.splitlines() == [f"no error but {mode}" for mode in (None, 0, 0, 1)]


@pytest.mark.parametrize(("call", "answers", "told"), [
    ("es10.get_eid()", ["bf3e00", "bf3e115a0f" + "89" * 15 + "5b", "bf3e135a11" + "89" * 17], "GetEID without an EID"),
    ("es10.get_euicc_challenge()", ["bf2e00", "bf2e11800f" + "00" * 15, "bf2e138011" + "00" * 17],
     "GetEuiccChallenge without 16 bytes"),
    ("es10.list_notifications()", ["bf2800", "bf2803a10100"], "BF28 with neither result nor error"),
    ("es10.remove_notification(1)", ["bf3000", "bf3003810100"], "BF30 with neither result nor error"),
])
async def test_5_9_an_answer_without_what_was_asked_for_is_unexpected(
        micropython: Run, call: str, answers: list[str], told: str) -> None:
    out = await micropython(SCRIPT.replace("{answers}", repr(answers)).replace("{call}", call))
    assert out.splitlines() == [f"UnexpectedAnswer {told}"] * len(answers)
