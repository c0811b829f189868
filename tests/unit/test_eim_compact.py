"""The eIM as data handler, and the compact forms it rebuilds (SGP.32 2.11.1.2, 3.2.3.2, 5.14)."""

from __future__ import annotations

import base64
import sqlite3
from typing import Any

import pytest
from eim_compact import CompactIpa, authenticate, cancel, prepare, result
from eim_ipa import DEVICE_INFO, Ipa, Refusal, alarms, desk, order
from euicc_peer import EID, PPR1, Terminal, make_card, spec
from microipa.asn1 import sgp32
from microipa.asn1.tlv import Tlv, parse, tlv
from microipa.eim import Eim
from microipa.eim.esipa import EsipaRefused
from microipa.saip import build
from microipa.smdpp import OrderState
from smdpp_peer import ADDRESS
from test_eim_relay import desk, es9, number, smdpp, switched  # noqa: F811

__all__ = ["desk", "es9", "number", "smdpp"]

INDIRECT, DATA, CONTEXT, METADATA, MINIMIZE = 0x40, 0x20, 0x10, 0x08, 0x04
UNKNOWN = tlv(0x95, b"\x01") + tlv(0xBF7A, tlv(0x80, b"later"))  # what EUICCInfo2 may hold one day
FUNCTIONS = {0xBF38: ("authenticateClient", "authenticateServerResponse"),
             0xBF21: ("getBoundProfilePackage", "prepareDownloadResponse"),
             0xBF37: ("handleNotification", "pendingNotification"),
             0xBF41: ("cancelSession", "cancelSessionResponse")}


@pytest.fixture(params=[b"", UNKNOWN], ids=["today's card", "a later card"])
def card(request, pki, tmp_path, desk) -> Terminal:
    terminal = Terminal(make_card(tmp_path, pki, info_extensions=request.param)).start()
    terminal.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))
    return terminal


def reached(es9: Any, tag: int) -> bytes:
    """What the SM-DP+ was given of a card's message."""
    function, member = FUNCTIONS[tag]
    return base64.b64decode(es9.asked[function][member])


def uplink(ipa: CompactIpa) -> int:
    return sum(len(message) for message in ipa.sent)


async def begun(ipa: CompactIpa) -> tuple[Tlv, Tlv]:
    """Trigger and the answer to InitiateAuthentication."""
    await ipa.introduce()
    trigger = await ipa.get()
    return trigger, await ipa.initiate(trigger)


# The compact forms ------------------------------------------------------------------------------------------


@pytest.mark.covers("compact.compactAuthenticateResponseOk", "compact.compactDownloadResponseOk",
                    "compact.compactProfileInstallationResult")
@pytest.mark.parametrize("how", [{}, {"certificates": True}, {"signed": True}], ids=str)
async def test_5_14_each_compact_form_reaches_the_sm_dp_as_the_card_signed_it(desk, card, smdpp, es9, number, how):
    ipa = CompactIpa(Ipa(desk.handle, card), **how)
    async with desk.serve_https():
        await ipa.work()
        await es9.until(lambda: smdpp.orders()[0].state == OrderState.INSTALLED)
    assert order(desk, number).state == "done"
    for tag in (0xBF38, 0xBF21, 0xBF37):
        assert reached(es9, tag) == ipa.signed[tag]
    assert not ipa.refused


async def test_5_14_compact_forms_are_what_the_schema_says(desk, card, number):
    ipa = CompactIpa(Ipa(desk.handle, card))
    await ipa.work()
    for tag, form in ((0xBF38, "compactAuthenticateResponseOk"), (0xBF21, "compactDownloadResponseOk")):
        short = authenticate(ipa.signed[tag]) if tag == 0xBF38 else prepare(ipa.signed[tag])
        name = {0xBF38: "AuthenticateServerResponse", 0xBF21: "PrepareDownloadResponse"}[tag]
        assert sgp32.decode(name, short)[0] == form
        assert len(short) < len(ipa.signed[tag])
    assert sgp32.decode("PendingNotification", result(ipa.signed[0xBF37]))[0] == "compactProfileInstallationResult"


@pytest.mark.covers("compact.compactCancelSessionResponseOk")
async def test_5_14_8_a_compact_cancellation_too(desk, card, es9, number):
    ipa = CompactIpa(Ipa(desk.handle, card))
    trigger, started = await begun(ipa)
    await ipa.authenticate(started, trigger)
    await ipa.cancel(5)
    assert reached(es9, 0xBF41) == ipa.signed[0xBF41]
    assert order(desk, number).result == "the device cancelled: loadBppExecutionError"
    assert sgp32.decode("CancelSessionRequestEsipa", ipa.sent[-1])["cancelSessionResponse"][0] == (
        "compactCancelSessionResponseOk")


async def test_5_14_7_a_compact_failure_of_an_installation(desk, card, smdpp, es9, number):
    ipa = CompactIpa(Ipa(desk.handle, card))
    trigger, started = await begun(ipa)
    package = bytearray(await ipa.bound_package(await ipa.authenticate(started, trigger)))
    package[-20] ^= 1
    await ipa.notify(ipa.load(bytes(package)))
    view = order(desk, number)
    assert (view.state, view.details["errorReason"]) == ("failed", 8)  # scp03tSecurityError


@pytest.mark.covers("compact.compactOtherSignedNotification")
async def test_5_14_7_other_notifications_go_out_with_the_certificates_put_back(desk, card, es9, number):
    ipa = CompactIpa(Ipa(desk.handle, card))
    await ipa.work()
    [pending, *_] = await switched(ipa, desk)
    async with desk.serve_https():
        await es9.until(lambda: es9.calls.count("handleNotification") == 1)  # that of the download
        await ipa.notify(pending)
        await es9.until(lambda: es9.calls.count("handleNotification") == 2)
    assert reached(es9, 0xBF37) == pending
    assert len(ipa.sent[-1]) < len(pending) / 5


@pytest.mark.covers("IpaCapabilities.ipaFeatures.minimizeEsipaBytes")
async def test_5_14_an_ipa_that_counts_bytes_gets_no_transaction_id(desk, card, number):
    ipa = CompactIpa(Ipa(desk.handle, card))
    trigger, started = await begun(ipa)
    assert 0x80 not in started
    assert 0x80 not in await ipa.authenticate(started, trigger)


async def test_1_9_compact_forms_need_at_most_35_per_cent_of_a_downloads_uplink(desk, card, number, capsys):
    plain = CompactIpa(Ipa(desk.handle, card), INDIRECT)
    await plain.introduce()
    trigger = await plain.get()
    plain.sent.clear()
    authenticated = await Ipa.authenticate(plain, await Ipa.initiate(plain, trigger), trigger)
    await Ipa.notify(plain, plain.load(await Ipa.bound_package(plain, authenticated)))
    full = uplink(plain)
    short = sum(map(len, (
        tlv(0xBF39, tlv(0x81, bytes(16)), tlv(0x83, ADDRESS.encode()), tlv(0x82, bytes(8))),
        tlv(0xBF3B, plain.session, authenticate(parse(plain.sent[1])[0xBF38].raw)),
        tlv(0xBF3A, plain.session, prepare(parse(plain.sent[2])[0xBF21].raw)),
        tlv(0xBF3D, tlv(0xA0, result(parse(plain.sent[3])[0xA0][0xBF37].raw))),
    )))
    with capsys.disabled():
        print(f"\nESipa uplink of a download: {full:,} bytes plain, {short:,} compact, {short / full:.0%}")
    assert short <= 0.35 * full


# When it cannot be rebuilt ----------------------------------------------------------------------------------


async def test_a_changed_euicc_info2_falls_back_to_the_plain_form_and_is_learnt(desk, card, smdpp, es9, number):
    ipa = CompactIpa(Ipa(desk.handle, card))
    told = ipa.about

    def outdated(request: Tlv) -> bytes:
        fields = [tlv(0xBF22, field.value, tlv(0x9E, b"old")) if field.tag == 0xBF22 else field.raw
                  for field in parse(told(request))[0xA0]]
        return tlv(0xBF52, tlv(0xA0, *fields))

    ipa.about = outdated
    await ipa.work()
    assert ipa.refused == [5]
    assert order(desk, number).state == "done"
    assert es9.calls.count("authenticateClient") == 1  # the refused form never left the eIM
    again = desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(3)))), needs_proof=False)
    await ipa.work()
    assert ipa.refused == [5]  # once
    assert order(desk, again).state == "done"


async def test_after_a_failure_compact_forms_are_not_taken_until_a_plain_one_came(desk, card, number, es9):
    ipa = CompactIpa(Ipa(desk.handle, card))
    trigger, started = await begun(ipa)
    server = [part.raw for part in started if part.tag in (0x30, 0x5F37, 0x04)]
    ipa.session = parse(server[0])[0x80].raw
    context = tlv(0xA0, tlv(0x80, trigger[0xA0][0x80].value.split(b"$")[2]), tlv(0xA1, DEVICE_INFO))
    proof = card.es10(tlv(0xBF38, *server, context))
    forged = bytearray(authenticate(proof))
    forged[-1] ^= 1
    for short in (bytes(forged), authenticate(proof)):
        with pytest.raises(Refusal) as refusal:
            await ipa.call(0xBF3B, ipa.session, short)
        assert refusal.value.code == 5
    assert "authenticateClient" not in es9.calls
    await ipa.call(0xBF3B, ipa.session, proof)
    assert order(desk, number).state == "delivered"


async def test_a_forged_compact_result_is_refused_and_the_plain_one_still_taken(desk, card, number, events):
    ipa = CompactIpa(Ipa(desk.handle, card))
    trigger, started = await begun(ipa)
    pending = ipa.load(await ipa.bound_package(await ipa.authenticate(started, trigger)))
    forged = bytearray(result(pending))
    forged[-1] ^= 1
    with pytest.raises(EsipaRefused):
        await Ipa.notify(ipa, bytes(forged))
    assert "cannot be reconstructed from the compact form" in alarms(events)[-1]
    assert order(desk, number).state == "delivered"
    await Ipa.notify(ipa, pending)
    assert order(desk, number).state == "done"


async def test_compact_forms_of_no_session_are_refused(desk, card, number):
    ipa = CompactIpa(Ipa(desk.handle, card))
    trigger, started = await begun(ipa)
    pending = bytearray(result(ipa.load(await ipa.bound_package(await ipa.authenticate(started, trigger)))))
    place = bytes(pending).index(parse(bytes(pending))[0xA0][0x80].value)
    pending[place] ^= 1
    with pytest.raises(EsipaRefused, match="without a session of this eIM"):
        await Ipa.notify(ipa, bytes(pending))


@pytest.mark.parametrize("short", ["A200", "A2023000", "A204A0025F37", "A20430025F37"])
async def test_what_is_no_compact_form_is_not_rebuilt(desk, card, number, short):
    ipa = CompactIpa(Ipa(desk.handle, card))
    trigger, started = await begun(ipa)
    await ipa.authenticate(started, trigger)
    for tag, inner, code in ((0xBF3A, 0xBF21, 1), (0xBF3B, 0xBF38, 5)):
        with pytest.raises(Refusal) as refusal:
            await ipa.call(tag, ipa.session, tlv(inner, bytes.fromhex(short)))
        assert refusal.value.code == code


async def test_an_unknown_eim_takes_the_certificates_from_the_compact_form(desk, card, number):
    ipa = CompactIpa(Ipa(desk.handle, card), certificates=True, signed=True)
    await ipa.work()
    assert order(desk, number).state == "done"


async def test_an_eim_goes_on_with_the_database_of_an_earlier_version(desk, card, number, tmp_path, pki):
    with sqlite3.connect(tmp_path / "eim.sqlite") as database:
        database.execute("alter table devices drop column compact_failed")
        database.execute("drop table alembic_version")
        database.execute("alter table sessions drop column profile_metadata")
    again = Eim(pki, tmp_path, es9_routes={})
    assert [view.id for view in again.orders()] == [number]
    assert again.device(EID).eid == EID


# A request that lost its answer -----------------------------------------------------------------------------


async def test_the_same_request_gets_the_same_answer_and_the_sm_dp_is_asked_once(desk, card, number, es9):
    ipa = CompactIpa(Ipa(desk.handle, card), INDIRECT)
    trigger, started = await begun(ipa)
    authenticated = await ipa.authenticate(started, trigger)
    assert (await desk.handle(ipa.sent[-1]))[5:] == parse(await desk.handle(ipa.sent[-1])).raw[5:]
    assert authenticated.raw in await desk.handle(ipa.sent[-1])
    assert es9.calls.count("authenticateClient") == 1


async def test_another_worker_gives_the_same_answer_and_the_sm_dp_is_asked_once(desk, card, number, es9, pki, tmp_path):
    ipa = CompactIpa(Ipa(desk.handle, card), INDIRECT)
    other = Eim(pki, tmp_path, es9_routes={})
    trigger, started = await begun(ipa)
    authenticated = await ipa.authenticate(started, trigger)
    assert authenticated.raw in await other.handle(ipa.sent[-1])
    package = await ipa.bound_package(authenticated)
    assert package in await other.handle(ipa.sent[-1])
    assert [es9.calls.count(name) for name in ("authenticateClient", "getBoundProfilePackage")] == [1, 1]


# The eIM as data handler ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "features",
    [
        pytest.param(DATA, marks=pytest.mark.covers("IpaCapabilities.ipaFeatures.eimDownloadDataHandling")),
        pytest.param(CONTEXT, marks=pytest.mark.covers("IpaCapabilities.ipaFeatures.eimCtxParams1Generation")),
        pytest.param(METADATA, marks=pytest.mark.covers("IpaCapabilities.ipaFeatures.eimProfileMetadataVerification")),
        DATA | CONTEXT | METADATA | MINIMIZE,
    ],
)
async def test_2_11_1_2_what_the_ipa_leaves_to_the_eim_the_eim_does(desk, card, number, features, es9):
    ipa = CompactIpa(Ipa(desk.handle, card), INDIRECT | features)
    await ipa.introduce()
    trigger = await ipa.get()
    assert (0xA0 in trigger) != bool(features & DATA)
    started = await ipa.initiate(trigger)
    assert (0xA2 in started) == bool(features & CONTEXT)
    assert (0x0C in started) == bool(features & DATA and not features & CONTEXT)
    authenticated = await ipa.authenticate(started, trigger)
    assert (0xBF25 in authenticated) != bool(features & METADATA)
    await ipa.notify(ipa.load(await ipa.bound_package(authenticated)))
    assert order(desk, number).state == "done"


async def test_5_14_1_ctx_params1_is_made_of_what_the_device_told(desk, card, number):
    ipa = CompactIpa(Ipa(desk.handle, card), INDIRECT | CONTEXT)
    trigger, started = await begun(ipa)
    name = trigger[0xA0][0x80].value.split(b"$")[2]
    assert started[0xA2].value == tlv(0xA0, tlv(0x80, name), tlv(0xA1, DEVICE_INFO))


@pytest.mark.covers("error.AuthenticateClientResponseEsipa.pprNotAllowed")
async def test_5_14_2_a_profile_with_policy_rules_is_refused_and_the_cancellation_ends_it(desk, card, smdpp, es9):
    number = desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(2)))), needs_proof=False)

    def with_rules(function: str, answer: dict[str, Any]) -> dict[str, Any]:
        if function == "authenticateClient":
            metadata = parse(base64.b64decode(answer["profileMetadata"]))
            answer["profileMetadata"] = base64.b64encode(tlv(0xBF25, metadata.value, PPR1)).decode()
        return answer

    es9.tamper = with_rules
    ipa = CompactIpa(Ipa(desk.handle, card), INDIRECT | METADATA | MINIMIZE)
    trigger, started = await begun(ipa)
    with pytest.raises(Refusal) as refusal:
        await ipa.authenticate(started, trigger)
    assert refusal.value.code == 50
    assert order(desk, number).state == "delivered"  # the device ends it, with what the card signs
    await ipa.cancel(3)
    assert order(desk, number).result == "the device cancelled: pprNotAllowed"


@pytest.mark.covers("error.GetBoundProfilePackageResponseEsipa.metadataMismatch")
async def test_5_14_3_a_package_with_another_profile_than_was_shown_is_refused(desk, card, number, es9):
    def another(function: str, answer: dict[str, Any]) -> dict[str, Any]:
        if function == "authenticateClient":
            metadata = parse(base64.b64decode(answer["profileMetadata"]))
            fields = [tlv(0x92, b"Another") if field.tag == 0x92 else field.raw for field in metadata]
            answer["profileMetadata"] = base64.b64encode(tlv(0xBF25, *fields)).decode()
        return answer

    es9.tamper = another
    ipa = CompactIpa(Ipa(desk.handle, card), INDIRECT | METADATA)
    trigger, started = await begun(ipa)
    authenticated = await ipa.authenticate(started, trigger)
    with pytest.raises(Refusal) as refusal:
        await ipa.bound_package(authenticated)
    assert refusal.value.code == 50
    await ipa.cancel(4)
    assert order(desk, number).result == "the device cancelled: metadataMismatch"


async def test_without_names_the_metadata_is_none(desk, card, number, es9):
    es9.tamper = lambda function, answer: answer | (
        {"profileMetadata": base64.b64encode(tlv(0xBF25, tlv(0x5A, bytes(10)))).decode()}
        if function == "authenticateClient" else {})
    ipa = CompactIpa(Ipa(desk.handle, card), INDIRECT | METADATA)
    trigger, started = await begun(ipa)
    with pytest.raises(Refusal) as refusal:
        await ipa.authenticate(started, trigger)
    assert refusal.value.code == 127


def test_cancel_names_only_the_reason():
    signed = tlv(0x30, tlv(0x80, b"\1"), tlv(0x81, b"\2"), tlv(0x82, b"\5"))
    assert cancel(tlv(0xBF41, tlv(0xA0, signed, tlv(0x5F37, bytes(64))))) == tlv(
        0xA2, tlv(0x30, tlv(0x80, b"\5")), tlv(0x5F37, bytes(64)))
