"""SGP.32 authenticates no IPA: what nobody signed neither ends an order nor overwrites what a signature proved."""

from __future__ import annotations

import base64
import json

import pytest
from eim_ipa import OTHER_EID, UNDEFINED, Ipa, Refusal, alarms, order
from euicc_peer import EID
from microipa.asn1 import describe
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.eim import Eim, json_binding
from microipa.eim.esipa import EsipaRefused
from microipa.eim.orders import MAX_REFUSALS
from microipa.eim.store import Alarm
from microipa.storage.unit_of_work import table_of
from sqlalchemy import select

LIST = [("listProfileInfo", {})]


async def under_way(desk: Eim, ipa: Ipa) -> tuple[int, Tlv]:
    """An order, and its package as the device got it."""
    number = desk.order_package(EID, LIST)
    if desk.device(EID).association_token is None:
        await ipa.introduce()
    return number, await ipa.get()


@pytest.fixture
def stranger(desk, enrolled) -> Ipa:
    """Who knows the EID and nothing else."""
    return Ipa(desk.handle, enrolled)


# The end of an order ------------------------------------------------------------------------------------------


def ends(transaction: bytes | None, tag: int = 0x80) -> dict[str, bytes]:
    """What an IPA can say of a package that came to nothing."""
    echo = tlv(tag, transaction) if transaction else b""
    return {
        "eimPackageError": tlv(0xA0, echo.replace(b"\x82", b"\x80", 1), integer(0x02, UNDEFINED)),
        "profileDownloadError": tlv(0xBF54, echo.replace(b"\x80", b"\x82", 1), tlv(0x30, integer(0x80, UNDEFINED))),
    }


@pytest.mark.parametrize("form", ends(None))
@pytest.mark.parametrize("transaction", [None, b"\x11" * 8], ids=["none", "another"])
async def test_an_error_without_the_transaction_ends_nothing_and_raises_an_alarm(
    desk, ipa, stranger, transaction, form
):
    number, package = await under_way(desk, ipa)
    for _ in range(MAX_REFUSALS + 1):
        await stranger.provide(ends(transaction)[form])
    assert order(desk, number).state == "delivered"
    assert "of a transaction that this eIM did not start" in desk.device(EID).alarms[-1]
    await ipa.carry_out(package)
    assert order(desk, number).state == "done"


async def test_an_error_with_the_transaction_lets_the_order_be_offered_again_with_an_alarm(desk, ipa):
    number, package = await under_way(desk, ipa)
    await ipa.provide(tlv(0xA0, tlv(0x80, package[0x30][0x82].value), integer(0x02, 1)))
    view = order(desk, number)
    assert (view.state, view.result) == ("delivered", "the IPA could not handle the package: invalidPackageFormat")
    assert "once more" in desk.device(EID).alarms[-1]
    again = await ipa.get()
    assert again.raw == package.raw
    await ipa.carry_out(again)
    assert order(desk, number).state == "done"


async def test_errors_faster_than_deliveries_do_not_use_the_retries_up(desk, ipa):
    number, package = await under_way(desk, ipa)
    for _ in range(MAX_REFUSALS + 1):
        await ipa.provide(tlv(0xA0, tlv(0x80, package[0x30][0x82].value), integer(0x02, 1)))
    assert order(desk, number).state == "delivered"


async def test_a_transaction_of_another_device_ends_nothing(desk, ipa, stranger):
    desk.add_device(OTHER_EID)
    number, package = await under_way(desk, ipa)
    other = Ipa(desk.handle, ipa.card, OTHER_EID)
    for _ in range(MAX_REFUSALS):
        await other.provide(tlv(0xA0, tlv(0x80, package[0x30][0x82].value), integer(0x02, 1)))
    assert order(desk, number).state == "delivered"
    assert desk.device(OTHER_EID).alarms


async def test_a_download_whose_device_tells_what_refused_it_is_offered_until_the_retries_are_used_up(desk, ipa):
    number = desk.order_download(EID, "LPA:1$smdpp.example$A", needs_proof=False)
    await ipa.introduce()
    error = tlv(0x30, integer(0x80, UNDEFINED), tlv(0x04, b"the profile has policy rules"))
    for _ in range(MAX_REFUSALS):
        assert order(desk, number).state != "failed"
        await ipa.provide(tlv(0xBF54, (await ipa.get())[0x82].raw, error))
    assert order(desk, number).state == "failed"
    assert "that was not signed: it ends here" in desk.device(EID).alarms[-1]


@pytest.mark.parametrize(("code", "name"), [(15, "sizeOverflow"), (127, "undefinedError")])
async def test_v1_3_an_unsigned_error_has_a_code_and_is_told_by_its_name(desk, ipa, code, name):
    number, package = await under_way(desk, ipa)
    for _ in range(MAX_REFUSALS):
        signed = (await ipa.get())[0x30]
        await ipa.provide(tlv(0xBF51, tlv(0xA2, signed[0x80].raw, signed[0x82].raw, integer(0x8F, code))))
    view = order(desk, number)
    assert view.state == "failed"
    assert view.result == f"the eUICC could not process the package: {name}"
    assert desk.device(EID).association_token is not None


def test_v1_3_answers_are_decoded():
    received = tlv(0xBF4E, tlv(0xBF60, tlv(0x80, b"\x11")))
    assert "EimPackageReceivedWithCid" in describe.describe(received).summary()
    error = tlv(0xBF4E, tlv(0xBF61, tlv(0x5A, bytes.fromhex(EID)), integer(0x02, 1)))
    assert "invalidPackageFormat" in describe.describe(error).summary()
    unsigned = tlv(0xBF51, tlv(0xA2, tlv(0x80, b"eim"), integer(0x8F, 15)))
    assert "sizeOverflow" in json.dumps(describe.describe(unsigned, "EuiccPackageResult").json())


# What nobody can read -----------------------------------------------------------------------------------------

EID_FIELD = tlv(0x5A, bytes.fromhex(EID))
UNREADABLE = {
    "cut": tlv(0xBF50, EID_FIELD, tlv(0xBF51, b"\xa0\x05\x30")),
    "nothing inside": tlv(0xBF50, EID_FIELD, tlv(0xBF51)),
    "no result": tlv(0xBF50, EID_FIELD),
    "another tag": tlv(0xBF50, EID_FIELD, tlv(0xBF36)),
    "cut at the end": tlv(0xBF50, EID_FIELD, tlv(0xBF51, bytes(40)))[:-9],
}


@pytest.mark.parametrize("message", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_unreadable_result_is_kept_in_an_alarm_and_blocks_the_queue_no_longer(desk, ipa, message):
    number, _ = await under_way(desk, ipa)
    second = desk.order_package(EID, [("getRAT", {})])
    for turn in range(MAX_REFUSALS):
        if turn:
            await ipa.get()
        with pytest.raises(EsipaRefused):
            await desk.handle(message)
        assert "cannot be read" in (order(desk, number).result or "")
    assert order(desk, number).state == "failed"
    with desk._store.work() as db:
        assert set(db.scalars(select(table_of(Alarm).c.evidence))) == {message}
    await ipa.work()
    assert order(desk, second).state == "done"


async def test_an_unreadable_result_of_nobody_is_an_alarm_too(desk, events):
    with pytest.raises(EsipaRefused):
        await desk.handle(tlv(0xBF50, tlv(0xBF51)))
    assert alarms(events)[0].startswith("an unreadable answer: ")


@pytest.mark.parametrize("result", ["zażółć", "%%%", base64.b64encode(b"\xbf").decode(), 7])
async def test_6_4_an_unreadable_result_in_json_is_kept_too(desk, ipa, result):
    number, _ = await under_way(desk, ipa)
    body = json.dumps({"eidValue": EID, "eimPackageResult": result}).encode()
    with pytest.raises(EsipaRefused):
        await json_binding.answer(desk.handle, "provideEimPackageResult", body)
    assert "cannot be read" in order(desk, number).result
    assert desk.device(EID).alarms


# Who it is from -----------------------------------------------------------------------------------------------


async def test_interop_an_answer_of_v1_0_is_known_by_the_certificate_in_it(desk, ipa):
    number = desk.order_package(EID, LIST)
    answer = parse(ipa.about(await ipa.get()))[0xA0]
    ipa.eid = b""
    await ipa.provide(tlv(0xBF52, tlv(0xA0, *(field.raw for field in answer if field.tag != 0x87))))
    ipa.eid = EID_FIELD
    await ipa.work()
    assert order(desk, number).state == "done"


async def test_interop_a_result_without_a0_may_be_a_sequence_of_its_own(desk, ipa):
    number, package = await under_way(desk, ipa)
    body = parse(ipa.execute(package))[0xA0]
    await ipa.provide(tlv(0xBF51, tlv(0x30, body.value)))
    assert order(desk, number).state == "done"


async def test_an_answer_that_says_nothing_of_its_sender_is_refused(desk, ipa):
    await under_way(desk, ipa)
    ipa.eid = b""
    with pytest.raises(Refusal):
        await ipa.provide(tlv(0xBF54, tlv(0x30, integer(0x80, UNDEFINED))))


# What a signature proved --------------------------------------------------------------------------------------


async def claim(desk: Eim, stranger: Ipa, *fields: bytes) -> None:
    """An answer of a stranger to a question the eIM has for the device."""
    desk.order_data(EID, [])
    request = await stranger.get()
    await stranger.provide(tlv(0xBF52, tlv(0xA0, *fields, tlv(0x87, request[0x83].value))))


async def test_2_11_2_2_a_claimed_token_does_not_replace_the_one_results_are_signed_over(desk, ipa, stranger):
    _, package = await under_way(desk, ipa)
    await ipa.carry_out(package)
    await claim(desk, stranger, integer(0x84, 9))
    assert desk.device(EID).association_token == 1
    number = desk.order_package(EID, LIST)
    await ipa.work()
    assert order(desk, number).state == "done"


async def test_2_11_2_2_a_result_counts_though_a_stranger_claimed_another_token_meanwhile(desk, ipa, stranger):
    _, package = await under_way(desk, ipa)
    await ipa.carry_out(package)
    number, package = await under_way(desk, ipa)
    result = ipa.execute(package)
    signed = package[0x30]
    await stranger.provide(tlv(0xBF51, tlv(0xA2, signed[0x80].raw, signed[0x82].raw)))
    request = await stranger.get()
    await stranger.provide(stranger.about(request).replace(b"\x84\x01\x01", b"\x84\x01\x09"))
    assert desk.device(EID).association_token == 9
    await ipa.provide(result)
    assert order(desk, number).state == "done"
    assert desk.device(EID).association_token == 1


async def test_2_11_2_2_a_claimed_default_smdp_does_not_replace_the_one_the_card_signed(desk, ipa, stranger):
    desk.order_package(EID, [("setDefaultDpAddress", {"defaultDpAddress": "dp.example"})])
    await ipa.work()
    await claim(desk, stranger, tlv(0x81, b"evil.example"))
    assert desk.device(EID).default_smdp_address == "dp.example"


async def test_2_11_2_2_other_certificates_do_not_replace_those_that_results_are_signed_under(
    desk, ipa, stranger, pki
):
    _, package = await under_way(desk, ipa)
    await ipa.carry_out(package)
    before = desk.device(EID).certificates
    another = pki.euicc(EID)
    fields = (tlv(0xA5, parse(pki.eum.der).value), tlv(0xA6, parse(another.der).value))
    await claim(desk, stranger, integer(0x84, 1), *fields)
    assert desk.device(EID).certificates == before


# Activation codes ---------------------------------------------------------------------------------------------

CODE = "LPA:1$smdpp.example$SECRET"


async def test_an_activation_code_goes_to_a_device_whose_card_has_signed_a_result(desk, ipa):
    number = desk.order_download(EID, CODE, needs_proof=True)
    await ipa.introduce()
    proof = await ipa.get()
    assert proof.tag == 0xBF51
    assert (await ipa.get()).raw == proof.raw
    await ipa.carry_out(proof)
    assert b"SECRET" in (await ipa.get()).raw
    assert order(desk, number).state == "delivered"
    desk.cancel(number)
    desk.order_download(EID, CODE, needs_proof=True)
    assert (await ipa.get()).tag == 0xBF54  # once is enough


async def test_who_knows_the_eid_and_its_certificates_gets_no_activation_code(desk, stranger, pki):
    number = desk.order_download(EID, CODE, needs_proof=True)
    await stranger.introduce()
    for _ in range(MAX_REFUSALS):
        package = await stranger.get()
        assert b"SECRET" not in package.raw
        forged = tlv(0xBF51, tlv(0xA0, tlv(0x30, *(package[0x30][tag].raw for tag in (0x80, 0x81, 0x82)),
                                           integer(0x83, 1), tlv(0x30)), tlv(0x5F37, bytes(64))))
        with pytest.raises(Refusal):
            await stranger.provide(forged)
    assert order(desk, number).state == "queued"


async def test_a_card_that_does_not_prove_itself_fails_the_download(desk, ipa):
    number = desk.order_download(EID, CODE, needs_proof=True)
    await ipa.introduce()
    for _ in range(MAX_REFUSALS):
        transaction = (await ipa.get())[0x30][0x82].value
        await ipa.provide(tlv(0xA0, tlv(0x80, transaction), integer(0x02, 2)))
    view = order(desk, number)
    assert view.state == "failed"
    assert view.result.startswith("authenticate the eUICC: ")


async def test_what_waits_behind_an_activation_code_does_not_overtake_it(desk, ipa):
    desk.order_download(EID, CODE, needs_proof=True)
    after = desk.order_package(EID, [("getRAT", {})])
    await ipa.introduce()
    await ipa.carry_out(await ipa.get())
    assert order(desk, after).state == "queued"
