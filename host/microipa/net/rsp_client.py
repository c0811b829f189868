"""A client of RSP servers, JSON over HTTPS (SGP.22 6.5): the eIM's of SM-DP+ (ES9+'), the SM-DP+'s of SM-DS and
operators (ES12, ES2+)."""

from __future__ import annotations

import asyncio
import base64
import codecs
import contextlib
import json
import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from cryptography import x509

from microipa.asn1.tlv import Tlv, parse
from microipa.common.errors import MicroipaError
from microipa.common.outside_text import visible
from microipa.crypto.pki import Credential
from microipa.crypto.revocation import Issuer
from microipa.crypto.tls import client_context
from microipa.net import https_client
from microipa.trace import Trace

PATH = "/gsma/rsp2/"
ES9_PLUS = "es9plus"
# What the certificate of a server is for, where it stands under a CI: an SM-DP+'s, an SM-DS's. An operator has no
# role there, but another SM-DP+ may be one.
ROLES = {ES9_PLUS: ("tls",), "es12": ("ds_tls",), "es2plus": ("tls",)}
HEADERS = {
    "Content-Type": "application/json",
    "X-Admin-Protocol": "gsma/rsp/v2.5.0",
    "User-Agent": "gsma-rsp-ipad",
    "Accept-Encoding": "identity",
}
TIMEOUT_SECONDS = 40.0  # some SM-DP+ bind a package that long; devices wait 60 s and more for their eIM
LARGEST_ANSWER = 4 << 20
LONGEST_TEXT = 200  # of a peer's own words
MOST_ADDRESSES = 4  # of one name, that are tried
HTTPS_PORT, LAST_PORT = 443, 65_535
LONGEST_LABEL = 63  # of a host name (RFC 1035 2.3.4)
ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*(?::[0-9]{1,5})?")


NUMBER = re.compile("[0-9]+|0[xX][0-9A-Fa-f]*")  # at the end of an address in digits, however it is written
NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")  # Python counts what is reserved, and site-local addresses, as global

Network = IPv4Network | IPv6Network
Place = IPv4Address | IPv6Address


class RspUnavailable(MicroipaError):
    """No usable answer: not reached, not trusted, an HTTP error, or a body that is not the binding's.

    ``untouched``: the server surely executed nothing. ``retry_after``: seconds that it asked to wait, if it did.
    """

    def __init__(self, reason: str, *, untouched: bool = False, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.untouched = untouched
        self.retry_after = retry_after


class RspRefused(MicroipaError):
    """The server executed nothing. ``subject`` and ``reason`` are the codes of SGP.22 5.2.6."""

    def __init__(self, function: str, subject: str, reason: str, message: str) -> None:
        super().__init__(f"the server refused {function}: {subject}/{reason} {message}".rstrip())
        self.subject = subject
        self.reason = reason


class RspClient:
    """Calls functions by server name.

    Names come from outside, in activation codes and in what cards sign. One that ``routes`` does not give an
    address must lead to public addresses alone, or into ``networks``: nobody reaches what stands beside us.
    """

    def __init__(
        self,
        part: str,
        trust: Sequence[x509.Certificate | Issuer],
        routes: Mapping[str, tuple[str, int]],
        trace: Trace | None,
        credential: Credential | None = None,
        networks: Sequence[Network] = (),
    ) -> None:
        """``part`` is who calls, in the trace; ``credential`` proves it to a server that asks. A server under a CI of
        ``trust`` needs a certificate for its role, that the CI's CRL does not have."""
        self._networks = networks
        self._part = part
        self._routes = routes
        self._trace = trace
        self._contexts = {
            interface: client_context(trust, credential, roles) for interface, roles in ROLES.items()
        }

    async def call(self, address: str, function: str, fields: Mapping[str, Any], interface: str = ES9_PLUS) -> Answer:
        """One function of ``interface``. Raises RspUnavailable, RspRefused."""
        outcome = "ok"
        try:
            return Answer.read(function, await self._post(address, interface, function, fields))
        except (RspUnavailable, RspRefused) as error:
            outcome = str(error)
            raise
        finally:
            if self._trace:
                kind = "es9" if interface == ES9_PLUS else interface
                self._trace.record(self._part, kind, function=function, address=address, outcome=outcome)

    async def _post(self, address: str, interface: str, function: str, fields: Mapping[str, Any]) -> bytes:
        name, _, port = address.partition(":")
        number = int(port or HTTPS_PORT) if ADDRESS.fullmatch(address) else 0
        if not 0 < number <= LAST_PORT or any(len(label) > LONGEST_LABEL for label in name.split(".")):
            raise RspUnavailable(f"{address[:128]!r} is no server's address", untouched=True)
        failed: RspUnavailable | None = None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                content = json.dumps(fields).encode()
                for place in await self._places(name, number):
                    try:
                        return await self._exchange(place, address, name, interface, function, content)
                    except https_client.NotReached as error:
                        reason = f"{function} did not reach {address}: {_cause(error)}"
                        failed = RspUnavailable(reason, untouched=True)
        except OSError as error:
            if not isinstance(error, TimeoutError):  # no such name
                raise RspUnavailable(f"{function} did not reach {address}: {_cause(error)}", untouched=True) from error
            raise RspUnavailable(f"{address} did not answer {function} within {TIMEOUT_SECONDS:.0f} s") from error
        except (https_client.Broken, ValueError) as error:
            raise RspUnavailable(f"{address} did not answer {function}: {_cause(error)}") from error
        raise failed or RspUnavailable(f"{function} did not reach {address}: it has no address", untouched=True)

    async def _places(self, name: str, port: int) -> list[tuple[str, int]]:
        """Where a server may be called. Raises RspUnavailable, OSError for a name that nobody knows."""
        if name in self._routes:
            return [self._routes[name]]
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
        hosts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for host in hosts:
            place = _behind(ip_address(host))
            public = _is_public(place) and not NUMBER.fullmatch(name.rpartition(".")[2])
            if not public and not any(place in network for network in self._networks):
                raise RspUnavailable(
                    f"{name} is at {host}, which is no public address that a name leads to: give it a route, "
                    "or allow its network",
                    untouched=True,
                )
        return [(host, port) for host in hosts[:MOST_ADDRESSES]]

    async def _exchange(
        self, place: tuple[str, int], address: str, name: str, interface: str, function: str, content: bytes
    ) -> bytes:
        """One POST. Raises RspUnavailable for a status that is no success, and what https_client raises."""
        path, headers = f"{PATH}{interface}/{function}", {"Host": address, **HEADERS}
        try:
            # A connection for each call: between two, a slow device takes longer than a server waits.
            reply = await https_client.post(
                place, name, path, headers, content, self._contexts[interface], LARGEST_ANSWER
            )
        except https_client.TooLong as error:
            raise RspUnavailable(f"{address} answers {function} without end") from error
        if not 200 <= reply.status < 300:
            raise _http_error(address, function, reply)
        return reply.body


def _behind(place: Place) -> Place:
    """The IPv4 address that one of IPv6 stands for: mapped, of 6to4, or of NAT64 (RFC 4291, 3056, 6052)."""
    if isinstance(place, IPv4Address):
        return place
    inside = IPv4Address(int(place) & 0xFFFFFFFF) if place in NAT64 else None
    return place.ipv4_mapped or place.sixtofour or inside or place


def _is_public(place: Place) -> bool:
    return place.is_global and not place.is_multicast and (isinstance(place, IPv4Address) or place in GLOBAL_UNICAST)


def _cause(error: BaseException) -> str:
    """The words of what lies deepest: those of the operating system or of TLS, where it was one of them."""
    text = str(error) or type(error).__name__
    inner: BaseException | None = error
    while inner:
        if isinstance(inner, ssl.SSLError):
            text = getattr(inner, "verify_message", "") or str(inner.strerror or inner)
        elif isinstance(inner, OSError) and inner.errno:
            text = os.strerror(inner.errno) if inner.errno > 0 else str(inner.strerror)
        inner = inner.__cause__ or inner.__context__
    return visible(text)[:LONGEST_TEXT]


def _http_error(address: str, function: str, reply: https_client.Reply) -> RspUnavailable:
    """An answer of HTTP itself; what the server says in the body of the binding is told with it."""
    text = f"{address} answers {function} with HTTP {reply.status}"
    with contextlib.suppress(RspUnavailable):
        try:
            Answer.read(function, reply.body)
        except RspRefused as refusal:
            text += f": {refusal}"
    after = reply.headers.get("retry-after", "").strip()
    return RspUnavailable(
        text,
        untouched=reply.status in (429, 503),
        retry_after=float(after) if re.fullmatch("[0-9]{1,6}", after) else None,
    )


class Answer:
    """The fields of an executed function, each read when asked for."""

    def __init__(self, function: str, fields: Mapping[str, Any]) -> None:
        self._function = function
        self._fields = fields

    @classmethod
    def read(cls, function: str, body: bytes) -> Answer:
        """Raises RspUnavailable for what is not the JSON binding, RspRefused for a refusal."""
        body = body.removeprefix(codecs.BOM_UTF8).strip()
        try:
            fields = json.loads(body) if body else {}
        except (ValueError, RecursionError) as error:
            raise RspUnavailable(f"the answer to {function} is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise RspUnavailable(f"the answer to {function} is no JSON object")
        status = _inside(_inside(fields, "header"), "functionExecutionStatus")
        if _text(status, "status", "Executed-Success").startswith("Executed"):
            return cls(function, fields)
        data = _inside(status, "statusCodeData")
        raise RspRefused(function, *(_text(data, key) for key in ("subjectCode", "reasonCode", "message")))

    def text(self, name: str) -> str:
        """Raises RspUnavailable."""
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise RspUnavailable(f"the answer to {self._function} has no {name}")
        return value

    def tlv(self, name: str, tag: int) -> Tlv:
        """A base64 field that is one TLV. Some peers wrap it twice (interop); the inner one is meant.

        Raises RspUnavailable.
        """
        try:
            found = parse(base64.b64decode(self.text(name), validate=True))
            if found.tag == tag and tag in (0x04, 0x5F37) and found.value[:2] in (b"\x5f\x37", b"\x04\x14"):
                found = parse(found.value)
        except RspUnavailable:
            raise
        except (ValueError, MicroipaError) as error:  # base64 that is none or no ASCII, a broken TLV
            raise RspUnavailable(f"{name} in the answer to {self._function}: {error}") from error
        if found.tag != tag:
            raise RspUnavailable(f"{name} in the answer to {self._function} is {found.tag:02X}, not {tag:02X}")
        return found

    def tlv_if_any(self, name: str, tag: int) -> bytes:
        return self.tlv(name, tag).raw if self._fields.get(name) else b""


def _inside(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _text(fields: Mapping[str, Any], name: str, absent: str = "") -> str:
    """A member for people to read; null is the same as no member."""
    value = fields.get(name)
    return absent if value is None else visible(value)[:LONGEST_TEXT]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
