"""ESipa over HTTPS in both bindings (SGP.32 6.1.1, 6.3.1, 6.4): the routes, and what HTTP adds to them."""

from __future__ import annotations

from functools import partial

from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microipa.common.errors import MicroipaError
from microipa.eim import clients, esipa, json_binding
from microipa.eim.json_binding import Handle
from microipa.net.https_server import RequestRefused, admin_protocol, http_status, read_body

ASN1_PATH = "/gsma/rsp2/asn1"
JSON_PATH = "/gsma/rsp2/esipa/"
ASN1_TYPE = "application/x-gsma-rsp-asn1"
JSON_TYPE = "application/json"
ADMIN_PROTOCOL = "gsma/rsp/v2.1.0"  # what most peers say; the device's own is echoed


def application(handle: Handle) -> Starlette:
    """``handle`` answers a message of the ASN.1 binding; empty for what HTTP answers with 204.

    A refused function is HTTP 200 with its code; what is no ESipa message is 4xx, with a sentence for people.
    """
    asn1 = Route(ASN1_PATH, partial(_answer, handle, ASN1_TYPE, JSON_TYPE), methods=["POST"])
    functions = [
        Route(
            JSON_PATH + name,
            partial(_answer, partial(json_binding.answer, handle, name), f"{JSON_TYPE};charset=UTF-8", ASN1_TYPE),
            methods=["POST"],
        )
        for name in json_binding.FUNCTIONS
    ]
    return Starlette(routes=[asn1, *functions])


async def _answer(handle: Handle, ours: str, other: str, request: Request) -> Response:
    """One message. Peers differ in the Content-Type they name: only the other binding's is refused."""
    headers = {"X-Admin-Protocol": ADMIN_PROTOCOL}
    chain = getattr(request.state, "chain", None)
    clients.CLIENT.set(clients.eid_of(x509.load_der_x509_certificate(chain[0])) if chain else "")
    esipa.hear(request.headers.get(esipa.TROUBLE_HEADER, "").encode())
    try:
        headers["X-Admin-Protocol"] = admin_protocol(request, ADMIN_PROTOCOL)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == other:
            raise RequestRefused(415, f"{other} at {request.url.path}")
        answered = await handle(await read_body(request))
    except MicroipaError as error:
        return Response(str(error), http_status(error), headers, "text/plain")
    if not answered:
        return Response(status_code=204, headers=headers)
    return Response(answered, headers={**headers, "Content-Type": ours})
