"""No question of an eIM to its database grows with its devices, what is queued for others, or what was settled."""

from __future__ import annotations

import contextlib

import pytest
from eim_ipa import Ipa, Refusal
from eim_questions import questions, scans
from euicc_peer import EID
from microipa.asn1.tlv import integer, tlv
from microipa.eim.esipa import EsipaRefused
from test_eim_relay import desk, es9, number, smdpp, switched, trigger

LIST = [("listProfileInfo", {})]


async def test_of_polls_and_results(desk, ipa, tmp_path):
    desk.order_data(EID, ["euiccInfo2"])
    with questions() as asked:
        for _ in range(2):
            desk.order_package(EID, LIST)
            await ipa.work()
    assert len({statement for statement, _ in asked}) > 10
    assert not [statement for statement, _ in asked if ") = 1" in statement]  # an index of open orders would not answer
    assert scans(tmp_path / "eim.sqlite", asked) == {}


async def test_of_downloads_notifications_and_what_goes_on_beside(desk, ipa, number, es9, tmp_path):
    with questions() as asked:
        async with desk.serve():
            await ipa.work()
            for pending in await switched(ipa, desk):
                await ipa.notify(pending)
            await es9.until(lambda: es9.calls.count("handleNotification") >= 2)
    assert any("FROM forwards" in statement for statement, _ in asked)
    assert any("relayed_answers" in statement for statement, _ in asked)
    assert scans(tmp_path / "eim.sqlite", asked) == {}


async def test_of_results_that_prove_nothing_and_messages_that_nobody_can_read(desk, ipa, trigger, tmp_path):
    with questions() as asked:
        for _ in range(2):
            await ipa.provide(tlv(0xBF54, trigger[0x82].raw, tlv(0x30, integer(0x80, 127))))
            with pytest.raises(EsipaRefused):
                await desk.handle(tlv(0xBF50, tlv(0x5A, bytes.fromhex(EID)), b"\xbf\x51\x7f"))
            with contextlib.suppress(Refusal, EsipaRefused):
                await ipa.provide(tlv(0xBF54, tlv(0x82, bytes(8)), tlv(0x30, integer(0x80, 127))))
    assert any("INSERT INTO alarms" in statement for statement, _ in asked)
    assert scans(tmp_path / "eim.sqlite", asked) == {}
