"""What somebody can do to a device who knows its EID, and what it cannot (SGP.32 authenticates no IPA)."""

# ruff: noqa: F811  the fixtures of another file

from __future__ import annotations

import contextlib

import pytest
from eim_coap import connected
from eim_ipa import NO_PACKAGE, OTHER_EID, Ipa, Refusal, order
from euicc_peer import EID, Terminal, spec
from microipa.asn1.tlv import integer, tlv
from microipa.eim.orders import MAX_REFUSALS
from microipa.euicc import Euicc
from microipa.saip import build
from test_eim_inject import Listener, listener  # noqa: F401
from test_eim_relay import at_once, code_of, desk, es9, number, smdpp, trigger  # noqa: F401

LIST = [("listProfileInfo", {})]
CODE = "LPA:1$smdpp.example$SECRET"


@pytest.fixture
def stranger(desk, tmp_path, pki) -> Ipa:
    """Speaks in the name of the device, and has another card, which is one of this eIM's devices too."""
    desk.add_device(OTHER_EID)
    card = Euicc.create(
        tmp_path / "other.nvm", eid=OTHER_EID, credential=pki.euicc(OTHER_EID), eum_der=pki.eum.der,
        ci=pki.ci.certificate, bootstrap=build(spec(1)),
    )  # fmt: skip
    terminal = Terminal(card).start()
    terminal.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))
    return Ipa(desk.handle, terminal)


# Activation codes ---------------------------------------------------------------------------------------------


async def test_an_activation_code_is_given_to_a_proven_device_unless_told_otherwise(desk, ipa):
    desk.order_download(EID, CODE)
    await ipa.introduce()
    proof = await ipa.get()
    assert proof.tag == 0xBF51
    await ipa.carry_out(proof)
    assert b"SECRET" in (await ipa.get()).raw


async def test_5_14_1_no_session_of_a_download_begins_before_the_device_is_proven(desk, ipa, es9, smdpp):
    desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(2)))))
    await ipa.introduce()
    address = tlv(0x83, smdpp.address.encode())
    with pytest.raises(Refusal):
        await ipa.call(0xBF39, tlv(0x81, bytes(16)), address, ipa.card.es10("BF2000"))
    assert es9.calls == []


# The end of a download ----------------------------------------------------------------------------------------


def open_with_an_alarm(desk, number) -> bool:
    return order(desk, number).state == "delivered" and "that was not signed" in desk.device(EID).alarms[-1]


async def test_an_euicc_info1_that_the_sm_dp_refuses_leaves_the_order_open(desk, ipa, trigger, number):
    info1 = tlv(0xBF20, tlv(0x82, b"\x02\x02\x00"), tlv(0xA9, tlv(0x04, bytes(20))), tlv(0xAA, tlv(0x04, bytes(20))))
    for _ in range(MAX_REFUSALS + 1):
        await code_of(ipa.initiate(trigger, info1=info1))
    assert open_with_an_alarm(desk, number)
    await ipa.download(await ipa.get())
    assert order(desk, number).state == "done"


@pytest.mark.parametrize("answer", [
    tlv(0xA1, tlv(0x80, b"\x11"), integer(0x02, 1)),
    tlv(0xA0, tlv(0x30, tlv(0x80, b"\x11")), tlv(0x5F37, bytes(64)), tlv(0x30), tlv(0x30)),
    tlv(0xA0, tlv(0x30, tlv(0x80, b"\x11")), tlv(0x5F37, bytes(64)), tlv(0x30)),
    tlv(0xA0, tlv(0x30, tlv(0x80, b"\x11")), tlv(0x5F37, bytes(64)), tlv(0x30), tlv(0x30), tlv(0x30)),
    b"",
], ids=["error", "forged", "a certificate less", "a certificate more", "empty"])
async def test_an_authentication_that_the_card_did_not_sign_leaves_the_order_open(
    desk, ipa, trigger, number, answer
):
    started = await ipa.initiate(trigger)
    for _ in range(MAX_REFUSALS + 1):
        await code_of(ipa.call(0xBF3B, started[0x80].raw, tlv(0xBF38, answer)))
    assert order(desk, number).state == "delivered"
    await ipa.download(await ipa.get())
    assert order(desk, number).state == "done"


async def test_a_prepared_download_that_the_card_did_not_sign_leaves_the_order_open(desk, ipa, trigger, number):
    started = await ipa.initiate(trigger)
    await ipa.authenticate(started, trigger)
    forged = tlv(0xA0, tlv(0x30, started[0x80].raw, tlv(0x5F49, b"\x04" + bytes(64))), tlv(0x5F37, bytes(64)))
    await code_of(ipa.call(0xBF3A, started[0x80].raw, tlv(0xBF21, forged)))
    assert open_with_an_alarm(desk, number)
    await ipa.download(await ipa.get())
    assert order(desk, number).state == "done"


@pytest.mark.parametrize("form", ["error", "forged"])
async def test_5_14_8_a_cancellation_that_the_card_did_not_sign_leaves_the_order_open(
    desk, ipa, trigger, number, form
):
    started = await ipa.initiate(trigger)
    session = started[0x80].raw
    signed = tlv(0x30, session, tlv(0x06, b"\x88\x37\x0a"), integer(0x82, 0))
    answer = integer(0x81, 5) if form == "error" else tlv(0xA0, signed, tlv(0x5F37, bytes(64)))
    for _ in range(MAX_REFUSALS + 1):
        with contextlib.suppress(Refusal):
            await ipa.call(0xBF41, session, tlv(0xA1, answer))
    assert open_with_an_alarm(desk, number)
    await ipa.download(await ipa.get())
    assert order(desk, number).state == "done"


async def test_a_session_that_is_asked_for_nonsense_uses_up_one_attempt_a_delivery(desk, ipa, trigger, number):
    started = await ipa.initiate(trigger)
    for _ in range(40):
        await code_of(ipa.call(0xBF3A, started[0x80].raw, tlv(0xBF21, integer(0x02, 1))))
    assert order(desk, number).state == "delivered"


async def test_sessions_that_strangers_begin_do_not_push_out_an_authenticated_one(desk, ipa, trigger, number):
    started = await ipa.initiate(trigger)
    authenticated = await ipa.authenticate(started, trigger)
    session = ipa.session
    for _ in range(9):
        await ipa.call(0xBF39, tlv(0x81, bytes(16)), tlv(0x82, trigger[0x82].value), ipa.card.es10("BF2000"))
    ipa.session = session
    # The card forgets a session when it is asked for another challenge, not when somebody asks the eIM.
    assert await ipa.bound_package(authenticated)


# What is known of a device ------------------------------------------------------------------------------------


async def test_an_unsigned_refusal_without_the_transaction_lets_nobody_claim_another_token(desk, ipa, stranger):
    desk.order_package(EID, LIST)
    await ipa.introduce()
    await ipa.carry_out(await ipa.get())
    desk.order_package(EID, LIST)
    package = await ipa.get()
    await stranger.provide(tlv(0xBF51, tlv(0xA2, package[0x30][0x80].raw)))
    assert (await stranger.get()).raw == package.raw
    assert desk.device(EID).association_token == 1


@pytest.mark.parametrize("names", [["defaultSmdpAddress"], ["ipaCapabilities"], ["euiccInfo2"]])
async def test_an_answer_without_transaction_and_certificates_answers_no_question(desk, ipa, stranger, names):
    desk.order_package(EID, LIST)
    await ipa.introduce()
    await ipa.carry_out(await ipa.get())
    number, before = desk.order_data(EID, names), desk.device(EID)
    await ipa.get()
    fields = tlv(0x81, b"evil.example"), tlv(0xA8, bytes.fromhex("8002078081020640")), tlv(0xBF22, b"")
    with pytest.raises(Refusal):
        await stranger.provide(tlv(0xBF52, tlv(0xA0, *fields)))
    after = desk.device(EID)
    assert order(desk, number).state == "delivered"
    assert (after.default_smdp_address, after.ipa_capabilities) == (
        before.default_smdp_address, before.ipa_capabilities)
    assert after.alarms


async def test_an_error_without_transaction_shortens_no_question(desk, stranger):
    desk.order_package(EID, LIST)
    question = await stranger.get()
    with pytest.raises(Refusal):
        await stranger.provide(tlv(0xBF52, tlv(0xA1, integer(0x02, 1))))
    assert (await stranger.get()).raw == question.raw


# Injection ----------------------------------------------------------------------------------------------------


async def test_3_1_1_2_a_notification_of_another_device_takes_over_no_injection(
    desk, listener, stranger, smdpp, pki
):
    """The owner of another device has something signed to say, and says it in the name of this one."""
    own, victim = tlv(0x5A, bytes.fromhex(OTHER_EID)), stranger.eid
    stranger.eid = own
    desk.order_download(OTHER_EID, smdpp.activation_code(smdpp.add_profile(build(spec(2)))), needs_proof=False)
    await stranger.introduce()
    trigger = await stranger.get()
    authenticated = await stranger.authenticate(await stranger.initiate(trigger), trigger)
    installed = stranger.load(await stranger.bound_package(authenticated))
    stranger.eid = victim
    heard = Listener(stranger)
    async with connected(listener.port, pki.ci.certificate, heard.answer) as coap:
        stranger.ask = coap.post
        unsigned = tlv(0xBF51, tlv(0xA2, tlv(0x80, desk.fqdn.encode())))
        assert await stranger.provide(tlv(0x30, unsigned, tlv(0xA0, installed))) == []
        with pytest.raises(Refusal) as nothing:
            await stranger.get()
        assert nothing.value.code == NO_PACKAGE
        number = desk.order_package(EID, LIST)
        assert await desk.inject(EID)
    assert order(desk, number).state == "done"
    assert heard.heard == []
