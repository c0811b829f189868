"""Each driver, in the real MicroPython, on the lab's modem of its family with a real card in it (TS 27.007 and the
makers' manuals). The modem's side of the same words is held to the manuals in tests/unit/test_modem_*."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from family_bench import EIM, Bench, Run, echo
from microipa.eim.dtls import Association, DtlsServer
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.lab import LabFolder
from microipa.modem import FAMILIES
from microipa.saip.values import iccid_to_bytes

EVERYTHING = """
await modem.attach("iot")
print("plmn", (await modem.plmn()).hex(), "imei", await modem.imei(), "clock", await modem.clock() > 1735689600)
print("signal", await modem.signal() < 0)
es10 = Es10(Channel(modem.carrier))
await es10.channel.open()
print("eid", (await es10.get_eid()).hex())
await es10.channel.close()

big = bytes(range(256)) * 4 + b"OK\\r\\n> @\\r\\nERROR\\r\\n"
buf = bytearray(1500)
udp = await modem.udp("eim.microipa.example", 5684)
for data in (b"one", big[:modem.largest], b"OK\\r\\n"):
    udp.write(data)
    await udp.flush()
    assert await receive(udp, buf) == data, data
udp.close()

tcp = await modem.tcp("eim.microipa.example", 5684)
left = got = big * 3
sent = 0
back = bytearray()
while len(back) < len(got):
    if sent < len(got):
        sent += tcp.write(got[sent:]) or 0
    n = tcp.readinto(buf)
    if n:
        back.extend(buf[:n])
    else:
        assert n is None, n
        await tcp.wait(1000)
print("tcp", back == got)
tcp.close()

print("psm", *await power.psm(modem, 3600, 20))
print("edrx", await power.edrx(modem, 20))
await power.reset(modem)
await modem.attach("iot")
print("again", modem.registered())
await power.power_down(modem)
"""


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_driver_does_everything_the_assistant_asks_of_a_modem(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family).on() as bench, echo(bench.network):
        out = await bench.run(micropython, EVERYTHING)
    assert out == [
        "plmn 00f110 imei 490154203237518 clock True",
        "signal True",
        f"eid {bench.folder.eid}",
        "tcp True",
        "psm 3600 20",
        "edrx 20.5",
        "again True",
    ]


@pytest.mark.parametrize(("family", "quirks"), [
    *((family, ()) for family in FAMILIES),
    *((family, ("slow-refresh",)) for family in ("bg95", "sim7080g", "gm02s", "sara-r5", "nrf91", "tx62")),
    ("gm02s", ("ignores-refresh",)),  # which is noticed by waiting: one of them will do
])
async def test_refresh_brings_the_modem_back_on_the_profile_that_was_enabled(
        family: str, quirks: tuple[str, ...], micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family, quirks, kind="consumer").on() as bench, echo(bench.network):
        out = await bench.run(micropython, """
await modem.attach("iot")
es10 = Es10(Channel(modem.carrier))
await es10.channel.open()
before = await modem.udp("eim.microipa.example", 5684)
buf = bytearray(8)
print(bytes(await es10.channel.store(bytes.fromhex("BF3111A00C5A0A{iccid}8101FF"))).hex())
await modem.await_refresh()
await modem.attach("iot", 60000)
print("registered", modem.registered(), "socket of before", before.readinto(buf) < 0)
await es10.channel.open()  # the one of before is lost
print("eid", (await es10.get_eid()).hex())
udp = await modem.udp("eim.microipa.example", 5684)
udp.write(b"new")
await udp.flush()
print(await receive(udp, buf))
""".replace("{iccid}", iccid_to_bytes(bench.spare.iccid).hex()))
        assert bench.modem.sim.identity.imsi == bench.spare.imsi
    assert out == ["bf3103800100", "registered True socket of before True", f"eid {bench.folder.eid}", "b'new'"]


@pytest.mark.parametrize("family", ["sara-r5", "sara-r422"])
async def test_sockets_that_runs_before_left_open_do_not_use_up_the_modem(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family).on() as bench, echo(bench.network):
        out = await bench.run(micropython, """
await modem.attach("iot")
for _ in range(7):
    await modem.at.command(b"AT+USOCR=17")
buf = bytearray(100)
udp = await modem.udp("eim.microipa.example", 5684)
other = await modem.udp("eim.microipa.example", 5684)
for socket in (udp, other):
    socket.write(b"ping")
    await socket.flush()
    print(await receive(socket, buf))
""")
    assert out == ["b'ping'", "b'ping'"]


TROUBLE = """
await modem.attach("iot")
try:
    await modem.udp("nobody.microipa.example", 5684)
except SocketError as error:
    print("refused")
buf = bytearray(100)
tcp = await modem.tcp("eim.microipa.example", 5684)
tcp.write(b"bye")
print(await receive(tcp, buf), await receive(tcp, buf))
tcp.close()
udp = await modem.udp("eim.microipa.example", 5684)
udp.write(b"coverage")
await udp.flush()
print("lost", await receive(udp, buf) < 0, udp.write(b"more") < 0)
udp.close()
await modem.attach("iot")
udp = await modem.udp("eim.microipa.example", 5684)
udp.write(b"again")
await udp.flush()
print(await receive(udp, buf))
"""


@pytest.mark.parametrize("family", FAMILIES)
async def test_names_nobody_has_peers_that_leave_and_a_lost_network_are_told_and_the_next_socket_works(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family).on() as bench, echo(bench.network):
        assert await bench.run(micropython, TROUBLE) == ["refused", "b'bye' b''", "lost True True", "b'again'"]


# Whatever family it is on, a quirk is survived: registration, an APDU of any length, a datagram each way.
SURVIVE = """
await modem.attach("iot")
es10 = Es10(Channel(modem.carrier))
await es10.channel.open()
for _ in range(3):
    assert len(await es10.get_euicc_info_2()) > 100
certificates = await es10.get_certs()
print("certificates", len(certificates) > 900)
buf = bytearray(1500)
udp = await modem.udp("eim.microipa.example", 5684)
udp.write(bytes(1000))
await udp.flush()
print("udp", await receive(udp, buf) == bytes(1000))
"""
# What a driver lives with by itself. After the others the assistant begins again: `make field`.
SURVIVED = ("ccho-bare", "long-session-ids", "lower-case-hex", "echo-sticks", "urc-inside-response", "cgla-60",
            "cgla-120", "slow-card", "csim-only", "channels-forbidden", "wants-upper-hex", "gets-response",
            "lost-data-urcs", "outcome-before-ok", "bare-line-feeds")


@pytest.mark.parametrize("family", ["bg95", "sim7080g", "gm02s", "sara-r5", "nrf91", "tx62"])
@pytest.mark.parametrize("quirk", SURVIVED)
async def test_a_driver_survives_every_quirk(family: str, quirk: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family, (quirk,)).on() as bench, echo(bench.network):
        out = await bench.run(micropython, SURVIVE)
    assert out == ["certificates True", "udp True"]


GRANTED = """
await modem.attach("iot")
print(*await power.psm(modem, 3600, 20), await power.edrx(modem, 20))
"""


@pytest.mark.parametrize(("family", "quirk", "granted"), [
    *((family, "network-grants-own-psm", "7200 60 20.5") for family in FAMILIES),
    ("nrf91", "no-power-saving", "None None None"),  # which is noticed by waiting: one of them will do
])
async def test_what_the_network_grants_is_read_back_and_not_what_was_asked_for(
        family: str, quirk: str, granted: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family, (quirk,)).on() as bench:
        assert await bench.run(micropython, GRANTED) == [granted]


# DTLS that the modem speaks itself


@asynccontextmanager
async def secured(bench: Bench) -> AsyncIterator[None]:
    """An eIM's DTLS at eim.microipa.example that gives back what it gets."""
    def give_back(association: Association, message: bytes) -> None:
        association.send(message)

    server = DtlsServer(bench.folder.pki.eim_tls, give_back, lambda _: None, DtlsSettings())
    bench.network.route(EIM, 5684, ("127.0.0.1", await server.start("127.0.0.1", 0)))
    try:
        yield
    finally:
        server.stop()


DTLS = """
from ipa.net import NetError
from ipa.net.modem_dtls import ModemDtls
await modem.attach("iot")
certificate = open("ca.der", "rb").read()
dtls = ModemDtls(modem, "eim.microipa.example", 5684, ("ca", certificate))
try:
    await dtls.connect(20000)
    buf = bytearray(1280)
    for data in (b"one", bytes(1100)):
        await dtls.send(data)
        assert buf[: await dtls.recv(buf, 5000)] == data
    print("echoed", await dtls.recv(buf, 50), "round trip known:", dtls.rtt_ms is not None)
    dtls.close()
    await dtls.recv(buf, 50)
except NetError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("family", ["bg95", "nrf91"])
async def test_a_modem_speaks_dtls_under_the_certificate_it_was_given(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family).on() as bench, secured(bench):
        (tmp_path / "ca.der").write_bytes(bench.folder.pki.ci.der)
        assert await bench.run(micropython, DTLS) == ["echoed 0 round trip known: True", "DtlsClosed no association"]
        stored = dict(bench.modem.nonvolatile)
        assert await bench.run(micropython, DTLS) == ["echoed 0 round trip known: True", "DtlsClosed no association"]
        assert bench.modem.nonvolatile == stored  # a second time nothing is written


@pytest.mark.parametrize("family", ["bg95", "nrf91"])
async def test_a_modem_refuses_a_server_whose_certificate_has_another_name(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family).on() as bench, secured(bench):
        (tmp_path / "ca.der").write_bytes(bench.folder.pki.ci.der)
        bench.network.route("other.microipa.example", 5684, bench.network.resolve(EIM, 5684) or ("", 0))
        [line] = await bench.run(micropython, DTLS.replace("eim.microipa.example", "other.microipa.example"))
    assert line.startswith("DtlsError no DTLS with other.microipa.example port 5684: ")


@pytest.mark.parametrize("family", ["bg95", "nrf91"])
async def test_a_modem_refuses_a_server_under_another_ca(family: str, micropython: Run, tmp_path: Path) -> None:
    other = LabFolder(tmp_path / "other", create=True).pki
    async with Bench(tmp_path, family).on() as bench, secured(bench):
        (tmp_path / "ca.der").write_bytes(other.ci.der)
        [line] = await bench.run(micropython, DTLS)
    assert line.startswith("DtlsError no DTLS with eim.microipa.example port 5684: ")


async def test_a_modem_pins_no_bare_key_and_a_family_without_dtls_says_so(micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, "gm02s").on() as bench:
        (tmp_path / "ca.der").write_bytes(bench.folder.pki.ci.der)
        assert await bench.run(micropython, DTLS) == [
            "DtlsError this driver knows no DTLS of the modem's own: take the board's, or HTTPS"]
        assert await bench.run(micropython, DTLS.replace('("ca", ', '("pin", ')) == [
            "DtlsError the modem's DTLS pins no bare key: give the card a certificate to trust the eIM under"]
