"""ES9+ over HTTP in both its bindings (SGP.22 clauses 6.2, 6.5 and 6.6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microipa.errors import MicroipaError
from microipa.smdpp import asn1_binding, json_binding
from microipa.smdpp.es9 import Es9
from microipa.smdpp.refusal import Refused
from microipa.smdpp.server import ADMIN_PROTOCOL, admin_protocol, http_status, read_body
from microipa.trace import Trace

JSON_PATH = "/gsma/rsp2/es9plus/"
ASN1_PATH = "/gsma/rsp2/asn1"
ASN1_TYPE = "application/x-gsma-rsp-asn1"

_METHODS: dict[str, Callable[..., object]] = {
    "initiateAuthentication": Es9.initiate_authentication,
    "authenticateClient": Es9.authenticate_client,
    "getBoundProfilePackage": Es9.get_bound_profile_package,
    "handleNotification": Es9.handle_notification,
    "cancelSession": Es9.cancel_session,
}


def es9_routes(es9: Es9, trace: Trace | None) -> list[Route]:
    """Where ``es9`` is offered.

    A refused function is HTTP 200 with its codes in the header object, or with its number in ASN.1; a request
    nobody can understand is HTTP 4xx with {"error", "message"}.
    """
    return [
        *(
            Route(JSON_PATH + function, partial(_json, es9, trace, function), methods=["POST"])
            for function in json_binding.FUNCTIONS
        ),
        Route(ASN1_PATH, partial(_asn1, es9, trace), methods=["POST"]),
    ]


async def _json(es9: Es9, trace: Trace | None, function: str, request: Request) -> Response:
    call = _Call(es9, trace, function)
    try:
        call.begin(request)
        arguments = json_binding.decode_request(function, await read_body(request))
        answer = call.execute(arguments)
    except Refused as refusal:
        return call.answer(200, json_binding.encode_refusal(refusal), outcome=refusal)
    except MicroipaError as error:
        return call.misunderstood(error)
    if function == "handleNotification":
        return call.answer(204, b"")
    return call.answer(200, json_binding.encode_answer(answer))


async def _asn1(es9: Es9, trace: Trace | None, request: Request) -> Response:
    call = _Call(es9, trace, "a request in ASN.1")
    try:
        call.begin(request)
        call.function, arguments = asn1_binding.decode_request(await read_body(request))
        answer = call.execute(arguments)
    except Refused as refusal:
        if call.function == "handleNotification":
            return call.misunderstood(refusal)  # this binding has no words for it
        content = asn1_binding.encode_refusal(call.function, refusal)
        return call.answer(200, content, ASN1_TYPE, outcome=refusal)
    except MicroipaError as error:
        return call.misunderstood(error)
    if call.function == "handleNotification":
        return call.answer(204, b"")
    return call.answer(200, asn1_binding.encode_answer(call.function, answer), ASN1_TYPE)


class _Call:
    """One request and what becomes of it, for the answer's header and for the trace."""

    def __init__(self, es9: Es9, trace: Trace | None, function: str) -> None:
        self.function = function
        self._es9 = es9
        self._trace = trace
        self._protocol = ADMIN_PROTOCOL
        self._transaction_id: bytes | None = None

    def begin(self, request: Request) -> None:
        self._protocol = admin_protocol(request)

    def execute(self, arguments: dict[str, Any]) -> object:
        self._transaction_id = arguments.get("transaction_id")
        answer = _METHODS[self.function](self._es9, **arguments)
        self._transaction_id = getattr(answer, "transaction_id", self._transaction_id)
        return answer

    def misunderstood(self, error: MicroipaError) -> Response:
        content = json.dumps({"error": type(error).__name__, "message": str(error)}).encode()
        return self.answer(http_status(error), content, outcome=error)

    def answer(
        self, status: int, content: bytes, kind: str = "application/json", *, outcome: object = "ok"
    ) -> Response:
        if self._trace:
            self._trace.record(
                "smdpp", "es9", function=self.function, transaction_id=self._transaction_id, outcome=str(outcome)
            )
        return Response(content, status, {"X-Admin-Protocol": self._protocol}, kind)
