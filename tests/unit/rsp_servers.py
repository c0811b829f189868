"""Servers around the SM-DP+, for tests: an operator that orders and is told, an SM-DS, each behind mutual TLS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from microipa.crypto.certificates import registered_id
from microipa.crypto.pki import Credential, Pki
from microipa.crypto.tls import client_context
from microipa.net.https_server import serve_https
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SUCCESS = {"header": {"functionExecutionStatus": {"status": "Executed-Success"}}}


class Refusal(Exception):
    """A function that ended Failed: its codes, "8.2.1/3.9"."""

    def __init__(self, data: dict[str, str]) -> None:
        super().__init__(f"{data['subjectCode']}/{data['reasonCode']}", data["message"])
        self.codes = f"{data['subjectCode']}/{data['reasonCode']}"


class Caller:
    """Calls the functions of one interface of a server on loopback, with a certificate."""

    def __init__(self, client: httpx.AsyncClient, interface: str, oid: str, name: str) -> None:
        self._client = client
        self._interface = interface
        self._oid = oid
        self._name = name

    async def post(self, function: str, body: Any) -> httpx.Response:
        return await self._client.post(
            f"/gsma/rsp2/{self._interface}/{function}",
            content=json.dumps(body),
            headers={"X-Admin-Protocol": "gsma/rsp/v2.2.0"},
            extensions={"sni_hostname": self._name},
        )

    async def call(self, function: str, *, requester: str | None = None, **fields: Any) -> dict[str, Any]:
        header = {"functionRequesterIdentifier": requester or self._oid, "functionCallIdentifier": "call-1"}
        response = await self.post(function, {"header": header, **fields})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        status = answer.pop("header")["functionExecutionStatus"]
        if status["status"] != "Executed-Success":
            assert not answer
            raise Refusal(status["statusCodeData"])
        return answer


@asynccontextmanager
async def calling(
    pki: Pki, port: int, interface: str, name: str, credential: Credential | None, oid: str
) -> AsyncIterator[Caller]:
    tls = client_context([pki.ci.certificate], credential)
    async with httpx.AsyncClient(verify=tls, base_url=f"https://127.0.0.1:{port}", trust_env=False) as client:
        yield Caller(client, interface, oid, name)


class Listener:
    """The operator's server: keeps what it is told. ``status`` is how it answers from now on."""

    def __init__(self, pki: Pki) -> None:
        self.told: list[dict[str, Any]] = []
        self.callers: set[str] = set()
        self.status = 204
        self._pki = pki
        path = "/gsma/rsp2/es2plus/handleDownloadProgressInfo"
        self._app = Starlette(routes=[Route(path, self._hear, methods=["POST"])])

    async def _hear(self, request: Request) -> Response:
        if self.status == 204:
            self.callers.add(registered_id(request.state.chain[0]))
            self.told.append(await request.json())
        return Response(status_code=self.status)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        async with serve_https(self._app, self._pki.operator_tls, clients=[self._pki.ci.certificate]) as port:
            yield port

    def steps(self) -> list[tuple[int, str]]:
        """(notificationPointId, "ok" or the codes of the failure), in the order they came."""
        found = []
        for one in self.told:
            status = one["notificationPointStatus"]
            data = status.get("statusCodeData")
            words = f"{data['subjectCode']}/{data['reasonCode']}" if data else "ok"
            assert (status["status"] == "Executed-Success") == (data is None)
            found.append((one["notificationPointId"], words))
        return found
