"""ES9+ over HTTP in both its bindings (SGP.22 clauses 6.2, 6.5 and 6.6)."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microipa.common.errors import MicroipaError
from microipa.net.https_server import read_body
from microipa.smdpp import asn1_binding
from microipa.smdpp.es9 import Es9
from microipa.smdpp.json_binding import Field, octets, text, transaction_id
from microipa.smdpp.refusal import Refused
from microipa.smdpp.rsp_http import PATH, Call, Function, Interface
from microipa.trace import Trace

ASN1_PATH = PATH + "asn1"
ASN1_TYPE = "application/x-gsma-rsp-asn1"

SESSION = Field("transactionId", "transaction_id", transaction_id)
INITIATE = (
    Field("euiccChallenge", "euicc_challenge", octets),
    Field("euiccInfo1", "euicc_info1", octets),
    Field("smdpAddress", "smdp_address", text),
)
AUTHENTICATE = (SESSION, Field("authenticateServerResponse", "authenticate_server_response", octets))


def es9_functions(es9: Es9) -> dict[str, Function]:
    """The five functions of ES9+ by their names."""
    return {
        "initiateAuthentication": Function(es9.initiate_authentication, INITIATE),
        "authenticateClient": Function(es9.authenticate_client, AUTHENTICATE),
        "getBoundProfilePackage": Function(
            es9.get_bound_profile_package,
            (SESSION, Field("prepareDownloadResponse", "prepare_download_response", octets)),
        ),
        "handleNotification": Function(
            es9.handle_notification, (Field("pendingNotification", "pending_notification", octets),), notification=True
        ),
        "cancelSession": Function(
            es9.cancel_session, (SESSION, Field("cancelSessionResponse", "cancel_session_response", octets))
        ),
    }


def es9_routes(es9: Es9, trace: Trace | None) -> list[Route]:
    """Where ``es9`` is offered. In ASN.1 a refused function is HTTP 200 with its number."""
    interface = Interface("smdpp", "es9plus", trace)
    functions = es9_functions(es9)
    return [
        *interface.routes(functions),
        Route(ASN1_PATH, partial(_asn1, interface, functions), methods=["POST"]),
    ]


async def _asn1(interface: Interface, functions: dict[str, Function], request: Request) -> Response:
    call = Call(interface, "a request in ASN.1")
    try:
        call.begin(request)
        call.function, arguments = asn1_binding.decode_request(await read_body(request))
        answer = call.execute(functions[call.function].execute, arguments)
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
