"""ipa.net.dtls against the eIM's endpoint over UDP: whom it trusts, what lost datagrams cost (SGP.32 6.2)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from board_run import Run
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from datagram import UDP
from microipa.crypto import ec
from microipa.crypto.pki import Credential, Pki
from microipa.eim.dtls import DtlsServer
from microipa.eim.dtls_handshake import DtlsSettings

HOST = "eim.microipa.example"
NOW = datetime.now(UTC)

SCRIPT = UDP + """
import sys
from ipa.net import NetError, dtls, trust
from ipa.net.dtls import Dtls

async def connect(anchor, host="eim.microipa.example", timeout_ms=10000, client=None, **how):
    datagram = Udp(int(sys.argv[1]), **how)
    link = Dtls(datagram, host, anchor, client=client)
    try:
        await link.connect(timeout_ms)
        await link.send(b"ping")
        buf = bytearray(64)
        n = await link.recv(buf, 2000)
        print(bytes(buf[:n]).decode())
    except NetError as error:
        assert datagram.closed
        print(type(error).__name__, error)
    link.close()
    link.close()
    return datagram
"""


@contextlib.asynccontextmanager
async def server(
    credential: Credential, settings: DtlsSettings | None = None, clients: Sequence[x509.Certificate] = ()
) -> AsyncIterator[int]:
    """An endpoint that answers each message with the same bytes backwards."""
    endpoint = DtlsServer(credential, lambda association, message: association.send(message[::-1]),
                          lambda _: None, settings or DtlsSettings(), clients)
    try:
        yield await endpoint.start("127.0.0.1", 0)
    finally:
        endpoint.stop()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


def issue(pki: Pki, name: str = HOST, before: timedelta = timedelta(days=-2),
          after: timedelta = timedelta(days=2), issuer: Credential | None = None) -> Credential:
    """A server certificate of the CI (or of ``issuer``), valid from and to these distances from now."""
    issuer = issuer or pki.ci
    key = ec.generate_key()
    certificate = (
        x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.certificate.subject).public_key(key.public_key()).serial_number(7)
        .not_valid_before(NOW + before).not_valid_after(NOW + after)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer.private_key, SHA256()))
    return Credential(key, certificate)


def another_ca(before: timedelta = timedelta(days=-2), after: timedelta = timedelta(days=2)) -> Credential:
    key = ec.generate_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another CI")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(NOW + before).not_valid_after(NOW + after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256()))
    return Credential(key, certificate)


def pin(public_key: curves.EllipticCurvePublicKey) -> tuple[str, bytes]:
    return "pin", public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def outcome(micropython: Run, credential: Credential, trust: tuple[str, bytes], more: str = "") -> str:
    async with server(credential) as port:
        out = await micropython(SCRIPT + f"asyncio.run(connect({trust!r}{more}))", port)
    return out.strip()


TRUSTED: dict[str, Callable[[Pki], tuple[str, bytes]]] = {
    "the CA that issued it": lambda pki: ("ca", pki.ci.der),
    "the certificate itself": lambda pki: ("ca", pki.eim_tls.der),
    "the bare public key": lambda pki: ("pin", pki.eim_tls.spki),
}


@pytest.mark.parametrize("anchor", [
    pytest.param(anchor, marks=pytest.mark.covers(f"EimConfigurationData.trustedPublicKeyDataTls.{form}"))
    for anchor, form in zip(TRUSTED, ("trustedCertificateTls",) * 2 + ("trustedEimPkTls",), strict=True)])
async def test_sgp32_trusted_public_key_data_tls_admits(micropython: Run, pki: Pki, anchor: str) -> None:
    assert await outcome(micropython, pki.eim_tls, TRUSTED[anchor](pki)) == "gnip"


@pytest.fixture
def client_files(tmp_path: Path, pki: Pki) -> str:
    """Files of a certificate that the CI issued to a device, and of its key: what a script has as `client`."""
    device = issue(pki, "device")
    (tmp_path / "client.der").write_bytes(device.der)
    (tmp_path / "client_key.der").write_bytes(
        device.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    return 'client=("client.der", "client_key.der")'


async def shown(micropython: Run, pki: Pki, client: str) -> str:
    """What comes of a connection to a server that asks for a client certificate of the CI."""
    async with server(pki.eim_tls, clients=[pki.ci.certificate]) as port:
        script = SCRIPT + f"asyncio.run(connect(('ca', {pki.ci.der!r}), timeout_ms=4000, {client}))\n"
        return (await micropython(script, port)).strip()


async def test_a_client_certificate_is_shown_to_an_eim_that_asks_for_one(
    micropython: Run, pki: Pki, client_files: str
) -> None:
    assert await shown(micropython, pki, client_files) == "gnip"


async def test_without_a_client_certificate_such_an_eim_gives_no_association(micropython: Run, pki: Pki) -> None:
    assert (await shown(micropython, pki, "client=None")).startswith("Dtls")


async def test_a_client_key_that_is_none_is_a_named_error(
    micropython: Run, pki: Pki, client_files: str, tmp_path: Path
) -> None:
    (tmp_path / "client_key.der").write_bytes(b"no key")
    out = await shown(micropython, pki, client_files)
    assert out.startswith("ClientUnusable client.der and client_key.der are no certificate with its key")


async def test_another_ca_is_refused(micropython: Run, pki: Pki) -> None:
    out = await outcome(micropython, pki.eim_tls, ("ca", another_ca().der))
    assert out.startswith("PeerNotTrusted The certificate is not correctly signed by the trusted CA")


async def test_another_certificate_of_the_same_ca_is_no_match(micropython: Run, pki: Pki) -> None:
    out = await outcome(micropython, issue(pki), ("ca", pki.eim_tls.der))
    assert out == "PeerNotTrusted the server has another certificate"


async def test_another_key_is_refused(micropython: Run, pki: Pki) -> None:
    out = await outcome(micropython, pki.eim_tls, pin(ec.generate_key().public_key()))
    assert out == "PeerNotTrusted the server has another key"


async def test_a_key_hidden_elsewhere_in_the_certificate_is_no_match(micropython: Run, pki: Pki) -> None:
    """The pinned key as an extension of somebody else's certificate."""
    key = ec.generate_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    oid = x509.ObjectIdentifier("2.999.77")
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.UnrecognizedExtension(oid, pki.eim_tls.spki), critical=False)
        .sign(key, SHA256()))
    out = await outcome(micropython, Credential(key, certificate), ("pin", pki.eim_tls.spki))
    assert out == "PeerNotTrusted the server has another key"


async def test_a_key_without_its_private_half_is_refused(micropython: Run, pki: Pki) -> None:
    """The right certificate, signed for by another key: pinning alone must not be enough."""
    thief = ec.generate_key()
    stolen = x509.CertificateBuilder().subject_name(pki.ci.certificate.subject).issuer_name(
        pki.ci.certificate.subject).public_key(thief.public_key()).serial_number(3).not_valid_before(
        NOW).not_valid_after(NOW + timedelta(days=1)).sign(thief, SHA256())
    async with server(Credential(thief, stolen)) as port:
        # Same length everywhere: the relay swaps the certificate's key on the wire.
        out = await micropython(SCRIPT + f"""
own, wanted = {pin(thief.public_key())[1]!r}, {pki.eim_tls.spki!r}
class Relay(Udp):
    def readinto(self, buf):
        n = super().readinto(buf)
        if n:
            at = bytes(buf[:n]).find(own)
            if at >= 0:
                buf[at:at + len(own)] = wanted
        return n
Udp = Relay
asyncio.run(connect(("pin", wanted), timeout_ms=1500))
""", port)
    assert out.startswith("DtlsError")


async def test_another_name_is_refused(micropython: Run, pki: Pki) -> None:
    out = await outcome(micropython, issue(pki, "eim.other.example"), ("ca", pki.ci.der))
    assert out == "PeerNotTrusted The certificate Common Name (CN) does not match with the expected CN"


@pytest.mark.parametrize(("before", "after", "expected"), [
    (timedelta(days=-2), timedelta(days=-1), "PeerNotTrusted The certificate validity has expired"),
    (timedelta(days=1), timedelta(days=2), "PeerNotTrusted The certificate validity starts in the future"),
])
async def test_dates_of_the_servers_certificate(
        micropython: Run, pki: Pki, before: timedelta, after: timedelta, expected: str) -> None:
    credential = issue(pki, before=before, after=after)
    assert await outcome(micropython, credential, ("ca", pki.ci.der)) == expected


@pytest.mark.parametrize(("before", "after", "expected"), [
    (timedelta(days=-2), timedelta(days=-1), "PeerNotTrusted the trusted certificate has expired"),
    (timedelta(days=1), timedelta(days=2), "PeerNotTrusted the trusted certificate is not valid yet"),
    (timedelta(days=1), timedelta(days=365 * 60), "PeerNotTrusted the trusted certificate is not valid yet"),
])
@pytest.mark.parametrize("kind", ["ca", "end entity"])
async def test_dates_of_the_anchor(micropython: Run, pki: Pki, kind: str, before: timedelta,
                                   after: timedelta, expected: str) -> None:
    anchor = another_ca(before, after) if kind == "ca" else issue(pki, before=before, after=after)
    server_side = issue(pki, issuer=anchor) if kind == "ca" else anchor
    assert await outcome(micropython, server_side, ("ca", anchor.der)) == expected


@pytest.mark.parametrize(("anchor", "expected"), [
    ("the CA that issued it", "ClockUnset the clock is not set, certificates cannot be checked 0"),
    ("the certificate itself", "ClockUnset the clock is not set, certificates cannot be checked 0"),
    ("the bare public key", "gnip"),
])
async def test_an_unset_clock_stops_certificates_before_a_byte_is_sent_but_not_a_pin(
        micropython: Run, pki: Pki, anchor: str, expected: str) -> None:
    async with server(pki.eim_tls) as port:
        out = await micropython(SCRIPT + f"""
trust.unix_time = lambda: None  # the clock of the host cannot be unset
datagram = asyncio.run(connect({TRUSTED[anchor](pki)!r}))
print(datagram.sent)
""", port)
    assert " ".join(out.split()).startswith(expected)


@pytest.mark.parametrize("trust", [("ca", b"\x30\x03\x02\x01"), ("ca", b""), ("pin", b""), ("pin", b"0\x00")])
async def test_an_unreadable_anchor_trusts_nobody(
        micropython: Run, pki: Pki, trust: tuple[str, bytes]) -> None:
    assert (await outcome(micropython, pki.eim_tls, trust)).startswith("PeerNotTrusted")


@pytest.mark.parametrize("lost", ["lose_out={0}", "lose_out={1}", "lose_out={2}",
                                  "lose_in={0}", "lose_in={1}", "lose_in={2}"])
async def test_rfc6347_4_2_4_any_lost_flight_is_sent_again(micropython: Run, pki: Pki, lost: str) -> None:
    assert await outcome(micropython, pki.eim_tls, ("ca", pki.ci.der), f", {lost}") == "gnip"


async def test_one_suite_is_offered_and_all_of_them_to_a_server_that_wants_another(
        micropython: Run, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microipa.eim.dtls_handshake.CIPHERS", b"ECDHE-ECDSA-AES256-GCM-SHA384")
    async with server(pki.eim_tls) as port:
        out = await micropython(SCRIPT + f"""
async def main():
    for _ in range(2):
        await connect({("ca", pki.ci.der)!r})
asyncio.run(main())
""", port)
    refused, answered = out.splitlines()
    assert refused.startswith("DtlsError DTLS: ")
    assert answered == "gnip"


async def test_over_a_slow_link_no_flight_goes_twice(micropython: Run, pki: Pki) -> None:
    """mbedTLS alone repeats each flight after one second."""
    async with server(pki.eim_tls) as port:
        out = await micropython(SCRIPT + f"""
async def main():
    datagram = await connect({("ca", pki.ci.der)!r}, delay_ms=1100)
    print(datagram.sent)
asyncio.run(main())
""", port)
    assert out.split() == ["gnip", "4"]


async def test_a_fragmented_server_flight_is_put_together(micropython: Run, pki: Pki) -> None:
    async with server(pki.eim_tls, DtlsSettings(mtu=300)) as port:
        out = await micropython(SCRIPT + f"asyncio.run(connect({('ca', pki.ci.der)!r}))", port)
    assert out.strip() == "gnip"


async def test_silence_ends_in_a_named_error(micropython: Run, pki: Pki) -> None:
    async with server(pki.eim_tls) as port:
        out = await micropython(
            SCRIPT + "asyncio.run(connect(('pin', b'0'), timeout_ms=300, lose_out=range(9)))", port)
    assert out.strip() == "DtlsTimeout no end of DTLS handshake"


async def test_a_path_that_takes_only_small_datagrams_is_named(micropython: Run, pki: Pki) -> None:
    """The cookie comes through, the certificate does not."""
    async with server(pki.eim_tls) as port:
        out = await micropython(
            SCRIPT + "asyncio.run(connect(('pin', b'0'), timeout_ms=1500, lose_in=range(1, 99)))", port)
    assert out.startswith("DtlsTimeout no end of DTLS handshake, of which datagrams of up to ")
    assert out.strip().endswith(" bytes came: are larger ones lost?")


@pytest.mark.parametrize(("error", "raised"), [
    ("OSError(12)", "MemoryError "), ("OSError(-0x7F00, 'SSL')", "MemoryError "),
    ("OSError(-0x2790)", "MemoryError "), ("MemoryError('17 kB')", "MemoryError 17 kB"),
    ("OSError(-0x7780)", "DtlsError no DTLS: "), ("OSError(5)", "DtlsError no DTLS: "),
    ("ValueError('a name')", "DtlsError no DTLS: "),
])
async def test_want_of_memory_is_told_as_such_and_nothing_else_is(micropython: Run, error: str, raised: str) -> None:
    out = await micropython(UDP + f"""
from ipa.net.dtls import Dtls
from rooms import failing

class Context:
    def wrap_socket(self, *_, **__):
        raise {error}

Dtls._context = lambda self: Context()
print(asyncio.run(failing(Dtls(Udp(1), "a.example", ("pin", b"")).connect())))
""")
    assert out.startswith(raised)


async def test_a_certificate_that_is_bad_for_want_of_memory_is_no_certificate_that_is_bad(micropython: Run) -> None:
    out = await micropython("""
from ipa.net import memory
from ipa.net.trust import Trust
import gc

def ask():
    try:
        print(type(Trust("pin", b"").refusal(ValueError("The certificate is not correctly signed"))).__name__)
    except MemoryError as error:
        print("MemoryError")
ask()
kept = None
try:
    while True:
        kept = kept, bytearray(512)
except MemoryError:
    for _ in range(6):
        kept = kept[0]
ask()
""")
    assert out.split() == ["PeerNotTrusted", "MemoryError"]


async def test_messages_keep_their_borders_and_their_limits(micropython: Run, pki: Pki) -> None:
    async with server(pki.eim_tls) as port:
        out = await micropython(SCRIPT + f"""
async def main():
    link = Dtls(Udp(int(sys.argv[1])), "eim.microipa.example", {("ca", pki.ci.der)!r})
    await link.connect()
    small, big = bytearray(100), bytearray(1200)
    print(await link.recv(small, 10))
    await link.send(bytes(1163))
    print(await link.recv(big, 2000))
    await link.send(b"a" * 150)
    await link.send(b"bc")
    print(await link.recv(small, 2000), bytes(small[:2]))
    try:
        await link.send(bytes(1164))
    except dtls.DtlsError as error:
        print(error)
    link.close()
    try:
        await link.recv(small, 2000)
    except dtls.DtlsClosed as error:
        print(error)
asyncio.run(main())
""", port)
    assert [line for line in out.splitlines() if not line.startswith("I ")] == [
        "0", "1163", "2 b'cb'", "message of 1164 bytes, 1163 fit the path", "no association"]


async def test_two_records_in_one_datagram_are_the_first_of_them(micropython: Run, pki: Pki) -> None:
    async with server(pki.eim_tls) as port:
        out = await micropython(SCRIPT + f"""
class Gathering(Udp):
    gathers = False
    def readinto(self, buf):
        n = super().readinto(buf)
        if self.gathers and n and len(self.late) < 2 and self.received < self.whole:
            self.late.insert(0, (0, bytes(buf[:n])))
            return None
        if self.gathers and n and self.late:
            more = self.late.pop(0)[1]
            buf[n:n + len(more)] = more
            n += len(more)
        return n
async def main():
    datagram = Gathering(int(sys.argv[1]))
    link = Dtls(datagram, "eim.microipa.example", {("ca", pki.ci.der)!r})
    await link.connect()
    datagram.whole = datagram.received + 2
    datagram.gathers = True
    await link.send(b"a" * 300)
    await link.send(b"bc")
    buf = bytearray(1200)
    n = await link.recv(buf, 3000)
    print(n, buf[:1], await link.recv(buf, 200))
asyncio.run(main())
""", port)
    assert out.splitlines()[-1] == "300 bytearray(b'a') 0"


async def test_a_micropython_without_dtls_is_named(micropython: Run) -> None:
    out = await micropython(SCRIPT + """
dtls.tls = None
asyncio.run(connect(("pin", b"")))
""", 1)
    assert out.strip() == "DtlsError this MicroPython has no DTLS: 1.26 or later with mbedTLS is needed"


@pytest.mark.parametrize("tls", ["missing", "without DTLS"])
async def test_where_micropython_has_no_dtls_the_modem_is_asked_for_it(micropython: Run, tls: str) -> None:
    out = await micropython(f"""
import asyncio, builtins
from ipa.modem import SocketError
from ipa.net.coaps import CoapsLink
from rooms import failing
real = builtins.__import__
def other(name, *rest):
    if name != "tls":
        return real(name, *rest)
    if {tls!r} == "missing":
        raise ImportError(name)
    return object()
builtins.__import__ = other
class Modem:
    largest = 1200
    async def dtls(self, host, port, certificate):
        raise SocketError("%s:%d under %s" % (host, port, certificate))
class Eim:
    host, port, trust = "eim.example", None, ("ca", b"CI")
link = CoapsLink(Modem(), {{"dtls": "auto", "q_block": False, "dtls_timeout_s": 1}})
print(asyncio.run(failing(link.open(Eim))))
""")
    assert out.strip() == "DtlsError eim.example:5684 under b'CI'"


async def test_a_socket_that_fails_under_an_association_ends_it_by_name(micropython: Run, pki: Pki) -> None:
    async with server(pki.eim_tls) as port:
        out = await micropython(SCRIPT + f"""
async def main():
    datagram = Udp(int(sys.argv[1]))
    link = Dtls(datagram, "eim.microipa.example", {("ca", pki.ci.der)!r})
    await link.connect()
    datagram.write = lambda buf: -5
    try:
        await link.send(b"ping")
    except NetError as error:
        print(type(error).__name__, error, datagram.closed)
asyncio.run(main())
""", port)
    assert out.startswith("DtlsError DTLS: ")
    assert out.endswith(" True\n")


async def test_a_server_that_closes_is_named(micropython: Run, pki: Pki, tmp_path: Path) -> None:
    endpoint = DtlsServer(pki.eim_tls, lambda association, message: association.close(), lambda _: None,
                          DtlsSettings())
    port = await endpoint.start("127.0.0.1", 0)
    try:
        out = await micropython(SCRIPT + f"asyncio.run(connect({('ca', pki.ci.der)!r}))", port)
    finally:
        endpoint.stop()
    assert out.strip() == "DtlsClosed closed by the peer"
