"""ipa.tlv under MicroPython: X.690 headers, slices, the stream reader, and the bytes of the host codec."""

from __future__ import annotations

import random

import pytest
from board_run import Run
from microipa.asn1 import tlv as host


async def test_encoders_produce_the_bytes_of_the_host_codec(micropython: Run) -> None:
    dice = random.Random(1)
    tags = [0x02, 0x5A, 0x30, 0xA0, 0xBF2D, 0x5F37, 0x9F70, 0x7F8902]
    values = [dice.randbytes(n) for n in (0, 1, 127, 128, 255, 256, 3000)]
    numbers = [0, 1, 127, 128, 255, 256, 32767, 32768, 2**31, -1, -128, -129, -32768, -32769]
    out = await micropython(f"""
        from ipa import tlv
        for tag in {tags}:
            for value in {values}:
                whole = tlv.encode(tag, value[:5], memoryview(value)[5:])
                assert tlv.head(tag, len(value)) + value == whole and tlv.size(tag, len(value)) == len(whole)
                print(whole.hex())
        for number in {numbers}:
            print(tlv.encode_integer(0x02, number).hex())
            assert tlv.integer(tlv.find(tlv.encode_integer(0x02, number), 0x02)) == number
    """)
    expected = [host.tlv(tag, value) for tag in tags for value in values]
    expected += [host.integer(0x02, number) for number in numbers]
    assert out.split() == [item.hex() for item in expected]


@pytest.mark.parametrize(("data", "reason"), [
    ("", "no tag at offset 0"),
    ("BF", "tag cut short at offset 0"),
    ("BF81828301", "tag too long at offset 0"),
    ("5A", "no length after tag 5A at offset 1"),
    ("3080", "length form 80 of 30 at offset 1"),
    ("308500000000", "length form 85 of 30 at offset 1"),
    ("3082", "length of 30 cut short at offset 2"),
    ("BF2D050102", "BF2D wants 5 bytes, 2 there at offset 3"),
    ("3084FFFFFFFF00", "30 wants 4294967295 bytes, 1 there at offset 6"),
])
async def test_x690_8_1_a_header_that_lies_is_refused_with_its_offset(
        micropython: Run, data: str, reason: str) -> None:
    out = await micropython(f"""
        from ipa import tlv
        try:
            tlv.header(bytes.fromhex("{data}"))
        except tlv.TlvError as error:
            print(error)
    """)
    assert out.strip() == reason


@pytest.mark.parametrize("data", ["", "BF", "BF2B", "BF2B82", "BF2B8201"])
async def test_a_header_is_refused_that_is_cut_short_where_a_value_may_be(micropython: Run, data: str) -> None:
    out = await micropython(f"""
        from ipa import tlv
        assert tlv.header(bytes.fromhex("BF2B8201FF00"), 0, 0x7FFFFFFF) == (0xBF2B, 5, 5 + 0x1FF)
        try:
            tlv.header(memoryview(bytes.fromhex("{data}")), 0, 0x7FFFFFFF)
        except tlv.TlvError as error:
            print(error)
    """)
    assert out.strip()


async def test_find_gives_slices_and_not_copies(micropython: Run) -> None:
    await micropython("""
        from ipa import tlv
        data = bytearray(bytes.fromhex("BF4F085A0101A003020105" + "5A00"))
        assert tlv.find(data, 0xBF4F, 0xA0, 0x02) == b"\\x05"
        assert tlv.find_raw(data, 0xBF4F, 0xA0) == bytes.fromhex("A003020105")
        assert tlv.find_raw(data, 0x5A) == b"\\x5a\\x00" and len(tlv.find(data, 0x5A)) == 0
        assert tlv.find(data, 0xBF4F, 0x80) is None and tlv.find(data, 0xBF50) is None
        view = tlv.find(data, 0xBF4F, 0x5A)
        data[5] = 0x77
        assert view[0] == 0x77
        assert [(tag, bytes(value)) for tag, value, raw in tlv.items(tlv.find(data, 0xBF4F))] == [
            (0x5A, b"\\x77"), (0xA0, b"\\x02\\x01\\x05")]
        # a child may not reach beyond its parent even when the bytes are there
        try:
            tlv.find(bytes.fromhex("3003040501" + "00" * 8), 0x30, 0x04)
            assert False
        except tlv.TlvError as error:
            assert error.offset == 4
    """)


READER = """
    import asyncio
    from ipa import tlv

    class Drip:
        def __init__(self, data, most):
            self.data, self.most, self.pos = data, most, 0
        async def readinto(self, buf):
            n = min(self.most, len(buf), len(self.data) - self.pos)
            buf[:n] = self.data[self.pos:self.pos + n]
            self.pos += n
            return n
"""


@pytest.mark.parametrize("most", [1, 2, 5, 1000])
async def test_reader_walks_a_stream_of_any_grain(micropython: Run, most: int) -> None:
    package = host.tlv(
        0xBF36, host.tlv(0xA0, b"a" * 300), host.tlv(0x7F8902, b"b"), host.tlv(0x88, b"c" * 128))
    out = await micropython(READER + f"""
    async def main():
        data = {package!r}
        reader = tlv.Reader(Drip(data, {most}))
        tag, length = await reader.header()
        assert bytes(reader.head) == data[:reader.position] and reader.position + length == len(data)
        while reader.position < len(data):
            tag, length = await reader.header()
            head = bytes(reader.head)
            if length > 128:
                await reader.skip(length)
            elif tag == 0x88:
                assert await reader.readinto(bytearray(200)) == length
            else:
                value = await reader.read(length, 10)
                assert head + value == tlv.encode(tag, value)
            print("%X %d" % (tag, length))
        try:
            await reader.header()
        except tlv.TlvError as error:
            print(error)
    asyncio.run(main())
    """)
    assert out.splitlines() == ["A0 300", "7F8902 1", "88 128",
                                f"stream ends inside a TLV at offset {len(package)}"]


async def test_random_bytes_raise_nothing_but_tlv_error(micropython: Run) -> None:
    out = await micropython(READER + """
    import random
    random.seed(20)
    well_formed = tlv.encode(
        0xBF2D, tlv.encode(0x5A, b"0123"), tlv.encode(0xA0, tlv.encode(0xBF36, bytes(200))))
    refused = 0
    def walk(buf, depth=0):
        for tag, value, raw in tlv.items(buf):
            if depth < 4:
                walk(value, depth + 1)
    async def stream(data):
        reader = tlv.Reader(Drip(data, 7))
        while True:
            tag, length = await reader.header()
            await reader.read(length, 1000)
    for round in range(2000):
        data = bytearray(well_formed) if round & 1 else bytearray(random.getrandbits(8) for _ in range(40))
        for _ in range(3):
            data[random.randrange(len(data))] = random.getrandbits(8)
        data = data[:random.randrange(1, len(data) + 1)]
        for trial in (lambda: walk(data), lambda: tlv.find(data, 0xBF2D, 0xA0, 0xBF36),
                      lambda: tlv.integer(tlv.find(data, 0xBF2D) or b""), lambda: asyncio.run(stream(data))):
            try:
                trial()
            except tlv.TlvError as error:
                assert 0 <= error.offset <= len(data)
                refused += 1
    print(refused > 4000)
    """)
    assert out.strip() == "True"
