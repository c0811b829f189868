"""The parsers of the lab."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from euicc_peer import EID, Dp, Terminal, make_card, spec
from microipa import saip
from microipa.asn1 import SchemaError, describe
from microipa.asn1.tlv import TlvError, parse, parse_all, tlv
from microipa.common.console import Terminal as Screen
from microipa.eim import Eim, json_binding
from microipa.eim.dtls_hello import ClientHello
from microipa.eim.esipa import EsipaRefused
from microipa.net.rsp_client import Answer, RspRefused, RspUnavailable
from microipa.saip import ProfilePackage, SaipError, metadata
from microipa.saip.checks import checks
from microipa.saip.tree import tree
from microipa.smdpp import Smdpp
from microipa.smdpp.es9_http import ASN1_PATH, ASN1_TYPE
from microipa.smds import Smds
from microipa.trace import reading, session
from smdpp_peer import ADDRESS, asgi_client
from starlette.applications import Starlette

from fuzz import mutations
from fuzz.corpus import Corpus
from fuzz.run import Take, Target

_numbers = itertools.count(1)
_HELLO = bytes.fromhex(
    "16feff0000000000000000003a" "0100002e000000000000002e" "fefd" + "11" * 32 + "00" "00" "0004c02bc0ae" "0100" "0000"
)  # fmt: skip
_PROTOCOL = {"X-Admin-Protocol": "gsma/rsp/v2.1.0"}


def targets(corpus: Corpus) -> Iterator[Target]:
    folder = corpus.folder
    esipa = tuple(message for pair in corpus.esipa for message in pair if message)
    es10 = tuple(message for pair in corpus.es10 for message in pair if message)
    yield Target("tlv", esipa, mutations.octets, (TlvError,), lambda: _walk)
    yield Target("asn1", (*esipa, *es10, corpus.profile), mutations.tlvs, (SchemaError,), lambda: _describe)
    asked = tuple(request for request, _ in corpus.esipa)
    yield Target("esipa", asked, mutations.tlvs, (EsipaRefused,), lambda: _eim(corpus))
    functions = tuple(_esipa_json())
    yield Target("esipa-json", functions, mutations.members, (EsipaRefused,), lambda: _eim_json(corpus))
    es9 = tuple(json.dumps({"f": name, **json.loads(body)}).encode() for name, body, _ in corpus.es9)
    yield Target("es9", es9, mutations.members, (), lambda: _posts(Smdpp(corpus.pki, _new(folder)).app, "es9plus"))
    yield Target("es9-asn1", tuple(_es9_asn1(corpus)), mutations.tlvs, (), lambda: _es9_der(corpus))
    yield Target("es11", es9, mutations.members, (), lambda: _posts(Smds(corpus.pki, _new(folder)).app, "es9plus"))
    yield Target("es2plus", tuple(_es2plus()), mutations.members, (), lambda: _es2(corpus))
    yield Target("es12", tuple(_es12()), mutations.members, (), lambda: _es12_server(corpus))
    answers = tuple(answer for _, _, answer in corpus.es9 if answer)
    yield Target("rsp-client", answers, mutations.members, (RspUnavailable, RspRefused), lambda: _answer)
    yield Target("client-hello", (_HELLO,), mutations.octets, (), lambda: _hello)
    yield Target("apdu", tuple(corpus.apdus), mutations.octets, (), lambda: _card(corpus).transmit)
    commands = tuple(command for command, _ in corpus.es10)
    yield Target("es10", commands, mutations.tlvs, (), lambda: _es10(corpus))
    yield Target("bpp", (corpus.profile,), mutations.tlvs, (), lambda: _install(corpus))
    about = (metadata(spec(3)),)
    yield Target("metadata", about, mutations.tlvs, (), lambda: _install_about(corpus))
    yield Target("saip", (corpus.profile,), mutations.tlvs, (SaipError,), lambda: _package)
    rows = tuple("\n".join(corpus.rows[at : at + 8]).encode() for at in range(0, len(corpus.rows), 8))
    yield Target("trace", rows, mutations.lines, (reading.BadTrace,), lambda: _trace)


def _new(folder: Path) -> Path:
    made = folder / f"state-{next(_numbers)}"
    made.mkdir()
    return made


def _walk(message: bytes) -> None:
    for found in parse_all(message):
        if found.raw[0] & 0x20:
            _walk(found.value)


def _describe(message: bytes) -> None:
    found = describe.describe(message)
    found.text()
    found.json()
    found.summary()


# The eIM


def _eim(corpus: Corpus) -> Take:
    """An eIM whose device has packages and a download under way."""
    eim = desk(corpus)
    return lambda message: asyncio.run(eim.handle(message))


def desk(corpus: Corpus) -> Eim:
    eim = Eim(corpus.pki, _new(corpus.folder), es9_routes={ADDRESS: ("127.0.0.1", 1)})
    eim.add_device(EID)
    for _ in range(3):
        eim.order_package(EID, [("listProfileInfo", {})])
    eim.order_download(EID, f"LPA:1${ADDRESS}$X", needs_proof=False)
    return eim


def _esipa_json() -> Iterator[bytes]:
    for name, function in json_binding.FUNCTIONS.items():
        values: dict[str, Any] = {"f": name}
        for member in function.members:
            values[member.name] = {
                "eidValue": EID, "transactionId": "0102", "smdpAddress": ADDRESS, "rPlmn": b64encode(bytes(3)).decode(),
                "stateChangeCause": 1, "notifyStateChange": True, "eimTransactionId": "A1A2",
            }.get(member.name, b64encode(tlv(0xBF51, tlv(0xA0, tlv(0x30, tlv(0x80, b"x"))))).decode())  # fmt: skip
        yield json.dumps(values).encode()


def _eim_json(corpus: Corpus) -> Take:
    eim = desk(corpus)

    def take(message: bytes) -> bytes:
        name = _function(message, json_binding.FUNCTIONS)
        return asyncio.run(json_binding.answer(eim.handle, name, message))

    return take


def _function(message: bytes, known: Any) -> str:
    """Which function a message is for; a damaged one that does not tell is for the first."""
    try:
        name = json.loads(message)["f"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        name = None
    return name if isinstance(name, str) and name in known else next(iter(known))


# SM-DP+ and SM-DS


def _posts(app: Any, interface: str, functions: tuple[str, ...] = ()) -> Take:
    """Every request gets an answer of HTTP; an exception in the application is one here."""
    known = functions or ("initiateAuthentication", "authenticateClient", "getBoundProfilePackage",
                          "handleNotification", "cancelSession")

    def take(message: bytes) -> None:
        path = f"/gsma/rsp2/{interface}/{_function(message, known)}"
        _check(asyncio.run(_post(app, path, message, "application/json")))

    return take


async def _post(app: Any, path: str, body: bytes, kind: str) -> httpx.Response:
    async with asgi_client(app) as client:
        return await client.post(path, content=body, headers={"Content-Type": kind, **_PROTOCOL})


def _check(response: httpx.Response) -> None:
    assert response.status_code in (200, 204, 400, 404, 413), response.status_code


def _es9_asn1(corpus: Corpus) -> Iterator[bytes]:
    for request, _ in corpus.esipa:
        if parse(request).tag in (0xBF3B, 0xBF3A, 0xBF41, 0xBF3D):
            yield tlv(0xA2, request)
    yield tlv(0xA2, tlv(0xBF39, tlv(0x81, bytes(16)), tlv(0x83, ADDRESS.encode()), corpus.answers_of(0xBF20)[0]))


def _es9_der(corpus: Corpus) -> Take:
    app = Smdpp(corpus.pki, _new(corpus.folder)).app
    return lambda message: _check(asyncio.run(_post(app, ASN1_PATH, message, ASN1_TYPE)))


def _called_by(app: Starlette, chain: list[bytes]) -> Callable[..., Awaitable[None]]:
    """The application behind mutual TLS, as its server tells it who calls."""

    async def called(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await app({**scope, "state": {"chain": chain}}, receive, send)

    return called


def _header(oid: str) -> dict[str, Any]:
    return {"header": {"functionRequesterIdentifier": oid, "functionCallIdentifier": "call-1"}}


_ES2 = ("downloadOrder", "confirmOrder", "releaseProfile", "cancelOrder")


def _es2plus() -> Iterator[bytes]:
    fields = {
        "downloadOrder": {"eid": EID, "iccid": spec(3).iccid, "profileType": "meter"},
        "confirmOrder": {"iccid": spec(3).iccid, "eid": EID, "matchingId": "M-1", "confirmationCode": "1234",
                         "smdsAddress": "smds.example", "releaseFlag": True},
        "releaseProfile": {"iccid": spec(3).iccid},
        "cancelOrder": {"iccid": spec(3).iccid, "eid": EID, "finalProfileStatusIndicator": "Available"},
    }  # fmt: skip
    for name, given in fields.items():
        yield json.dumps({"f": name, **_header(OPERATOR), **given}).encode()


OPERATOR = "2.999.1"


def _es2(corpus: Corpus) -> Take:
    smdpp = Smdpp(corpus.pki, _new(corpus.folder))
    smdpp.stock(corpus.profile, profile_type="meter")
    return _calls(smdpp.operators_app, "es2plus", _ES2, [corpus.pki.operator_tls.der], corpus.pki.operator_oid)


def _es12() -> Iterator[bytes]:
    given = {"eid": EID, "eventId": "E-1", "rspServerAddress": "smdp.example", "forwardingIndicator": False}
    for name in ("registerEvent", "deleteEvent"):
        yield json.dumps({"f": name, **_header(OPERATOR), **given}).encode()


def _es12_server(corpus: Corpus) -> Take:
    smds, pki = Smds(corpus.pki, _new(corpus.folder)), corpus.pki
    return _calls(smds.servers_app, "es12", ("registerEvent", "deleteEvent"), [pki.smdpp_tls.der], pki.smdpp_oid)


def _calls(app: Starlette, interface: str, functions: tuple[str, ...], chain: list[bytes], oid: str) -> Take:
    post = _posts(_called_by(app, chain), interface, functions)
    return lambda message: post(message.replace(OPERATOR.encode(), oid.encode()))


def _answer(message: bytes) -> None:
    answer = Answer.read("initiateAuthentication", message)
    for name, tag in (("serverSigned1", 0x30), ("serverSignature1", 0x5F37), ("euiccCiPKIdToBeUsed", 0x04),
                      ("profileMetadata", 0xBF25), ("smdpSigned2", 0x30), ("boundProfilePackage", 0xBF36)):
        answer.tlv_if_any(name, tag)
    answer.text("transactionId")


def _hello(message: bytes) -> None:
    hello = ClientHello.find(message)
    if hello:
        hello.first()
        hello.verify_request(bytes(20))


# The card


def _card(corpus: Corpus) -> Any:
    return _terminal(corpus).card


def _terminal(corpus: Corpus) -> Terminal:
    return Terminal(make_card(_new(corpus.folder), corpus.pki)).start()


def _es10(corpus: Corpus) -> Take:
    terminal = _terminal(corpus)

    def take(message: bytes) -> None:
        if message[:65000]:
            terminal.reset()
            _chain(terminal, message)

    return take


def _chain(terminal: Terminal, command: bytes) -> bytes:
    """A STORE DATA chain up to the first block that is refused."""
    blocks = [command[place : place + 255] for place in range(0, len(command), 255)][:256]
    data = b""
    for number, block in enumerate(blocks):
        p1 = 0x91 if number == len(blocks) - 1 else 0x11
        data = terminal.send(bytes([0x80 | terminal.channel, 0xE2, p1, number, len(block)]) + block)
        if terminal.sw != 0x9000 and terminal.sw >> 8 != 0x91:
            break
    return data


def _install(corpus: Corpus) -> Take:
    """A damaged profile in a package that is protected as it should be."""
    about = metadata(spec(3))
    return _installs(corpus, lambda message: (message, about))


def _install_about(corpus: Corpus) -> Take:
    return _installs(corpus, lambda message: (corpus.profile, message))


def _installs(corpus: Corpus, meant: Callable[[bytes], tuple[bytes, bytes]]) -> Take:
    terminal = _terminal(corpus)

    def take(message: bytes) -> None:
        terminal.reset()
        dp = Dp(corpus.pki, terminal)
        dp.authenticate()
        dp.prepare()
        for piece in dp.segments(*meant(message)):
            if _chain(terminal, piece) or terminal.sw != 0x9000:
                break

    return take


def _package(message: bytes) -> None:
    package = ProfilePackage.parse(message)
    package.encode()
    checks(package)
    tree(package)
    saip.metadata(package)


def _trace(message: bytes) -> None:
    try:
        text = message.decode()
    except UnicodeDecodeError:
        text = message.decode("latin-1")
    screen = Screen(file=io.StringIO(), width=200)
    events = reading.read(text, "trace.jsonl")
    session.print_session(events, screen, as_json=False)
    with contextlib.redirect_stdout(io.StringIO()):
        session.print_session(events, screen, as_json=True)


