"""ipa.steps.download under MicroPython: how a download ends that the eIM, the SM-DP+ or the package spoil."""

from __future__ import annotations

import pytest
from board_run import Run
from downloads import (
    BEGUN,
    CALL,
    CANCELLED,
    CARD,
    CERTIFICATE,
    EMPTY,
    INITIATED,
    METADATA,
    NAMES,
    RESULT,
    SIGNED_1,
    SIGNED_2,
    loaded,
    offered,
    package,
)
from microipa.asn1.tlv import tlv
from scenes import TID, TX, acknowledge, play, provide, remove

NO_IMMEDIATE_ENABLE = (bytes.fromhex("bf5a"), 0x6A88)
STORED_RESULT = (tlv(0xBF2B, tlv(0xA0, tlv(0x80, b"\5"))), tlv(0xBF2B, tlv(0xA0, RESULT)))
STATE = "[state('download'), state('attempts'), state('tries'), state('ended')]"


def cancel(reason: int) -> tuple[bytes, bytes]:
    return tlv(0xBF41, tlv(0x80, TID), tlv(0x81, bytes([reason]))), CANCELLED


def reported(scene_message: bytes) -> bool:
    return scene_message.startswith(b"\xbf\x50")


# The package is not what was shown (SGP.22 3.1.3)

PPR = tlv(0x99, b"\5\x40")
ICON = tlv(0x93, b"\0") + tlv(0x94, bytes(900))


@pytest.mark.parametrize(("shown", "inside"), [
    (METADATA, tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, PPR)),
    (METADATA, tlv(0xBF25, tlv(0x5A, bytes(9) + b"\1"), *NAMES)),
    (METADATA, tlv(0xBF25, tlv(0x5A, bytes(10)), tlv(0x91, b"Other"), NAMES[1])),
    (METADATA, tlv(0xBF25, tlv(0x5A, bytes(10)), NAMES[0], tlv(0x92, b"Other"))),
    (METADATA, tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, b"\x95\1\0")),
    (tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, ICON), tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, ICON, PPR)),
    (METADATA, tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, tlv(0x94, bytes(5000)))),
], ids=["policy rule", "ICCID", "provider", "name", "class", "policy rule behind an icon", "endless"])
async def test_sgp22_3_1_3_a_package_with_other_metadata_than_were_shown_is_cancelled_before_the_profile(
        micropython: Run, shown: bytes, inside: bytes) -> None:
    card = CARD + [one for one in loaded(inside) if one[0] not in (b"\xa3", b"\x86")] + [cancel(4)]
    cancelled = bytes.fromhex("bf4102a000")
    scene = await play(micropython, CALL, card, [INITIATED, offered(shown), package(inside), cancelled, EMPTY])
    assert scene.outcome == "no error but False"
    assert not any(said[:1] == b"\x86" for said in scene.to("card"))
    assert cancel(4)[0] in scene.to("card")
    assert b"metadata" in scene.to("eim")[-1]


@pytest.mark.parametrize("segment", [1007, 30])
async def test_sgp22_3_1_3_metadata_are_compared_over_their_segments_and_without_what_nobody_is_shown(
        micropython: Run, segment: int) -> None:
    shown = tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, ICON, tlv(0xBF22, b"\x80\1\1"))
    inside = tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, ICON)
    card = CARD + loaded(inside, segment) + [NO_IMMEDIATE_ENABLE, remove(5)]
    scene = await play(micropython, CALL, card, [INITIATED, offered(shown), package(inside, segment), b""])
    assert (scene.outcome, scene.left) == ("no error but False", [])


@pytest.mark.parametrize(("size", "comes_in"), [(4088, True), (4089, False)])  # and the MAC of a segment
async def test_sgp22_3_1_3_metadata_inside_the_package_have_4088_bytes_at_most(
        micropython: Run, size: int, comes_in: bool) -> None:
    short = tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, tlv(0x94, bytes(1000)))
    inside = tlv(0xBF25, tlv(0x5A, bytes(10)), *NAMES, tlv(0x94, bytes(1000 + size - len(short))))
    assert len(inside) == size
    script = CARD + loaded(inside)
    card = script + [NO_IMMEDIATE_ENABLE, remove(5)] if comes_in else script + [cancel(4)]
    answers = [b""] if comes_in else [bytes.fromhex("bf4102a000"), EMPTY]
    scene = await play(micropython, CALL, card, [INITIATED, offered(), package(inside), *answers])
    assert any(said[:1] == b"\x86" for said in scene.to("card")) == comes_in


# The eIM refuses the result of a download that has ended

async def test_3_2_3_2_a_result_that_the_eim_refuses_ends_the_download_and_answers_the_trigger_when_it_comes_again(
        micropython: Run) -> None:
    card = CARD + loaded() + [NO_IMMEDIATE_ENABLE, STORED_RESULT, remove(5)]
    eim: list[bytes | str] = [INITIATED, offered(), package(), "CoapRefused(0x80)", acknowledge(5)]
    scene = await play(micropython, f"in_order([{CALL}, {CALL}])", card, eim)
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert scene.to("eim")[-1] == provide(tlv(0xBF54, tlv(0x82, TX), RESULT))


async def test_3_2_3_2_a_result_whose_delivery_broke_is_not_installed_again(micropython: Run) -> None:
    card = CARD + loaded() + [NO_IMMEDIATE_ENABLE]
    scene = await play(micropython, f"in_order([failing({CALL}), failing(gather({STATE}))])", card,
                       [INITIATED, offered(), package(), "OSError(110)"])
    assert scene.outcome == f"no error but no error but [None, None, None, [['eim.example', '{TX.hex()}', 5]]]"


# A power cut between the result and what follows from it


@pytest.mark.parametrize(("answer", "outcome", "cause"), [
    (bytes.fromhex("bf5a03800100"), 2, None),  # SWITCH
    (bytes.fromhex("bf5a03800101"), 0, None),
    (bytes.fromhex("bf5a03800104"), 0, {"65696d2e6578616d706c65": 127}),
    (0x6A88, 0, None),
], ids=["enabled", "not configured", "no session", "unknown"])
async def test_5_9_15_after_a_power_cut_the_profile_is_enabled_or_the_eim_hears_that_it_may_not_be(
        micropython: Run, answer: bytes | int, outcome: int, cause: object) -> None:
    listed = tlv(0xBF28, tlv(0xA0, tlv(0xBF2F, tlv(0x80, b"\5"))))
    card = [(tlv(0xBF28), listed), STORED_RESULT, (bytes.fromhex("bf5a"), answer)]
    if cause:
        card += [(tlv(0xBF55), tlv(0xBF55, tlv(0xA0, tlv(0x30, tlv(0x80, b"eim.example")))))] * 2
    begun = f"session.journal.set(download='{TX.hex()}', eim='eim.example', attempts=1)"
    keys = "state('download'), state('ended'), state('cause'), state('switch')"
    scene = await play(micropython, f"in_order([{begun}, gather([finish(), {keys}])])", card, [])
    switch = {"reset": 1, "cause": 5} if outcome else None
    done, *rest = eval(scene.outcome.removeprefix("no error but "))
    assert (done, rest) == (outcome == 2, [None, [["eim.example", TX.hex(), 5]], cause, switch])


# What an eIM or a person may write otherwise


@pytest.mark.parametrize("told", [bytes(range(7)), bytes(range(20)), b"\xee" * 20, b"\xee" * 3])
async def test_5_14_1_a_truncated_key_identifier_is_made_whole_from_the_cards_list(
        micropython: Run, told: bytes) -> None:
    known = [bytes(20), bytes(range(20))]
    info = tlv(0xBF20, tlv(0xA9), tlv(0xAA, *(tlv(0x04, one) for one in known)))
    answer = tlv(0xBF39, tlv(0xA0, tlv(0x80, TID), SIGNED_1, tlv(0x5F37, bytes(64)), tlv(0x04, told), CERTIFICATE))
    refused = tlv(0xBF38, tlv(0xA1, tlv(0x80, TID), b"\2\1\x07"))
    card = [BEGUN[0], (tlv(0xBF20), info), (b"\xbf\x38", refused)]
    scene = await play(micropython, CALL, card + ([(tlv(0xBF20), info)] if len(told) < 20 else []), [answer, EMPTY])
    whole = known[1] if known[1].startswith(told) else told
    assert tlv(0x04, whole) in scene.to("card")[-1]
    assert not scene.left


@pytest.mark.parametrize("code", ["LPA:1$smdp.example$A", "1$smdp.example$A", "lpa:1$smdp.example$A",
                                  " LPA:1$smdp.example$A\r\n", "LPA:1$ smdp.example $ A ", "LPA: 1$smdp.example$A",
                                  "LPA:1$smdp.\n  example$A", "lpa :1$\tsmdp.example\r\n$A",
                                  "LPA:1$smdp.example$A$$1", "LPA:1$smdp.example$A$$1$0004$$$later"])
async def test_sgp22_4_1_activation_codes_are_taken_as_people_and_later_versions_write_them(
        micropython: Run, code: str) -> None:
    trigger = tlv(0xBF54, tlv(0x82, TX), tlv(0xA0, tlv(0x80, code.encode())))
    scene = await play(micropython, f"failing(package('{trigger.hex()}'))", BEGUN, ["CoapTimeout('nobody answers')"])
    assert tlv(0x83, b"smdp.example") in scene.to("eim")[0]


# Temporary is not final

@pytest.mark.parametrize("broken", ["CoapRefused(0xA3)", "CoapRefused(0x9D)", "CoapTimeout('nobody answers')",
                                    tlv(0xBF39, b"\x81\1\x7f")])
@pytest.mark.parametrize("step", [0, 1, 2])
async def test_3_2_3_2_what_is_temporary_cancels_nothing_and_leaves_the_trigger_to_the_eim(
        micropython: Run, broken: str | bytes, step: int) -> None:
    good = [INITIATED, offered(), package()]
    if isinstance(broken, bytes):
        broken = [broken, tlv(0xBF3B, b"\x82\1\x7f"), tlv(0xBF3A, b"\x81\1\x7f")][step]
    card = (BEGUN, CARD[:3], CARD)[step]
    scene = await play(micropython, f"in_order([failing({CALL}), failing(gather({STATE}))])", card,
                       [*good[:step], broken])
    tries = "None" if isinstance(broken, str) else "1"
    assert scene.outcome == f"no error but no error but ['{TX.hex()}', 0, {tries}, None]"
    assert not scene.left
    assert not any(reported(message) for message in scene.to("eim"))


@pytest.mark.parametrize(("step", "answer"), [(1, tlv(0xBF3B, b"\x82\1\x0a")), (2, tlv(0xBF3A, b"\x81\1\x5f"))])
async def test_3_2_3_2_a_session_that_the_sm_dp_has_lost_is_begun_again(
        micropython: Run, step: int, answer: bytes) -> None:
    """It has been restarted, say."""
    scene = await play(micropython, CALL, (BEGUN, CARD[:3], CARD)[step], [INITIATED, offered()][:step] + [answer])
    assert scene.outcome.startswith("EsipaRefused ")


async def test_3_2_3_2_an_undefined_error_that_does_not_pass_is_reported_after_eight_tries(micropython: Run) -> None:
    card = BEGUN * 8
    calls = ", ".join([f"failing({CALL})"] * 8)
    scene = await play(micropython, f"in_order([{calls}])", card, [tlv(0xBF39, b"\x81\1\x7f")] * 8 + [EMPTY])
    assert scene.left == []
    assert scene.to("eim")[-1] == provide(tlv(0xBF54, tlv(0x82, TX), tlv(0x30, b"\x80\1\x7f")))


async def test_five_broken_links_are_no_five_reboots(micropython: Run) -> None:
    calls = ", ".join([f"failing({CALL})"] * 7)
    scene = await play(micropython, f"in_order([{calls}, state('attempts')])", BEGUN * 7,
                       ["CoapTimeout('nobody answers')"] * 7)
    assert (scene.outcome, scene.left) == ("no error but 0", [])


async def test_a_download_that_kills_the_board_every_time_is_given_up(micropython: Run) -> None:
    call = f"in_order([session.journal.set(download='{TX.hex()}', eim='eim.example', attempts=5), {CALL}])"
    scene = await play(micropython, call, [], [EMPTY])
    assert b"cut off 5 times, given up" in scene.to("eim")[0]
    other = f"in_order([session.journal.set(download='{TX.hex()}', eim='eim.other', attempts=5), failing({CALL})])"
    scene = await play(micropython, other, BEGUN, ["CoapTimeout('nobody answers')"])
    # That was the download of another eIM.
    assert (scene.outcome, scene.left) == ("no error but CoapTimeout nobody answers", [])


@pytest.mark.parametrize("ended", [["eim.example", "ff" * 8, 5], ["eim.other", TX.hex(), 5]])
async def test_a_trigger_is_carried_out_where_another_one_has_ended(micropython: Run, ended: list[object]) -> None:
    call = f"in_order([session.journal.set(ended=[{ended!r}]), failing({CALL})])"
    scene = await play(micropython, call, BEGUN, ["CoapTimeout('nobody answers')"])
    assert (scene.outcome, scene.left) == ("no error but CoapTimeout nobody answers", [])


async def test_3_2_3_2_a_card_without_a_default_sm_dp_ends_a_download_that_names_none(micropython: Run) -> None:
    trigger = tlv(0xBF54, tlv(0xA0, tlv(0x81)), tlv(0x82, TX))
    scene = await play(micropython, f"package('{trigger.hex()}')", [(tlv(0xBF3C), tlv(0xBF3C))], [EMPTY])
    assert b"the card has no default SM-DP+ address" in scene.to("eim")[-1]


async def test_a_download_that_was_cut_off_four_times_gets_its_fifth_attempt(micropython: Run) -> None:
    call = (f"in_order([session.journal.set(download='{TX.hex()}', eim='eim.example', attempts=4), "
            f"failing({CALL})])")
    scene = await play(micropython, call, BEGUN, ["CoapTimeout('nobody answers')"])
    assert (scene.outcome, scene.left) == ("no error but CoapTimeout nobody answers", [])


# What the assistant sees of an answer itself

OTHER = b"another"


@pytest.mark.parametrize(("signed", "reason"), [
    pytest.param(
        tlv(0x30, tlv(0x80, TID), tlv(0x81, b"\1" * 16), tlv(0x83, b"smdp.example")),
        "the SM-DP+ signed another challenge", marks=pytest.mark.covers("ServerSigned1.euiccChallenge")),
    pytest.param(
        tlv(0x30, tlv(0x80, TID), tlv(0x83, b"smdp.example")), "the SM-DP+ signed another challenge",
        marks=pytest.mark.covers("ServerSigned1.euiccChallenge")),
    pytest.param(
        tlv(0x30, tlv(0x80, TID), tlv(0x81, bytes(16)), tlv(0x83, b"evil.example")),
        "the SM-DP+ signed another address", marks=pytest.mark.covers("ServerSigned1.serverAddress")),
    pytest.param(
        tlv(0x30, tlv(0x80, TID), tlv(0x81, bytes(16))), "the SM-DP+ signed another address",
        marks=pytest.mark.covers("ServerSigned1.serverAddress")),
    pytest.param(
        tlv(0x30, tlv(0x80, OTHER), tlv(0x81, bytes(16)), tlv(0x83, b"smdp.example")),
        "the signed transactionId is another one", marks=pytest.mark.covers("ServerSigned1.transactionId")),
    pytest.param(
        tlv(0x30, tlv(0x81, bytes(16)), tlv(0x83, b"smdp.example")),
        "the signed transactionId is another one", marks=pytest.mark.covers("ServerSigned1.transactionId")),
], ids=["challenge", "no challenge", "address", "no address", "transactionId", "no transactionId"])
async def test_5_14_1_what_an_sm_dp_signed_for_somebody_else_does_not_reach_the_card(
        micropython: Run, signed: bytes, reason: str) -> None:
    answer = tlv(0xBF39, tlv(0xA0, tlv(0x80, TID), signed, tlv(0x5F37, bytes(64)), tlv(0x04, bytes(20)), CERTIFICATE))
    scene = await play(micropython, CALL, BEGUN, [answer, EMPTY])
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert len(scene.to("card")) == len(BEGUN)  # no AuthenticateServer, and no session to cancel
    assert any(reason in line for line in scene.log)
    assert scene.to("eim")[-1].startswith(b"\xbf\x50")


async def test_5_14_1_a_signature_without_transaction_is_refused_where_the_eim_names_none_either(
        micropython: Run) -> None:
    signed = tlv(0x30, tlv(0x81, bytes(16)), tlv(0x83, b"smdp.example"))
    answer = tlv(0xBF39, tlv(0xA0, signed, tlv(0x5F37, bytes(64)), tlv(0x04, bytes(20)), CERTIFICATE))
    scene = await play(micropython, CALL, BEGUN, [answer, EMPTY])
    assert any("the SM-DP+ signed no transactionId" in line for line in scene.log)
    assert len(scene.to("card")) == len(BEGUN)


async def test_5_14_1_the_address_of_an_sm_dp_may_be_in_capitals(micropython: Run) -> None:
    answer = INITIATED.replace(b"smdp.example", b"SMDP.Example")
    refused = tlv(0xBF38, tlv(0xA1, tlv(0x80, TID), b"\2\1\x07"))
    scene = await play(micropython, CALL, [*BEGUN, (b"\xbf\x38", refused)], [answer, EMPTY])
    assert scene.left == []


@pytest.mark.covers("AuthenticateClientResponseEsipa.authenticateClientOkDSEsipa")
async def test_5_14_2_events_of_an_sm_ds_are_no_profile_and_the_session_is_cancelled(micropython: Run) -> None:
    """authenticateClientOkDSEsipa: this assistant asks an SM-DS itself (SGP.22 5.8)."""
    events = tlv(0xBF3B, tlv(0xA1, tlv(0x80, TID), tlv(0xBF54, tlv(0xA0, tlv(0x80, b"1$smdp.example$B")))))
    cancelled = bytes.fromhex("bf4102a000")
    scene = await play(micropython, CALL, [*CARD[:3], cancel(127)], [INITIATED, events, cancelled, EMPTY])
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert scene.to("card")[-1] == cancel(127)[0]
    assert reported(scene.to("eim")[-1])


@pytest.mark.covers("AuthenticateClientResponseEsipa.authenticateClientOkDPEsipa")
@pytest.mark.parametrize("lacking", [0x30, 0x5F37])
async def test_5_14_2_an_offer_without_what_the_sm_dp_signed_is_cancelled(micropython: Run, lacking: int) -> None:
    fields = {0x30: SIGNED_2, 0x5F37: tlv(0x5F37, bytes(64))}
    offer = tlv(0xBF3B, tlv(0xA0, tlv(0x80, TID), METADATA, *(fields[tag] for tag in fields if tag != lacking),
                            *([CERTIFICATE] if lacking != 0x30 else [])))
    cancelled = bytes.fromhex("bf4102a000")
    scene = await play(micropython, CALL, [*CARD[:3], cancel(127)], [INITIATED, offer, cancelled, EMPTY])
    assert (scene.outcome, scene.left) == ("no error but False", [])


async def test_sgp22_3_1_3_a_confirmation_code_that_nobody_has_cancels_the_session(micropython: Run) -> None:
    wants = tlv(0x30, tlv(0x80, TID), b"\1\1\xff")
    offer = offered().replace(SIGNED_2, wants)
    cancelled = bytes.fromhex("bf4102a000")
    scene = await play(micropython, CALL, [*CARD[:3], cancel(127)], [INITIATED, offer, cancelled, EMPTY])
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert any("the SM-DP+ wants a confirmation code" in line for line in scene.log)


async def test_3_2_3_1_an_sm_ds_is_not_asked_where_downloads_go_through_the_eim(micropython: Run) -> None:
    trigger = tlv(0xBF54, tlv(0x82, TX), tlv(0xA0, tlv(0xA2)))
    scene = await play(micropython, f"package('{trigger.hex()}')", [], [EMPTY])
    reason = "an SM-DS is asked only where downloads are direct"
    assert any(reason in line for line in scene.log)
    failed = tlv(0x30, b"\x80\1\x7f", tlv(0x04, reason.encode()))
    assert scene.to("eim") == [provide(tlv(0xBF54, tlv(0x82, TX), failed))]


# What the card says


@pytest.mark.parametrize("challenge", [tlv(0xBF2E), *(tlv(0xBF2E, tlv(0x80, bytes(n))) for n in (15, 17))])
async def test_5_7_7_a_challenge_has_16_bytes(micropython: Run, challenge: bytes) -> None:
    scene = await play(micropython, CALL, [(BEGUN[0][0], challenge)], [EMPTY])
    assert any("GetEuiccChallenge without 16 bytes" in line for line in scene.log)
    assert (scene.outcome, scene.left) == ("no error but False", [])


async def test_5_7_5_a_download_that_the_card_does_not_prepare_is_cancelled_and_told_in_its_words(
        micropython: Run) -> None:
    refused = tlv(0xBF21, tlv(0xA1, tlv(0x80, TID), b"\2\1\2"))
    cancelled = bytes.fromhex("bf4102a000")
    card = [*CARD[:3], (CARD[3][0], refused), cancel(127)]
    scene = await play(micropython, CALL, card, [INITIATED, offered(), cancelled, EMPTY])
    assert (scene.outcome, scene.left) == ("no error but False", [])
    assert refused in scene.to("eim")[-1]
    assert any("the card does not accept the download" in line for line in scene.log)
