"""An order that holds several packages of one profile: each eUICC is given the one that fits it (SGP.22 3.1.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from euicc_peer import Terminal, make_card, spec
from hypothesis import given
from hypothesis import strategies as st
from microipa.asn1.tlv import Tlv, parse, tlv
from microipa.crypto.pki import Pki
from microipa.saip import ProfilePackage, build, metadata, services
from microipa.smdpp import OrderInvalid, Smdpp
from microipa.smdpp.bpp import bound_size
from microipa.smdpp.eligibility import choose
from microipa.smdpp.refusal import Refused
from saip_packages import edited
from smdpp_peer import Es9, Peer, Refusal, asgi_client
from test_smdpp_card import bound_package, load

FULL = build(spec(2))
MINIMAL = build(replace(spec(2), template="iot-minimal"))
TELEPHONE = build(replace(spec(2), template="ts48-like"))
ABOUT = metadata(spec(2))
IOT = tlv(0xB4, tlv(0xA0, tlv(0x04, b"\x01\x02\x00")))
BASIC = ("usim", "milenage")


def info2(
    *has: str, iot: bool = True, version: bytes = b"\x03\x03\x01", free: int = 500_000, forbidden: bytes = b""
) -> Tlv:
    """EUICCInfo2 of a card with the services ``has``; without any it does not tell."""
    capability = tlv(0x85, services.capability(has)) if has else b""
    inside = parse(Peer.info2(version=version, free=free, forbidden=forbidden)).value
    return parse(tlv(0xBF22, inside, capability, IOT if iot else b""))


@pytest.mark.parametrize(
    ("card", "given"),
    [
        (info2(*BASIC, "iotminimal"), MINIMAL),  # the smallest
        (info2(*BASIC), FULL),  # cannot take the minimal one
        (info2(*BASIC, version=b"\x02\x03\x01"), FULL),  # nor version 3
        (info2(*BASIC, "isim"), FULL),
        (info2(*BASIC, "isim", "iotminimal", iot=False), TELEPHONE),  # a telephone's: the operator's first
        (info2(*BASIC, iot=False), FULL),  # without an ISIM
        (info2(*BASIC, "isim", iot=False, free=2000), FULL),  # without room
        (info2(iot=False), TELEPHONE),  # does not tell what it can
        (info2(), FULL),
    ],
)
def test_annex_f_each_card_gets_the_package_that_fits_it(card, given):
    packages = [TELEPHONE, FULL, MINIMAL]
    assert packages[choose(card, packages, ABOUT)] is given


@pytest.mark.parametrize(
    ("packages", "card", "codes", "words"),
    [
        ([MINIMAL], info2(*BASIC), "8.2.5/4.3", "needs iotminimal, which the eUICC does not have"),
        ([MINIMAL], info2(), "8.2.5/4.3", "needs iotminimal"),
        ([TELEPHONE], info2(*BASIC), "8.2.5/4.3", "needs isim"),
        ([MINIMAL], info2(*BASIC, version=b"\x02\x03\x01"), "8.2.5/4.3", "format version 3, the eUICC reads 2"),
        ([FULL], info2(*BASIC, free=100), "8.1/4.8", "the eUICC has 100 free"),
        ([FULL, MINIMAL], info2(*BASIC, "iotminimal", free=100), "8.1/4.8", "none of 2 packages fits"),
        ([FULL, MINIMAL], info2(*BASIC, free=400), "8.2.5/4.3", "none of 2 packages fits: .*400 free; .*iotminimal"),
        ([TELEPHONE, MINIMAL], info2(*BASIC), "8.2.5/4.3", "none of 2 packages fits: .*isim.*; .*iotminimal"),
    ],
)
def test_annex_f_a_card_that_none_fits_is_refused_with_the_reasons(packages, card, codes, words):
    with pytest.raises(Refused, match=words) as refused:
        choose(card, packages, ABOUT)
    assert f"{refused.value.subject_code}/{refused.value.reason_code}" == codes


@given(st.binary(max_size=8), st.booleans())
def test_any_capability_field_is_an_answer(content, iot):
    card = parse(tlv(0xBF22, tlv(0x81, b"\x03\x03\x01"), tlv(0x85, content), IOT if iot else b""))
    try:
        assert choose(card, [FULL, MINIMAL], ABOUT) in (0, 1)
    except Refused as refused:
        assert refused.subject_code == "8.2.5"


@given(st.sets(st.sampled_from(["usim", "isim", "milenage", "cat-tp", "profile-b-p256", "eaka", "iotminimal"])))
def test_uicc_capability_tells_what_was_put_into_it(chosen):
    content = services.capability(chosen)
    assert content[0] < 8
    asked = ("usim", "isim", "csim", "cat-tp", "eaka", "iotminimal")
    assert {name for name in asked if services.has(content, name)} == chosen - {"milenage", "profile-b-p256"}


# ---- the server with the lab's card


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def smdpp(pki, tmp_path) -> Smdpp:
    return Smdpp(pki, tmp_path)


@pytest.mark.parametrize(
    ("variant", "elements"),
    [
        ({}, ["header", "iot"]),
        ({"iot_minimal": False}, ["header", "mf"]),
        ({"profile_version": (2, 3, 1)}, ["header", "mf"]),
        ({"kind": "consumer"}, ["header", "mf"]),
    ],
    ids=["IoT", "IoT without the minimal profile", "version 2.3", "consumer"],
)
async def test_3_1_3_the_order_gives_the_card_what_it_installs(pki, tmp_path, smdpp, variant: dict[str, Any], elements):
    card = Terminal(make_card(tmp_path, pki, **variant)).start()
    matching_id = smdpp.add_profile(FULL, variants=[MINIMAL])
    async with asgi_client(smdpp.app) as client:
        _, package = await bound_package(Es9(client), card, matching_id)
        result = load(card, package)
        await Es9(client).notify(result.raw)
    (order,) = smdpp.orders()
    assert (order.state, order.result) == ("installed", "installed")
    loaded = ProfilePackage.parse(card.card._nvm.state.profiles[1].package)  # no command of a card gives it away
    assert [element.name for element in loaded.elements][:2] == elements
    expected = MINIMAL if "iot" in elements else FULL
    about = metadata(ProfilePackage.parse(FULL), notification_address="smdpp.microipa.example")
    assert len(package) == bound_size(expected, about)


def test_packages_of_one_order_are_of_one_profile(smdpp):
    with pytest.raises(OrderInvalid, match="packages of one order are of one profile, not 8988211"):
        smdpp.add_profile(FULL, variants=[build(replace(spec(3), template="iot-minimal"))])
    with pytest.raises(OrderInvalid, match="begins with iot, not its header"):
        smdpp.add_profile(FULL, variants=[edited("header", lambda value: None, MINIMAL)])
    assert smdpp.orders() == []


async def test_a_card_that_no_package_fits_hears_8_2_5_4_3_and_the_order_stays(pki, tmp_path, smdpp):
    card = Terminal(make_card(tmp_path, pki, iot_minimal=False)).start()
    matching_id = smdpp.add_profile(MINIMAL)
    async with asgi_client(smdpp.app) as client:
        with pytest.raises(Refusal, match=r"8\.2\.5/4\.3.*needs iotminimal"):
            await bound_package(Es9(client), card, matching_id)
    assert smdpp.orders()[0].state == "released"
