"""What the eIM believes of a device's answers, and what they do to its orders (SGP.32 2.11.2, 5.14.6)."""

from __future__ import annotations

import pytest
from eim_ipa import EID_NOT_FOUND, NO_PACKAGE, OTHER_EID, UNDEFINED, Ipa, Refusal, alarms, order
from euicc_peer import EID, Dp, Terminal, make_card, spec
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto.pki import Credential, Pki
from microipa.eim import Eim, OrderSettled, UnknownDevice, UnknownOrder
from microipa.eim.orders import MAX_REFUSALS
from microipa.eim.packages import ROLLED_BACK

LIST = [("listProfileInfo", {})]
FIRST = spec(1).iccid
REPLAY_ERROR, COUNTER_OUT_OF_RANGE = 4, 6


async def executed(desk: Eim, ipa: Ipa, operations=LIST) -> tuple[int, Tlv]:
    """An order of ``operations`` and the card's result for it, not yet delivered."""
    number = desk.order_package(EID, operations)
    if desk.device(EID).association_token is None:
        await ipa.introduce()
    return number, parse(ipa.execute(await ipa.get()))


def signed_result(pki: Pki, data: bytes, *, token: int = 1, signer: Credential | None = None) -> bytes:
    """BF51 with ``data`` (30…) signed as the card of EID does."""
    signature = (signer or pki.euicc(EID)).sign(data + integer(0x84, token))
    return tlv(0xBF51, tlv(0xA0, data, tlv(0x5F37, signature)))


def signed_error(pki: Pki, package: Tlv, code: int) -> bytes:
    """euiccPackageErrorSigned for ``package``."""
    signed = package[0x30]
    data = tlv(0x30, *(signed[tag].raw for tag in (0x80, 0x81, 0x82)), integer(0x02, code))
    signature = pki.euicc(EID).sign(data + integer(0x84, 1))
    return tlv(0xBF51, tlv(0xA1, data, tlv(0x5F37, signature)))


def changed(data: Tlv, tag: int, value: bytes) -> bytes:
    """``data`` with another field ``tag``."""
    return tlv(0x30, *(tlv(tag, value) if child.tag == tag else child.raw for child in data))


async def refused(desk: Eim, ipa: Ipa, number: int, result: bytes) -> str:
    """``result`` is refused, its order stays as it was; returns the reason the alarm gives."""
    before = order(desk, number)
    with pytest.raises(Refusal) as refusal:
        await ipa.provide(result)
    assert refusal.value.code == UNDEFINED
    assert order(desk, number) == before
    (*_, newest) = desk.device(EID).alarms
    return newest


# A result that is believed ----------------------------------------------------------------------------------


@pytest.mark.covers(
    "package.euiccPackageResult",
    "package.eimAcknowledgements",
    "esipa.ProvideEimPackageResultResponse",
)
async def test_5_14_6_a_result_settles_its_order_and_is_acknowledged_by_its_seq_number(desk, ipa):
    number, result = await executed(desk, ipa)
    sequence = result[0xA0][0x30][0x83].value[0]
    assert await ipa.provide(result.raw) == [sequence]
    view = order(desk, number)
    assert (view.state, view.result) == ("done", f"listProfileInfo: {FIRST} enabled Profile 1")
    assert view.details["seqNumber"] == sequence
    assert view.details["results"][0]["value"][0]["iccid"] == FIRST


async def test_5_14_6_a_repeated_result_is_acknowledged_again_and_changes_nothing(desk, ipa, events):
    number, result = await executed(desk, ipa)
    acknowledged = await ipa.provide(result.raw)
    settled = order(desk, number)
    assert await ipa.provide(result.raw) == acknowledged
    assert order(desk, number) == settled
    assert alarms(events) == []


async def test_interop_a_result_without_the_a0_of_its_choice_is_understood(desk, ipa):
    number, result = await executed(desk, ipa)
    await ipa.provide(tlv(0xBF51, result[0xA0].value))
    assert order(desk, number).state == "done"


async def test_interop_a_result_without_eid_is_found_by_its_transaction(desk, ipa):
    number, result = await executed(desk, ipa)
    ipa.eid = b""
    assert await ipa.provide(result.raw)
    assert order(desk, number).state == "done"


async def test_5_14_6_a_result_may_come_with_an_empty_list_of_notifications(desk, ipa):
    number, result = await executed(desk, ipa)
    acknowledged = await ipa.provide(tlv(0x30, result.raw, tlv(0xA0)))
    assert len(acknowledged) == 1
    assert order(desk, number).state == "done"


@pytest.mark.covers("package.ePRAndNotifications")
async def test_5_14_6_a_result_may_come_with_notifications(desk, ipa, pki):
    Dp(pki, ipa.card).install(2)
    number, result = await executed(desk, ipa, [("delete", {"iccid": spec(2).iccid})])
    listed = parse(ipa.card.es10("BF2B00"))[0xA0]
    _, deleted = listed  # of the installation no eIM knows: its result is the IPA's to deliver
    acknowledged = await ipa.provide(tlv(0x30, result.raw, listed.raw))
    assert set(acknowledged) == {deleted[0xBF2F][0x80].value[0], result[0xA0][0x30][0x83].value[0]}
    assert order(desk, number).state == "done"


async def test_a_failed_operation_makes_a_failed_order_that_says_which(desk, ipa):
    number, result = await executed(desk, ipa, [("enable", {"iccid": spec(9).iccid})])
    assert await ipa.provide(result.raw)
    assert (order(desk, number).state, order(desk, number).result) == ("failed", "enable: iccidOrAidNotFound")


async def test_a_rollback_after_the_result_was_settled_settles_it_anew(desk, ipa, pki):
    number, result = await executed(desk, ipa)
    await ipa.provide(result.raw)
    data = result[0xA0][0x30]
    rolled = tlv(0x30, data[0x30].value, integer(0x8C, 0))
    newer = tlv(0x30, *(data[tag].raw for tag in (0x80, 0x81, 0x82)), integer(0x83, 99), rolled)
    assert await ipa.provide(signed_result(pki, newer)) == [99]
    assert order(desk, number).state == "failed"
    assert order(desk, number).result == f"{ROLLED_BACK}; before: listProfileInfo: {FIRST} enabled Profile 1"
    older = await refused(desk, ipa, number, result.raw)
    assert "replay" in older


@pytest.mark.covers("error.ProvideEimPackageResultResponse.eidNotFound")
async def test_5_14_6_without_any_device_of_this_eid_the_answer_is_eid_not_found(desk, enrolled):
    stranger = Ipa(desk.handle, enrolled, OTHER_EID)
    with pytest.raises(Refusal) as refusal:
        await stranger.provide(tlv(0xBF51, tlv(0xA2, tlv(0x80, b"eim"))))
    assert refusal.value.code == EID_NOT_FOUND


# A result that is not ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["the operation's result", "seqNumber", "counterValue", "the signature"])
async def test_5_14_6_a_flipped_bit_is_refused_and_the_order_stays_open(desk, ipa, place):
    number, result = await executed(desk, ipa)
    body = result[0xA0]
    field = {
        "the operation's result": body[0x30][0x30],
        "seqNumber": body[0x30][0x83],
        "counterValue": body[0x30][0x81],
        "the signature": body[0x5F37],
    }[place]
    flipped = bytearray(result.raw)
    flipped[field.offset + len(field.raw) - 1] ^= 1
    assert "signature" in await refused(desk, ipa, number, bytes(flipped))
    assert await ipa.provide(result.raw)
    assert order(desk, number).state == "done"


async def test_5_14_6_a_result_signed_by_another_card_is_refused(desk, ipa, pki):
    number, result = await executed(desk, ipa)
    forged = signed_result(pki, result[0xA0][0x30].raw, signer=pki.euicc(OTHER_EID))
    assert "signature" in await refused(desk, ipa, number, forged)


async def test_2_11_2_1_a_result_signed_over_another_association_token_is_refused(desk, ipa, pki):
    number, result = await executed(desk, ipa)
    forged = signed_result(pki, result[0xA0][0x30].raw, token=2)
    assert "signature" in await refused(desk, ipa, number, forged)


async def test_a_result_for_another_eim_is_refused(desk, ipa, pki):
    number, result = await executed(desk, ipa)
    foreign = signed_result(pki, changed(result[0xA0][0x30], 0x80, b"other.example"))
    assert "other.example" in await refused(desk, ipa, number, foreign)


@pytest.mark.parametrize(
    ("tag", "value"), [(0x81, b"\x07"), (0x82, b"\x11" * 8)], ids=["counterValue", "eimTransactionId"]
)
async def test_a_genuine_result_of_no_known_order_is_kept_as_an_alarm(desk, ipa, pki, events, tag, value):
    number, result = await executed(desk, ipa)
    data = result[0xA0][0x30]
    stray = signed_result(pki, changed(data, tag, value))
    assert await ipa.provide(stray) == [data[0x83].value[0]]
    assert alarms(events) == [f"result 1 belongs to no order: listProfileInfo: {FIRST} enabled Profile 1"]
    assert order(desk, number).state == "delivered"
    await ipa.provide(stray)
    assert len(alarms(events)) == 1


async def test_an_alarm_is_kept_with_the_device_and_told_to_the_trace(desk, ipa, events):
    number, result = await executed(desk, ipa)
    text = await refused(desk, ipa, number, result.raw[:-1] + bytes([result.raw[-1] ^ 1]))
    (alarm,) = [event for event in events if event.kind == "alarm"]
    assert alarm.fields == {"eid": EID, "text": text}


async def test_the_eim_asks_who_a_card_is_whose_result_it_cannot_verify(desk, ipa, pki, tmp_path):
    _, result = await executed(desk, ipa)
    other = tmp_path / "restored"
    other.mkdir()
    forgetful = Eim(pki, other, es9_routes={})
    forgetful.add_device(EID)
    ipa.ask = forgetful.handle
    with pytest.raises(Refusal):
        await ipa.provide(result.raw)
    await ipa.introduce()
    assert await ipa.provide(result.raw) == [result[0xA0][0x30][0x83].value[0]]


# Who the card is --------------------------------------------------------------------------------------------


async def test_the_certificates_must_be_of_the_device_that_is_meant(desk, ipa, pki, events):
    desk.add_device(OTHER_EID)
    number = desk.order_package(OTHER_EID, LIST)
    impostor = Ipa(desk.handle, ipa.card, OTHER_EID)
    reason = f"the certificate of {EID} was sent as if by {OTHER_EID}"
    for _ in range(MAX_REFUSALS):
        await impostor.introduce()
    assert all(reason in alarm for alarm in alarms(events))
    assert order(desk, number).state == "failed"
    assert reason in order(desk, number).result
    assert desk.device(OTHER_EID).certificates == {}


async def test_2_11_2_2_certificates_of_another_ci_are_refused_by_name(desk, ipa, tmp_path, events):
    folder = tmp_path / "foreign"
    folder.mkdir()
    other_pki = Pki.open(folder / "pki")
    foreign = Terminal(make_card(folder, other_pki)).start()
    foreign.es10(tlv(0xBF57, tlv(0xA0, Eim(other_pki, folder, es9_routes={}).configuration())))
    number = desk.order_package(EID, LIST)
    for _ in range(MAX_REFUSALS):
        await Ipa(desk.handle, foreign).introduce()
    assert "eum certificate" in alarms(events)[0]
    assert order(desk, number).state == "failed"


@pytest.mark.covers("error.IpaEuiccDataResponse.incorrectTagList")
@pytest.mark.parametrize("code", [1, UNDEFINED], ids=["incorrectTagList", "too much for it"])
async def test_2_11_2_2_an_ipa_that_refuses_the_tag_list_is_asked_for_the_least(desk, ipa, code):
    number = desk.order_package(EID, LIST)
    request = await ipa.get()
    refusal = tlv(0xA1, tlv(0x80, request[0x83].value), integer(0x02, code))
    assert await ipa.provide(tlv(0xBF52, refusal)) == []
    assert (await ipa.get())[0x5C].value == bytes.fromhex("84A5A6")
    await ipa.work()
    assert order(desk, number).state == "done"


@pytest.mark.covers("error.IpaEuiccDataResponse.undefinedError")
async def test_2_11_2_2_an_ipa_that_answers_nothing_fails_what_waits_for_it(desk, ipa):
    number = desk.order_package(EID, LIST)
    for _ in ("what is good to know", *["the least"] * MAX_REFUSALS):
        request = await ipa.get()
        await ipa.provide(tlv(0xBF52, tlv(0xA1, tlv(0x80, request[0x83].value), integer(0x02, UNDEFINED))))
    assert order(desk, number).result == (
        "ask the eUICC who it is, in short: the IPA does not answer: undefinedError"
    )
    with pytest.raises(Refusal) as end:
        await ipa.get()
    assert end.value.code == NO_PACKAGE


@pytest.mark.covers("error.IpaEuiccDataResponse.ecallActive")
async def test_2_11_2_2_a_device_in_an_emergency_answers_no_question(desk, ipa):
    await executed(desk, ipa)
    number = desk.order_data(EID, ["euiccInfo2"])
    await ipa.provide(ipa.execute(await ipa.get()))
    await ipa.carry_out(await ipa.get())
    request = await ipa.get()
    await ipa.provide(tlv(0xBF52, tlv(0xA1, tlv(0x80, request[0x83].value), integer(0x02, 104))))
    assert order(desk, number).result == "the IPA does not answer: ecallActive"


@pytest.mark.covers("error.ProfileDownloadTriggerResult.ecallActive")
async def test_3_2_3_a_device_in_an_emergency_downloads_nothing(desk, ipa):
    number = desk.order_download(EID, "LPA:1$smdpp.example$A", needs_proof=False)
    await ipa.introduce()
    trigger = await ipa.get()
    await ipa.provide(tlv(0xBF54, trigger[0x82].raw, tlv(0x30, integer(0x80, 104))))
    assert order(desk, number).result == "the device gave up the download: ecallActive"


async def test_an_answer_to_no_question_is_refused(desk, ipa):
    desk.order_package(EID, LIST)
    request = await ipa.get()
    await ipa.provide(ipa.about(request))
    foreign = tlv(0xBF52, tlv(0xA0, tlv(0x87, b"\x22" * 8)))
    with pytest.raises(Refusal):
        await ipa.provide(foreign)


# Errors the card or the IPA answers with --------------------------------------------------------------------


async def test_2_11_2_1_a_signed_error_fails_the_order_in_words(desk, ipa, pki):
    number = desk.order_package(EID, LIST)
    await ipa.introduce()
    error = signed_error(pki, await ipa.get(), COUNTER_OUT_OF_RANGE)
    assert await ipa.provide(error) == []
    assert order(desk, number).result == "the card refused the package: counterValueOutOfRange"
    assert order(desk, number).details == {"euiccPackageErrorCode": COUNTER_OUT_OF_RANGE}


async def test_3_5_2_after_an_unsigned_error_the_token_is_learnt_anew_and_the_package_signed_again(
    desk, ipa, enrolled
):
    first, result = await executed(desk, ipa)
    await ipa.provide(result.raw)
    # The card forgets its eIMs and is given this one again: another token.
    assert enrolled.es10("BF640482020204")[:2] == b"\xbf\x64"
    enrolled.reset()
    enrolled.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))
    second = desk.order_package(EID, LIST)
    await ipa.work()
    assert order(desk, second).state == "done"
    assert desk.device(EID).association_token == 2


async def test_unsigned_errors_without_end_fail_the_order(desk, ipa):
    number = desk.order_package(EID, LIST)
    for _ in range(3):
        await ipa.introduce()
        package = await ipa.get()
        error = tlv(0xA2, package[0x30][0x80].raw, package[0x30][0x82].raw)
        assert await ipa.provide(tlv(0xBF51, error)) == []
    assert order(desk, number).state == "failed"
    assert "does not accept this eIM" in order(desk, number).result


@pytest.mark.covers(
    "package.eimPackageResultResponseError",
    "error.ProvideEimPackageResult.invalidPackageFormat",
    "error.ProvideEimPackageResult.unknownPackage",
    "error.ProvideEimPackageResult.undefinedError",
)
@pytest.mark.parametrize(
    ("code", "word"), [(1, "invalidPackageFormat"), (2, "unknownPackage"), (127, "undefinedError")]
)
async def test_3_1_1_what_the_ipa_cannot_handle_fails_and_the_next_order_comes(desk, ipa, code, word):
    first, second = desk.order_package(EID, LIST), desk.order_package(EID, LIST)
    await ipa.introduce()
    for _ in range(MAX_REFUSALS):
        echo = tlv(0x80, (await ipa.get())[0x30][0x82].value)
        assert await ipa.provide(tlv(0xA0, echo, integer(0x02, code))) == []
    assert word in order(desk, first).result
    await ipa.work()
    assert [order(desk, number).state for number in (first, second)] == ["failed", "done"]


async def test_an_error_for_an_order_that_is_settled_changes_nothing(desk, ipa, pki):
    number = desk.order_package(EID, LIST)
    await ipa.introduce()
    package = await ipa.get()
    await ipa.carry_out(package)
    settled = order(desk, number)
    await ipa.provide(signed_error(pki, package, REPLAY_ERROR))
    await ipa.provide(tlv(0xBF51, tlv(0xA2, package[0x30][0x80].raw, package[0x30][0x82].raw)))
    assert order(desk, number) == settled


# Resynchronisation ------------------------------------------------------------------------------------------


async def test_a_lost_result_is_fetched_from_the_card_after_replay_error(desk, ipa):
    number, _ = await executed(desk, ipa)  # the answer gets lost
    repeated = await ipa.get()
    error = ipa.execute(repeated)
    assert parse(error)[0xA1][0x30][0x02].value == b"\x04"
    assert await ipa.provide(error) == []
    request = await ipa.get()
    assert (request.tag, request[0x5C].value) == (0xBF52, bytes.fromhex("84A2"))
    acknowledged = await ipa.provide(ipa.about(request))
    assert len(acknowledged) == 1
    ipa.remove(acknowledged)
    assert order(desk, number).state == "done"
    await ipa.work()
    assert ipa.stored() == b""


async def test_a_repeated_replay_error_asks_for_the_results_once(desk, ipa):
    await executed(desk, ipa)
    error = ipa.execute(await ipa.get())
    await ipa.provide(error)
    await ipa.provide(error)
    assert [view.kind for view in desk.orders()].count("data") == 2  # who it is, and its results


async def test_a_counter_behind_the_cards_is_caught_up(desk, ipa, pki, tmp_path):
    for _ in range(3):
        desk.order_package(EID, LIST)
    await ipa.work()
    folder = tmp_path / "restored"
    folder.mkdir()
    restored = Eim(pki, folder, es9_routes={})
    restored.add_device(EID)
    number = restored.order_package(EID, LIST)
    await Ipa(restored.handle, ipa.card).work()
    assert order(restored, number).state == "done"
    assert restored.device(EID).counter > 3


async def test_a_counter_that_cannot_be_caught_up_fails_the_order(desk, ipa, pki):
    number = desk.order_package(EID, LIST)
    await ipa.introduce()
    for _ in range(10):
        try:
            package = await ipa.get()
        except Refusal:
            break
        answer = ipa.about(package) if package.tag == 0xBF52 else signed_error(pki, package, REPLAY_ERROR)
        await ipa.provide(answer)
    view = order(desk, number)
    assert view.state == "failed"
    assert "higher counters than" in view.result
    assert desk.device(EID).counter < 8_388_607


async def test_a_result_lost_for_good_is_not_ordered_a_second_time_behind_the_operators_back(desk, ipa):
    number, result = await executed(desk, ipa)
    ipa.remove([result[0xA0][0x30][0x83].value[0]])  # a careless IPA
    await ipa.work()
    assert order(desk, number).state == "failed"
    assert "not known" in order(desk, number).result


async def test_a_stored_result_that_does_not_verify_spoils_no_other(desk, ipa, events):
    number, result = await executed(desk, ipa)
    await ipa.provide(ipa.execute(await ipa.get()))
    request = await ipa.get()
    bad = result.raw[:-1] + bytes([result.raw[-1] ^ 1])
    kept = tlv(0xA2, bad, result.raw)
    acknowledged = await ipa.provide(tlv(0xBF52, tlv(0xA0, kept, tlv(0x87, request[0x83].value))))
    assert acknowledged == [result[0xA0][0x30][0x83].value[0]]
    assert order(desk, number).state == "done"
    assert len(alarms(events)) == 1


async def test_stored_results_for_other_eims_are_left_to_them(desk, ipa, pki, events):
    number, result = await executed(desk, ipa)
    await ipa.provide(ipa.execute(await ipa.get()))
    request = await ipa.get()
    foreign = signed_result(pki, changed(result[0xA0][0x30], 0x80, b"other.example"), token=9)
    kept = tlv(0xA2, foreign, result.raw)
    acknowledged = await ipa.provide(tlv(0xBF52, tlv(0xA0, kept, tlv(0x87, request[0x83].value))))
    assert len(acknowledged) == 1
    assert alarms(events) == []


# Cancelling -------------------------------------------------------------------------------------------------


async def test_a_cancelled_order_is_not_delivered(desk, ipa):
    first, second = desk.order_package(EID, LIST), desk.order_package(EID, [("getRAT", {})])
    desk.cancel(first)
    await ipa.work()
    assert [order(desk, number).state for number in (first, second)] == ["cancelled", "done"]


async def test_a_result_of_a_cancelled_order_tells_what_happened_though_a_later_one_came_first(desk, ipa):
    first, late = await executed(desk, ipa)
    desk.cancel(first)
    assert "may have executed it" in order(desk, first).result
    second, result = await executed(desk, ipa)
    await ipa.provide(result.raw)
    assert len(await ipa.provide(late.raw)) == 1
    assert [order(desk, number).state for number in (first, second)] == ["done", "done"]


async def test_what_is_settled_or_unknown_cannot_be_cancelled(desk, ipa):
    number = desk.order_package(EID, LIST)
    await ipa.work()
    with pytest.raises(OrderSettled, match="done"):
        desk.cancel(number)
    with pytest.raises(UnknownOrder, match="999"):
        desk.cancel(999)


# What is known of a device ----------------------------------------------------------------------------------


async def test_a_device_view_shows_what_the_card_said_of_itself(desk, ipa):
    desk.order_package(EID, [*LIST, ("setDefaultDpAddress", {"defaultDpAddress": "dp.example"})])
    desk.order_package(EID, [("listEim", {})])
    await ipa.work()
    view = desk.device(EID)
    assert [(profile["iccid"], profile["state"]) for profile in view.profiles] == [(FIRST, "enabled")]
    assert view.profiles_known is not None
    assert view.eims == ["eim.microipa.example"]
    assert (view.association_token, view.counter, view.highest_sequence) == (1, 2, 2)
    assert view.default_smdp_address == "dp.example"
    assert view.ipa_capabilities["ipaSupportedProtocols"] == ["ipaRetrieveCoaps"]
    assert view.euicc_info2["profileVersion"]
    assert EID in view.certificates["euicc"]["subject"]
    assert view.last_poll is not None
    assert (view.open_orders, view.alarms) == ([], [])
    assert view.to_dict()["last_poll"] == view.last_poll.isoformat()
    assert desk.devices() == [view]


async def test_a_new_device_is_known_by_nothing_but_its_orders(desk):
    number = desk.order_package(EID, LIST)
    view = desk.device(EID)
    assert (view.profiles, view.eims, view.association_token, view.certificates) == (None, None, None, {})
    assert view.open_orders == [number]


def test_a_view_of_an_unknown_device_is_refused(desk):
    with pytest.raises(UnknownDevice):
        desk.device(OTHER_EID)


async def test_the_view_follows_what_packages_change(desk, ipa):
    desk.order_package(EID, LIST)
    desk.order_package(EID, [("disable", {"iccid": FIRST})])
    await ipa.work()
    assert desk.device(EID).profiles[0]["state"] == "disabled"
    desk.order_package(EID, [("enable", {"iccid": FIRST})])
    await ipa.work()
    assert desk.device(EID).profiles[0]["state"] == "enabled"
    desk.order_package(EID, [("disable", {"iccid": FIRST}), ("delete", {"iccid": FIRST})])
    await ipa.work()
    assert desk.device(EID).profiles == []


async def test_5_14_5_a_state_change_is_recorded_with_its_cause(desk, ipa, events):
    with pytest.raises(Refusal):
        await ipa.get(tlv(0x80), integer(0x81, 1))
    view = desk.device(EID)
    assert view.state_change == "fallback"
    assert view.state_changed == view.last_poll
    (event,) = [event for event in events if event.kind == "state_change"]
    assert event.fields == {"eid": EID, "cause": "fallback"}
