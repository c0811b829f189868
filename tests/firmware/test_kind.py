"""ipa.card.kind under MicroPython: what a card says it is, and who is in charge of it (SGP.32 3.8, 5.9.2)."""

from __future__ import annotations

import pytest
from board_run import Run
from microipa.asn1.tlv import integer, tlv

SCRIPT = """
from ipa.card import kind
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from rooms import Carrier, failing, run

fci, info, mode_after, sent = {fci}, {info}, {mode_after}, []

def card(command):
    return {eims} if command[:2] == bytes.fromhex("bf55") else info

class Card(Carrier):
    async def transmit(self, apdu):
        if apdu[1] != 0xA4:
            return await super().transmit(apdu)
        if fci is None:
            raise ChannelError("not through this modem")
        return fci if isinstance(fci, bytes) else bytes((fci >> 8, fci & 255))

    async def basic(self, apdu):
        global info
        sent.append(apdu.hex())
        if mode_after is None:
            raise ChannelError("channel 0 is the modem's")
        info = mode_after

from ipa.modem.carrier import ChannelError

async def main():
    channel = Channel(Card(card))
    await channel.open()
    es10 = Es10(channel)
    mode = await es10.ipa_mode()
    print("mode", mode)
    if mode != 0:
        settings = {"ipae": "{ipae}", "emulation": False, "journal_file": "j"}
        got = await failing(kind.adapt(channel, es10, mode, settings, None))
        print("ours" if "Es10" in got else got)
    print(sent)
run(main())
"""
SVN = tlv(0x82, bytes([2, 5, 0]))
IOT_INFO = tlv(0xBF22, SVN, integer(0x90, 0), tlv(0xB4))
OLD_IOT_INFO = tlv(0xBF22, SVN)
IPAE_INFO = tlv(0xBF22, SVN, integer(0x90, 1), tlv(0xB4))
E0, E1 = tlv(0xE0, SVN), tlv(0xE1, tlv(0x80, b"\x06\xc0"))
OK = b"\x90\x00"


async def look(micropython: Run, fci: bytes | int | None, info: bytes | int, *, ipae: str = "take-over",
               after: bytes | None = None, eims: bytes | int = 0x6A88) -> tuple[list[str], str]:
    """What came of it, and the log."""
    script = SCRIPT.replace("{ipae}", ipae)
    values = {"fci": fci + OK if isinstance(fci, bytes) else fci, "info": info, "mode_after": after, "eims": eims}
    for name, value in values.items():
        script = script.replace("{" + name + "}", repr(value))
    lines = (await micropython(script)).splitlines()
    return [line for line in lines if not line.startswith("I (")], "\n".join(lines)


async def test_5_9_2_an_iot_card_with_its_ipad_needs_no_closer_look(micropython: Run) -> None:
    assert (await look(micropython, None, IOT_INFO))[0] == ["mode 0", "[]"]


@pytest.mark.parametrize("fci", [tlv(0x6F, E0, E1), tlv(0x6F, tlv(0xA5, E1))])
async def test_an_iot_card_that_says_so_by_its_template_alone_is_one(micropython: Run, fci: bytes) -> None:
    out, log = await look(micropython, fci, OLD_IOT_INFO)
    assert out == ["mode None", "ours", "[]"]
    assert "card: an IoT eUICC (SGP.32), SVN 2.5.0" in log


@pytest.mark.parametrize("fci", [tlv(0x6F, E0), None])
async def test_an_early_iot_card_is_known_by_its_eims(micropython: Run, fci: bytes | None) -> None:
    out, _ = await look(micropython, fci, OLD_IOT_INFO, eims=bytes.fromhex("bf5502a000"))
    assert out == ["mode None", "ours", "[]"]


@pytest.mark.parametrize("fci", [tlv(0x6F, E0), 0x6A82, None])
async def test_sgp22_a_consumer_card_is_told_even_where_the_modem_hides_its_template(
        micropython: Run, fci: bytes | int | None) -> None:
    out, log = await look(micropython, fci, OLD_IOT_INFO)
    assert "CardUnfit this is a consumer eUICC (SGP.22)" in out[1]
    assert "card: a consumer eUICC (SGP.22), SVN 2.5.0" in log


async def test_sgp02_an_m2m_card_has_no_template_and_gives_no_euicc_info(micropython: Run) -> None:
    out, _ = await look(micropython, tlv(0x6F, tlv(0x84, b"\xa0")), 0x6982)
    assert "CardUnfit this is an M2M eUICC (SGP.02)" in out[1]


async def test_a_card_of_sgp22_that_answers_nothing_now_is_not_taken_for_another(micropython: Run) -> None:
    out, _ = await look(micropython, tlv(0x6F, E0), 0x6985)
    assert out[1] == "StatusError card answered 6985 to BF22"


CAPABILITY = "80aa000005a903840101"


async def test_3_8_2_a_card_that_heeds_only_the_basic_channel_is_taken_over_there(micropython: Run) -> None:
    out, log = await look(micropython, None, IPAE_INFO, after=IOT_INFO)
    assert out == ["mode 1", "ours", f"['{CAPABILITY}']"]
    assert "taken over from the IPA inside it" in log


@pytest.mark.parametrize("after", [IPAE_INFO, None])
async def test_3_8_2_an_ipa_inside_that_does_not_yield_is_named(micropython: Run, after: bytes | None) -> None:
    out, _ = await look(micropython, None, IPAE_INFO, after=after)
    assert "CardUnfit the IPA inside the card (IPAe) is in charge and does not yield" in out[1]


async def test_3_8_2_it_is_left_in_charge_where_it_shall_be(micropython: Run) -> None:
    out, _ = await look(micropython, None, IPAE_INFO, ipae="stay-silent")
    assert out == ["mode 1", "no error but None", "[]"]
