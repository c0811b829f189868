"""RSP functions over HTTP (SGP.22 clauses 6.2, 6.5): what becomes of a request, for its caller and for the trace."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microipa.common.errors import MicroipaError
from microipa.net.https_server import ADMIN_PROTOCOL, admin_protocol, http_status, read_body
from microipa.smdpp import json_binding
from microipa.smdpp.callers import Callers
from microipa.smdpp.refusal import Refused
from microipa.trace import Trace

PATH = "/gsma/rsp2/"


@dataclass(frozen=True)
class Function:
    """A function with its fields in JSON. ``execute`` takes their arguments, and may be a coroutine function."""

    execute: Callable[..., Any]
    fields: tuple[json_binding.Field, ...]
    notification: bool = False  # answered by 204, without a body


@dataclass(frozen=True)
class Interface:
    """Which part of the lab offers what: names for the path and for the trace.

    ``callers``: those who may call, where that is not everybody.
    """

    part: str
    name: str
    trace: Trace | None
    callers: Callers | None = None

    def routes(self, functions: Mapping[str, Function]) -> list[Route]:
        """A refused function is HTTP 200 with its codes in the header object; a request nobody can understand is
        HTTP 4xx with {"error", "message"}."""
        return [
            Route(f"{PATH}{self.name}/{name}", partial(_json, self, name, function), methods=["POST"])
            for name, function in functions.items()
        ]


async def _json(interface: Interface, name: str, function: Function, request: Request) -> Response:
    call = Call(interface, name)
    try:
        call.begin(request)
        arguments = json_binding.decode_request(function.fields, await read_body(request))
        if interface.callers:
            _check_requester(arguments["requester"], interface.callers.oid(request.state.chain))
        answer = call.execute(function.execute, arguments)
        if inspect.isawaitable(answer):
            answer = await answer
    except Refused as refusal:
        return call.answer(200, json_binding.encode_refusal(refusal), outcome=refusal)
    except MicroipaError as error:
        return call.misunderstood(error)
    if function.notification:
        return call.answer(204, b"")
    return call.answer(200, json_binding.encode_answer(answer))


def _check_requester(claimed: str, certified: str) -> None:
    if claimed != certified:
        raise Refused("1.1", "1.1", f"the request is from {claimed[:128]!a}, the TLS certificate is for {certified}")


class Call:
    """One request and what becomes of it, for the answer's header and for the trace."""

    def __init__(self, interface: Interface, function: str) -> None:
        self.function = function
        self._interface = interface
        self._protocol = ADMIN_PROTOCOL
        self._transaction_id: bytes | None = None

    def begin(self, request: Request) -> None:
        self._protocol = admin_protocol(request)

    def execute(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        self._transaction_id = arguments.get("transaction_id")
        answer = function(**arguments)
        self._transaction_id = getattr(answer, "transaction_id", self._transaction_id)
        return answer

    def misunderstood(self, error: MicroipaError) -> Response:
        content = json.dumps({"error": type(error).__name__, "message": str(error)}).encode()
        return self.answer(http_status(error), content, outcome=error)

    def answer(
        self, status: int, content: bytes, kind: str = "application/json", *, outcome: object = "ok"
    ) -> Response:
        interface = self._interface
        if interface.trace:
            known = {"transaction_id": self._transaction_id} if self._transaction_id else {}
            kind_of_event = "es9" if interface.name == "es9plus" else interface.name
            interface.trace.record(
                interface.part, kind_of_event, function=self.function, outcome=str(outcome), **known
            )
        return Response(content, status, {"X-Admin-Protocol": self._protocol}, kind)
