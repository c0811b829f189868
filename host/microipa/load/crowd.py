"""Many at once: a fleet that comes back after a power cut, and a host that begins handshakes and finishes none."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator

from OpenSSL import SSL

from microipa.eim.dtls_records import records
from microipa.load.device import CoapsLink, Device, Failed
from microipa.load.server import Server

ATTACKER = "127.0.0.2"
TICK_S = 0.01
RECORD, HANDSHAKE, VERSION, RANDOM = 13, 12, 2, 32
"""Sizes of what stands before the session_id of a ClientHello (RFC 6347 4.2.1)."""
LONGEST_S = 600.0


async def served(context: SSL.Context, server: Server, device: Device, rtt: float) -> None:
    """A device that begins again until its poll has been answered."""
    patience = max(10 * rtt, 30.0)
    while True:
        link = CoapsLink(context, ("127.0.0.1", server.ports["coaps"]), delay=rtt, patience=patience)
        with contextlib.suppress(Failed):
            await link.open()
            try:
                await device.call(link.ask)
                return
            finally:
                link.close()


async def returning(
    context: SSL.Context, server: Server, devices: list[Device], within: float, rtt: float
) -> tuple[list[float], float]:
    """All devices poll once, each beginning at some moment ``within`` seconds over a link that takes ``rtt`` seconds.

    Returns how many seconds each needed, and all of them together.
    """
    began, needed = time.monotonic(), []

    async def one(device: Device) -> None:
        await asyncio.sleep(random.uniform(0, within))  # noqa: S311 (no secret)
        begun = time.monotonic()
        await served(context, server, device, rtt)
        needed.append(time.monotonic() - begun)

    async with asyncio.timeout(LONGEST_S):
        await asyncio.gather(*(one(device) for device in devices))
    return needed, time.monotonic() - began


class Hellos(asyncio.DatagramProtocol):
    """One port of the attacker. Each handshake gets as far as the hello with the server's cookie."""

    def __init__(self, hello: bytes) -> None:
        self._template, self._hello = hello, b""
        self.begun = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def begin(self) -> None:
        start = RECORD + HANDSHAKE + VERSION
        self._hello = self._template[:start] + secrets.token_bytes(RANDOM) + self._template[start + RANDOM :]
        self._transport.sendto(self._hello)
        self.begun += 1

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[RECORD] != 3 or not self._hello:  # HelloVerifyRequest
            return
        self._transport.sendto(_with_cookie(self._hello, data[RECORD + HANDSHAKE + VERSION + 1 :]))
        self._hello = b""


def _with_cookie(hello: bytes, cookie: bytes) -> bytes:
    """The second ClientHello: the first, a number further, and with a cookie in place of none."""
    body = hello[RECORD + HANDSHAKE :]
    end = VERSION + RANDOM + 1 + body[VERSION + RANDOM]  # of the session_id
    body = body[:end] + bytes((len(cookie),)) + cookie + body[end + 1 :]
    length = len(body).to_bytes(3, "big")
    message = b"\x01" + length + b"\x00\x01" + bytes(3) + length + body
    return hello[:10] + b"\x01" + len(message).to_bytes(2, "big") + message


@contextlib.asynccontextmanager
async def attack(context: SSL.Context, server: Server, ports: int, rate: float) -> AsyncIterator[list[Hellos]]:
    """Meanwhile one host sends ``rate`` hellos with valid cookies a second from its ``ports``."""
    client = SSL.Connection(context, None)
    client.set_ciphertext_mtu(1200)
    client.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    hello = next(iter(records(client.bio_read(1 << 14))))
    loop, target = asyncio.get_running_loop(), ("127.0.0.1", server.ports["coaps"])
    opened = [
        await loop.create_datagram_endpoint(lambda: Hellos(hello), local_addr=(ATTACKER, 0), remote_addr=target)
        for _ in range(ports)
    ]
    attackers = [protocol for _, protocol in opened]
    attacking = asyncio.create_task(_attack(attackers, rate))
    try:
        yield attackers
    finally:
        attacking.cancel()
        for transport, _ in opened:
            transport.close()


async def until_full(attackers: list[Hellos]) -> None:
    """Until each port of the attacker has begun a handshake."""
    while not all(attacker.begun for attacker in attackers):  # noqa: ASYNC110 (thousands of protocols, one look)
        await asyncio.sleep(TICK_S)


async def _attack(attackers: list[Hellos], rate: float) -> None:
    began, sent = time.monotonic(), 0
    while True:
        while sent < rate * (time.monotonic() - began):
            attackers[sent % len(attackers)].begin()
            sent += 1
        await asyncio.sleep(TICK_S)
