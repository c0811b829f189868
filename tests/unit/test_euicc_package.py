"""LoadEuiccPackage: what is verified before anything is done, and the results (SGP.32 5.9.1, 2.2, 2.11)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from euicc_peer import ECALL, LIST_PROFILES, SET_DEFAULT_DP, Dp, Eim, Terminal, delete, enable, iccid
from microipa.asn1 import sgp32
from microipa.asn1.tlv import integer, parse, tlv
from microipa.crypto.pki import Pki

HIGHEST = 0x7FFF_FFFF
OTHER_EID = bytes.fromhex("89049032" + 24 * "0")


def results(terminal: Terminal) -> list[bytes]:
    """The eUICC package results that wait on the card."""
    return [item.raw for item in parse(terminal.es10("BF2B04A0028200"))[0xA2]]


def default_dp(terminal: Terminal) -> bool:
    """Whether SET_DEFAULT_DP was executed."""
    return 0x80 in parse(terminal.es10("BF3C00"))


# ---- the unsigned error


@pytest.mark.covers("es10b.LoadEuiccPackage.euiccPackageErrorUnsigned")
def test_5_9_1_step_1_a_package_of_an_unknown_eim_gets_the_unsigned_error_without_token(terminal, eim):
    answer = terminal.es10(replace(eim, eim_id="stranger.example").package(SET_DEFAULT_DP))
    kind, error = sgp32.decode("EuiccPackageResult", answer)
    assert kind == "euiccPackageErrorUnsigned"
    assert error == {"eimId": "stranger.example", "eimTransactionId": b"\xa1\xa2"}
    assert not default_dp(terminal)


@pytest.mark.covers("es10b.LoadEuiccPackage.euiccPackageErrorUnsigned")
def test_5_9_1_step_2_a_package_not_signed_by_its_eim_gets_the_unsigned_error_with_the_token(
    terminal, eim, pki
):
    forged = replace(eim, signer=pki.smdpp_auth).package(SET_DEFAULT_DP)
    _, error = sgp32.decode("EuiccPackageResult", terminal.es10(forged))
    assert error == {"eimId": eim.eim_id, "eimTransactionId": b"\xa1\xa2", "associationToken": 1}
    good = eim.package(SET_DEFAULT_DP)
    assert 0xA2 in parse(terminal.es10(good[:-1] + bytes([good[-1] ^ 1])))
    assert not default_dp(terminal)
    assert results(terminal) == []


@pytest.mark.covers("es10b.LoadEuiccPackage.euiccPackageErrorUnsigned")
@pytest.mark.parametrize("token", [None, 0, 2, -1])
def test_2_2_the_association_token_is_part_of_what_is_signed(terminal, eim, token):
    assert 0xA2 in parse(terminal.es10(replace(eim, token=token).package(SET_DEFAULT_DP)))


# ---- the signed error


@pytest.mark.covers("es10b.LoadEuiccPackage.invalidEid")
def test_5_9_1_step_3_a_package_for_another_card_is_invalidEid(terminal, eim):
    assert eim.error(terminal.es10(replace(eim, eid=OTHER_EID).package(SET_DEFAULT_DP))) == "invalidEid"


@pytest.mark.covers("es10b.LoadEuiccPackage.replayError")
def test_5_9_1_step_4_a_counter_not_above_the_last_is_replayError(terminal, eim):
    again = eim.package(SET_DEFAULT_DP)
    first = terminal.es10(again)
    assert eim.error(terminal.es10(again)) == "replayError"
    assert eim.error(terminal.es10(replace(eim, counter=-1).package(SET_DEFAULT_DP))) == "replayError"
    assert results(terminal) == [first]  # the eIM finds what it has lost here


@pytest.mark.covers("es10b.LoadEuiccPackage.counterValueOutOfRange")
@pytest.mark.parametrize("counter", [HIGHEST + 1, 1 << 64])
def test_5_9_1_step_4_a_counter_above_the_highest_is_counterValueOutOfRange(terminal, eim, counter):
    package = replace(eim, counter=counter - 1).package(SET_DEFAULT_DP)
    assert eim.error(terminal.es10(package)) == "counterValueOutOfRange"


def test_2_2_counters_go_up_to_the_highest_and_only_a_new_key_begins_anew(terminal, eim):
    assert replace(eim, counter=HIGHEST - 1).run(terminal, SET_DEFAULT_DP) == ["setDefaultDpAddress.ok"]
    assert eim.error(terminal.es10(eim.package(SET_DEFAULT_DP))) == "replayError"


def test_2_2_counters_may_leave_gaps_and_a_refused_package_uses_none(terminal, eim):
    assert replace(eim, counter=999).run(terminal, LIST_PROFILES) == ["listProfileInfo.ok"]
    for refused in (replace(eim, counter=1999, eid=OTHER_EID), replace(eim, counter=1999, token=5)):
        assert 0xA0 not in parse(terminal.es10(refused.package(LIST_PROFILES)))
    assert replace(eim, counter=1000).run(terminal, LIST_PROFILES) == ["listProfileInfo.ok"]


@pytest.mark.covers("es10b.LoadEuiccPackage.sizeOverflow")
def test_5_9_1_a_package_longer_than_the_card_takes_is_sizeOverflow(terminal, eim):
    assert eim.error(terminal.es10(eim.package(*[SET_DEFAULT_DP] * 2200))) == "sizeOverflow"
    assert not default_dp(terminal)


@pytest.mark.covers("es10b.LoadEuiccPackage.ecallActive")
def test_5_9_1_step_5_no_package_while_the_emergency_profile_is_enabled(terminal, eim, dp):
    dp.install(2, ECALL)
    terminal.es10("BF5B038001FF")
    terminal.refresh()
    assert eim.error(terminal.es10(eim.package(SET_DEFAULT_DP))) == "ecallActive"
    terminal.es10("BF5C038001FF")
    terminal.refresh()
    assert eim.run(terminal, SET_DEFAULT_DP) == ["setDefaultDpAddress.ok"]


def test_5_9_1_steps_come_in_their_order(terminal, eim, pki):
    """Who is nobody learns least: signature before EID, EID before counter."""
    everything_wrong = replace(eim, signer=pki.smdpp_auth, eid=OTHER_EID, counter=-5)
    assert 0xA2 in parse(terminal.es10(everything_wrong.package(SET_DEFAULT_DP)))
    assert eim.error(terminal.es10(replace(eim, eid=OTHER_EID, counter=-5).package())) == "invalidEid"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda package: package.raw + b"\0", id="behind the package"),
        pytest.param(lambda package: tlv(0xBF51, package.value, b"\0"), id="behind the signature"),
        pytest.param(
            lambda package: tlv(0xBF51, tlv(0x30, package[0x30].value, b"\0"), package[0x5F37].raw),
            id="in what is signed",
        ),
    ],
)
def test_5_9_1_bytes_that_trail_in_a_package_keep_it_from_being_executed(terminal, eim, place):
    answer = terminal.es10(place(parse(eim.package(SET_DEFAULT_DP))))
    assert not answer or 0xA0 not in parse(answer)
    assert not default_dp(terminal)
    assert results(terminal) == []


# ---- forms


@pytest.mark.covers("es10b.LoadEuiccPackage.euiccPackageResultSigned")
def test_2_11_2_result_and_error_echo_name_counter_and_transaction(terminal, eim):
    answer = terminal.es10(eim.package(SET_DEFAULT_DP))
    kind, result = sgp32.decode("EuiccPackageResult", answer)
    data = result["euiccPackageResultDataSigned"]
    assert kind == "euiccPackageResultSigned"
    assert (data["eimId"], data["counterValue"], data["eimTransactionId"]) == (eim.eim_id, 1, b"\xa1\xa2")
    kind, result = sgp32.decode("EuiccPackageResult", terminal.es10(replace(eim, counter=0).package()))
    data = result["euiccPackageErrorDataSigned"]
    assert kind == "euiccPackageErrorSigned"
    assert (data["eimId"], data["counterValue"], data["eimTransactionId"]) == (eim.eim_id, 1, b"\xa1\xa2")


def test_2_11_1_a_transaction_id_is_optional_and_has_16_bytes_at_most(terminal, eim):
    signed = tlv(
        0x30, tlv(0x80, eim.eim_id.encode()), tlv(0x5A, eim.eid), integer(0x81, 1), tlv(0xA0, SET_DEFAULT_DP)
    )
    package = tlv(0xBF51, signed, tlv(0x5F37, eim.pki.eim_signing.sign(signed + eim.suffix)))
    _, result = sgp32.decode("EuiccPackageResult", terminal.es10(package))
    assert "eimTransactionId" not in result["euiccPackageResultDataSigned"]
    terminal.es10(replace(eim, counter=1, transaction_id=bytes(17)).package(SET_DEFAULT_DP))
    assert terminal.sw == 0x6A80


@pytest.mark.parametrize("package", ["BF5100", "BF51023000", "BF51065F3703AABBCC", "BF510430023000"])
def test_5_9_1_what_is_no_package_is_wrong_data(terminal, package):
    terminal.es10(package)
    assert terminal.sw == 0x6A80


# ---- storage


def test_2_11_2_results_wait_on_the_card_until_they_are_removed(terminal, eim):
    first = terminal.es10(eim.package(SET_DEFAULT_DP))
    second = terminal.es10(eim.package(LIST_PROFILES))
    terminal.reset()
    assert results(terminal) == [first, second]
    assert terminal.es10("BF3003800101") == bytes.fromhex("BF3003800100")
    assert results(terminal) == [second]


def test_2_2_one_row_of_sequence_numbers_for_results_and_notifications(terminal, eim, dp):
    dp.install(2)
    eim.run(terminal, SET_DEFAULT_DP)
    eim.run(terminal, delete(iccid(2)))
    (first, second) = [parse(raw)[0xA0][0x30][0x83].value[0] for raw in results(terminal)]
    notified = [item[0x80].value[0] for item in parse(terminal.es10("BF2800"))[0xA0]]
    assert sorted([first, second, *notified]) == [1, 2, 3, 4]


def test_2_2_sequence_numbers_go_on_after_everything_was_removed(terminal, eim):
    for _ in range(3):
        answer = terminal.es10(eim.package(SET_DEFAULT_DP))
        number = parse(answer)[0xA0][0x30][0x83].value[0]
        terminal.es10(tlv(0xBF30, integer(0x80, number)))
    assert number == 3


def test_2_11_2_the_oldest_result_goes_only_when_there_is_no_room(terminal, eim):
    answers = [terminal.es10(eim.package(SET_DEFAULT_DP)) for _ in range(64)]
    assert results(terminal) == answers
    answers.append(terminal.es10(eim.package(SET_DEFAULT_DP)))
    assert results(terminal) == answers[1:]


def test_5_9_1_errors_are_not_stored(terminal, eim):
    terminal.es10(replace(eim, eid=OTHER_EID).package(SET_DEFAULT_DP))
    terminal.es10(replace(eim, token=9).package(SET_DEFAULT_DP))
    assert results(terminal) == []


def test_5_9_1_nothing_else_goes_between_a_switch_and_its_refresh(terminal: Terminal, eim: Eim, dp: Dp):
    dp.install(2)
    eim.run(terminal, enable(iccid(2)))
    terminal.es10(eim.package(SET_DEFAULT_DP))
    assert terminal.sw == 0x6985
    terminal.reset()
    eim.counter -= 1  # that package was not looked at
    assert eim.run(terminal, SET_DEFAULT_DP) == ["setDefaultDpAddress.ok"]


def test_2_2_each_eim_counts_for_itself(terminal: Terminal, eim: Eim, pki: Pki):
    second = Eim(pki, eim_id="second.example", token=2)
    eim.run(terminal, second.configuration(tag=0xA8), eco=True)
    replace(eim, counter=500).run(terminal, LIST_PROFILES)
    assert second.run(terminal, LIST_PROFILES) == ["listProfileInfo.ok"]
