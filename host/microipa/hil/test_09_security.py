"""Who must be refused, by whom, and that nothing is left behind."""

from __future__ import annotations

import pytest

from microipa.asn1.tlv import tlv
from microipa.hil.fixtures import Board, CardView
from microipa.hil.moments import logged
from microipa.hil.servers import EimDesk, SmdppCounter
from microipa.hil.station import Offer

DOWNLOAD = "SGP.33-2: download refusals"
PPR_1 = tlv(0x99, b"\x05\x40")  # ppr1: this profile cannot be disabled


@pytest.mark.sgp("SGP.33-2: server authentication", "SGP.32 6.2")
@pytest.mark.needs("network between")
def test_a_stranger_at_the_eim_s_address_is_told_nothing(board: Board, eim: EimDesk) -> None:
    order = eim.package(("listProfileInfo", {}))
    put_back = eim.stranger()
    board.start()
    board.until(logged("PeerNotTrusted"))
    assert eim.messages(of="eim2") == []
    assert not [message for message in eim.messages() if message.startswith("in ")]
    put_back()
    board.wait()
    assert eim.outcome(order)[0] == "done"


@pytest.mark.sgp("SGP.33-1 4.2.18: LoadEuiccPackage error cases", "SGP.32 5.9.1")
@pytest.mark.needs("disposable profile")
def test_a_package_that_another_signed_is_refused_by_the_card_and_the_eim_s_own_is_carried_out(
    board: Board, eim: EimDesk, card: CardView, spare: Offer
) -> None:
    enabled = card.enabled()
    order = eim.package(("listProfileInfo", {}))
    eim.forge(order, ("enable", {"iccid": spare.iccid}))
    board.poll()
    assert eim.refusals() == ["euiccPackageErrorUnsigned"]
    assert card.enabled() == enabled
    assert eim.outcome(order)[0] == "done", eim.outcome(order)


@pytest.mark.sgp("SGP.33-1 4.2.18: LoadEuiccPackage error cases", "SGP.32 5.9.1")
def test_a_package_that_comes_again_is_refused_by_the_card_and_changes_nothing(board: Board, eim: EimDesk) -> None:
    first, second = (
        eim.package(("setDefaultDpAddress", {"defaultDpAddress": f"{name}.microipa.example"}))
        for name in ("replayed", "present")
    )
    board.poll()
    eim.replay(first)
    asked = eim.ask("defaultSmdpAddress")
    board.poll()
    assert eim.refusals() == ["replayError"]
    state, words = eim.outcome(first)
    assert (state, words.partition(",")[0]) == ("failed", "replayError")
    assert [eim.outcome(number)[0] for number in (second, asked)] == ["done", "done"]
    assert eim.device().default_smdp_address == "present.microipa.example"


@pytest.mark.sgp(DOWNLOAD, "SGP.32 3.2.3.2, SGP.22 3.1.3")
@pytest.mark.needs("own SM-DP+")
def test_policy_rules_that_nobody_can_consent_to_cancel_the_session(
    board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter
) -> None:
    offer = smdpp.offer("Bound", attributes=[PPR_1])
    order = eim.download(offer.code)
    board.poll()
    assert eim.outcome(order)[0] == "failed"
    assert offer.iccid not in card.profiles()
    assert smdpp.outcome(offer) == ("error", "cancelled by the eUICC: pprNotAllowed")


@pytest.mark.sgp(DOWNLOAD, "SGP.22 3.1.3")
@pytest.mark.needs("own SM-DP+")
def test_an_smdpp_with_another_oid_than_the_activation_code_has_is_refused(
    board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter
) -> None:
    offer = smdpp.offer()
    order = eim.download(f"{offer.code}$2.999.11")
    board.poll()
    assert eim.outcome(order)[0] == "failed"
    assert offer.iccid not in card.profiles()
    assert "getBoundProfilePackage" not in smdpp.asked()


@pytest.mark.sgp(DOWNLOAD, "SGP.22 3.1.3")
@pytest.mark.needs("own SM-DP+")
def test_a_confirmation_code_that_nobody_can_type_ends_the_order(
    board: Board, eim: EimDesk, card: CardView, smdpp: SmdppCounter
) -> None:
    offer = smdpp.offer(confirmation_code="4711")
    order = eim.download(offer.code)
    board.poll()
    assert eim.outcome(order)[0] == "failed"
    assert offer.iccid not in card.profiles()
