"""A recorded session as a capture file for Wireshark: datagrams, APDUs and ESipa, with the secrets to decrypt them.

The format is PCAP Next Generation (draft-ietf-opsawg-pcapng); each block has a function. Interface 0 has what went over
the air, as IPv4 packets, and the APDUs, as GSMTAP to UDP port 4729. Interface 1 has the decoded ESipa messages, as BER
with what they say as a comment: Wireshark before 4.6 knows SGP.32 not at all, and none knows it inside CoAP.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from microipa.asn1.describe import describe
from microipa.common.errors import MicroipaError
from microipa.trace.event import Event
from microipa.trace.reading import EIMS, began, utc
from microipa.trace.timeline import in_words

_SECTION, _INTERFACE, _NAMES, _PACKET, _SECRETS = 0x0A0D0D0A, 1, 4, 6, 10
_RAW_IP, _EXPORTED_PDU = 101, 252  # link types
_TLS_KEY_LOG = 0x544C534B
_COMMENT, _INTERFACE_NAME, _END = 1, 2, 0
_IPV4_NAME = 1
_UDP, _TCP = 17, 6
_GSMTAP_PORT, _GSMTAP_SIM = 4729, 4
_DISSECTOR, _LAST_TAG = 12, 0  # tags of an exported PDU
_FLAGS = {"F": 1, "S": 2, "P": 8, "A": 16}
_AIR, _ESIPA = 0, 1
_MODEM, _CARD = "10.64.0.1", "127.0.0.1"
_SERVERS = ipaddress.ip_network("198.51.100.0/24")  # for documentation (RFC 5737): nobody has these
_LONGEST = 65_400  # bytes of a payload: what an IPv4 packet has room for behind its headers
_LONGEST_NAME = 253  # of a host
_EPOCH = datetime.fromtimestamp(0, UTC)


def capture(events: Iterable[Event], secrets: Mapping[str, list[str]]) -> Iterator[bytes]:
    """The blocks of a capture of these events. ``secrets``: lines of a key log by client random, see ``key_log``.

    Of them only those go in whose connection begins here. What was lost on the air is there, with a comment.
    """
    yield _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    for link_type, name in ((_RAW_IP, "air and card"), (_EXPORTED_PDU, "ESipa, decoded")):
        options = _option(_INTERFACE_NAME, name) + _option(_END, "")
        yield _block(_INTERFACE, struct.pack("<HHI", link_type, 0, 0) + options)
    hosts = _Hosts()
    start = _EPOCH
    for event in events:
        if event.kind == "session":
            start = began(event) or _EPOCH
        moment = utc(start, event)
        match event.kind:
            case "datagram":
                flow = _Flow.of(event.fields.get("flow"), hosts)
                yield from hosts.new_names()
                yield from _secrets_for(event, secrets)
                if packet := _packet(event.fields, flow):
                    yield _enhanced(_AIR, moment, packet, "lost on the radio link" if event.fields.get("lost") else "")
            case "apdu":
                apdu = bytes.fromhex(event.fields["command"] + event.fields["response"])[:_LONGEST]
                gsmtap = struct.pack(">BBBBHbbIBBBB", 2, 4, _GSMTAP_SIM, 0, 0, 0, 0, 0, 0, 0, 0, 0)
                udp = _udp(_GSMTAP_PORT, _GSMTAP_PORT, gsmtap + apdu)
                yield _enhanced(_AIR, moment, _ipv4(_UDP, _CARD, _CARD, udp), "")
            case "esipa" if event.part in EIMS and event.fields["message"]:
                pdu = _tag(_DISSECTOR, b"ber") + _tag(_LAST_TAG, b"") + bytes.fromhex(event.fields["message"])
                yield _enhanced(_ESIPA, moment, pdu, _decoded(event))


def _decoded(event: Event) -> str:
    """A message in one line, and below as a tree, down to each operation of a package."""
    try:
        tree = describe(bytes.fromhex(event.fields["message"])).text()
    except MicroipaError:  # the line says why
        tree = ""
    return f"{in_words(event)}\n{tree}"


@dataclass
class _Hosts:
    """Addresses for names: where a datagram goes is known by name, as the modem was told it."""

    _known: dict[str, str] = field(default_factory=dict)
    _new: list[str] = field(default_factory=list)

    def address(self, name: str) -> str:
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            pass
        if name not in self._known:
            self._known[name] = str(_SERVERS[len(self._known) % 253 + 1])
            self._new.append(name)
        return self._known[name]

    def new_names(self) -> Iterator[bytes]:
        """A block that tells the names that were met since the last."""
        for name in self._new:
            text = name[:_LONGEST_NAME].encode("ascii", "replace") + b"\0"
            entry = ipaddress.IPv4Address(self._known[name]).packed + text
            yield _block(_NAMES, struct.pack("<HH", _IPV4_NAME, len(entry)) + _padded(entry) + bytes(4))
        self._new.clear()


@dataclass(frozen=True)
class _Flow:
    """Whose datagrams these are; a bench's tether names no flow."""

    protocol: str = "udp"
    device: str = _MODEM
    device_port: int = 49152
    server: str = "198.51.100.254"
    server_port: int = 5684

    @classmethod
    def of(cls, text: object, hosts: _Hosts) -> _Flow:
        words = str(text or "").split()
        if len(words) != 3:
            return cls()
        (device, _, device_port), (server, _, server_port) = (word.rpartition(":") for word in words[1:])
        ports = [int(port[:5]) % 65536 if port.isdecimal() else 0 for port in (device_port, server_port)]
        return cls(words[0], hosts.address(device or _MODEM), ports[0], hosts.address(server), ports[1])


def _packet(fields: Mapping[str, Any], flow: _Flow) -> bytes:
    """An IPv4 packet; b"" for the modem's own DNS, of which only the size is known."""
    payload = bytes.fromhex(fields.get("payload", ""))[:_LONGEST]
    up = fields.get("direction") == "up"
    ends = (flow.device, flow.server) if up else (flow.server, flow.device)
    ports = (flow.device_port, flow.server_port) if up else (flow.server_port, flow.device_port)
    if flow.protocol == "tcp":
        flags = sum(_FLAGS.get(letter, 0) for letter in str(fields.get("flags", "A")))
        numbers = [number % 2**32 if isinstance(number, int) else 0 for number in map(fields.get, ("seq", "ack"))]
        return _ipv4(_TCP, *ends, struct.pack(">HHIIBBHHH", *ports, *numbers, 5 << 4, flags, 65535, 0, 0) + payload)
    if not payload:
        return b""
    return _ipv4(_UDP, *ends, _udp(*ports, payload))


def _secrets_for(event: Event, secrets: Mapping[str, list[str]]) -> Iterator[bytes]:
    """The secrets of the connection that this datagram begins, if it does: a ClientHello, of DTLS or TLS."""
    payload = str(event.fields.get("payload", ""))
    random = ""
    if payload.startswith("16fe") and payload[26:28] == "01":
        random = payload[54:118]  # behind headers of record (13) and handshake (12), and the version (2)
    elif payload.startswith("1603") and payload[10:12] == "01":
        random = payload[22:86]  # behind those of TLS (5, 4, 2)
    if lines := secrets.get(random):
        text = "".join(f"{line}\n" for line in lines).encode("ascii", "replace")
        yield _block(_SECRETS, struct.pack("<II", _TLS_KEY_LOG, len(text)) + _padded(text))


def _udp(source: int, target: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload  # a checksum of 0 is none (RFC 768)


def _ipv4(protocol: int, source: str, target: str, payload: bytes) -> bytes:
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + addresses
    total = sum(struct.unpack(">10H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack(">H", total ^ 0xFFFF) + header[12:] + payload


def _enhanced(interface: int, moment: datetime, packet: bytes, comment: str) -> bytes:
    microseconds = round((moment - _EPOCH).total_seconds() * 1e6)
    head = struct.pack("<IIIII", interface, microseconds >> 32 & 0xFFFFFFFF, microseconds & 0xFFFFFFFF,
                       len(packet), len(packet))  # fmt: skip
    options = _option(_COMMENT, comment) + _option(_END, "") if comment else b""
    return _block(_PACKET, head + _padded(packet) + options)


def _tag(number: int, value: bytes) -> bytes:
    """A tag of an exported PDU, padded to four bytes."""
    padded = _padded(value)
    return struct.pack(">HH", number, len(padded)) + padded


def _option(code: int, text: str) -> bytes:
    value = text.encode()[:32_000]
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
