"""Where an ordered profile comes from, and the confirmation code that goes with it (SGP.32 2.11.1.3, 5.14.2)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from eim_ipa import Ipa, Refusal, order
from euicc_peer import EID, spec
from microipa.asn1.tlv import Tlv, parse, tlv
from microipa.eim import CodeNotGiven, DefaultSmdp, Eim, Smds, SmdsAddressInvalid
from microipa.eim.store import Order, Store
from microipa.saip import build
from microipa.smdpp import OrderState, Smdpp
from microipa.storage.unit_of_work import table_of
from smdpp_peer import ADDRESS
from sqlalchemy import select
from test_eim_relay import Es9, desk, es9, smdpp  # noqa: F401

DIRECT, DIRECT_OR_NOT, LEFT_TO_EIM = (tlv(0x80, bits) for bits in (b"\x07\x80", b"\x06\xc0", b"\x05\xe0"))
CODE = "4711"


def set_default(ipa: Ipa, address: str = ADDRESS) -> None:
    ipa.card.es10(tlv(0xBF65, tlv(0x80, address.encode())))


async def given_up(ipa: Ipa, trigger: Tlv) -> None:
    await ipa.provide(tlv(0xBF54, trigger[0x82].raw, tlv(0x30, tlv(0x80, b"\x7f"))))


# Sources ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "data"),
    [
        pytest.param(
            DefaultSmdp(), tlv(0x81), marks=pytest.mark.covers("ProfileDownloadData.contactDefaultSmdp")
        ),
        pytest.param(Smds(), tlv(0xA2), marks=pytest.mark.covers("ProfileDownloadData.contactSmds")),
        (Smds("smds.example:8443"), tlv(0xA2, tlv(0x80, b"smds.example:8443"))),
        pytest.param(
            "LPA:1$smdp.example$A", tlv(0x80, b"LPA:1$smdp.example$A"),
            marks=pytest.mark.covers("ProfileDownloadData.activationCode"),
        ),
    ],
    ids=str,
)
async def test_2_11_1_3_the_trigger_names_the_source_that_was_ordered(desk, ipa, source, data):  # noqa: F811
    desk.order_download(EID, source, needs_proof=False)
    await ipa.introduce()
    assert (await ipa.get())[0xA0].value == data


@pytest.mark.parametrize("address", ["a b", "https://smds.example", "x" * 300])
def test_only_a_host_name_becomes_an_sm_ds(address):
    with pytest.raises(SmdsAddressInvalid):
        Smds(address)


@pytest.mark.parametrize("capabilities", [None, LEFT_TO_EIM], ids=["the IPA knows", "the eIM knows"])
async def test_3_2_3_2_the_cards_default_sm_dp_is_asked_through_the_eim(
    desk: Eim, ipa: Ipa, smdpp: Smdpp, es9: Es9, capabilities: bytes | None  # noqa: F811
) -> None:
    ipa.capabilities = capabilities
    set_default(ipa)
    smdpp.add_profile(build(spec(2)), eid=EID)
    number = desk.order_download(EID, DefaultSmdp())
    async with desk.serve():
        await ipa.work()
        await es9.until(lambda: smdpp.orders()[0].state == OrderState.INSTALLED)
    assert order(desk, number).result == f"profile {spec(2).iccid} installed"
    assert desk.device(EID).default_smdp_address == ADDRESS


async def test_an_eim_that_does_not_know_the_default_sm_dp_asks_before(desk, ipa, smdpp):  # noqa: F811
    set_default(ipa)
    smdpp.add_profile(build(spec(2)), eid=EID)
    number = desk.order_download(EID, DefaultSmdp())
    request = await ipa.get()  # which is too much for this IPA
    await ipa.provide(tlv(0xBF52, tlv(0xA1, tlv(0x80, request[0x83].value), tlv(0x02, b"\x01"))))
    await ipa.work()
    asked = [view.summary for view in desk.orders() if view.kind == "data"]
    assert asked[-1] == "ask the eUICC for its default SM-DP+"
    assert order(desk, number).state == "done"


async def test_a_default_sm_dp_the_card_does_not_have_fails_the_order_in_words(desk, ipa):  # noqa: F811
    number = desk.order_download(EID, DefaultSmdp())
    await ipa.introduce()
    assert desk.device(EID).default_smdp_address == ""
    await given_up(ipa, await ipa.get())
    assert order(desk, number).result.endswith("undefinedError; the card had no default SM-DP+ when it was asked")


async def test_3_2_3_1_an_sm_ds_is_nothing_for_a_device_that_downloads_through_the_eim(
    desk: Eim, ipa: Ipa, es9: Es9  # noqa: F811
) -> None:
    number = desk.order_download(EID, Smds())
    await ipa.introduce()
    trigger = await ipa.get()
    challenge = tlv(0x81, bytes(16))
    assert parse(await desk.handle(tlv(0xBF39, challenge, trigger[0x82].raw)))[0x81].value == b"\x01"
    assert es9.calls == []
    await given_up(ipa, trigger)
    assert "only a device with direct download asks an SM-DS" in order(desk, number).result


# Confirmation codes -----------------------------------------------------------------------------------------


def offered(smdpp: Smdpp) -> str:  # noqa: F811
    return smdpp.activation_code(smdpp.add_profile(build(spec(2)), confirmation_code=CODE))


@pytest.mark.parametrize("capabilities", [None, LEFT_TO_EIM], ids=["indirect", "or direct, the eIM handling data"])
async def test_5_14_2_the_eim_gives_the_confirmation_code_in_the_devices_place(
    desk: Eim, ipa: Ipa, smdpp: Smdpp, capabilities: bytes | None  # noqa: F811
) -> None:
    ipa.capabilities = capabilities
    number = desk.order_download(EID, offered(smdpp), confirmation_code=CODE, needs_proof=False)
    await ipa.introduce()
    trigger = await ipa.get()
    assert (0xA0 in trigger) == (capabilities is None)
    started = await ipa.initiate(trigger)
    authenticated = await ipa.authenticate(started, trigger)
    transaction = parse(ipa.session).value
    assert authenticated[0x04].value == sha256(sha256(CODE.encode()).digest() + transaction).digest()
    await ipa.notify(ipa.load(await ipa.bound_package(authenticated)))
    assert order(desk, number).state == "done"


async def test_5_14_2_a_code_that_nobody_wants_is_not_given(desk, ipa, smdpp):  # noqa: F811
    plain = smdpp.activation_code(smdpp.add_profile(build(spec(2))))
    number = desk.order_download(EID, plain, confirmation_code=CODE, needs_proof=False)
    await ipa.introduce()
    trigger = await ipa.get()
    authenticated = await ipa.authenticate(await ipa.initiate(trigger), trigger)
    assert 0x04 not in authenticated
    await ipa.notify(ipa.load(await ipa.bound_package(authenticated)))
    assert order(desk, number).state == "done"


async def test_a_wrong_code_ends_the_order_in_words_and_too_many_end_the_offer(desk, ipa, smdpp):  # noqa: F811
    code, results = offered(smdpp), []
    for _ in range(3):
        number = desk.order_download(EID, code, confirmation_code="0815", needs_proof=False)
        with pytest.raises(Refusal):
            await ipa.work()
        results.append(order(desk, number).result)
    assert results[0].startswith("confirmationCodeRefused: ")
    assert "8.2.7/3.8" in results[0]
    assert results[2].startswith("confirmationCodeRetriesExceeded: ")
    assert smdpp.orders()[0].state == OrderState.ERROR


async def test_an_order_without_the_code_that_is_wanted_says_so(desk, ipa, smdpp):  # noqa: F811
    number = desk.order_download(EID, offered(smdpp), needs_proof=False)
    await ipa.introduce()
    trigger = await ipa.get()
    started = await ipa.initiate(trigger)
    assert 0x04 not in await ipa.authenticate(started, trigger)
    answer = parse(ipa.card.es10(tlv(0xBF41, started[0x80].raw, tlv(0x81, b"\x7f"))))
    await ipa.call(0xBF41, started[0x80].raw, tlv(0xA1, answer.value))
    assert order(desk, number).result.endswith("; the SM-DP+ wants a confirmation code, and the order has none")


@pytest.mark.parametrize("capabilities", [DIRECT, DIRECT_OR_NOT], ids=["direct", "direct by its own choice"])
async def test_a_code_for_a_device_that_downloads_directly_is_refused_as_soon_as_that_is_known(
    desk: Eim, ipa: Ipa, smdpp: Smdpp, capabilities: bytes  # noqa: F811
) -> None:
    ipa.capabilities = capabilities
    early = desk.order_download(EID, offered(smdpp), confirmation_code=CODE, needs_proof=False)
    await ipa.work()
    assert order(desk, early).state == "failed"
    sentence = f"the confirmation code cannot be given: {EID} downloads directly"
    assert order(desk, early).result.startswith(sentence)
    assert "its IPA capabilities were not signed" in desk.device(EID).alarms[-1]
    with pytest.raises(CodeNotGiven, match=sentence):
        desk.order_download(EID, f"LPA:1${ADDRESS}$A", confirmation_code=CODE, needs_proof=False)
    assert [view.id for view in desk.orders() if view.kind == "download"] == [early]


@pytest.mark.parametrize(("source", "code"), [(Smds(), CODE), (DefaultSmdp(), "")], ids=["of an SM-DS", "empty"])
def test_a_code_that_reaches_nobody_is_refused(desk: Eim, source: Any, code: str) -> None:  # noqa: F811
    with pytest.raises(CodeNotGiven):
        desk.order_download(EID, source, confirmation_code=code, needs_proof=False)
    assert desk.orders() == []


async def test_the_code_is_nowhere_but_hashed_and_only_as_long_as_it_is_wanted(
    desk: Eim, ipa: Ipa, smdpp: Smdpp, events: list[Any], tmp_path: Any  # noqa: F811
) -> None:
    secret = "correct horse battery"
    code = smdpp.activation_code(smdpp.add_profile(build(spec(2)), confirmation_code=secret))
    desk.order_download(EID, code, confirmation_code=secret, needs_proof=False)
    kept = sha256(secret.encode()).digest()
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("eim.sqlite*"))
    assert secret.encode() not in stored
    assert kept in stored
    await ipa.work()
    assert secret not in "".join(str(event.fields) for event in events)
    assert kept not in b"".join(str(event.fields).encode() for event in events)
    assert [view.state for view in desk.orders() if view.kind == "download"] == ["done"]
    with Store(tmp_path / "eim.sqlite").work() as db:
        assert [one.confirmation_hash for one in db.all(Order, select(table_of(Order)))] == [None, None]
