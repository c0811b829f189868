"""The block of 17 kB that TLS allocates in the heap of some ports: reserved up to each handshake."""

from __future__ import annotations

import json

import pytest
from board_run import Run

PRELUDE = """
import asyncio, gc, json
from ipa import net
from ipa.net import NetError, dtls, https
from ipa.net.coaps import CoapsLink
from ipa.net.https_link import HttpsLink
from ipa import config

net.tls_bytes = 17408
free = []
opened = []

def look():
    gc.collect()
    free.append(gc.mem_free())

class Context:
    verify_callback = None
    def __init__(self, *kind):
        pass
    def set_ciphers(self, names):
        look()
    def wrap_socket(self, *stream, **how):
        look()
        raise OSError(5)

class Tls:
    PROTOCOL_TLS_CLIENT = PROTOCOL_DTLS_CLIENT = 0
    CERT_OPTIONAL = 1
    SSLContext = Context

class Socket:
    largest = 1200
    mtu = 1200
    def close(self):
        pass

class Modem:
    async def udp(self, host, port):
        opened.append(port)
        return Socket()
    async def tcp(self, host, port):
        opened.append(port)
        return Socket()

class Eim:
    host = "eim.example"
    port = None
    trust = ("pin", bytes(91))

dtls.tls = https.tls = Tls
settings = dict(config.DEFAULTS)
"""
SHORT = 16_000


async def before_and_at_the_handshake(micropython: Run, script: str) -> tuple[int, int]:
    """Bytes free when all is prepared, and when Mbed TLS would allocate its memory."""
    out = await micropython(PRELUDE + script + "\nprint(json.dumps(free))", heapsize="192K")
    before, then = json.loads(out.splitlines()[-1])
    return before, then


HANDSHAKES = {
    "CoAP with the eIM": """
async def main():
    try:
        await CoapsLink(Modem(), settings).open(Eim)
    except NetError:
        pass
asyncio.run(main())
""",
    "HTTPS with the eIM": """
async def main():
    link = HttpsLink(Modem(), settings)
    await link.open(Eim)
    try:
        await link._https.post("/", 0, lambda: [])
    except NetError:
        pass
asyncio.run(main())
""",
    "HTTPS with an SM-DP+": """
async def main():
    try:
        await https.Https(Modem().tcp, "smdpp.example", 443, Eim.trust).post("/", 0, lambda: [])
    except NetError:
        pass
asyncio.run(main())
""",
}


@pytest.mark.parametrize("protocols", HANDSHAKES)
async def test_the_block_is_reserved_until_the_handshake_and_free_for_it(micropython: Run, protocols: str) -> None:
    before, then = await before_and_at_the_handshake(micropython, HANDSHAKES[protocols])
    assert then - before > SHORT


@pytest.mark.parametrize("link", ["CoapsLink", "HttpsLink"])
async def test_a_direct_download_reserves_the_block_of_the_association_that_it_closes(
        micropython: Run, link: str) -> None:
    out = await micropython(PRELUDE + f"""
link = {link}(Modem(), settings)
if {link} is HttpsLink:
    asyncio.run(link.open(Eim))
look()
link.set_aside(Eim)
look()
print(free[0] - free[1])
""", heapsize="192K")
    assert int(out.split()[-1]) > SHORT


@pytest.mark.parametrize("protocols", HANDSHAKES)
async def test_a_block_that_is_missing_is_noticed_before_a_socket_is_opened(micropython: Run, protocols: str) -> None:
    out = await micropython(PRELUDE + "net.tls_bytes = 10 << 20\n" + HANDSHAKES[protocols].replace(
        "except NetError", "except MemoryError") + "\nprint(len(opened))", heapsize="192K")
    assert out.splitlines()[-1] == "0"
