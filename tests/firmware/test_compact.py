"""ipa.net.compact under MicroPython: what is left out, what is not, and how the plain form follows (SGP.32 5.14)."""

from __future__ import annotations

import pytest
from board_run import Run
from microipa.asn1 import sgp32
from microipa.asn1.tlv import parse, tlv

EID = bytes.fromhex("89049032123451234512345678901235")
TID = bytes(range(16))
SIGNATURE = tlv(0x5F37, bytes(range(64)))
CERTIFICATE, EUM = tlv(0x30, tlv(0x30, b"tbs"), tlv(0x30), tlv(0x03, b"\0")), tlv(0x30, tlv(0x30, b"eum"))
RESOURCE = tlv(0x84, bytes.fromhex("810100820400010000830400001000"))
INFO_2 = tlv(0xBF22, tlv(0x81, b"\3\3\1"), RESOURCE, tlv(0x95, b"new"))
CONTEXT = tlv(0xA0, tlv(0x80, b"MATCH"), tlv(0xA1, b"\x80\4\1\2\3\4" + tlv(0xA1)))
SIGNED_1 = (tlv(0x80, TID), tlv(0x83, b"smdp.example"), tlv(0x84, bytes(16)), INFO_2, CONTEXT)
OTPK, HASH_CC = tlv(0x5F49, b"\4" + bytes(64)), tlv(0x04, bytes(32))
AID = bytes.fromhex("A0000005591010FFFFFFFF8900001100")
SIMA = tlv(0x04, b"\x30\0")
ABOUT = (tlv(0x80, b"\7"), tlv(0x81, b"\7\x80"), tlv(0x0C, b"smdp.example"))
ICCID = tlv(0x5A, bytes(10))
OID = tlv(0x06, b"\x88\x37\x0a")
SUCCESS = tlv(0xA0, tlv(0x4F, AID), SIMA)
FAILURE = tlv(0xA1, tlv(0x80, b"\5"), tlv(0x81, b"\x0d"))


def server_answer(*signed: bytes, more: bytes = b"") -> bytes:
    return tlv(0xBF38, tlv(0xA0, tlv(0x30, *signed), SIGNATURE, CERTIFICATE, EUM, more))


def download_answer(*signed: bytes) -> bytes:
    return tlv(0xBF21, tlv(0xA0, tlv(0x30, *signed), SIGNATURE))


def result(*about: bytes, final: bytes = SUCCESS, more: bytes = b"") -> bytes:
    data = tlv(0xBF27, tlv(0x80, TID), tlv(0xBF2F, *about), OID, tlv(0xA2, final), more)
    return tlv(0xBF37, data, SIGNATURE)


def cancelled(*signed: bytes) -> bytes:
    return tlv(0xA0, tlv(0x30, *signed), SIGNATURE)


SCRIPT = """
from ipa.net import EsipaRefused
from ipa.net.coap_message import CoapRefused
from ipa.net.compact import Compact
from rooms import failing, run
class Esipa:
    "Says what it was given, and refuses the first of them with `codes`."
    def __init__(self, codes, fields):
        self.codes, self.fields = list(codes), fields
    async def initiate_authentication(self, challenge, address=None, info=b"", transaction=None):
        return self.take(info)
    async def authenticate_client(self, transaction_id, response):
        return self.take(response)
    async def get_bound_profile_package(self, transaction_id, response):
        return self.take(response)
    async def cancel_session(self, transaction_id, response):
        return self.take(response)
    async def handle_notification(self, pending):
        return self.take(pending)
    async def get_eim_package(self, eid):
        return "passed through"
    def take(self, told):
        print("told", bytes(told).hex() or "")  # b"" in MicroPython 1.26
        if self.codes:
            raise EsipaRefused("a function", self.codes.pop(0))
        return self.fields
def compact(*codes, fields=b""):
    return Compact(Esipa(codes, fields), bytes.fromhex("{EID}"))
async def main():
    {body}
run(main())
"""


async def told(micropython: Run, body: str) -> list[str]:
    out = await micropython(SCRIPT.replace("{EID}", EID.hex()).replace("{body}", body))
    return out.replace("told ", "").splitlines()


async def one(micropython: Run, function: str, plain: bytes, fields: bytes = b"") -> bytes:
    """What goes out in place of a plain form."""
    arguments = "" if function == "handle_notification" else "b'', "
    talk = f"compact(fields=bytes.fromhex('{fields.hex()}'))"
    body = f"await {talk}.{function}({arguments}bytes.fromhex('{plain.hex()}'))"
    return bytes.fromhex((await told(micropython, body))[0])


@pytest.mark.covers("compact.compactAuthenticateResponseOk")
async def test_5_14_2_of_euicc_signed1_the_free_memory_and_our_context_are_left(micropython: Run) -> None:
    short = await one(micropython, "authenticate_client", server_answer(*SIGNED_1))
    assert short == tlv(0xBF38, tlv(0xA2, tlv(0xA0, RESOURCE, tlv(0xA2, CONTEXT)), SIGNATURE))
    assert sgp32.decode("AuthenticateServerResponse", short)[0] == "compactAuthenticateResponseOk"


async def test_5_14_2_ctx_params1_that_the_eim_made_is_not_sent_back(micropython: Run) -> None:
    plain = server_answer(*SIGNED_1).hex()
    body = f"""talk = compact(fields=bytes.fromhex('{tlv(0xA2, CONTEXT).hex()}'))
    await talk.initiate_authentication(b"")
    await talk.authenticate_client(b"", bytes.fromhex('{plain}'))"""
    assert bytes.fromhex((await told(micropython, body))[1]) == tlv(0xBF38, tlv(0xA2, tlv(0xA0, RESOURCE), SIGNATURE))


@pytest.mark.parametrize(("plain", "short"), [
    # A field that no standard knows yet would be lost: all of euiccSigned1 goes, only the certificates do not.
    (server_answer(*SIGNED_1, tlv(0x9E, b"?")),
     tlv(0xBF38, tlv(0xA2, tlv(0x30, *SIGNED_1, tlv(0x9E, b"?")), SIGNATURE))),
    (server_answer(*SIGNED_1[:3], tlv(0xBF22, tlv(0x81, b"\3")), CONTEXT),
     tlv(0xBF38, tlv(0xA2, tlv(0x30, *SIGNED_1[:3], tlv(0xBF22, tlv(0x81, b"\3")), CONTEXT), SIGNATURE))),
    (server_answer(*SIGNED_1, more=tlv(0x9E)), None),
    (tlv(0xBF38, tlv(0xA1, tlv(0x80, TID), b"\2\1\2")), None),
])
async def test_5_14_2_what_the_eim_could_not_put_back_stays(
        micropython: Run, plain: bytes, short: bytes | None) -> None:
    assert await one(micropython, "authenticate_client", plain) == (short or plain)


@pytest.mark.covers("compact.compactDownloadResponseOk")
@pytest.mark.parametrize(("signed", "fields", "left"), [
    ((tlv(0x80, TID), OTPK), b"", (OTPK,)),
    ((tlv(0x80, TID), OTPK, HASH_CC), b"", (OTPK, HASH_CC)),
    ((tlv(0x80, TID), OTPK), tlv(0x30, tlv(0x80, TID), b"\1\1\0", OTPK), ()),  # the SM-DP+ had named it
    ((tlv(0x80, TID), OTPK), tlv(0x30, tlv(0x80, TID), b"\1\1\0", tlv(0x5F49, bytes(65))), (OTPK,)),
    ((tlv(0x80, TID), OTPK, tlv(0x9E)), b"", None),
])
async def test_5_14_3_of_euicc_signed2_what_is_new(
        micropython: Run, signed: tuple[bytes, ...], fields: bytes, left: tuple[bytes, ...] | None) -> None:
    plain = download_answer(*signed)
    body = f"""talk = compact(fields=bytes.fromhex('{fields.hex()}'))
    await talk.authenticate_client(b"", bytes.fromhex('{server_answer(*SIGNED_1).hex()}'))
    await talk.get_bound_profile_package(b"", bytes.fromhex('{plain.hex()}'))"""
    short = bytes.fromhex((await told(micropython, body))[1])
    if left is None:
        assert short == plain
    else:
        assert short == tlv(0xBF21, tlv(0xA2, tlv(0x30, *left), SIGNATURE))
        assert sgp32.decode("PrepareDownloadResponse", short)[0] == "compactDownloadResponseOk"


@pytest.mark.covers("compact.compactCancelSessionResponseOk")
async def test_5_14_8_of_a_cancellation_the_reason(micropython: Run) -> None:
    plain = cancelled(tlv(0x80, TID), tlv(0x81, OID[2:]), tlv(0x82, b"\3"))
    short = await one(micropython, "cancel_session", plain)
    assert short == tlv(0xA2, tlv(0x30, tlv(0x80, b"\3")), SIGNATURE)
    assert sgp32.decode("CancelSessionResponse", tlv(0xBF41, short))[0] == "compactCancelSessionResponseOk"
    refusal = tlv(0x81, b"\5")
    assert await one(micropython, "cancel_session", refusal) == refusal


@pytest.mark.covers("compact.compactProfileInstallationResult")
@pytest.mark.parametrize(("plain", "inside"), [
    (result(*ABOUT, ICCID), tlv(0xA2, tlv(0xA0, tlv(0x4F, AID[-2:]), SIMA))),
    (result(*ABOUT, final=FAILURE), b"\1\1\0" + tlv(0xA2, FAILURE)),
    (result(*ABOUT, ICCID, final=tlv(0xA0, tlv(0x4F, AID))), tlv(0xA2, tlv(0xA0, tlv(0x4F, AID[-2:])))),
])
async def test_5_14_7_of_an_installation_its_outcome(micropython: Run, plain: bytes, inside: bytes) -> None:
    short = await one(micropython, "handle_notification", plain)
    assert short == tlv(0xA0, tlv(0xA0, tlv(0x80, TID), b"\2\1\7", inside), SIGNATURE)
    assert sgp32.decode("PendingNotification", short)[0] == "compactProfileInstallationResult"


@pytest.mark.parametrize("plain", [
    result(*ABOUT, ICCID, final=tlv(0xA0, tlv(0x4F, b"\xd2" + AID[1:]), SIMA)),
    result(*ABOUT, ICCID, final=tlv(0xA0, tlv(0x4F, AID), SIMA, tlv(0x9E))),
    result(*ABOUT, ICCID, tlv(0x9E)),
    result(*ABOUT, ICCID, more=tlv(0x9E)),
    result(ABOUT[0], tlv(0x81, b"\4\x90"), ABOUT[2], ICCID),
], ids=["another AID", "more of the result", "more metadata", "more data", "another event"])
async def test_5_14_7_an_installation_that_is_not_like_all_others_stays_plain(micropython: Run, plain: bytes) -> None:
    assert await one(micropython, "handle_notification", plain) == plain


@pytest.mark.parametrize("plain", [
    tlv(0x30, tlv(0xBF2F, *ABOUT), SIGNATURE, CERTIFICATE, EUM, tlv(0xA1, CERTIFICATE)),
    tlv(0xBF37, tlv(0xBF27, tlv(0x80, TID)), SIGNATURE, tlv(0x9E)),
    tlv(0x9E, b"?"),
], ids=["a longer chain of certificates", "more than a signature", "no kind that we know"])
async def test_5_14_7_a_notification_of_a_later_standard_stays_plain(micropython: Run, plain: bytes) -> None:
    assert await one(micropython, "handle_notification", plain) == plain

@pytest.mark.covers("compact.compactOtherSignedNotification")
async def test_5_14_7_of_any_other_notification_the_certificates_go(micropython: Run) -> None:
    about = tlv(0xBF2F, *ABOUT, ICCID)
    short = await one(micropython, "handle_notification", tlv(0x30, about, SIGNATURE, CERTIFICATE, EUM))
    assert short == tlv(0xA1, tlv(0x5A, EID), about, SIGNATURE)
    assert sgp32.decode("PendingNotification", short)[0] == "compactOtherSignedNotification"


async def test_5_14_1_euicc_info1_stays_here(micropython: Run) -> None:
    body = "await compact().initiate_authentication(b'', 'smdp.example', b'\\xbf\\x20\\x00', b'')"
    assert await told(micropython, body) == [""]


@pytest.mark.parametrize("code", ["5", "127", "'8.1/6.1'", "CoapRefused(0x80)"])
async def test_where_the_eim_cannot_rebuild_it_the_plain_form_follows_and_no_other_is_tried(
        micropython: Run, code: str) -> None:
    plain = server_answer(*SIGNED_1).hex()
    body = f"""talk = compact({code})
    for _ in range(2):
        await talk.authenticate_client(b"", bytes.fromhex('{plain}'))"""
    out = [line for line in await told(micropython, body) if not line.startswith("I ")]
    assert out[1:] == [plain, plain]
    assert parse(bytes.fromhex(out[0]))[0xA2]


async def test_any_other_refusal_is_final(micropython: Run) -> None:
    plain = server_answer(*SIGNED_1).hex()
    body = f"print(await failing(compact(50).authenticate_client(b'', bytes.fromhex('{plain}'))))"
    out = await told(micropython, body)
    assert out[1:] == ["EsipaRefused a function: the eIM refused with 50"]


async def test_a_notification_that_is_refused_with_128_is_refused(micropython: Run) -> None:
    pending = tlv(0x30, tlv(0xBF2F, tlv(0x80, b"\5")), tlv(0x5F37, bytes(64)), tlv(0x30, bytes(9))).hex()
    out = await told(micropython, f"print(await failing(compact(128).handle_notification(bytes.fromhex('{pending}'))))")
    assert out[1:] == ["EsipaRefused a function: the eIM refused with 128"]


async def test_what_is_not_made_smaller_passes_through(micropython: Run) -> None:
    assert await told(micropython, "print(await compact().get_eim_package(b''))") == ["passed through"]
