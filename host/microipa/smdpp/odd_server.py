"""An SM-DP+ that differs from the standard, made of one that does not: ASGI around its application."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from microipa.asn1.tlv import parse, tlv
from microipa.smdpp.behaviour import Behaviour

_INITIATE, _AUTHENTICATE, _PACKAGE, _NOTIFICATION = (
    "initiateAuthentication", "authenticateClient", "getBoundProfilePackage", "handleNotification")
_PROFILE_NAME = 0x92
_SOON_S = 0.02


class OddServer:
    """``forget`` is what a restart does to the sessions of ``app``."""

    def __init__(self, app: ASGIApp, behaviour: Behaviour, forget: Callable[[], None]) -> None:
        self._app = app
        self._behaviour = behaviour
        self._forget = forget
        self._asked: Counter[str] = Counter()
        self._away_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        behaviour, function = self._behaviour, scope["path"].rpartition("/")[2]
        self._asked[function] += 1
        asked = self._asked[function]
        fails = {_INITIATE: behaviour.fails_initiate, _AUTHENTICATE: behaviour.fails_authenticate,
                 _PACKAGE: behaviour.fails_package, _NOTIFICATION: behaviour.fails_notification}
        closes = {_AUTHENTICATE: behaviour.closes_authenticate, _PACKAGE: behaviour.closes_package}
        now = asyncio.get_running_loop().time()
        if function == _PACKAGE and asked == 1 and behaviour.restarts_s:
            self._forget()
            self._away_until = now + behaviour.restarts_s
        if now < self._away_until:
            await _break_off(scope)
            return
        if asked <= fails.get(function, 0):
            await _plain(send, behaviour.status)
            return
        if behaviour.slow_s and asked == 1 and function in (_AUTHENTICATE, _PACKAGE):
            await asyncio.sleep(behaviour.slow_s)
        answer = _Answer()
        await self._app(scope, receive, answer.take)
        whole = asked > closes.get(function, 0)
        await answer.give(send, self._changed(function, answer.body), whole=whole)
        if not whole:
            await _break_off(scope)

    def _changed(self, function: str, body: bytes) -> bytes:
        behaviour = self._behaviour
        if not body.startswith(b"{"):
            return body
        fields = json.loads(body)
        if behaviour.nulls:
            fields["header"]["functionExecutionStatus"].setdefault("statusCodeData", None)
            fields["message"] = None
        if behaviour.other_metadata and function == _AUTHENTICATE and "profileMetadata" in fields:
            fields["profileMetadata"] = _renamed(fields["profileMetadata"])
        mark = b"\xef\xbb\xbf" if behaviour.byte_order_mark else b""
        return mark + json.dumps(fields).encode()


class _Answer:
    """An answer of the application, kept until it is whole."""

    def __init__(self) -> None:
        self.body = b""
        self._start: Message = {}

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self.body += message.get("body", b"")

    async def give(self, send: Send, body: bytes, *, whole: bool) -> None:
        headers = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
        if body:
            headers.append((b"content-length", str(len(body)).encode()))
        await send({**self._start, "headers": headers})
        if whole:
            await send({"type": "http.response.body", "body": body})
        else:
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


async def _break_off(scope: Scope) -> None:
    """End the connection; what was sent is on its way."""
    await asyncio.sleep(_SOON_S)
    scope["state"]["abort"]()
    await asyncio.sleep(_SOON_S)


async def _plain(send: Send, status: int) -> None:
    text = b"try again later"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _renamed(metadata: str) -> str:
    """BF25 in base64 with another name of the profile."""
    parts: Any = parse(base64.b64decode(metadata))
    changed = tlv(parts.tag, *(tlv(part.tag, b"Something else") if part.tag == _PROFILE_NAME else part.raw
                               for part in parts))
    return base64.b64encode(changed).decode()
