"""Properties of ipa.net.jsonstream, which runs under CPython as well (RFC 8259)."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microipa.common.paths import firmware

sys.path.append(str(firmware()))
import contextlib

from ipa.net.jsonstream import JsonError, Reader  # noqa: E402

ASCII = st.text(st.characters(max_codepoint=0x7E), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)
PIECES = st.integers(1, 300)


class Pieces:
    """A stream that gives so many bytes at a time."""

    def __init__(self, data: bytes, piece: int) -> None:
        self.data, self.piece = data, piece

    async def readinto(self, buf: Any) -> int:
        n = min(len(buf), self.piece, len(self.data))
        buf[:n], self.data = self.data[:n], self.data[n:]
        return n


async def names(reader: Reader) -> list[bytes]:
    await reader.enter()
    found = []
    while (name := await reader.name()) is not None:
        found.append(name)
        await reader.skip()
    return found


@settings(deadline=None)
@given(st.dictionaries(ASCII, VALUES, max_size=5), PIECES, st.none() | st.integers(0, 3))
def test_every_object_is_walked_through(message: dict[str, Any], piece: int, indent: int | None) -> None:
    body = json.dumps(message, indent=indent).encode()
    there = [name.encode() for name, value in message.items() if value is not None]
    assert asyncio.run(names(Reader(Pieces(body, piece), None))) == there


@settings(deadline=None)
@given(ASCII, PIECES, st.integers(0, 40))
def test_a_string_is_what_it_was_up_to_the_limit(text: str, piece: int, limit: int) -> None:
    async def read() -> tuple[bytes, bytes | None]:
        reader = Reader(Pieces(json.dumps({"a": text, "b": 1}).encode(), piece), None)
        await reader.enter()
        await reader.name()
        return await reader.text(limit), await reader.name()

    assert asyncio.run(read()) == (text.encode()[:limit], b"b")


@settings(deadline=None)
@given(st.binary(max_size=900), PIECES, st.integers(1, 300), st.sampled_from(["", "\n", "\r\n", " "]),
       st.integers(4, 80))
def test_base64_comes_out_as_it_went_in(
        data: bytes, piece: int, size: int, line_end: str, width: int) -> None:
    letters = base64.b64encode(data).decode()
    lines = "".join(letters[i : i + width] + line_end for i in range(0, len(letters), width))

    async def read() -> bytes:
        reader = Reader(Pieces(json.dumps({"a": lines}).encode(), piece), None)
        await reader.enter()
        await reader.name()
        stream = await reader.base64()
        out, buf = b"", memoryview(bytearray(size))
        while n := await stream.readinto(buf):
            out += buf[:n]
        assert await reader.name() is None
        return out

    assert asyncio.run(read()) == data


@settings(deadline=None)
@given(st.dictionaries(ASCII, VALUES, max_size=5), st.data())
def test_what_is_damaged_is_read_or_refused_by_name(message: dict[str, Any], data: st.DataObject) -> None:
    body = json.dumps(message).encode()
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[data.draw(st.integers(at, len(body))) :]
    with contextlib.suppress(JsonError):
        asyncio.run(names(Reader(Pieces(damaged, 50), 4096)))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused_by_name(junk: bytes) -> None:
    with contextlib.suppress(JsonError):
        asyncio.run(names(Reader(Pieces(b"{" + junk, 7), 4096)))


def test_an_object_without_end_is_refused() -> None:
    with pytest.raises(JsonError, match="without end"):
        asyncio.run(names(Reader(Pieces(b'{"a":"' + b"x" * 9000, 100), 4096)))


@settings(deadline=None)
@given(st.lists(VALUES, max_size=5), PIECES, st.none() | st.integers(0, 3))
def test_every_array_is_walked_through(values: list[Any], piece: int, indent: int | None) -> None:
    async def count(reader: Reader) -> tuple[int, bytes | None]:
        await reader.enter()
        await reader.name()
        await reader.enter_array()
        found = 0
        while await reader.item():
            await reader.skip()
            found += 1
        return found, await reader.name()

    body = json.dumps({"list": values, "after": 1}, indent=indent).encode()
    assert asyncio.run(count(Reader(Pieces(body, piece), None))) == (len(values), b"after")


@pytest.mark.parametrize("body", [b'{"a":{}}', b'{"a":[1 2]}', b'{"a":[1,', b'{"a":[1}'])
def test_what_is_no_array_is_refused(body: bytes) -> None:
    async def walk(reader: Reader) -> None:
        await reader.enter()
        await reader.name()
        await reader.enter_array()
        while await reader.item():
            await reader.skip()

    with pytest.raises(JsonError):
        asyncio.run(walk(Reader(Pieces(body, 100), None)))
