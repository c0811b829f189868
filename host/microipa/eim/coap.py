"""ESipa over CoAP and DTLS (SGP.32 6.2): POST to the paths that HTTPS has as well, blocks by RFC 7959 or 9177."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import count

from aiocoap import Context, Message, error, interfaces, resource
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.pipe import Pipe
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.generic_udp import GenericMessageInterface
from cryptography import x509

from microipa.common import addresses
from microipa.common.errors import Busy
from microipa.crypto.pki import Credential
from microipa.eim import clients, esipa, json_binding
from microipa.eim.dtls import Association, DtlsServer
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.eim.esipa import EsipaRefused
from microipa.eim.json_binding import Handle
from microipa.eim.kept import SLOW_LINK, Answers, Done, Kept, Messages, Requests, Said
from microipa.eim.listeners import Listeners
from microipa.eim.qblock import Body, Wanted
from microipa.eim.shares import host_of
from microipa.net import sockets
from microipa.net.https_server import LOOPBACK, Renewals
from microipa.trace.key_log import KeyLog

log = logging.getLogger(__name__)

ASN1_PATH = ("gsma", "rsp2", "asn1")
JSON_PATH = ("gsma", "rsp2", "esipa")
MOST_AT_ONCE = 256  # requests being answered; each may wait for an SM-DP+
FOR_OTHERS = 4  # one in so many of these places is kept from the host that has all the others
TROUBLE = OptionNumber(esipa.TROUBLE_OPTION)
LARGEST_PAYLOAD = 1024  # of one message: with CoAP, DTLS, UDP and IP headers it stays below every modem's limit

_numbers = count(1)


class Remote(interfaces.EndpointAddress):
    """A DTLS association as aiocoap's idea of an address; equal only to itself (RFC 7252 9.1.2)."""

    __slots__ = ("_association", "asked", "blockwise_key", "kept", "listening", "proved")

    scheme = "coaps"
    hostinfo_local = uri_base_local = ""
    is_multicast = False
    is_multicast_locally = False
    maximum_payload_size = LARGEST_PAYLOAD

    def __init__(self, association: Association) -> None:
        self._association = association
        self.blockwise_key = next(_numbers)
        self.kept = Kept()
        self.asked: str | None = None
        """The EID of which ``Listeners`` has asked whether it listens."""
        self.proved: str | None = None
        """The EID whose card's signed result has come over it."""
        self.listening: set[str] = set()
        """Those of which it heard that they do."""

    @property
    def hostinfo(self) -> str:
        return addresses.join(*self._association.address)

    @property
    def host(self) -> str:
        """What counts as one host, see ``shares``."""
        return host_of(self._association.address)

    @property
    def uri_base(self) -> str:
        return f"coaps://{self.hostinfo}"

    def __repr__(self) -> str:
        return f"<{self.uri_base}>"

    @property
    def client(self) -> str:
        """The EID of the client certificate, where there is one."""
        return self._association.client

    def send(self, datagram: bytes) -> None:
        self._association.send(datagram)


class CoapsInterface(GenericMessageInterface):
    """Moves messages between aiocoap's message manager and the DTLS endpoint."""

    def __init__(
        self, manager: Messages, credential: Credential, settings: DtlsSettings, listeners: Listeners | None,
        issuers: Sequence[x509.Certificate], key_log: KeyLog | None,
    ) -> None:
        super().__init__(manager, log, asyncio.get_running_loop())
        self._remotes: dict[Association, Remote] = {}
        self._keeping: dict[Remote, float] = {}  # and since when, the longest first
        self._listeners = listeners
        self.endpoint = DtlsServer(credential, self._on_message, self._on_lost, settings, issuers, key_log)

    async def shutdown(self) -> None:
        self._mman = None
        self.endpoint.stop()

    async def recognize_remote(self, remote: object) -> bool:
        return isinstance(remote, Remote)

    async def determine_remote(self, message: Message) -> None:
        return None  # associations are the devices' to open

    def _on_message(self, association: Association, datagram: bytes) -> None:
        remote = self._remotes.get(association)
        if remote is None:
            remote = self._remotes[association] = Remote(association)
        self._keep(remote)
        try:
            message = Message.decode(datagram, remote)
        except (error.UnparsableMessage, ValueError) as unparsable:
            log.info("no CoAP from %s: %s", remote, unparsable)
            return
        message.transport_tuning = SLOW_LINK
        if message.opt.uri_host is None:
            message.opt.uri_port = None  # aiocoap 0.4.17 answers a port without a host with 5.00
        if self._mman:  # gone after shutdown
            self._mman.dispatch_message(message)

    def _keep(self, remote: Remote) -> None:
        """Forget what others have not asked for any more while a peer may repeat itself (RFC 7252 4.8.2)."""
        now = self.endpoint.now()
        self._keeping.pop(remote, None)
        self._keeping[remote] = now
        while now - self._keeping[longest := next(iter(self._keeping))] > SLOW_LINK.EXCHANGE_LIFETIME:
            del self._keeping[longest]
            longest.kept.clear()

    def _on_lost(self, association: Association) -> None:
        remote = self._remotes.pop(association, None)
        if remote is None:
            return
        self._keeping.pop(remote, None)
        if self._listeners:
            self._listeners.lost(remote)
        if self._mman:
            self._mman.dispatch_error(error.RemoteServerShutdown("association ended"), remote)


class EsipaResource(resource.Resource):
    """What the eIM answers at one path: all messages in ASN.1, or one function in JSON."""

    def __init__(self, handle: Handle, listeners: Listeners | None = None) -> None:
        super().__init__()
        self._handle = handle
        self._listeners = listeners
        self._running = Counter[str]()  # by host
        self._etags = count(1)

    async def render_to_pipe(self, pipe: Pipe) -> None:
        said = Done.identity(pipe.request)
        done = pipe.request.remote.kept.done
        if done and done.said != said:
            done = None
        if wanted := Wanted.all_of(pipe.request):
            await self._render_bursts(wanted, pipe, said, done)
        else:
            await self._render_blocks(pipe, said, done)

    async def _render_bursts(self, wanted: list[Wanted], pipe: Pipe, said: Said, done: Done | None) -> None:
        request, kept = pipe.request, pipe.request.remote.kept
        if request.payload:
            answer = done.answer() if done else await self._do(request, said)
            if len(answer.payload) <= wanted[0].size:
                pipe.add_response(answer, is_last=True)
                return
            kept.body = Body(answer, (next(self._etags) & 0xFFFF).to_bytes(2, "big"))
        if kept.body is None:
            raise error.RequestEntityIncomplete
        messages = kept.body.burst(wanted)
        for left, message in zip(reversed(range(len(messages))), messages, strict=True):
            pipe.add_response(message, is_last=not left)

    async def _render_blocks(self, pipe: Pipe, said: Said, done: Done | None) -> None:
        kept = pipe.request.remote.kept
        if done:
            request = done.request
            request.opt.block2 = pipe.request.opt.block2
        else:
            kept.requests = kept.requests or Requests()
            request = kept.requests.feed_and_take(pipe.request)
            # Request-Tag tells assemblies apart (RFC 9175 3); the blocks of the answer need not repeat it.
            request.opt.delete_option(OptionNumber.REQUEST_TAG)

        async def answer() -> Message:
            return done.answer() if done else await self._do(request, said)

        kept.answers = kept.answers or Answers()
        response = await kept.answers.extract_or_insert(request, answer)
        response.opt.block1 = request.opt.block1
        pipe.add_response(response, is_last=True)

    async def _do(self, request: Message, said: Said) -> Message:
        answer = await self.render(request)
        request.remote.kept.done = Done(said, request, answer.code, answer.payload)
        return answer

    async def render_post(self, request: Message) -> Message:
        host = request.remote.host
        if self._running.total() >= MOST_AT_ONCE or self._running[host] >= MOST_AT_ONCE - MOST_AT_ONCE // FOR_OTHERS:
            return Message(code=codes.SERVICE_UNAVAILABLE, transport_tuning=SLOW_LINK)
        self._running[host] += 1
        clients.CLIENT.set(request.remote.client)
        esipa.hear(b"".join(option.value for option in request.opt.get_option(TROUBLE)[:1]))
        try:
            code, payload = codes.CHANGED, await self._handle(request.payload)
            if self._listeners:
                self._listeners.note(request.remote, request.payload, payload)
        except EsipaRefused as refusal:
            code, payload = codes.BAD_REQUEST, str(refusal).encode()[:LARGEST_PAYLOAD]
        except Busy as busy:
            code, payload = codes.SERVICE_UNAVAILABLE, str(busy).encode()
        finally:
            self._running[host] -= 1
            self._running += Counter()  # without hosts that have none
        return Message(code=code, payload=payload, transport_tuning=SLOW_LINK)


@contextlib.asynccontextmanager
async def serve(
    handle: Handle, credential: Credential, *, host: str = LOOPBACK, port: int = 0, settings: DtlsSettings,
    listeners: Listeners | None = None, bound: socket.socket | None = None, renewals: Renewals | None = None,
    issuers: Sequence[x509.Certificate] = (), key_log: KeyLog | None = None,
) -> AsyncIterator[int]:
    """Answer ESipa at an address of this machine, or at a socket that is ``bound``. Gives the UDP port, chosen by the
    system when ``port`` is 0.

    ``listeners`` learns which devices can be asked the other way; ``renewals`` is told how to renew the credential.
    With ``issuers`` only devices with a certificate under one of them are served. ``key_log``
    gets the secrets of their associations. Raises PortTaken.
    """
    bound = bound or sockets.udp(host, port)
    site = resource.Site()
    site.add_resource(ASN1_PATH, EsipaResource(handle, listeners))
    for name in json_binding.FUNCTIONS:
        site.add_resource((*JSON_PATH, name), EsipaResource(partial(json_binding.answer, handle, name)))
    context = Context(serversite=site, loggername="microipa.eim.coap")
    context.log.setLevel(logging.WARNING)  # aiocoap tells each 2.31 as an error, at INFO
    tokens = TokenManager(context)
    messages = Messages(tokens)
    interface = CoapsInterface(messages, credential, settings, listeners, issuers, key_log)
    tokens.token_interface, messages.message_interface = messages, interface
    context.request_interfaces.append(tokens)
    if listeners:
        listeners.open(context)
    if renewals is not None:
        renewals.append(interface.endpoint.renew)
    try:
        yield interface.endpoint.listen(bound)
    finally:
        if listeners:
            listeners.open(None)
        await context.shutdown()
