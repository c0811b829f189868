"""Cards that are no IoT eUICC: a consumer card (SGP.22 v2) and an M2M card (SGP.02) say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from euicc_peer import (
    EID,
    PPR1,
    PPR2,
    PROVISIONING_CLASS,
    SET_DEFAULT_DP,
    USIM,
    Dp,
    Eim,
    Terminal,
    iccid,
    make_card,
    spec,
)
from microipa.asn1 import rsp
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki
from microipa.saip import iccid_to_bytes

IOT_ONLY = [0xBF42, 0xBF51, 0xBF55, 0xBF56, 0xBF57, 0xBF58, 0xBF59, 0xBF5A, 0xBF5B, 0xBF5C, 0xBF5D, 0xBF5E,
            0xBF5F, 0xBF64, 0xBF65]  # fmt: skip
CONSUMER_ONLY = [0xBF29, 0xBF31, 0xBF32, 0xBF33, 0xBF34, 0xBF3F]
REFRESH, NO_REFRESH = tlv(0x81, b"\xff"), tlv(0x81, b"\x00")


@pytest.fixture
def consumer(tmp_path: Path, pki: Pki) -> Terminal:
    """A consumer card with profile 1 enabled and profile 2 disabled."""
    terminal = Terminal(make_card(tmp_path, pki, kind="consumer")).start()
    Dp(pki, terminal).install(2)
    return terminal


def call(terminal: Terminal, function: str, *fields: bytes) -> str:
    """A function of ES10c; the name of its result."""
    tag = rsp.kind(f"{function}Request").tags[0]
    answer = terminal.es10(tlv(tag, *fields))
    ((_, value),) = rsp.decode(f"{function}Response", answer).items()
    return rsp.kind(f"{function}Response").members[0].kind.names[value]


def named(number: int) -> bytes:
    """A ProfileIdentifier as Enable and Disable carry it."""
    return tlv(0xA0, tlv(0x5A, iccid(number)))


def states(terminal: Terminal) -> list[str]:
    return [profile.state for profile in terminal.card.profiles()]


# ---- what the card says it is


def test_sgp22_5_7_1_a_consumer_card_has_no_iot_template_and_no_iot_info(consumer):
    fci = parse(consumer.fci)
    assert fci[0xE0][0x82].value == bytes([2, 5, 0])
    assert 0xE1 not in fci
    info = parse(consumer.es10("BF2200"))
    assert 0x90 not in info
    assert 0xB4 not in info
    assert rsp.decode("EUICCInfo2", info.raw)


@pytest.mark.parametrize("tag", IOT_ONLY, ids=hex)
def test_sgp22_a_consumer_card_has_no_function_of_an_eim(consumer, tag):
    assert consumer.es10(tlv(tag)) == b""
    assert consumer.sw == 0x6A88


@pytest.mark.parametrize("tag", CONSUMER_ONLY, ids=hex)
def test_sgp32_an_iot_card_has_no_es10c(terminal, tag):
    terminal.es10(tlv(tag))
    assert terminal.sw == 0x6A88


def test_sgp22_a_consumer_card_keeps_no_package_results(consumer):
    assert consumer.es10("BF2B04A0028200") == bytes.fromhex("BF2B0381017F")


# ---- ES10a and ES10c


def test_sgp22_5_7_16_enable_with_refresh(consumer):
    assert call(consumer, "EnableProfile", named(2), REFRESH) == "ok"
    consumer.refresh()
    assert states(consumer) == ["disabled", "enabled"]
    events = [item[0x81].value[1] for item in parse(consumer.es10("BF2800"))[0xA0]]
    assert events == [0x80, 0x40]


def shown_iccid(terminal: Terminal) -> bytes:
    """EF.ICCID as the basic channel reads it, from whatever MF is selected there."""
    terminal.send("00A4000C022FE2")
    return terminal.send("00B000000A")


def test_sgp22_5_7_16_enable_by_aid_without_refresh_acts_at_once(consumer):
    aid = tlv(0xA0, tlv(0x4F, consumer.card.profiles()[1].aid))
    assert call(consumer, "EnableProfile", aid, NO_REFRESH) == "ok"
    assert consumer.sw == 0x9000
    assert states(consumer) == ["disabled", "enabled"]
    assert shown_iccid(consumer) == iccid(2)
    assert call(consumer, "DeleteProfile", tlv(0x5A, iccid(1))) == "ok"


def test_sgp22_5_7_17_disable_without_refresh_acts_at_once(consumer):
    assert shown_iccid(consumer) == iccid(1)
    assert call(consumer, "DisableProfile", named(1), NO_REFRESH) == "ok"
    assert consumer.send("00A4000C022FE2") == b""
    assert consumer.sw == 0x6A82
    assert call(consumer, "EnableProfile", named(2), NO_REFRESH) == "ok"
    assert shown_iccid(consumer) == iccid(2)


def test_sgp22_5_7_16_a_channel_into_the_old_profile_closes(consumer):
    channel = consumer.send("0070000001")[0]
    consumer.send(bytes([channel]) + b"\xa4\x04\x04\x07" + USIM)
    assert call(consumer, "EnableProfile", named(2), NO_REFRESH) == "ok"
    consumer.send(bytes([0x80 | channel]) + b"\xf2\x00\x0c")
    assert consumer.sw == 0x6881


def test_sgp22_5_7_16_to_5_7_18_refuse(consumer, pki):
    for function in ("EnableProfile", "DisableProfile"):
        assert call(consumer, function, named(9), REFRESH) == "iccidOrAidNotFound"
    assert call(consumer, "DeleteProfile", tlv(0x5A, iccid(9))) == "iccidOrAidNotFound"
    assert call(consumer, "EnableProfile", named(1), REFRESH) == "profileNotInDisabledState"
    assert call(consumer, "DisableProfile", named(2), REFRESH) == "profileNotInEnabledState"
    assert call(consumer, "DeleteProfile", tlv(0x5A, iccid(1))) == "profileNotInDisabledState"
    consumer.keep_toolkit_busy()
    assert call(consumer, "EnableProfile", named(2), REFRESH) == "catBusy"
    assert call(consumer, "DisableProfile", named(1), REFRESH) == "catBusy"
    consumer.serve_toolkit()
    Dp(pki, consumer).install(3, PPR1)
    Dp(pki, consumer).install(4, PPR2)
    assert call(consumer, "DeleteProfile", tlv(0x5A, iccid(4))) == "disallowedByPolicy"
    call(consumer, "EnableProfile", named(3), REFRESH)
    consumer.refresh()
    assert call(consumer, "EnableProfile", named(2), REFRESH) == "disallowedByPolicy"
    assert call(consumer, "DisableProfile", named(3), REFRESH) == "disallowedByPolicy"


def test_sgp22_5_7_17_and_5_7_18_disable_and_delete(consumer):
    assert call(consumer, "DisableProfile", named(1), REFRESH) == "ok"
    consumer.refresh()
    assert call(consumer, "DeleteProfile", tlv(0x5A, iccid(1))) == "ok"
    assert states(consumer) == ["disabled"]


@pytest.mark.parametrize("command", ["BF3100", "BF3102A000", "BF3300", "BF29025A00"])
def test_sgp22_what_names_no_profile_is_wrong_data(consumer, command):
    consumer.es10(command)
    assert consumer.sw == 0x6A80


def test_sgp22_5_7_15_a_tag_of_a_later_world_spoils_the_list(consumer):
    infos = parse(consumer.es10("BF2D00"))[0xA0].children()
    assert [info[0x5A].value for info in infos] == [iccid(1), iccid(2)]
    assert len(parse(consumer.es10("BF2D055C035A9F70"))[0xA0].children()) == 2
    assert consumer.es10("BF2D055C035A9F26") == bytes.fromhex("BF2D03810101")


def test_sgp22_5_7_21_nickname(consumer):
    assert call(consumer, "SetNickname", tlv(0x5A, iccid(2)), tlv(0x90, b"meter")) == "ok"
    consumer.reset()
    assert parse(consumer.es10("BF2D00"))[0xA0].children()[1][0x90].value == b"meter"
    assert call(consumer, "SetNickname", tlv(0x5A, iccid(2)), tlv(0x90)) == "ok"
    assert 0x90 not in parse(consumer.es10("BF2D00"))[0xA0].children()[1]
    assert call(consumer, "SetNickname", tlv(0x5A, iccid(9)), tlv(0x90, b"x")) == "iccidNotFound"


def test_sgp22_5_7_4_default_address_by_bf3f(consumer):
    assert consumer.es10(tlv(0xBF3F, tlv(0x80, b"dp.example"))) == bytes.fromhex("BF3F03800100")
    assert parse(consumer.es10("BF3C00"))[0x80].value == b"dp.example"


def test_sgp22_5_7_19_memory_reset(consumer, pki):
    Dp(pki, consumer).install(3, PROVISIONING_CLASS)
    assert call(consumer, "EuiccMemoryReset", bytes.fromhex("82020780")) == "ok"
    consumer.reset()
    assert [profile.name for profile in consumer.card.profiles()] == ["Profile 3"]
    assert call(consumer, "EuiccMemoryReset", bytes.fromhex("82020780")) == "nothingToDelete"


# ---- M2M


@pytest.fixture
def m2m(tmp_path: Path, pki: Pki) -> Terminal:
    return Terminal(make_card(tmp_path, pki, kind="m2m")).start()


def test_sgp02_an_isdr_without_template_that_takes_no_command_at_its_contacts(m2m, pki):
    fci = parse(m2m.fci)
    assert 0xE0 not in fci
    assert 0xE1 not in fci
    for command in ("BF2000", "BF2200", "BF3E035C015A", Eim(pki).configuration(), SET_DEFAULT_DP):
        assert m2m.es10(command) == b""
        assert m2m.sw == 0x6982


def test_sgp02_the_eid_is_in_the_ecasd_and_the_profile_works(m2m):
    m2m.send("00A4040010A0000005591010FFFFFFFF8900000200")
    assert m2m.send("80CA005A12") == bytes.fromhex("5A10" + EID)
    m2m.send("00A40000023F00")
    m2m.send("00A4000C022FE2")
    assert m2m.send("00B0000000") == iccid_to_bytes(spec(1).iccid)
    m2m.send(b"\x00\xa4\x04\x0c\x07" + USIM)
    assert m2m.sw == 0x9000
