"""The eIM's order book against the software eUICC (SGP.32 2.11, 3.3, 5.14)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from eim_ipa import EID_NOT_FOUND, INVALID_EID, MISSING_EID, NO_PACKAGE, OTHER_EID, Ipa, Refusal, order
from euicc_peer import EID, Terminal, make_card, spec
from microipa.asn1 import sgp32
from microipa.asn1.tlv import integer, parse, tlv
from microipa.crypto import ec
from microipa.eim import ActivationCodeInvalid, Eim, OrderSettled, PackageInvalid, UnknownDevice

LIST = [("listProfileInfo", {})]


# What a device is given -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", ["ca", "certificate", "pin"])
def test_2_11_1_the_configuration_is_taken_by_a_card_and_names_the_anchor(pki, desk, tmp_path, trust):
    terminal = Terminal(make_card(tmp_path, pki)).start()
    answer = parse(terminal.es10(tlv(0xBF57, tlv(0xA0, desk.configuration(trust)))))
    assert answer[0xA0][0x84].value == b"\x01"  # the token the card allocated
    kept = parse(terminal.es10("BF5500"))[0xA0][0x30]
    tls = pki.eim_tls
    tag, der = {"ca": (0xA1, pki.ci.der), "certificate": (0xA1, tls.der), "pin": (0xA0, tls.spki)}[trust]
    assert tlv(0x30, kept[0xA6][tag].value) == der
    assert kept[0x80].value == kept[0x81].value == b"eim.microipa.example"


@pytest.mark.covers("esipa.GetEimPackageResponse", "error.GetEimPackageResponse.noEimPackageAvailable")
async def test_5_14_5_without_orders_there_is_no_package(ipa):
    with pytest.raises(Refusal) as refusal:
        await ipa.get()
    assert refusal.value.code == NO_PACKAGE


@pytest.mark.covers("error.GetEimPackageResponse.eidNotFound")
async def test_5_14_5_a_foreign_device_gets_eid_not_found(desk, enrolled):
    with pytest.raises(Refusal) as refusal:
        await Ipa(desk.handle, enrolled, OTHER_EID).get()
    assert refusal.value.code == EID_NOT_FOUND


@pytest.mark.covers("error.GetEimPackageResponse.missingEid")
@pytest.mark.parametrize("poll", ["bf4f00", "bf4f028000"], ids=["empty", "a state change alone"])
async def test_5_14_5_a_poll_without_eid_gets_missing_eid(desk, poll):
    assert await desk.handle(bytes.fromhex(poll)) == tlv(0xBF4F, integer(0x02, MISSING_EID))


@pytest.mark.covers("error.GetEimPackageResponse.invalidEid")
@pytest.mark.parametrize("eid", ["8904", "8a" * 16, "89" * 17], ids=["short", "letters", "long"])
async def test_5_14_5_an_eid_that_is_none_gets_invalid_eid(desk, eid):
    answer = await desk.handle(tlv(0xBF4F, tlv(0x5A, bytes.fromhex(eid))))
    assert answer == tlv(0xBF4F, integer(0x02, INVALID_EID))


@pytest.mark.covers("package.ipaEuiccDataRequest")
async def test_before_the_first_package_the_eim_learns_who_the_card_is(desk, ipa):
    desk.order_package(EID, LIST)
    request = await ipa.get()
    assert request.tag == 0xBF52
    assert request[0x5C].value == bytes.fromhex("81BF228384A5A6A8A9")
    assert await ipa.provide(ipa.about(request)) == []
    asked = next(view for view in desk.orders() if view.kind == "data")
    assert (asked.state, asked.result) == ("done", "certificates verified, association token 1")
    assert asked.details["ipaFeatures"] == ["indirectRspServerCommunication"]
    assert (await ipa.get()).tag == 0xBF51


@pytest.mark.covers("package.euiccPackageRequest")
async def test_2_11_1_1_packages_are_signed_over_the_data_and_the_association_token(desk, ipa, pki):
    desk.order_package(EID, [("disable", {"iccid": spec(1).iccid})])
    await ipa.introduce()
    package = await ipa.get()
    signed = package[0x30]
    key = pki.eim_signing.certificate.public_key()
    ec.verify(key, package[0x5F37].value, signed.raw + integer(0x84, 1))
    decoded = sgp32.decode("EuiccPackageRequest", package.raw)["euiccPackageSigned"]
    assert decoded["eimId"] == "eim.microipa.example"
    assert decoded["eidValue"] == bytes.fromhex(EID)
    assert decoded["counterValue"] == 1
    assert decoded["euiccPackage"][1][0][0] == "disable"


async def test_5_14_5_the_network_is_kept_for_polls_that_do_not_name_it_again(desk, ipa):
    for extra, known in [((), None), ((tlv(0x82, b"\x09\xf1\x07"),), "901-70"), ((), "901-70"),
                         ((tlv(0x82, b"\x09"),), "901-70"), ((tlv(0x82, b"\x62\xf2\x10"),), "262-01")]:  # fmt: skip
        with pytest.raises(Refusal, match=str(NO_PACKAGE)):
            await ipa.get(*extra)
        assert desk.device(EID).rplmn == known


async def test_orders_are_delivered_first_in_first_out_one_at_a_time(desk, ipa):
    first, second = desk.order_package(EID, LIST), desk.order_package(EID, [("getRAT", {})])
    await ipa.introduce()
    await ipa.carry_out(await ipa.get())
    assert [order(desk, number).state for number in (first, second)] == ["done", "queued"]
    await ipa.carry_out(await ipa.get())
    assert (order(desk, second).state, order(desk, second).result) == ("done", "getRAT: 1 rules")
    with pytest.raises(Refusal):
        await ipa.get()


async def test_an_unanswered_package_is_repeated_byte_by_byte_also_after_a_restart(desk, ipa, pki, tmp_path):
    number = desk.order_package(EID, LIST)
    await ipa.introduce()
    first = await ipa.get()
    assert (await ipa.get()).raw == first.raw
    restarted = Eim(pki, tmp_path, es9_routes={})
    assert (await Ipa(restarted.handle, ipa.card).get()).raw == first.raw
    assert order(desk, number).deliveries == 3
    assert order(desk, number).state == "delivered"


async def test_each_package_has_the_next_counter_and_a_transaction_of_its_own(desk, ipa):
    for _ in range(3):
        desk.order_package(EID, LIST)
    await ipa.introduce()
    seen = []
    for _ in range(3):
        package = await ipa.get()
        seen.append((package[0x30][0x81].value[0], package[0x30][0x82].value))
        await ipa.carry_out(package)
    assert [counter for counter, _ in seen] == [1, 2, 3]
    assert len({transaction for _, transaction in seen}) == 3


async def test_orders_of_two_devices_do_not_wait_for_each_other(desk, enrolled):
    desk.add_device(OTHER_EID)
    desk.order_download(OTHER_EID, "LPA:1$smdpp.example$A", needs_proof=False)
    assert (await Ipa(desk.handle, enrolled, OTHER_EID).get()).tag == 0xBF52
    with pytest.raises(Refusal) as refusal:
        await Ipa(desk.handle, enrolled).get()
    assert refusal.value.code == NO_PACKAGE


async def test_an_order_that_nobody_fetched_in_time_expires(desk, ipa):
    late = desk.order_package(EID, LIST, expires=datetime.now(UTC) - timedelta(seconds=1))
    good = desk.order_package(EID, LIST, expires=datetime.now(UTC) + timedelta(hours=1))
    await ipa.introduce()
    await ipa.carry_out(await ipa.get())
    assert [order(desk, number).state for number in (late, good)] == ["expired", "done"]
    assert order(desk, late).result == "the device did not poll in time"


def test_an_order_is_shown_as_expired_though_the_device_never_came(desk):
    number = desk.order_package(EID, LIST, expires=datetime.now(UTC) - timedelta(seconds=1))
    assert order(desk, number).state == "expired"
    with pytest.raises(OrderSettled, match="expired"):
        desk.cancel(number)


async def test_an_order_under_way_does_not_expire_for_the_card_may_have_executed_it(desk, ipa, monkeypatch):
    desk.order_package(EID, LIST, expires=datetime.now(UTC) + timedelta(hours=1))
    await ipa.introduce()
    package = await ipa.get()
    two_hours_later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: two_hours_later)
    assert (await ipa.get()).raw == package.raw


# Orders as people give them ---------------------------------------------------------------------------------


def test_an_order_for_an_unknown_device_tells_how_to_add_it(desk):
    with pytest.raises(UnknownDevice, match="microipa enrol"):
        desk.order_download(OTHER_EID, "LPA:1$smdpp.example$A", needs_proof=False)
    with pytest.raises(UnknownDevice, match=OTHER_EID):
        desk.order_package(OTHER_EID, LIST)
    assert desk.orders() == []


@pytest.mark.parametrize("eid", ["", "8904", "x" * 32, "٣" * 32], ids=["empty", "short", "letters", "arabic"])
def test_only_an_eid_becomes_a_device(desk, eid):
    with pytest.raises(UnknownDevice, match="32 digits"):
        desk.add_device(eid)


def test_adding_a_device_again_keeps_what_is_known(desk):
    number = desk.order_package(EID, LIST)
    desk.add_device(EID)
    assert order(desk, number).state == "queued"


@pytest.mark.parametrize(
    "operations",
    [[], [("enable", {"iccid": spec(1).iccid}), ("listEim", {})], [("format", {})]],
    ids=["nothing", "PSMO and eCO", "unknown"],
)
def test_a_package_is_either_psmos_or_ecos_that_exist(desk, operations):
    with pytest.raises(PackageInvalid):
        desk.order_package(EID, operations)


@pytest.mark.parametrize("code", ["", "LPA:1$x", "LPA:2$smdpp$A", "1$$A", "LPA:1$" + "s" * 300 + "$A"])
def test_4_1_only_an_activation_code_becomes_a_download(desk, code):
    with pytest.raises(ActivationCodeInvalid):
        desk.order_download(EID, code, needs_proof=False)


def test_another_process_on_the_same_folder_sees_and_gives_orders(desk, pki, tmp_path):
    beside = Eim(pki, tmp_path, es9_routes={})
    number = beside.order_package(EID, LIST)
    assert [view.id for view in desk.orders(EID)] == [number]
    assert desk.orders(OTHER_EID) == []


def test_an_order_is_told_as_json(desk):
    desk.order_download(EID, "LPA:1$smdpp.example$ABC", needs_proof=False)
    (view,) = desk.orders()
    told = view.to_dict()
    assert told["summary"] == "download ABC from smdpp.example"
    assert (told["kind"], told["state"], told["eid"]) == ("download", "queued", EID)
    assert datetime.fromisoformat(told["created"]) == view.created


def test_the_database_is_readable_by_its_owner_alone(desk, tmp_path):
    assert (tmp_path / "eim.sqlite").stat().st_mode & 0o777 == 0o600


def test_the_trace_tells_each_step_of_an_order(desk, events):
    number = desk.order_package(EID, LIST)
    (event,) = [event for event in events if event.kind == "order"]
    assert event.fields["order"] == number
    assert event.fields["state"] == "queued"
    assert event.fields["summary"] == "listProfileInfo"
