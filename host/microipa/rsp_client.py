"""A client of RSP servers, JSON over HTTPS (SGP.22 6.5): the eIM's of SM-DP+ (ES9+'), the SM-DP+'s of SM-DS and
operators (ES12, ES2+)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from cryptography import x509

from microipa.asn1.tlv import Tlv, parse
from microipa.crypto.pki import Credential
from microipa.crypto.tls import client_context
from microipa.errors import MicroipaError
from microipa.trace import Trace

PATH = "/gsma/rsp2/"
ES9_PLUS = "es9plus"
HEADERS = {
    "Content-Type": "application/json",
    "X-Admin-Protocol": "gsma/rsp/v2.5.0",
    "User-Agent": "gsma-rsp-ipad",
    "Accept-Encoding": "identity",
}
TIMEOUT_SECONDS = 20.0
LARGEST_ANSWER = 4 << 20
ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*(?::[0-9]{1,5})?")


class RspUnavailable(MicroipaError):
    """No usable answer: not reached, not trusted, an HTTP error, or a body that is not the binding's."""


class RspRefused(MicroipaError):
    """The server executed nothing. ``subject`` and ``reason`` are the codes of SGP.22 5.2.6."""

    def __init__(self, function: str, subject: str, reason: str, message: str) -> None:
        super().__init__(f"the server refused {function}: {subject}/{reason} {message}".rstrip())
        self.subject = subject
        self.reason = reason


class RspClient:
    """Calls functions by server name. ``routes`` gives names a loopback address; the TLS name stays."""

    def __init__(
        self,
        part: str,
        trust: Sequence[x509.Certificate],
        routes: Mapping[str, tuple[str, int]],
        trace: Trace | None,
        credential: Credential | None = None,
    ) -> None:
        """``part`` is who calls, in the trace; ``credential`` proves it to a server that asks."""
        self._part = part
        self._routes = routes
        self._trace = trace
        self._tls = client_context(trust, credential)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=self._tls, timeout=TIMEOUT_SECONDS, headers=HEADERS, trust_env=False)

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
        if not ADDRESS.fullmatch(address):
            raise RspUnavailable(f"{address[:128]!r} is no server's address")
        name, _, port = address.partition(":")
        host, number = self._routes.get(name, (name, int(port or 443)))
        url = f"https://{host}:{number}{PATH}{interface}/{function}"
        try:
            # A connection for each call: between two, a slow device takes longer than a server waits.
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._client() as http,
                http.stream(
                    "POST",
                    url,
                    content=json.dumps(fields),
                    headers={"Host": address},
                    extensions={"sni_hostname": name},
                ) as response,
            ):
                body = bytearray()
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > LARGEST_ANSWER:
                        raise RspUnavailable(f"{address} answers {function} without end")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise RspUnavailable(f"{function} did not reach {address}: {reason}") from error
        if response.status_code not in (200, 204):
            raise RspUnavailable(f"{address} answers {function} with HTTP {response.status_code}")
        return bytes(body)


class Answer:
    """The fields of an executed function, each read when asked for."""

    def __init__(self, function: str, fields: Mapping[str, Any]) -> None:
        self._function = function
        self._fields = fields

    @classmethod
    def read(cls, function: str, body: bytes) -> Answer:
        """Raises RspUnavailable for what is not the JSON binding, RspRefused for a refusal."""
        try:
            fields = json.loads(body) if body.strip() else {}
        except (ValueError, RecursionError) as error:
            raise RspUnavailable(f"the answer to {function} is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise RspUnavailable(f"the answer to {function} is no JSON object")
        status = _inside(_inside(fields, "header"), "functionExecutionStatus")
        if str(status.get("status", "Executed-Success")).startswith("Executed"):
            return cls(function, fields)
        data = _inside(status, "statusCodeData")
        codes = [_printable(data.get(key, ""))[:200] for key in ("subjectCode", "reasonCode", "message")]
        raise RspRefused(function, *codes)

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
        except (binascii.Error, MicroipaError) as error:
            raise RspUnavailable(f"{name} in the answer to {self._function}: {error}") from error
        if found.tag != tag:
            raise RspUnavailable(f"{name} in the answer to {self._function} is {found.tag:02X}, not {tag:02X}")
        return found

    def tlv_if_any(self, name: str, tag: int) -> bytes:
        return self.tlv(name, tag).raw if self._fields.get(name) else b""


def _inside(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _printable(value: Any) -> str:
    """A peer's own words, to be kept and shown: JSON can hold halves of characters and what moves a cursor."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
