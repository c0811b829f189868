"""ipa.eim under MicroPython: which eIM is next, where it is, how it is recognised (SGP.32 2.11.1.1.1, 3.5)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from board_run import Run
from microipa.asn1.tlv import tlv

SCRIPT = """
from ipa import tlv
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from ipa.eim import EimUnknown, unserved
from rooms import Carrier, failing, run

cards = {cards}  # what GetEimConfigurationData answers, the last for ever

def card(command):
    if command[:2] == b"\\xbf\\x55":
        return bytes.fromhex(cards[0] if len(cards) == 1 else cards.pop(0))
    print("card", command.hex())
    return bytes.fromhex("bf5704a0020500")

async def main():
    channel = Channel(Carrier(card))
    await channel.open()
    served = []
    for _ in range({times}):
        try:
            eim = await unserved(Es10(channel), served, "eim.der")
        except EimUnknown as error:
            print("EimUnknown", error)
            continue
        if eim is None:
            print("no more")
        else:
            trust = [eim.trust[0], eim.trust[1].hex()] if eim.trust else ["preinstalled"]
            print(eim.eim_id.decode(), eim.host, eim.port, *trust)
run(main())
"""
KEY = tlv(0xA6, tlv(0xA0, tlv(0x30, b"\x05\x00") + tlv(0x03, b"\0k")))


def eim(name: str, fqdn: str | None = "a.example", trust: bytes = KEY) -> bytes:
    return tlv(0x30, tlv(0x80, name.encode()), tlv(0x81, fqdn.encode()) if fqdn is not None else b"", trust)


def told(*eims: bytes) -> str:
    return tlv(0xBF55, tlv(0xA0, *eims)).hex()


async def ask(micropython: Run, cards: list[str], times: int, files: Mapping[str, bytes] = {}) -> list[str]:
    write = "".join(f"open({name!r}, 'wb').write({content!r})\n" for name, content in files.items())
    script = SCRIPT.replace("{cards}", repr(cards)).replace("{times}", str(times))
    return [line for line in (await micropython(write + script)).splitlines() if not line.startswith(("I (", "E ("))]


PIN = "pin " + tlv(0x30, tlv(0x30, b"\x05\x00") + tlv(0x03, b"\0k")).hex()


@pytest.mark.covers("EimConfigurationData.eimFqdn", "EimConfigurationData.trustedPublicKeyDataTls.trustedEimPkTls")
async def test_3_5_each_eim_comes_once_and_the_card_is_asked_before_each(micropython: Run) -> None:
    a, b, c = eim("a"), eim("b", "b.example:4711"), eim("c")
    out = await ask(micropython, [told(a, b), told(b, c)], 4)  # a's package has deleted a and added c
    assert out == [f"a a.example None {PIN}", f"b b.example 4711 {PIN}", f"c a.example None {PIN}", "no more"]


async def test_3_5_a_list_that_cannot_be_read_to_its_end_ends_there(micropython: Run) -> None:
    broken = tlv(0xBF55, tlv(0xA0, eim("a"), tlv(0x30, b"\x80\x7f"))).hex()
    assert await ask(micropython, [broken], 2) == [f"a a.example None {PIN}", "no more"]


async def test_5_9_4_a_card_without_eim_gets_the_one_in_the_file(micropython: Run) -> None:
    configuration = eim("a")
    out = await ask(micropython, [told(), told(configuration)], 2, {"eim.der": configuration})
    assert out == ["card " + tlv(0xBF57, tlv(0xA0, configuration)).hex(), f"a a.example None {PIN}", "no more"]


async def test_5_9_4_an_eim_that_the_card_took_and_does_not_know_is_told(micropython: Run) -> None:
    out = await ask(micropython, [told()], 1, {"eim.der": eim("a")})
    assert out[-1] == "EimUnknown the card took the eIM and does not know it"


async def test_5_9_4_without_eim_and_file_nobody_is_known(micropython: Run) -> None:
    assert await ask(micropython, [told()], 1) == ["EimUnknown the card knows no eIM and there is no eim.der"]


@pytest.mark.covers("EimConfigurationData.trustedPublicKeyDataTls.trustedCertificateTls")
async def test_2_11_1_1_1_an_eim_that_cannot_be_reached_or_recognised_does_not_hide_the_next(micropython: Run) -> None:
    whole = tlv(0x30, tlv(0x30, b"\x05\x00"))  # some stacks leave the 30 on
    nameless, lost, strange = tlv(0x30, tlv(0x81, b"a.example")), eim("b", "b:x"), eim("c", trust=b"")
    cards = [told(nameless, lost, strange, eim("d", trust=tlv(0xA6, tlv(0xA1, whole))))]
    assert await ask(micropython, cards, 5) == [
        "EimUnknown eIM configuration without eimId",
        "EimUnknown the port in eimFqdn is x",
        "c a.example None preinstalled",
        f"d a.example None ca {whole.hex()}",
        "no more",
    ]


async def test_2_11_1_1_1_an_eim_whose_name_or_address_is_no_text_does_not_hide_the_next(micropython: Run) -> None:
    bad_name = tlv(0x30, tlv(0x80, b"\xff\xfe"), tlv(0x81, b"a.example"), KEY)
    bad_address = tlv(0x30, tlv(0x80, b"b"), tlv(0x81, b"\xff.example"), KEY)
    assert await ask(micropython, [told(bad_name, bad_address, eim("c"))], 3) == [
        "EimUnknown eimId or eimFqdn is no text",
        "EimUnknown eimId or eimFqdn is no text",
        f"c a.example None {PIN}",
    ]


@pytest.mark.parametrize("name", ['a","b', "a\rAT", "a b", "50%", "\0", "", "caf\u00e9.example"])
async def test_2_11_1_1_1_an_eim_whose_address_is_no_host_name_does_not_hide_the_next(
        micropython: Run, name: str) -> None:
    first, second = await ask(micropython, [told(eim("a", name), eim("c"))], 2)
    assert first.startswith("EimUnknown eimFqdn is no host name: ")
    assert second == f"c a.example None {PIN}"


@pytest.mark.parametrize(("content", "trust"), [
    (None, "EimUnknown eIM configuration without trustedPublicKeyDataTls, and no CA in roots.der"),
    (b"", "EimUnknown eIM configuration without trustedPublicKeyDataTls, and no CA in roots.der"),
    (b"0\x05", "EimUnknown roots.der: 30 wants 5 bytes, 0 there at offset 2"),
    (bytes.fromhex("30023000" "30020500"), "('ca', b'0\\x020\\x00', b'0\\x02\\x05\\x00')"),
])
async def test_2_11_1_1_1_an_eim_without_key_is_trusted_under_the_cas_of_the_device(
        micropython: Run, content: bytes | None, trust: str) -> None:
    write = "" if content is None else f"open('roots.der', 'wb').write({content!r})"
    out = await micropython(f"""
from ipa.eim import EimUnknown
from ipa.initial_eim import preinstalled
{write}
try:
    print(preinstalled("roots.der"))
except EimUnknown as error:
    print("EimUnknown", error)
""")
    assert out.strip() == trust


async def test_2_11_1_1_1_an_eim_without_address_is_left_to_come_by_itself(micropython: Run) -> None:
    out = await ask(micropython, [told(eim("a", None), eim("b"), eim("c", None))], 2)
    assert out == [f"b a.example None {PIN}", "no more"]
