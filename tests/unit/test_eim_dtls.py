"""The eIM's DTLS endpoint against OpenSSL and MicroPython's mbedTLS (RFC 6347, SGP.32 6.1)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eim_client import DtlsClient
from hypothesis import given
from hypothesis import strategies as st
from microipa.board import find_micropython
from microipa.crypto.pki import Pki
from microipa.eim.dtls import COOKIE, Association, DtlsServer
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.eim.dtls_hello import ClientHello
from microipa.eim.dtls_records import records
from microipa.eim.shares import host_of
from OpenSSL import SSL

IP_AND_UDP = 28
BOARD = Path(__file__).with_name("eim_board.py")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


class Echo:
    """The endpoint under test; it sends each message back, reversed."""

    def __init__(self, pki: Pki, settings: DtlsSettings) -> None:
        self.lost: list[Association] = []
        self.heard = asyncio.Event()
        self.server = DtlsServer(pki.eim_tls, self._answer, self._on_lost, settings)

    def _answer(self, association: Association, message: bytes) -> None:
        association.send(message[::-1])

    def _on_lost(self, association: Association) -> None:
        self.lost.append(association)
        self.heard.set()


@contextlib.asynccontextmanager
async def echo(pki: Pki, **settings: float) -> AsyncIterator[tuple[Echo, int]]:
    """No datagram may end in an exception, which would reach the loop alone."""
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    running = Echo(pki, DtlsSettings(**settings))
    port = await running.server.start("127.0.0.1", 0)
    try:
        yield running, port
    finally:
        running.server.stop()
    assert failed == []


async def test_handshake_takes_six_datagrams_and_at_most_1600_bytes(pki: Pki) -> None:
    async with echo(pki) as (_, port):
        client = await DtlsClient(port, pki.ci.certificate).connect()
        assert client.ssl.get_cipher_name() == "ECDHE-ECDSA-AES128-GCM-SHA256"
        client.send(b"poll")
        assert await client.receive() == b"llop"
        handshake = client.up[:3] + client.down[:3]
        assert sum(len(datagram) + IP_AND_UDP for datagram in handshake) <= 1600
        assert len(client.up) == len(client.down) == 4  # the fourth of each carries the message


@pytest.mark.parametrize("lose", ["-", "0", "2"], ids=["nothing", "first_hello", "client_key"])
async def test_micropython_connects_though_a_datagram_is_lost(pki: Pki, tmp_path: Path, lose: str) -> None:
    ca = tmp_path / "ci.der"
    ca.write_bytes(pki.ci.der)
    async with echo(pki) as (_, port):
        command = [*find_micropython(), str(BOARD), str(port), str(ca), lose, "poll"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
    sent = 4 if lose == "-" else 5
    assert output.decode().split() == ["TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256", "llop", str(sent)]


async def test_flights_are_cut_to_the_mtu(pki: Pki) -> None:
    async with echo(pki, mtu=400) as (_, port):
        client = await DtlsClient(port, pki.ci.certificate).connect()
    assert max(map(len, client.down)) <= 400


@pytest.mark.parametrize("largest", [576, 300])
async def test_a_flight_that_does_not_come_is_sent_in_smaller_datagrams(pki: Pki, largest: int) -> None:
    async with echo(pki) as (_, port):
        client = DtlsClient(
            port, pki.ci.certificate, lose_down=lambda datagram, _: len(datagram) + IP_AND_UDP > largest)
        await client.connect()
        client.send(b"poll")
        assert await client.receive() == b"llop"


async def test_hello_without_cookie_leaves_no_state(pki: Pki) -> None:
    async with echo(pki) as (running, port):
        client = await DtlsClient(port, pki.ci.certificate, lose_up=lambda _, number: number == 1).open()
        with pytest.raises(TimeoutError):
            await client.receive(0.2)  # its second hello, with the cookie, gets lost
        assert len(client.down) == 1
        assert running.server.half_open == 0


async def test_forged_hello_does_not_cut_off_a_living_association(pki: Pki) -> None:
    async with echo(pki) as (running, port):
        client = await DtlsClient(port, pki.ci.certificate).connect()
        client.transport.sendto(client.up[0])
        client.send(b"still here")
        answer = await client.receive()
        assert answer == b"ereh llits"
        assert not running.lost


async def test_forged_rubbish_does_not_cut_off_a_living_association(pki: Pki) -> None:
    async with echo(pki) as (running, port):
        client = await DtlsClient(port, pki.ci.certificate).connect()
        for rubbish in (b"", b"\0", bytes(100), client.down[-1]):
            running.server.datagram_received(rubbish, ("127.0.0.1", client.local_port))
        client.send(b"still here")
        assert await client.receive() == b"ereh llits"
        assert not running.lost


async def test_replayed_hello_with_its_cookie_begins_nothing(pki: Pki) -> None:
    async with echo(pki) as (running, port):
        client = await DtlsClient(port, pki.ci.certificate).connect()
        client.transport.sendto(client.up[1])
        client.send(b"poll")
        assert await client.receive() == b"llop"
        assert running.server.half_open == 0


async def test_peer_that_restarts_on_its_port_replaces_its_association_after_the_handshake(pki: Pki) -> None:
    async with echo(pki) as (running, port):
        first = await DtlsClient(port, pki.ci.certificate).connect()
        first.send(b"poll")
        await first.receive()
        await first.close()
        second = await DtlsClient(port, pki.ci.certificate, local_port=first.local_port).connect()
        second.send(b"again")
        assert await second.receive() == b"niaga"
        assert len(running.lost) == 1
        assert running.server.associations == 1


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"])
async def test_both_suites_carry_messages_both_ways(pki: Pki, suite: str) -> None:
    async with echo(pki) as (_, port):
        client = await DtlsClient(port, pki.ci.certificate, ciphers=suite.encode()).connect()
        assert client.ssl.get_cipher_name() == suite
        for length in (1, 500, 1100):
            client.send(bytes(range(256)) * 5 + bytes(length))
            assert await client.receive() == bytes(length) + bytes(range(255, -1, -1)) * 5


async def begin(port: int, pki: Pki, host: str) -> None:
    """A hello with its cookie, and nothing after it."""
    client = DtlsClient(port, pki.ci.certificate, lose_up=lambda _, number: number >= 2, local_host=host)
    with contextlib.suppress(TimeoutError):
        await client.connect(0.1)


async def test_a_host_that_has_all_the_places_for_handshakes_gets_no_more(pki: Pki) -> None:
    async with echo(pki, max_half_open=2) as (running, port):
        for _ in range(4):
            await begin(port, pki, "127.0.0.2")
        assert running.server.half_open == 2
        refused = DtlsClient(port, pki.ci.certificate, local_host="127.0.0.2")
        with pytest.raises(TimeoutError):
            await refused.connect(0.2)
        assert refused.down == []


async def test_a_host_that_has_all_the_places_for_handshakes_gives_its_newest_to_another(pki: Pki) -> None:
    async with echo(pki, max_half_open=2) as (running, port):
        for _ in range(2):
            await begin(port, pki, "127.0.0.2")
        honest = await DtlsClient(port, pki.ci.certificate).connect()
        honest.send(b"poll")
        assert await honest.receive() == b"llop"
        assert running.server.half_open == 1


async def test_a_host_that_would_have_as_many_places_as_the_busiest_gets_none_of_its(pki: Pki) -> None:
    async with echo(pki, max_half_open=3) as (running, port):
        for host in ("127.0.0.2", "127.0.0.2", "127.0.0.3"):
            await begin(port, pki, host)
        refused = DtlsClient(port, pki.ci.certificate, local_host="127.0.0.3")
        with pytest.raises(TimeoutError):
            await refused.connect(0.2)
        assert running.server.half_open == 3
        assert refused.down == []  # not even a cookie: what a flood costs is taken from others


async def test_a_handshake_has_its_time(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    drop = DtlsServer.drop

    def noting(server: DtlsServer, association: Association, reason: str) -> None:
        drop(server, association, reason)
        ended.set_result(reason)

    monkeypatch.setattr(DtlsServer, "drop", noting)
    async with echo(pki, handshake_seconds=0.2) as (running, port):
        await begin(port, pki, "127.0.0.2")
        assert await asyncio.wait_for(ended, 5) == "handshake took too long"
        assert running.server.half_open == 0


async def test_a_host_with_most_associations_loses_its_own_and_not_a_neighbours(pki: Pki) -> None:
    async with echo(pki, max_associations=3) as (running, port):
        honest = await DtlsClient(port, pki.ci.certificate).connect()
        flood = [await DtlsClient(port, pki.ci.certificate, local_host="127.0.0.2").connect() for _ in range(4)]
        assert running.server.associations == 3
        honest.send(b"still here")
        assert await honest.receive() == b"ereh llits"
        assert [lost.address[1] for lost in running.lost] == [client.local_port for client in flood[:2]]


async def test_of_hosts_with_one_association_each_the_one_that_was_silent_longest_loses_it(pki: Pki) -> None:
    async with echo(pki, max_associations=2) as (running, port):
        clients = [await DtlsClient(port, pki.ci.certificate, local_host=f"127.0.0.{n}").connect() for n in (1, 2)]
        clients[0].send(b"poll")
        assert await clients[0].receive() == b"llop"
        await DtlsClient(port, pki.ci.certificate, local_host="127.0.0.3").connect()
        assert [lost.address[0] for lost in running.lost] == ["127.0.0.2"]


async def test_peer_that_lost_the_end_of_the_handshake_gets_it_again(pki: Pki) -> None:
    async with echo(pki) as (_, port):
        client = DtlsClient(port, pki.ci.certificate, lose_down=lambda _, number: number == 2)
        await client.connect()
        client.send(b"poll")
        assert await client.receive() == b"llop"


async def test_6347_4_1_2_6_replayed_record_is_not_taken_again(pki: Pki) -> None:
    async with echo(pki) as (_, port):
        client = await DtlsClient(port, pki.ci.certificate).connect()
        client.send(b"first")
        assert await client.receive() == b"tsrif"
        client.transport.sendto(client.up[-1])
        client.send(b"second")
        assert await client.receive() == b"dnoces"


async def test_6347_4_1_2_6_records_may_change_places(pki: Pki) -> None:
    held: list[bytes] = []

    def hold(datagram: bytes, number: int) -> bool:
        if number == 3:
            held.append(datagram)
        return number == 3

    async with echo(pki) as (_, port):
        client = await DtlsClient(port, pki.ci.certificate, lose_up=hold).connect()
        client.send(b"first")
        client.send(b"second")
        assert await client.receive() == b"dnoces"
        client.transport.sendto(held[0])
        assert await client.receive() == b"tsrif"


async def test_idle_association_is_forgotten(pki: Pki) -> None:
    async with echo(pki, idle_seconds=0.05) as (running, port):
        await DtlsClient(port, pki.ci.certificate).connect()
        async with asyncio.timeout(2):
            await running.heard.wait()
        assert running.server.associations == 0


async def test_close_notify_ends_the_association(pki: Pki) -> None:
    async with echo(pki) as (running, port):
        client = await DtlsClient(port, pki.ci.certificate).connect()
        client.send(b"poll")
        await client.receive()
        client.ssl.shutdown()
        client.flush()
        async with asyncio.timeout(2):
            await running.heard.wait()


async def test_server_flight_is_not_repeated_while_a_slow_answer_is_under_way(pki: Pki) -> None:
    """OpenSSL's timer is 1 s, an NB-IoT round trip may take longer: the second flight is kept back."""
    async with echo(pki) as (_, port):
        client = DtlsClient(port, pki.ci.certificate, lose_up=lambda _, number: number >= 2)
        with pytest.raises(TimeoutError):
            await client.connect(1.2)
    assert len(client.down) == 2


async def test_peer_without_a_common_cipher_is_refused(pki: Pki) -> None:
    async with echo(pki) as (running, port):
        client = DtlsClient(port, pki.ci.certificate, ciphers=b"ECDHE-RSA-AES128-GCM-SHA256")
        with pytest.raises(SSL.Error):
            await client.connect(2)
        assert running.server.half_open == 0


def hello(cookie: bytes = b"", *, session: int = 0, number: int = 0) -> bytes:
    """A ClientHello with a session identifier of so many bytes, in the record and the message of this number."""
    body = b"\xfe\xfd" + bytes(32) + bytes([session]) + bytes(session) + bytes([len(cookie)]) + cookie
    body += b"\0\2\xc0\x2b\1\0"
    length, count = len(body).to_bytes(3, "big"), number.to_bytes(2, "big")
    head = b"\x16\xfe\xff" + bytes(6) + count + (len(body) + 12).to_bytes(2, "big")
    return head + b"\1" + length + count + bytes(3) + length + body


async def test_a_forged_hello_does_not_end_a_handshake_under_way(pki: Pki) -> None:
    """It has the number of the message that is due next, and no cookie."""
    async with echo(pki) as (running, port):
        client = DtlsClient(port, pki.ci.certificate, lose_up=lambda _, number: number >= 2)
        with contextlib.suppress(TimeoutError):
            await client.connect(0.1)
        told = len(client.down)
        client.transport.sendto(hello(number=2))
        while len(client.down) == told:
            await client._wait()
        assert running.server.half_open == 1


async def test_an_old_hello_does_not_end_the_handshake_that_followed_it(pki: Pki) -> None:
    """That of the association which still lives, with its cookie and the number of the message that is due next."""
    async with echo(pki) as (running, port):
        first = await DtlsClient(port, pki.ci.certificate).connect()
        await first.close()
        second = DtlsClient(port, pki.ci.certificate, local_port=first.local_port, lose_up=lambda _, n: n >= 2)
        with contextlib.suppress(TimeoutError):
            await second.connect(0.1)
        old = bytearray(first.up[1])
        old[5:11], old[17:19] = (9).to_bytes(6, "big"), b"\0\2"
        second.transport.sendto(bytes(old))
        honest = await DtlsClient(port, pki.ci.certificate).connect()
        honest.send(b"poll")
        assert await honest.receive() == b"llop"
        assert running.server.half_open == 1


async def test_a_hello_that_openssl_does_not_take_begins_nothing(pki: Pki) -> None:
    """One with its cookie, and with a session identifier of 33 bytes (RFC 5246 7.4.1.2)."""
    async with echo(pki) as (running, port):
        client = await DtlsClient(port, pki.ci.certificate).open()
        client.transport.sendto(hello(session=33))
        await client._wait()
        client.transport.sendto(hello(client.down[0][-COOKIE:], session=33))
        honest = await DtlsClient(port, pki.ci.certificate).connect()
        honest.send(b"poll")
        assert await honest.receive() == b"llop"
        assert (running.server.half_open, running.server.associations) == (0, 1)


@given(st.binary(max_size=300))
def test_junk_is_no_hello(junk: bytes) -> None:
    assert ClientHello.find(junk) is None
    assert all(len(record) >= 13 for record in records(junk))


@pytest.mark.parametrize("claimed", range(41))
def test_a_hello_shorter_than_its_fields_is_none(claimed: int) -> None:
    length = claimed.to_bytes(3, "big")
    record = b"\x16\xfe\xff" + bytes(8) + (52).to_bytes(2, "big")
    found = ClientHello.find(record + b"\x01" + length + bytes(5) + length + bytes(40))
    assert (found is not None) == (claimed >= 36)


@given(st.data())
async def test_damaged_datagrams_do_not_disturb_the_endpoint(pki: Pki, data: st.DataObject) -> None:
    async with echo(pki) as (_, port):
        client = await DtlsClient(port, pki.ci.certificate).connect()
        for datagram in client.up:
            damaged = bytearray(datagram)
            for _ in range(3):
                damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
            client.transport.sendto(bytes(damaged))
        other = await DtlsClient(port, pki.ci.certificate).connect()
        other.send(b"poll")
        assert await other.receive() == b"llop"


def test_4291_2_5_4_a_network_of_64_bits_is_one_host_and_the_next_another() -> None:
    one, same, other = (("2001:db8::1", 1), ("2001:db8::ffff:0:0:2", 2), ("2001:db8:0:1::1", 1))
    assert host_of(one) == host_of(same) != host_of(other)
