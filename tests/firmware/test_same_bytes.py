"""Two implementations, the same bytes: what the firmware sends is what the host codec writes.

Every request of ipa.net.esipa, every command of ipa.card.es10 and the messages that ipa.steps builds, in the
real MicroPython, against the DER of microipa.asn1 for the value that was meant.
"""

from __future__ import annotations

from typing import Any

import pytest
from board_run import Run
from microipa.asn1 import Schema, rsp, sgp32
from microipa.asn1.tlv import tlv
from scenes import EID, IMEI, SIGNATURE, TID, TX, epe, epr, play

ICCID = bytes.fromhex("98100000000000000010")
CI = bytes(range(20))
CHALLENGE = bytes(range(16, 32))
DEVICE_INFO = {
    "tac": bytes.fromhex("68273220"),
    "deviceCapabilities": {"eutranEpcSupportedRelease": b"\x0e\x00\x00"},
    "imei": bytes.fromhex("682732200600007f"),
}
CAPABILITIES = {"ipaFeatures": (b"\x40", 2), "ipaSupportedProtocols": (b"\x40", 2)}
CONTEXT = ("ctxParamsForCommonAuthentication", {"matchingId": "MATCH", "deviceInfo": DEVICE_INFO})

# A download up to the point where each side could go wrong. Nobody here verifies the signatures.
CERTIFICATE = tlv(0x30, tlv(0x30, bytes(300)), tlv(0x30), b"\x03\x01\x00")
INFO_1 = {"svn": b"\2\5\0", "euiccCiPKIdListForVerification": [CI], "euiccCiPKIdListForSigning": [CI]}
INFO_2 = {
    "profileVersion": b"\2\3\1",
    "svn": b"\2\5\0",
    "euiccFirmwareVer": b"\0\0\1",
    "extCardResource": b"",
    "uiccCapability": (b"\x48", 5),
    "rspCapability": (b"\x80", 1),
    "euiccCiPKIdListForVerification": [CI],
    "euiccCiPKIdListForSigning": [CI],
    "ppVersion": b"\0\0\1",
    "sasAcreditationNumber": "none",
}
SIGNED_1 = {
    "transactionId": TID,
    "euiccChallenge": CHALLENGE,
    "serverAddress": "smdp.example",
    "serverChallenge": bytes(16),
}
SERVER = {
    "serverSigned1": SIGNED_1,
    "serverSignature1": SIGNATURE,
    "serverCertificate": CERTIFICATE,
}
SIGNED_2 = {"transactionId": TID, "ccRequiredFlag": False}
METADATA = {"iccid": ICCID, "serviceProviderName": "provider", "profileName": "profile", "profileClass": 2}
EUICC_SIGNED_1 = {
    "transactionId": TID,
    "serverAddress": "smdp.example",
    "serverChallenge": bytes(16),
    "euiccInfo2": INFO_2,
    "ctxParams1": CONTEXT,
}
AUTHENTICATED = (
    "authenticateResponseOk",
    {
        "euiccSigned1": EUICC_SIGNED_1,
        "euiccSignature1": SIGNATURE,
        "euiccCertificate": CERTIFICATE,
        "eumCertificate": CERTIFICATE,
    },
)
PREPARED = (
    "downloadResponseOk",
    {
        "euiccSigned2": {"transactionId": TID, "euiccOtpk": bytes(65)},
        "euiccSignature2": SIGNATURE,
    },
)
CANCELLED = (
    "cancelSessionResponseOk",
    {
        "euiccCancelSessionSigned": {"transactionId": TID, "smdpOid": "2.999.10", "reason": 127},
        "euiccCancelSessionSignature": SIGNATURE,
    },
)
METADATA_OF_INSTALL = {
    "seqNumber": 200,
    "profileManagementOperation": (b"\x80", 1),
    "notificationAddress": "smdp.example",
    "iccid": ICCID,
}
INSTALLED = {
    "profileInstallationResultData": {
        "transactionId": TID,
        "notificationMetadata": METADATA_OF_INSTALL,
        "smdpOid": "2.999.10",
        "finalResult": ("successResult", {"aid": bytes(16), "simaResponse": b""}),
    },
    "euiccSignPIR": SIGNATURE,
}
OTHER = {
    "tbsOtherNotification": METADATA_OF_INSTALL,
    "euiccNotificationSignature": SIGNATURE,
    "euiccCertificate": CERTIFICATE,
    "eumCertificate": CERTIFICATE,
}


def hexed(schema: Schema, type_name: str, value: Any) -> str:
    """Bytes as a MicroPython expression."""
    return f"bytes.fromhex('{schema.encode(type_name, value).hex()}')"


# Requests, ipa.net.esipa

REQUESTS = [
    ("get_eim_package(EID)", "GetEimPackageRequest", {"eidValue": EID}),
    (
        r"get_eim_package(EID, b'\x09\xf1\x07')",
        "GetEimPackageRequest",
        {"eidValue": EID, "rPLMN": b"\x09\xf1\x07"},
    ),
    ("initiate_authentication(C)", "InitiateAuthenticationRequestEsipa", {"euiccChallenge": CHALLENGE}),
    (
        f"initiate_authentication(C, 'smdp.example', {hexed(rsp, 'EUICCInfo1', INFO_1)}, TX)",
        "InitiateAuthenticationRequestEsipa",
        {
            "euiccChallenge": CHALLENGE,
            "smdpAddress": "smdp.example",
            "euiccInfo1": INFO_1,
            "eimTransactionId": TX,
        },
    ),
    (
        f"authenticate_client(TID, {hexed(sgp32, 'AuthenticateServerResponse', AUTHENTICATED)})",
        "AuthenticateClientRequestEsipa",
        {"transactionId": TID, "authenticateServerResponse": AUTHENTICATED},
    ),
    (
        f"get_bound_profile_package(TID, {hexed(sgp32, 'PrepareDownloadResponse', PREPARED)})",
        "GetBoundProfilePackageRequestEsipa",
        {"transactionId": TID, "prepareDownloadResponse": PREPARED},
    ),
    (
        f"cancel_session(TID, {hexed(sgp32, 'CancelSessionResult', CANCELLED)})",
        "CancelSessionRequestEsipa",
        {"transactionId": TID, "cancelSessionResponse": CANCELLED},
    ),
    (
        f"handle_notification({hexed(sgp32, 'ProfileInstallationResult', INSTALLED)})",
        "HandleNotificationEsipa",
        ("pendingNotification", ("profileInstallationResult", INSTALLED)),
    ),
    (
        f"handle_notification({hexed(sgp32, 'PendingNotification', ('otherSignedNotification', OTHER))})",
        "HandleNotificationEsipa",
        ("pendingNotification", ("otherSignedNotification", OTHER)),
    ),
]

REQUEST = """
from ipa.net.esipa import Esipa
from rooms import Link, failing, run
EID, TX, TID, C = [bytes.fromhex(text) for text in ({constants})]
link = Link((None, b""))
run(failing(Esipa(link).{call}))
print(link.requests[0].hex())
"""


@pytest.mark.covers(
    "esipa.GetEimPackageRequest",
    "esipa.InitiateAuthenticationRequestEsipa",
    "esipa.AuthenticateClientRequestEsipa",
    "esipa.GetBoundProfilePackageRequestEsipa",
    "esipa.CancelSessionRequestEsipa",
    "esipa.HandleNotificationEsipa",
)
@pytest.mark.parametrize(("call", "type_name", "value"), REQUESTS, ids=[case[0].split("(")[0] for case in REQUESTS])
async def test_6_3_2_a_request_to_the_eim(micropython: Run, call: str, type_name: str, value: Any) -> None:
    constants = ", ".join(repr(constant.hex()) for constant in (EID, TX, TID, CHALLENGE))
    sent = await micropython(REQUEST.replace("{constants}", constants).replace("{call}", call))
    assert sent.strip() == sgp32.encode(type_name, value).hex()


# Commands, ipa.card.es10

CONFIGURATION = {"eimId": "eim", "eimFqdn": "eim.example:5684", "counterValue": 0, "associationToken": -1}
COMMANDS = [
    ("get_eid()", "GetEuiccDataRequest", {"tagList": b"\x5a"}),
    ("get_euicc_info_1()", "GetEuiccInfo1Request", {}),
    ("get_euicc_info_2()", "GetEuiccInfo2Request", {}),
    ("get_euicc_challenge()", "GetEuiccChallengeRequest", {}),
    (r"get_profiles_info(b'\x5a\x9f\x70')", "ProfileInfoListRequest", {"tagList": b"\x5a\x9f\x70"}),
    ("get_euicc_configured_data()", "EuiccConfiguredAddressesRequest", {}),
    ("find_eim()", "GetEimConfigurationDataRequest", {}),
    (
        f"add_initial_eim({hexed(sgp32, 'EimConfigurationData', CONFIGURATION)})",
        "AddInitialEimRequest",
        {"eimConfigurationDataList": [CONFIGURATION]},
    ),
    ("get_certs()", "GetCertsRequest", {}),
    (f"get_certs(bytes.fromhex('{CI.hex()}'))", "GetCertsRequest", {"euiccCiPKId": CI}),
    ("list_notifications()", "ListNotificationRequest", {}),
    ("retrieve_notifications()", "RetrieveNotificationsListRequest", {}),
    ("retrieve_notification(7)", "RetrieveNotificationsListRequest", {"searchCriteria": ("seqNumber", 7)}),
    (
        "retrieve_notification(200)",
        "RetrieveNotificationsListRequest",
        {"searchCriteria": ("seqNumber", 200)},
    ),
    (
        "retrieve_results()",
        "RetrieveNotificationsListRequest",
        {"searchCriteria": ("euiccPackageResults", None)},
    ),
    ("remove_notification(0)", "NotificationSentRequest", {"seqNumber": 0}),
    ("remove_notification(70000)", "NotificationSentRequest", {"seqNumber": 70_000}),
    (
        f"cancel_session(bytes.fromhex('{TID.hex()}'), 127)",
        "CancelSessionRequest",
        {"transactionId": TID, "reason": 127},
    ),
]

COMMAND = """
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from rooms import Carrier, failing, run
def answer(command):
    print(command.hex())
    return 0x6A88
async def main():
    channel = Channel(Carrier(answer))
    await channel.open()
    await failing(Es10(channel).{call})
run(main())
"""


@pytest.mark.parametrize(("call", "type_name", "value"), COMMANDS, ids=[case[0].split("(")[0] for case in COMMANDS])
async def test_5_9_a_command_to_the_card(micropython: Run, call: str, type_name: str, value: Any) -> None:
    sent = await micropython(COMMAND.replace("{call}", call))
    assert sent.strip() == sgp32.encode(type_name, value).hex()


# What the steps build: whole scenes, message by message


def package(type_name: str, value: Any) -> str:
    return f"package('{sgp32.encode(type_name, value).hex()}')"


def result(*form: Any) -> bytes:
    return sgp32.encode("ProvideEimPackageResult", {"eidValue": EID, "eimPackageResult": form})


def acknowledged(*seq_numbers: int) -> bytes:
    return sgp32.encode("ProvideEimPackageResultResponse", ("eimAcknowledgements", list(seq_numbers)))


EMPTY = sgp32.encode("ProvideEimPackageResultResponse", ("emptyResponse", {}))


@pytest.mark.covers(
    "package.euiccPackageRequest",
    "package.euiccPackageResult",
    "esipa.ProvideEimPackageResult",
)
@pytest.mark.parametrize("outcome", [epr(7, b"\x83\x01\x01"), epe(3)])
async def test_3_3_1_package_and_result_pass_unchanged(micropython: Run, outcome: bytes) -> None:
    signed = {
        "eimId": "eim",
        "eidValue": EID,
        "counterValue": 1,
        "euiccPackage": ("psmoList", [("getRAT", {})]),
    }
    request = {"euiccPackageSigned": signed, "eimSignature": SIGNATURE}
    sent = sgp32.encode("EuiccPackageRequest", request)
    scene = await play(micropython, package("EuiccPackageRequest", request), [(sent, outcome)], [EMPTY])
    assert scene.to("card") == [sent]
    assert scene.to("eim") == [result("euiccPackageResult", sgp32.decode("EuiccPackageResult", outcome))]


@pytest.mark.covers("package.ipaEuiccDataRequest", "package.ipaEuiccDataResponse")
async def test_2_11_2_2_the_answer_to_a_data_request(micropython: Run) -> None:
    wanted = bytes.fromhex("81bf20bf228384a8a9a0a2")
    addresses = {"defaultDpAddress": "smdp.example", "rootDsAddress": "smds.example"}
    configured = rsp.encode("EuiccConfiguredAddressesResponse", addresses)
    info_1, info_2 = rsp.encode("EUICCInfo1", INFO_1), sgp32.encode("EUICCInfo2", INFO_2)
    eims = sgp32.encode(
        "GetEimConfigurationDataResponse",
        {"eimConfigurationDataList": [{"eimId": "eim.example", "associationToken": -5}]},
    )
    pending, stored = [("otherSignedNotification", OTHER)], [sgp32.decode("EuiccPackageResult", epr(7))]
    ask = "RetrieveNotificationsListRequest"
    card = [
        (
            sgp32.encode(ask, {"searchCriteria": ("seqNumber", 200)}),
            sgp32.encode("RetrieveNotificationsListResponse", ("notificationList", pending)),
        ),
        (b"\xbf\x3c", configured),
        (b"\xbf\x20", info_1),
        (b"\xbf\x22", info_2),
        (b"\xbf\x3c", configured),
        (b"\xbf\x55", eims),
        (
            sgp32.encode(ask, {"searchCriteria": ("euiccPackageResults", None)}),
            sgp32.encode("RetrieveNotificationsListResponse", ("euiccPackageResultList", stored)),
        ),
    ]
    request = {"tagList": wanted, "searchCriteriaNotification": ("seqNumber", 200), "eimTransactionId": TX}
    scene = await play(micropython, package("IpaEuiccDataRequest", request), card, [EMPTY])
    assert scene.outcome == "no error but False"
    assert scene.to("eim") == [
        result(
            "ipaEuiccDataResponse",
            (
                "ipaEuiccData",
                {
                    "notificationsList": pending,
                    "defaultSmdpAddress": "smdp.example",
                    "euiccPackageResultList": stored,
                    "euiccInfo1": INFO_1,
                    "euiccInfo2": INFO_2,
                    "rootSmdsAddress": "smds.example",
                    "associationToken": -5,
                    "eimTransactionId": TX,
                    "ipaCapabilities": CAPABILITIES,
                    "deviceInfo": DEVICE_INFO,
                },
            ),
        )
    ]


@pytest.mark.covers("error.IpaEuiccDataResponse.incorrectTagList")
async def test_2_11_2_2_a_data_request_that_is_refused(micropython: Run) -> None:
    request = {"tagList": b"\x5a", "eimTransactionId": TX}
    scene = await play(micropython, package("IpaEuiccDataRequest", request), [], [EMPTY])
    refused = {"eimTransactionId": TX, "ipaEuiccDataErrorCode": 1}
    assert scene.to("eim") == [result("ipaEuiccDataResponse", ("ipaEuiccDataResponseError", refused))]


@pytest.mark.covers(
    "package.eimPackageResultResponseError",
    "error.ProvideEimPackageResult.unknownPackage",
    "error.ProvideEimPackageResult.invalidPackageFormat",
)
async def test_3_1_1_1_a_package_that_is_unknown_or_broken(micropython: Run) -> None:
    scene = await play(micropython, "package('bf600100')", [], [EMPTY])
    assert scene.to("eim") == [result("eimPackageResultResponseError", {"eimPackageResultErrorCode": 2})]
    broken = {"profileDownloadData": ("activationCode", "nonsense"), "eimTransactionId": TX}
    scene = await play(micropython, package("ProfileDownloadTriggerRequest", broken), [], [EMPTY])
    refused = {"eimTransactionId": TX, "eimPackageResultErrorCode": 1}
    assert scene.to("eim") == [result("eimPackageResultResponseError", refused)]


CARD_ANSWERS = [
    (b"\xbf\x2e", rsp.encode("GetEuiccChallengeResponse", {"euiccChallenge": CHALLENGE})),
    (b"\xbf\x20", rsp.encode("EUICCInfo1", INFO_1)),
    (b"\xbf\x38", sgp32.encode("AuthenticateServerResponse", AUTHENTICATED)),
    (b"\xbf\x21", sgp32.encode("PrepareDownloadResponse", PREPARED)),
    (b"\xbf\x41", sgp32.encode("CancelSessionResponse", CANCELLED)),
]
EIM_ANSWERS = [
    sgp32.encode(
        "InitiateAuthenticationResponseEsipa",
        (
            "initiateAuthenticationOkEsipa",
            {**SERVER, "transactionId": TID, "matchingId": "MATCH", "euiccCiPKIdentifierToBeUsed": CI},
        ),
    ),
    sgp32.encode(
        "AuthenticateClientResponseEsipa",
        (
            "authenticateClientOkDPEsipa",
            {
                "transactionId": TID,
                "profileMetaData": METADATA,
                "smdpSigned2": SIGNED_2,
                "smdpSignature2": SIGNATURE,
                "smdpCertificate": CERTIFICATE,
                "hashCc": bytes(32),
            },
        ),
    ),
    sgp32.encode("GetBoundProfilePackageResponseEsipa", ("getBoundProfilePackageErrorEsipa", 6)),
    sgp32.encode("CancelSessionResponseEsipa", ("cancelSessionOk", {})),
    EMPTY,
]


def _said(reason: str) -> list[tuple[str, bytes]]:
    """All that goes out to card and eIM until a download is cancelled for this reason."""
    failed = {"profileDownloadErrorReason": 127}
    return [
        ("card", rsp.encode("GetEuiccChallengeRequest", {})),
        ("card", rsp.encode("GetEuiccInfo1Request", {})),
        (
            "eim",
            sgp32.encode(
                "InitiateAuthenticationRequestEsipa",
                {"euiccChallenge": CHALLENGE, "euiccInfo1": INFO_1, "eimTransactionId": TX},
            ),
        ),
        (
            "card",
            rsp.encode("AuthenticateServerRequest", {**SERVER, "euiccCiPKIdToBeUsed": CI, "ctxParams1": CONTEXT}),
        ),
        (
            "eim",
            sgp32.encode(
                "AuthenticateClientRequestEsipa",
                {"transactionId": TID, "authenticateServerResponse": AUTHENTICATED},
            ),
        ),
        (
            "card",
            rsp.encode(
                "PrepareDownloadRequest",
                {
                    "smdpSigned2": SIGNED_2,
                    "smdpSignature2": SIGNATURE,
                    "hashCc": bytes(32),
                    "smdpCertificate": CERTIFICATE,
                },
            ),
        ),
        (
            "eim",
            sgp32.encode(
                "GetBoundProfilePackageRequestEsipa",
                {"transactionId": TID, "prepareDownloadResponse": PREPARED},
            ),
        ),
        ("card", rsp.encode("CancelSessionRequest", {"transactionId": TID, "reason": reason})),
        (
            "eim",
            sgp32.encode("CancelSessionRequestEsipa", {"transactionId": TID, "cancelSessionResponse": CANCELLED}),
        ),
        (
            "eim",
            result(
                "profileDownloadTriggerResult",
                {
                    "eimTransactionId": TX,
                    "profileDownloadTriggerResultData": ("profileDownloadError", failed),
                },
            ),
        ),
    ]


@pytest.mark.covers(
    "package.profileDownloadTriggerRequest",
    "package.profileDownloadTriggerResult",
    "error.ProfileDownloadTriggerResult.undefinedError",
    "esipa.InitiateAuthenticationResponseEsipa",
    "esipa.AuthenticateClientResponseEsipa",
    "esipa.GetBoundProfilePackageResponseEsipa",
    "esipa.CancelSessionResponseEsipa",
)
async def test_3_2_3_2_every_message_of_an_indirect_download_that_is_cancelled(micropython: Run) -> None:
    """Up to the bound profile package, which the eIM refuses: nothing is left out of the way there."""
    trigger = {"eimTransactionId": TX}
    scene = await play(
        micropython, package("ProfileDownloadTriggerRequest", trigger), CARD_ANSWERS, EIM_ANSWERS)
    assert scene.left == []
    assert scene.said == _said(sgp32.decode("CancelSessionRequest", scene.to("card")[-1])["reason"])


async def test_3_2_3_1_a_download_that_the_card_refuses_quotes_the_card(micropython: Run) -> None:
    refusal = ("authenticateResponseError", {"transactionId": TID, "authenticateErrorCode": 2})
    said = sgp32.encode("AuthenticateServerResponse", refusal)
    card = [
        (b"\xbf\x2e", rsp.encode("GetEuiccChallengeResponse", {"euiccChallenge": CHALLENGE})),
        (b"\xbf\x20", rsp.encode("EUICCInfo1", INFO_1)),
        (b"\xbf\x38", said),
    ]
    made = {**SERVER, "euiccCiPKIdentifierToBeUsed": CI, "ctxParams1": CONTEXT}  # ctxParams1 made by the eIM
    eim = [
        sgp32.encode("InitiateAuthenticationResponseEsipa", ("initiateAuthenticationOkEsipa", made)),
        acknowledged(3),  # which it was not sent
    ]
    scene = await play(micropython, package("ProfileDownloadTriggerRequest", {"eimTransactionId": TX}), card, eim)
    assert scene.left == []
    assert scene.to("card")[2] == rsp.encode(
        "AuthenticateServerRequest", {**SERVER, "euiccCiPKIdToBeUsed": CI, "ctxParams1": CONTEXT}
    )
    failed = {"profileDownloadErrorReason": 127, "errorResponse": said}
    assert scene.to("eim")[-1] == result(
        "profileDownloadTriggerResult",
        {"eimTransactionId": TX, "profileDownloadTriggerResultData": ("profileDownloadError", failed)},
    )


async def test_sgp_22_4_2_device_info_tells_tac_release_and_imei(micropython: Run) -> None:
    made = await micropython(
        "from ipa.steps import device_info\n"
        f"print(device_info('{IMEI}', bytes.fromhex('85030e0000')).hex())"
    )
    assert tlv(0x30, bytes.fromhex(made)) == rsp.encode("DeviceInfo", DEVICE_INFO)
