"""eUICC packages: what the eIM orders and the card does."""

from __future__ import annotations

from typing import Any

import pytest

from microipa.hil.fixtures import Board, CardView
from microipa.hil.servers import EimDesk
from microipa.hil.station import Offer, Station

UNKNOWN = "8999970000000000007"


@pytest.mark.sgp("SGP.33-3 4.2.4: listProfileInfo", "SGP.32 3.4.4")
def test_the_profiles_are_listed(board: Board, eim: EimDesk, card: CardView) -> None:
    order = eim.package(("listProfileInfo", {}))
    board.poll()
    assert eim.outcome(order)[0] == "done"
    assert {one["iccid"]: one["state"] for one in eim.device().profiles} == card.profiles()


@pytest.mark.sgp("SGP.33-3 4.2.5: getRAT", "SGP.32 3.4.5")
def test_the_rules_authorisation_table_is_read(board: Board, eim: EimDesk) -> None:
    order = eim.package(("getRAT", {}))
    board.poll()
    assert eim.outcome(order)[0] == "done"


@pytest.mark.sgp("SGP.33-1: setDefaultDpAddress", "SGP.32 3.4.8")
def test_the_default_smdp_is_set(board: Board, eim: EimDesk) -> None:
    order = eim.package(("setDefaultDpAddress", {"defaultDpAddress": "smdpp.microipa.example"}))
    board.poll()
    assert eim.outcome(order)[0] == "done", eim.outcome(order)


@pytest.mark.sgp("SGP.33-3 4.2.1, SGP.33-1 4.2.31: enable", "SGP.32 3.4.1")
@pytest.mark.needs("disposable profile")
def test_a_profile_is_enabled_and_its_result_comes_over_its_own_network(
    board: Board, eim: EimDesk, card: CardView, spare: Offer
) -> None:
    order = eim.package(("enable", {"iccid": spare.iccid}))
    board.poll()
    assert eim.outcome(order) == ("done", "enable: ok")
    assert card.enabled() == spare.iccid
    assert board.log().count("poll: DTLS with") >= 2  # one before the switch, one after it


@pytest.mark.sgp("SGP.33-3 4.2.3, SGP.33-1 4.2.33: delete", "SGP.32 3.4.3")
@pytest.mark.needs("own SM-DP+")
def test_a_disabled_profile_is_deleted(board: Board, eim: EimDesk, card: CardView, smdpp: Any) -> None:
    offer = smdpp.offer("Short-lived")
    loading = eim.download(offer.code)
    deleting = eim.package(("delete", {"iccid": offer.iccid}))
    board.poll()
    assert (eim.outcome(loading)[0], eim.outcome(deleting)) == ("done", ("done", "delete: ok"))
    assert offer.iccid not in card.profiles()


@pytest.mark.sgp("SGP.33-3 4.2.2, SGP.33-1 4.2.32: disable", "SGP.32 3.4.2")
@pytest.mark.needs("disposable profile")
def test_one_package_disables_a_profile_and_enables_another(
    board: Board, eim: EimDesk, card: CardView, spare: Offer, station: Station
) -> None:
    order = eim.package(("disable", {"iccid": station.home}), ("enable", {"iccid": spare.iccid}))
    board.poll()
    assert eim.outcome(order) == ("done", "disable: ok, enable: ok")
    assert card.profiles()[station.home] == "disabled"
    assert card.enabled() == spare.iccid


@pytest.mark.sgp("SGP.33-1: fallback attribute", "SGP.32 3.4.6, 3.4.7")
@pytest.mark.needs("disposable profile")
def test_the_fallback_attribute_is_set_and_taken_back(board: Board, eim: EimDesk, spare: Offer) -> None:
    orders = [
        eim.package(("setFallbackAttribute", {"iccid": spare.iccid})),
        eim.package(("unsetFallbackAttribute", {})),
        eim.package(("unsetFallbackAttribute", {})),
    ]
    board.poll()
    words = [eim.outcome(number)[1] for number in orders]
    assert words[:2] == ["setFallbackAttribute: ok", "unsetFallbackAttribute: ok"]
    assert words[2] != "unsetFallbackAttribute: ok"


@pytest.mark.sgp("SGP.33-1: configureImmediateEnable", "SGP.32 5.9.17")
def test_immediate_enabling_is_configured_and_switched_off(board: Board, eim: EimDesk) -> None:
    flagged = {"immediateEnableFlag": None, "defaultSmdpAddress": "smdpp.microipa.example"}
    orders = [eim.package(("configureImmediateEnable", fields)) for fields in (flagged, {})]
    board.poll()
    assert [eim.outcome(number) for number in orders] == [("done", "configureImmediateEnable: ok")] * 2


REFUSALS = {
    "enable what is not there": ("enable", {"iccid": UNKNOWN}, "enable: iccidOrAidNotFound"),
    "delete what is not there": ("delete", {"iccid": UNKNOWN}, "delete: iccidOrAidNotFound"),
    "disable what is not there": ("disable", {"iccid": UNKNOWN}, "disable: iccidOrAidNotFound"),
}


@pytest.mark.sgp("SGP.33-1 4.2.18: LoadEuiccPackage", "SGP.32 5.9.1")
@pytest.mark.parametrize("what", REFUSALS)
def test_the_card_s_refusal_reaches_the_eim_in_the_standards_words(board: Board, eim: EimDesk, what: str) -> None:
    operation, fields, words = REFUSALS[what]
    order = eim.package((operation, fields))
    board.poll()
    assert eim.outcome(order) == ("failed", words)


@pytest.mark.sgp("SGP.33-3 4.2.1, SGP.33-1 4.2.31: enable", "SGP.32 3.4.1")
def test_the_enabled_profile_cannot_be_enabled_again(board: Board, eim: EimDesk, card: CardView) -> None:
    order = eim.package(("listProfileInfo", {}), ("enable", {"iccid": card.enabled()}))
    board.poll()
    state, words = eim.outcome(order)
    assert state == "failed"
    assert words.endswith("enable: profileNotInDisabledState")
