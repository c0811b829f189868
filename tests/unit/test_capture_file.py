"""`microipa trace --pcapng`: blocks as the format has them, and the secrets of the connections in it only."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from cli_runner import Microipa, microipa  # noqa: F401
from eim_client import DtlsClient
from microipa.crypto.pki import Pki
from microipa.crypto.tls import client_context
from microipa.eim.dtls import DtlsServer
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.lab import Lab
from microipa.net.https_server import serve_https
from microipa.trace import Event, Record
from microipa.trace.key_log import KeyLog
from microipa.trace.pcapng import capture
from microipa.trace.reading import events as events_of
from starlette.applications import Starlette

RANDOM = "ab" * 32
HELLO = "16fefd0000000000000000" + "0050" + "01" + "00" * 11 + "fefd" + RANDOM + "00"
FLOW = "udp 10.64.0.9:50000 eim.example:5684"
KEYS = {RANDOM: [f"CLIENT_RANDOM {RANDOM} {'cd' * 48}"], "ef" * 32: ["CLIENT_RANDOM of another"]}
SECTION, INTERFACE, NAMES, PACKET, SECRETS = 0x0A0D0D0A, 1, 4, 6, 10


def blocks(*events: Event, secrets: dict[str, list[str]] = KEYS) -> list[tuple[int, bytes]]:
    data, found = b"".join(capture(events, secrets)), []
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0
        assert struct.unpack_from("<I", data, length - 4) == (length,)
        found.append((kind, data[8 : length - 4]))
        data = data[length:]
    assert [kind for kind, _ in found[:3]] == [SECTION, INTERFACE, INTERFACE]
    return found[3:]


def datagram(payload: str, direction: str = "up", **fields: object) -> Event:
    return Event(1.5, "radio", "datagram", {"direction": direction, "payload": payload, "lost": False, **fields})


def packet(body: bytes) -> bytes:
    return body[20 : 20 + struct.unpack_from("<I", body, 12)[0]]


def test_a_datagram_has_addresses_ports_names_and_the_time() -> None:
    began = Event(0.0, "lab", "session", {"began": "2026-11-29T12:00:00+00:00"})
    names, sent, came = blocks(began, datagram("0102", flow=FLOW), datagram("03", "down", flow=FLOW))
    assert names == (NAMES, names[1])
    assert b"\xc6\x33\x64\x01eim.example\0" in names[1]
    for (_, body), ends in ((sent, "0a400009c6336401c350" "1634"), (came, "c63364010a400009" "1634" "c350")):
        assert packet(body)[12:24].hex() == ends
        assert struct.unpack_from("<II", body, 4) == divmod(1_795_953_601_500_000, 2**32)
    assert packet(sent[1])[28:] == b"\x01\x02"


def test_the_secrets_of_a_connection_stand_before_its_first_datagram_and_no_others() -> None:
    kinds = blocks(datagram("17fefd", flow=FLOW), datagram(HELLO, flow=FLOW))
    assert [kind for kind, _ in kinds] == [NAMES, PACKET, SECRETS, PACKET]
    assert KEYS[RANDOM][0].encode() in kinds[2][1]
    assert not [kind for kind, _ in blocks(datagram(HELLO, flow=FLOW), secrets={}) if kind == SECRETS]


def test_a_segment_has_its_numbers_and_what_was_lost_says_so() -> None:
    flow = FLOW.replace("udp", "tcp")
    (_, body), = blocks(datagram("aa", flow=flow, seq=7, ack=9, flags="PA", lost=True))[1:]
    segment = packet(body)[20:]
    assert struct.unpack_from(">HHIIBB", segment) == (50000, 5684, 7, 9, 0x50, 0x18)
    assert b"lost on the radio link" in body


def test_an_apdu_is_gsmtap_and_a_message_says_what_it_orders() -> None:
    enable = "bf4f1bbf511830165a00820104810100a00da30b5a099899999999999999f9"
    (_, apdu), (_, message) = blocks(
        Event(0, "card", "apdu", {"command": "00a4000402", "response": "9000"}),
        Event(0, "eim", "esipa", {"direction": "out", "message": enable}))  # fmt: skip
    assert packet(apdu)[28:32] == b"\x02\x04\x04\x00"
    assert packet(apdu)[44:].hex() == "00a40004029000"
    assert bytes.fromhex(enable) in packet(message)
    assert b"\xe2\x86\x92 " in message  # →


def kept(tmp_path: Path, *events: Event) -> list[str]:
    record = Record(tmp_path / "t")
    for event in events:
        record.add(event)
    record.close()
    return [event.fields["payload"] for event in events_of([tmp_path / "t"]) if event.kind == "datagram"]


def test_of_what_is_not_encrypted_a_record_has_the_beginning(tmp_path: Path) -> None:
    plain, dtls, tls = "70" * 100, "17fefd" + "70" * 100, "160303" + "70" * 100
    segments = [datagram(one, flow=flow, flags="PA") for flow, one in
                (("tcp 1", tls), ("tcp 1", plain), ("tcp 2", plain), ("tcp 2", tls))]  # fmt: skip
    assert kept(tmp_path, datagram(plain, flow=FLOW), datagram(dtls), *segments) == [
        plain[:64], dtls, tls, plain, plain[:64], tls[:64],
    ]  # fmt: skip


def test_the_keys_of_a_lab_are_its_owners_alone_and_those_of_a_lab_for_real_boards_are_not_kept(tmp_path: Path) -> None:
    Pki.open(tmp_path / "pki")
    lab = Lab(tmp_path)
    assert (tmp_path / "tls-keys.log").stat().st_mode & 0o777 == 0o600
    assert lab.eim.key_log is lab.smdpp.key_log is lab.smds.key_log is not None
    assert Lab(tmp_path, host="0.0.0.0").eim.key_log is None
    assert Lab(tmp_path, host="0.0.0.0", tls_keys=True).eim.key_log


async def test_a_disk_that_is_full_costs_the_keys_with_one_warning_and_no_connection(tmp_path, caplog, capfd) -> None:
    pki, keys = Pki.open(tmp_path / "pki"), KeyLog(Path("/dev/full"))
    dtls = DtlsServer(pki.eim_tls, lambda peer, message: peer.send(message), lambda peer: None, DtlsSettings(),
                      key_log=keys)  # fmt: skip
    client = await DtlsClient(await dtls.start("127.0.0.1", 0), pki.ci.certificate).connect()
    client.send(b"poll")
    assert await client.receive() == b"poll"
    dtls.stop()
    for _ in range(2):
        async with serve_https(Starlette(), pki.smdpp_tls, key_log=keys) as port:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context([pki.ci.certificate]), server_hostname=Pki.smdpp_address)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 404")
            writer.close()
    assert [record.getMessage() for record in caplog.records] == ["/dev/full ends here: No space left on device"]
    assert capfd.readouterr().err == ""


def test_room_for_keys_is_asked_for_without_a_trace(tmp_path: Path) -> None:
    keys = KeyLog(tmp_path / "keys")
    keys.add(b"CLIENT_RANDOM 1 2")
    assert keys.has_room()
    keys.add(b"CLIENT_RANDOM 3 4")
    assert keys.path.read_text() == "CLIENT_RANDOM 1 2\nCLIENT_RANDOM 3 4\n"


@pytest.mark.parametrize("more", ["--follow", "--json"])
def test_a_capture_is_a_file_and_no_stream(microipa: Microipa, tmp_path: Path, more: str) -> None:  # noqa: F811
    out = tmp_path / "x.pcapng"
    assert "leave out --follow and --json" in microipa("trace", tmp_path, "--pcapng", out, more).err
    assert not out.exists()


def test_a_capture_without_keys_says_so(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "trace.jsonl").write_text(datagram("17fefd").to_json() + "\n")
    out = tmp_path / "x.pcapng"
    said = microipa("trace", tmp_path, "--pcapng", out).out
    assert said == f"{out} written: wireshark {out}; no TLS keys found, so encrypted messages cannot be read\n"
    assert out.stat().st_mode & 0o777 == 0o600
    missing = tmp_path / "none"
    assert f"there is no {missing}" in microipa("trace", tmp_path, "--pcapng", out, "--tls-keys", missing).err
