"""What the modem tests plug together: a terminal on the pty, a card with two profiles, a network."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import replace

from microipa.crypto.milenage import Milenage
from microipa.modem import VirtualModem
from microipa.radio import PRESETS, Link, Network

ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
USIM = bytes.fromhex("A0000000871002FFFFFFFF8907090000")
K, OPC = bytes(range(16)), bytes(range(16, 32))
FINAL = ("OK", "ERROR", "+CME ERROR", "SEND OK", "SEND FAIL")
SWITCH = bytes.fromhex("80E2910003BF3100")  # this card switches profiles on EnableProfile of nothing


def swapped(digits: str, size: int) -> bytes:
    digits = digits.ljust(2 * size, "F")
    return bytes(int(digits[i + 1] + digits[i], 16) for i in range(0, 2 * size, 2))


class StubCard:
    """Enough of a card for a modem: two profiles, channels, a proactive REFRESH (TS 102 221, TS 102 223).

    ``qualifier`` is the mode of the REFRESH, ``log`` every command.
    """

    def __init__(self, imsis=("901700000000001", "901700000000002"), qualifier=0x09):
        self.imsis = imsis
        self.qualifier = qualifier
        self.profile = 0
        self.milenage = Milenage(K, OPC)
        self.sqn = 0
        self.log: list[bytes] = []
        self.resets = 0
        self.powered = False
        self.silent = False
        self._clear()

    def _clear(self):
        self.channels = {0}
        self.selected = {}
        self.response = b""
        self.pending = b""
        self.file = b""

    def power_on(self):
        self.powered = True
        self._clear()
        return b"\x3b\x00"

    def power_off(self):
        self.powered = False

    def reset(self):
        self.resets += 1
        return self.power_on()

    def transmit(self, apdu):
        assert self.powered, "a modem must not talk to a card without power"
        self.log.append(apdu)
        if self.silent:
            return b""
        channel = apdu[0] & 3
        handler = {0xA4: self.select, 0xB0: self.read, 0xB2: self.record, 0x88: self.authenticate,
                   0x70: self.manage, 0xC0: self.get_response, 0x12: self.fetch}.get(apdu[1])
        if handler:
            return handler(apdu, channel)
        if apdu[1] == 0xE2:
            return self.store_data(apdu, channel)
        return b"\x90\x00"

    def select(self, apdu, channel):
        if apdu[2] == 0:
            if not self.imsis:
                return b"\x6a\x82"
            self.file = apdu[5:7]
            return b"\x90\x00"
        aid = apdu[5 : 5 + apdu[4]]
        if aid not in (ISD_R, USIM):
            return b"\x6a\x82"
        self.selected[channel] = aid
        self.response = b"\x6f\x02\x84\x00"
        return b"\x90\x00" if apdu[3] == 0x0C else b"\x61\x04"

    def read(self, apdu, channel):
        iccid = swapped(f"898821100000000000{self.profile}", 10)
        imsi = self.imsis[self.profile]
        data = {b"\x2f\xe2": iccid, b"\x6f\x07": b"\x08" + swapped("9" + imsi, 8)}[self.file]
        return data + b"\x90\x00"

    def record(self, apdu, channel):
        records = [b"\x61\x09\x4f\x07" + bytes(7), b"\x61\x12\x4f\x10" + USIM]
        if apdu[2] > len(records):
            return b"\x6a\x83"
        if apdu[4] != 0x20:
            return b"\x6c\x20"
        return records[apdu[2] - 1].ljust(0x20, b"\xff") + b"\x90\x00"

    def authenticate(self, apdu, channel):
        assert self.selected[0] == USIM
        rand, autn = apdu[6:22], apdu[23:39]
        sqn = bytes(a ^ b for a, b in zip(autn[:6], self.milenage.f5(rand), strict=True))
        if self.milenage.f1(rand, sqn, autn[6:8]) != autn[8:]:
            return b"\x98\x62"
        if int.from_bytes(sqn, "big") <= self.sqn:
            own = self.sqn.to_bytes(6, "big")
            auts = bytes(a ^ b for a, b in zip(own, self.milenage.f5_star(rand), strict=True))
            self.response = b"\xdc\x0e" + auts + self.milenage.f1_star(rand, own, bytes(2))
        else:
            self.sqn = int.from_bytes(sqn, "big")
            self.response = (b"\xdb\x08" + self.milenage.f2(rand)
                             + b"\x10" + self.milenage.f3(rand) + b"\x10" + self.milenage.f4(rand))
        return bytes([0x61, len(self.response)])

    def manage(self, apdu, channel):
        if apdu[2] == 0x80:
            self.channels.discard(apdu[3])
            return b"\x90\x00"
        free = [number for number in (1, 2, 3) if number not in self.channels]
        if not free:
            return b"\x6a\x81"
        self.channels.add(free[0])
        return bytes([free[0]]) + b"\x90\x00"

    def get_response(self, apdu, channel):
        data, self.response = self.response, b""
        return data + b"\x90\x00"

    def store_data(self, apdu, channel):
        if channel not in self.channels or self.selected.get(channel) != ISD_R:
            return b"\x69\x85"
        if b"\xbf\x31" not in apdu:
            return bytes([len(apdu)]) + b"\x90\x00"
        self.pending = bytes.fromhex(f"D009810301 01{self.qualifier:02X} 82028182")
        return bytes.fromhex("BF3103800100") + bytes([0x91, len(self.pending)])

    def fetch(self, apdu, channel):
        assert apdu == bytes([0x80, 0x12, 0, 0, len(self.pending)])
        if self.pending[5] == 0x01:  # type of command: REFRESH
            self.profile = (self.profile + 1) % len(self.imsis)
        return self.pending + b"\x90\x00"


class Terminal:
    """The board's end of the pty: commands out, lines in."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.bytes = bytearray()
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.fd, self._read)

    def _read(self):
        self.bytes += os.read(self.fd, 65536)
        self._news.set()

    def close(self):
        asyncio.get_running_loop().remove_reader(self.fd)
        os.close(self.fd)

    async def send(self, data):
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                await asyncio.sleep(0)

    async def until(self, mark):
        """Take everything up to and with ``mark``."""
        async with asyncio.timeout(5):
            while (found := self.bytes.find(mark)) < 0:
                self._news.clear()
                await self._news.wait()
        taken = bytes(self.bytes[: found + len(mark)])
        del self.bytes[: found + len(mark)]
        return taken

    async def exactly(self, count):
        async with asyncio.timeout(5):
            while len(self.bytes) < count:
                self._news.clear()
                await self._news.wait()
        taken = bytes(self.bytes[:count])
        del self.bytes[:count]
        return taken

    async def line(self):
        """The next line that is not empty."""
        while not (text := (await self.until(b"\n")).strip().decode("latin-1")):
            pass
        return text

    async def lines_until(self, *starts):
        lines = [await self.line()]
        while not lines[-1].startswith(starts):
            lines.append(await self.line())
        return lines

    async def ask(self, command):
        """All lines up to the final result, which is the last."""
        await self.send(command.encode("latin-1") + b"\r")
        return await self.lines_until(*FINAL)


class Echo(asyncio.DatagramProtocol):
    """A server that sends every datagram back, and keeps it."""

    def __init__(self):
        self.got = asyncio.Queue()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.got.put_nowait(data)
        self.transport.sendto(data, addr)


class Bench:
    """A booted modem, a terminal with echo off, an echo server that answers as echo.example:7."""

    def __init__(self, modem, card, network, link, terminal, echo):
        self.modem, self.card, self.network, self.link = modem, card, network, link
        self.terminal, self.echo = terminal, echo
        self.ask, self.line, self.until = terminal.ask, terminal.line, terminal.until

    async def registered(self):
        """Wait for the network as a board does."""
        if self.modem.registration.attachment is None:
            assert (await self.ask("AT+CEREG=1"))[-1] == "OK"
            if self.modem.registration.attachment is None:
                await self.terminal.lines_until("+CEREG: 1")

    async def connected(self, connection=0, mode=0):
        """Register, activate context 1, open a connection to the echo server."""
        await self.registered()
        assert await self.ask('AT+QICSGP=1,1,"iot"') == ["OK"]
        assert await self.ask("AT+QIACT=1") == ["OK"]
        assert await self.ask(f'AT+QIOPEN=1,{connection},"UDP","echo.example",7,0,{mode}') == ["OK"]
        assert await self.line() == f"+QIOPEN: {connection},0"

    async def bounce(self, payload, connection=0):
        """Send a datagram and wait until it is back in the modem. The unsolicited lines seen meanwhile."""
        before = self.link.counters.down.datagrams
        lines = await self.ask(f'AT+QISENDEX={connection},"{payload.hex()}"')
        assert "SEND OK" in lines
        async with asyncio.timeout(5):
            while self.link.counters.down.datagrams == before:
                lines += await self.ask("AT")
        for _ in range(2):
            lines += await self.ask("AT")
        return [line for line in lines if line.startswith("+")]


@asynccontextmanager
async def bench(card=None, *, quirks=(), trace=None, echo_off=True, **settings):
    """``settings`` change the link, which does not wait unless they say so."""
    card = card or StubCard()
    network = Network(quirks=quirks)
    for imsi in ("901700000000001", "901700000000002"):
        network.add_subscriber(imsi, K, OPC)
    link = Link(replace(PRESETS["none"], **settings), quirks=quirks)
    modem = VirtualModem(card, network, link, quirks=quirks, trace=trace)
    await modem.start()
    terminal = Terminal(modem.path)
    transport, echo = await asyncio.get_running_loop().create_datagram_endpoint(
        Echo, local_addr=("127.0.0.1", 0))
    network.route("echo.example", 7, transport.get_extra_info("sockname"))
    try:
        await terminal.until(b"APP RDY")
        if echo_off:
            await terminal.ask("ATE0")
            terminal.bytes.clear()
        yield Bench(modem, card, network, link, terminal, echo)
    finally:
        transport.close()
        terminal.close()
        await modem.stop()
