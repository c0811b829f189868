"""TCP connections of the virtual modem: order, repeats, flow control and the bill (RFC 9293)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from microipa.modem.tcp import IP_TCP_HEADERS, RECEIVE_ROOM, Pipe
from microipa.radio import Link, LinkSettings
from modem_bench import bench

FAST = {"delay_s": 0.45, "speedup": 1000.0, "search_s": 0.0}


class Server:
    """Accepts one connection: ``got`` is what it read, ``writer`` answers."""

    def __init__(self):
        self.got = bytearray()
        self.writer: asyncio.StreamWriter
        self.connected = asyncio.Event()
        self.ended = asyncio.Event()
        self.news = asyncio.Event()

    async def serve(self, reader, writer):
        self.writer = writer
        self.connected.set()
        while data := await reader.read(65536):
            self.got += data
            self.news.set()
        self.ended.set()
        self.news.set()
        writer.close()

    async def has(self, size):
        async with asyncio.timeout(5):
            while len(self.got) < size:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def connected(mode=0, **settings):
    """A bench whose connection 0 is TCP to a server of ours."""
    async with bench(**settings) as b:
        server = Server()
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        b.network.route("tcp.example", 443, listener.sockets[0].getsockname())
        await b.registered()
        assert await b.ask('AT+QICSGP=1,1,"iot"') == ["OK"]
        assert await b.ask("AT+QIACT=1") == ["OK"]
        assert await b.ask(f'AT+QIOPEN=1,0,"TCP","tcp.example",443,0,{mode}') == ["OK"]
        assert await b.line() == "+QIOPEN: 0,0"
        await asyncio.wait_for(server.connected.wait(), 5)
        yield b, server
        listener.close()


async def send(b, payload):
    await b.terminal.send(b"AT+QISEND=0,%d\r" % len(payload))
    await b.until(b"> ")
    await b.terminal.send(payload)
    await b.until(b"SEND OK\r\n")


async def read(b, size):
    """Read ``size`` bytes from the buffer of connection 0."""
    data = bytearray()
    async with asyncio.timeout(10):
        while len(data) < size:
            await b.terminal.send(b"AT+QIRD=0,1500\r")
            await b.until(b"+QIRD: ")
            count = int((await b.until(b"\r\n")).strip())
            data += await b.terminal.exactly(count)
            await b.until(b"OK\r\n")
    return bytes(data)


async def test_a_stream_carries_bytes_both_ways_in_order():
    payload = bytes(range(256)) * 20
    async with connected() as (b, server):
        for i in range(0, len(payload), 1460):
            await send(b, payload[i : i + 1460])
        await server.has(len(payload))
        server.writer.write(payload)
        assert await b.line() == '+QIURC: "recv",0'
        assert await read(b, len(payload)) == payload
    assert server.got == payload


@pytest.mark.parametrize("trouble", [{"loss": 0.2}, {"reorder": 0.3}, {"duplicate": 0.3}])
async def test_a_bad_link_costs_segments_and_no_byte(trouble):
    payload = bytes(range(256)) * 60
    async with connected(**FAST, **trouble, seed=3) as (b, server):
        await send(b, payload[:1460])
        await server.has(1460)
        server.writer.write(payload)
        assert await read(b, len(payload)) == payload
        lost = b.link.counters.down.lost + b.link.counters.up.lost
        assert (lost > 0) == ("loss" in trouble)


async def test_the_mode_of_direct_push_gives_a_stream_as_it_comes():
    async with connected(mode=1) as (b, server):
        server.writer.write(b"hello")
        assert await b.line() == '+QIURC: "recv",0,5'
        assert await b.terminal.exactly(5) == b"hello"


async def test_a_peer_that_closes_is_told_after_its_last_byte():
    async with connected() as (b, server):
        server.writer.write(b"x" * 3000)
        server.writer.close()
        lines = await b.terminal.lines_until('+QIURC: "closed",0')
        assert lines[0] == '+QIURC: "recv",0'
        assert len(await read(b, 3000)) == 3000
        assert await b.ask("AT+QIRD=0") == ["+QIRD: 0", "OK"]
        assert await b.ask("AT+QICLOSE=0") == ["OK"]


async def test_closing_lets_what_was_sent_arrive_and_says_goodbye():
    async with connected(**FAST) as (b, server):
        await send(b, b"last words")
        assert await b.ask("AT+QICLOSE=0") == ["OK"]
        await asyncio.wait_for(server.ended.wait(), 5)
        assert server.got == b"last words"
        assert await b.ask("AT+QISTATE?") == ["OK"]


async def test_a_slow_reader_closes_the_window():
    async with connected() as (b, server):
        server.writer.write(bytes(4_000_000))
        connection = b.modem.packet_data.connections[0]
        async with asyncio.timeout(5):
            while connection.received < RECEIVE_ROOM:
                await b.ask("AT")
        for _ in range(20):
            await b.ask("AT")
        stopped_at = connection.received
        assert stopped_at < 1_000_000  # asyncio reads up to 256 kB before it can be stopped
        await read(b, stopped_at - RECEIVE_ROOM // 2)
        async with asyncio.timeout(5):
            while connection.received == stopped_at:
                await b.ask("AT")


async def test_a_lost_network_ends_a_stream_on_both_sides():
    async with connected() as (b, server):
        b.network.set_coverage("90170", False)
        await b.terminal.lines_until('+QIURC: "pdpdeact",1')
        await asyncio.wait_for(server.ended.wait(), 5)
        assert await b.ask('AT+QISENDEX=0,"00"') == ["SEND FAIL"]


async def test_power_off_in_the_middle_leaves_nothing_open():
    async with connected(**FAST) as (b, server):
        await send(b, bytes(1460))
        await b.modem.power(False)
        await asyncio.wait_for(server.ended.wait(), 5)


async def test_the_bill_counts_whole_packets():
    whole = asyncio.Event()
    link = Link(LinkSettings(speedup=float("inf")))
    pipe = Pipe(link, "up", lambda data: None if data else whole.set(), pytest.fail)
    pipe.write(bytes(3000))
    pipe.write(b"")
    await asyncio.wait_for(whole.wait(), 5)
    pipe.stop()
    counters = link.counters
    assert (counters.up.datagrams, counters.up.bytes) == (4, 3000 + 4 * IP_TCP_HEADERS)
    assert counters.down.bytes == counters.down.datagrams * IP_TCP_HEADERS
