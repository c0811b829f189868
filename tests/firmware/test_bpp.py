"""ipa.card.bpp under MicroPython: a bound profile package streamed into the card (SGP.22 2.5.5)."""

from __future__ import annotations

from board_run import Run
from microipa.asn1.tlv import tlv

PIR = tlv(0xBF37, tlv(0xBF27, tlv(0x80, b"\x01" * 16)), tlv(0x5F37, bytes(64)))
BF23 = tlv(0xBF23, bytes(150))
A0 = tlv(0xA0, tlv(0x87, bytes(24)))
A1 = [tlv(0x88, bytes(90)), tlv(0x88, bytes(40))]
A2 = tlv(0xA2, tlv(0x87, bytes(72)))
A3 = [tlv(0x86, bytes(n)) for n in (1012, 1032, 300)]  # 1036 bytes whole: seen from a third-party SM-DP+


def package(*parts: bytes, total: int | None = None) -> bytes:
    body = b"".join(parts)
    whole = tlv(0xBF36, body)
    return whole if total is None else b"\xbf\x36\x82" + total.to_bytes(2, "big") + body


def script(bpp: bytes, fails_at: int = 99, answer: bytes = PIR, piece: int = 100) -> str:
    """Loads ``bpp``; the card answers at its ``fails_at``-th command or at the last one."""
    return f"""
from ipa import tlv
from ipa.card.bpp import Loader
from ipa.card.channel import Channel
from rooms import Carrier, Stream, failing, run
commands = []
shown = []
bpp = bytes.fromhex("{bpp.hex()}")
def answer(command):
    commands.append(command)
    done = len(b"".join(commands)) == len(bpp) or len(commands) == {fails_at}
    return bytes.fromhex("{answer.hex()}") if done else b""
async def main():
    reader = tlv.Reader(Stream(bpp, {piece}))
    tag, length = await reader.header()
    loader = Loader(Channel(Carrier(answer)), reader, reader.head, length, lambda *n: shown.append(n))
    async def load():
        return (await loader.load()).hex()
    print(await failing(load()))
    for command in commands:
        print(command.hex())
    print(shown[-1] if shown else None)
run(main())
"""


async def test_each_part_is_its_own_command_and_the_last_answer_is_the_result(micropython: Run) -> None:
    bpp = package(BF23, A0, tlv(0xA1, *A1), A2, tlv(0xA3, *A3))
    expected = [bpp[: bpp.index(A0)], A0, tlv(0xA1, *A1)[:3], *A1, A2, tlv(0xA3, *A3)[:4], *A3]
    for piece in (1, 100, 1000):
        out = (await micropython(script(bpp, piece=piece))).splitlines()
        assert out[0] == f"no error but {PIR.hex()}"
        assert out[1:-1] == [command.hex() for command in expected]
        assert out[-1] == f"({len(bpp) - 5}, {len(bpp) - 5})"


async def test_without_session_keys_of_its_own_the_package_has_no_a2(micropython: Run) -> None:
    out = await micropython(script(package(BF23, A0, tlv(0xA1, *A1), tlv(0xA3, *A3))))
    assert out.startswith("no error but bf37")


async def test_a_result_before_the_last_part_ends_the_loading(micropython: Run) -> None:
    out = await micropython(script(package(BF23, A0, tlv(0xA1, *A1), tlv(0xA3, *A3)), fails_at=7))
    lines = out.splitlines()
    assert lines[0].startswith("no error but bf37")
    assert len(lines[1:-1]) == 7


async def test_parts_out_of_order_are_named(micropython: Run) -> None:
    for parts, reason in (
        ((A0,), "A0 where BF23 was due"),
        ((BF23, tlv(0xA1, *A1)), "A1 after BF23"),
        ((BF23, A0, tlv(0xA3, *A3)), "A3 after A0"),
        ((BF23, A0, tlv(0xA1, *A1), A2, A2), "A2 after A2"),
        ((BF23, A0, tlv(0xA1, A3[2])), "86 inside A1"),
        ((BF23, A0, tlv(0xA1, *A1), tlv(0xA3, A1[0])), "88 inside A3"),
    ):
        out = await micropython(script(package(*parts, A0)))
        assert out.splitlines()[0] == f"BppOutOfOrder {reason}"


async def test_lengths_that_lie_are_named(micropython: Run) -> None:
    lying = tlv(0xA1, *A1)[:2] + b"\x10" + b"".join(A1)
    for bpp, reason in (
        (package(BF23, A0, total=len(BF23) + 10), "BppLength A0 of 28 bytes in a room of 10"),
        (package(BF23, A0, lying), "BppLength 88 of 92 bytes in a room of 16"),
        (package(BF23, A0, b"\xa1", total=500), "TlvCut stream ends inside a TLV at offset 187"),
        (package(BF23[:100], total=160), "CommandCut BF36 ends 54 bytes early"),
    ):
        out = await micropython(script(bpp))
        assert out.splitlines()[0] == reason


async def test_a_card_that_gives_no_result_or_something_else_is_named(micropython: Run) -> None:
    bpp = package(BF23, A0, tlv(0xA1, *A1), tlv(0xA3, *A3))
    out = await micropython(script(bpp, answer=b""))
    assert out.splitlines()[0] == "BppNoResult the card took the whole package and gave no result"
    out = await micropython(script(bpp, answer=tlv(0xBF41, b"\x80\x00")))
    assert out.splitlines()[0] == "BppNoResult BF41 where the installation result was due"
