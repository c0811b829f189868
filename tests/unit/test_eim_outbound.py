"""Where the eIM calls by itself: only SM-DP+ that a managed eUICC named, never what stands beside it (SSRF)."""

# ruff: noqa: F811  the fixtures of another file

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
from ipaddress import ip_network

import pytest
from eim_ipa import UNDEFINED, Ipa, alarms, order
from euicc_peer import EID, spec
from microipa.asn1.tlv import integer, parse, tlv
from microipa.common.errors import Busy
from microipa.eim import Eim, forwarder, notices, questions
from microipa.eim.config import BadConfig, Config
from microipa.eim.esipa import EsipaRefused
from microipa.net.https_server import serve_https
from microipa.net.rsp_client import RspClient, RspUnavailable
from microipa.saip import build
from smdpp_peer import ADDRESS
from test_eim_relay import (  # noqa: F401
    OTHER_EID,
    Es9,
    at_once,
    code_of,
    desk,
    es9,
    failure,
    installed,
    number,
    smdpp,
    switched,
    trigger,
)

BESIDE = ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "10.0.0.1", "192.168.0.1", "169.254.169.254"]


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(forwarder, "FIRST_PAUSE_S", 0.01)


async def until_forwarded(folder) -> list[tuple]:
    """The outbox when nothing waits in it any more: attempts, last_error."""
    async with asyncio.timeout(10):
        while True:
            with sqlite3.connect(folder / "eim.sqlite") as database:
                if not database.execute("SELECT 1 FROM forwards WHERE delivered IS NULL").fetchone():
                    return database.execute("SELECT attempts, last_error FROM forwards").fetchall()
            await asyncio.sleep(0.01)


# Addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BESIDE)
async def test_a_name_that_leads_to_what_stands_beside_the_eim_is_not_called(pki, es9, name):
    client = RspClient("eim", [pki.ci.certificate], {}, None)
    with pytest.raises(RspUnavailable, match="no public address"):
        await client.call(f"{name}:{es9.port}", "handleNotification", {})
    assert es9.calls == []


@pytest.mark.parametrize("address", ["8.8.8.8", "134744072", "8.8.2056", "0x8080808", "0x8.8.8.8", "8.8.8.0x8"])
async def test_a_public_address_without_a_name_is_not_called(pki, address):
    with pytest.raises(RspUnavailable, match="no public address that a name leads to"):
        await RspClient("eim", [pki.ci.certificate], {}, None).call(address, "handleNotification", {})


NO_NAMES = ["dp.example.", "[::1]", "a@dp.example", "dp.example/x", "dp.example?x", "dp.example#x", "dp.example:0",
            "dp.example:99999", "dp.example:80:80", "dp..example", "dp example", "dp.example\r\nHost: x", ""]


@pytest.mark.parametrize("address", NO_NAMES)
async def test_what_is_no_host_name_with_a_port_is_not_called(pki, address):
    with pytest.raises(RspUnavailable, match="no server's address"):
        await RspClient("eim", [pki.ci.certificate], {}, None).call(address, "handleNotification", {})


INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fec0::1", "fd00::1", "ff0e::1", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1",
    "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "2001:0:7f00:1::", "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("place", INSIDE)
async def test_a_name_that_resolves_to_what_is_inside_is_not_called(pki, place, monkeypatch):
    async def found(loop, host, port, **more):
        return [(socket.AF_INET6 if ":" in place else socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", found)
    with pytest.raises(RspUnavailable, match="no public address that a name leads to"):
        await RspClient("eim", [pki.ci.certificate], {}, None).call("dp.example", "handleNotification", {})


async def test_a_network_that_is_allowed_is_called(pki, tmp_path, es9):
    async with serve_https(es9.app, pki.smdpp_tls) as port:
        client = RspClient("eim", [pki.ci.certificate], {}, None, networks=[ip_network("127.0.0.0/8")])
        with pytest.raises(RspUnavailable, match="certificate"):  # which names another host
            await client.call(f"localhost:{port}", "handleNotification", {})


async def test_an_order_for_an_address_beside_the_eim_tells_so(pki, tmp_path, ipa, es9):
    desk = Eim(pki, tmp_path, es9_routes={})
    number = desk.order_download(EID, f"LPA:1$localhost:{es9.port}$A", needs_proof=False)
    peer = Ipa(desk.handle, ipa.card)
    await peer.introduce()
    assert await code_of(peer.initiate(await peer.get())) == UNDEFINED
    assert "no public address" in order(desk, number).result
    assert es9.calls == []


def test_networks_of_a_server_are_checked(tmp_path):
    (tmp_path / "eim.toml").write_text('keys = "k"\ndatabase = "e"\nsmdp_networks = ["10.0.0.0/8"]\n')
    assert Config.read(tmp_path / "eim.toml").smdp_networks == (ip_network("10.0.0.0/8"),)
    (tmp_path / "eim.toml").write_text('keys = "k"\ndatabase = "e"\nsmdp_networks = ["ten"]\n')
    with pytest.raises(BadConfig, match="'ten' does not appear to be"):
        Config.read(tmp_path / "eim.toml")


# Whose notifications ------------------------------------------------------------------------------------------


async def test_5_14_7_a_notification_of_an_euicc_that_is_not_managed_is_not_passed_on(desk, ipa, pki, es9, events):
    stranger = pki.euicc(OTHER_EID)
    metadata = tlv(0xBF2F, integer(0x80, 1), tlv(0x81, b"\x07\x80"), tlv(0x0C, ADDRESS.encode()))
    signed = tlv(0x30, metadata, tlv(0x5F37, stranger.sign(metadata)), stranger.der, pki.eum.der)
    async with desk.serve():
        with pytest.raises(EsipaRefused, match=f"of {OTHER_EID}, which this eIM does not manage"):
            await ipa.notify(signed)
    assert es9.calls == []


async def test_the_outbox_of_a_device_is_bounded_and_the_card_keeps_the_rest(desk, ipa, number, events, monkeypatch):
    await ipa.work()
    pending = await switched(ipa, desk)
    monkeypatch.setattr(notices, "MOST_FORWARDS", 1)  # the installation result waits already
    with pytest.raises(EsipaRefused, match="already 1 notifications of this device are waiting"):
        await ipa.notify(pending[0])
    assert desk.device(EID).alarms


# How long -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [500, 503, 429, 404])
async def test_5_7_4_a_server_error_at_a_notification_is_tried_again(desk, ipa, trigger, es9, tmp_path, status):
    answers = [status]
    es9.tamper = lambda name, real: answers.pop() if answers and name == "handleNotification" else real
    async with desk.serve():
        await ipa.notify(await installed(ipa, trigger))
        assert await until_forwarded(tmp_path) == [(2, None)]
    assert desk.device(EID).alarms == []


async def test_5_7_4_a_refused_notification_is_kept_and_an_alarm_names_the_device(desk, ipa, trigger, es9, tmp_path):
    es9.tamper = lambda name, real: failure("8.1", "6.1") if name == "handleNotification" else real
    async with desk.serve():
        await ipa.notify(await installed(ipa, trigger))
        ((attempts, error),) = await until_forwarded(tmp_path)
    assert (attempts, error) == (1, "the server refused handleNotification: 8.1/6.1 so be it")
    (alarm,) = desk.device(EID).alarms
    assert alarm.startswith(f"{ADDRESS} has not received notification 1: ")


@pytest.mark.usefixtures("impatient")
async def test_5_7_4_a_server_that_never_answers_is_given_up_in_the_end(
    desk, ipa, trigger, es9, tmp_path, monkeypatch
):
    monkeypatch.setattr(forwarder, "MOST_ATTEMPTS", 3)
    es9.tamper = lambda name, real: 500 if name == "handleNotification" else real
    async with desk.serve():
        await ipa.notify(await installed(ipa, trigger))
        ((_, error),) = await until_forwarded(tmp_path)
    assert error.endswith("answers handleNotification with HTTP 500")
    assert len(desk.device(EID).alarms) == 1


async def test_a_notification_is_passed_on_though_the_clock_was_ahead_when_it_came(
    desk, ipa, trigger, es9, tmp_path, monkeypatch
):
    monkeypatch.setattr(forwarder, "LOOK_S", 0.05)
    await ipa.notify(await installed(ipa, trigger))
    with contextlib.closing(sqlite3.connect(tmp_path / "eim.sqlite")) as database:
        database.execute("UPDATE forwards SET due = due + 86400 * 365")
        database.commit()
    async with desk.serve():
        assert await until_forwarded(tmp_path) == [(1, None)]


# Direct downloads ---------------------------------------------------------------------------------------------


@pytest.fixture
async def direct(pki, tmp_path_factory, ipa, smdpp, es9, desk) -> tuple[int, bytes]:
    """An order, and the result of its direct download."""
    code = smdpp.activation_code(smdpp.add_profile(build(spec(2))))
    number = desk.order_download(EID, code, needs_proof=False)
    await ipa.introduce()
    trigger = await ipa.get()
    past = Eim(pki, tmp_path_factory.mktemp("past"), es9_routes={ADDRESS: ("127.0.0.1", es9.port)})
    past.add_device(EID)
    past.order_download(EID, code, needs_proof=False)
    other = Ipa(past.handle, ipa.card)
    await other.introduce()
    result = await installed(other, await other.get())
    assert await ipa.provide(tlv(0xBF54, trigger[0x82].raw, result)) == []  # the IPA's own to deliver
    return number, result


async def test_5_7_4_the_result_of_a_direct_download_is_taken_when_the_ipa_could_not_deliver_it(
    desk, ipa, direct, es9, tmp_path
):
    number, result = direct
    assert order(desk, number).state == "done"
    async with desk.serve():
        await ipa.notify(result)
        assert await until_forwarded(tmp_path) == [(1, None)]
    assert es9.calls[-1] == "handleNotification"
    assert desk.device(EID).alarms == []


async def test_6_3_2_nothing_is_relayed_in_the_session_of_a_direct_download(ipa, direct, es9):
    session = parse(direct[1])[0xBF27][0x80].raw
    before = list(es9.calls)
    assert await code_of(ipa.call(0xBF3A, session, tlv(0xBF21, tlv(0xA1)))) == 95
    assert es9.calls == before


# Alarms -------------------------------------------------------------------------------------------------------


async def test_an_alarm_that_comes_again_drives_no_other_out(desk, ipa, number, events):
    await ipa.work()
    genuine = (await switched(ipa, desk))[0]
    forged = genuine[:-1] + bytes([genuine[-1] ^ 1])
    for _ in range(3):
        desk.order_package(EID, [("listProfileInfo", {})])
        await ipa.provide(tlv(0x30, ipa.execute(await ipa.get()), tlv(0xA0, forged)))
    assert len(alarms(events)) == 3
    assert len(desk.device(EID).alarms) == 1


async def test_alarms_of_one_device_drive_those_of_another_not_out(desk, monkeypatch):
    monkeypatch.setattr(questions, "MAX_ALARMS_OF_ONE", 3)
    desk.add_device(OTHER_EID)
    with desk._store.work() as db:
        questions.raise_alarm(db, OTHER_EID, "real", b"")
        for evidence in range(10):
            questions.raise_alarm(db, EID, "noise", bytes([evidence]))
    assert desk.device(OTHER_EID).alarms == ["real"]
    assert len(desk.device(EID).alarms) == 3


# A disk that is full ------------------------------------------------------------------------------------------


async def test_a_database_that_cannot_be_used_tells_a_device_nothing_of_the_machine(
    desk, ipa, pki, tmp_path, monkeypatch
):
    desk.order_data(EID, ["deviceInfo"])
    monkeypatch.setattr("microipa.storage.database.BUSY_TIMEOUT_MS", 10)
    ipa.ask = Eim(pki, tmp_path, es9_routes={}).handle
    with sqlite3.connect(tmp_path / "eim.sqlite") as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy) as busy:
            await ipa.get()
    assert str(busy.value) == "the eIM cannot work now: try again later"
