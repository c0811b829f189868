"""ESipa over CoAP and DTLS (SGP.32 6.2): POST to the paths that HTTPS has as well, blocks by RFC 7959 or 9177.

The only module that touches the inner parts of aiocoap; they are those of 0.4.17, which pyproject pins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiocoap import Context, Message, error, interfaces, resource
from aiocoap.blockwise import Block1Spool, Block2Cache, IncompleteException
from aiocoap.numbers import TransportTuning, codes
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.pipe import Pipe
from aiocoap.transports.generic_udp import GenericMessageInterface
from aiocoap.util.asyncio.timeoutdict import TimeoutDict
from OpenSSL import SSL

from microipa.crypto.pki import Credential
from microipa.eim import esipa, json_binding
from microipa.eim.dtls import Association, DtlsServer, DtlsSettings
from microipa.eim.esipa import EsipaRefused
from microipa.eim.json_binding import Handle
from microipa.eim.qblock import Bursts, Wanted
from microipa.errors import Busy, MicroipaError
from microipa.https_server import LOOPBACK, PortTaken

log = logging.getLogger(__name__)

ASN1_PATH = ("gsma", "rsp2", "asn1")
JSON_PATH = ("gsma", "rsp2", "esipa")
LARGEST_REQUEST = 1 << 16
MOST_AT_ONCE = 256  # requests being answered; each may wait for an SM-DP+
ANSWER_SECONDS = 120.0  # for a device to carry out what it was sent, and every retransmission
LARGEST_PAYLOAD = 1024  # of one message: with CoAP, DTLS, UDP and IP headers it stays below every modem's limit

Said = tuple[Any, ...]
"""What makes two messages say the same: token, Block1, Request-Tag and payload."""


class SlowLink(TransportTuning):
    """RFC 7252 4.8 for NB-IoT: seconds of latency, and an SM-DP+ to be asked before the answer is there."""

    ACK_TIMEOUT = 10.0
    MAX_RETRANSMIT = 3
    EMPTY_ACK_DELAY = 0.5  # an answer within this time saves the device two datagrams


class Remote(interfaces.EndpointAddress):
    """A DTLS association as aiocoap's idea of an address; equal only to itself (RFC 7252 9.1.2)."""

    scheme = "coaps"
    hostinfo = uri_base = hostinfo_local = uri_base_local = ""
    blockwise_key: int = 0
    is_multicast = False
    is_multicast_locally = False
    maximum_payload_size = LARGEST_PAYLOAD

    def __init__(self, association: Association) -> None:
        self._association = association
        self.hostinfo = f"{association.address[0]}:{association.address[1]}"
        self.uri_base = f"coaps://{self.hostinfo}"
        self.blockwise_key = id(association)

    def __repr__(self) -> str:
        return f"<{self.uri_base}>"

    def send(self, datagram: bytes) -> None:
        try:
            self._association.send(datagram)
        except SSL.Error as gone:
            log.debug("nothing more can be sent to %s: %s", self, gone)


class CoapsInterface(GenericMessageInterface):
    """Moves messages between aiocoap's message manager and the DTLS endpoint."""

    def __init__(self, manager: Any, credential: Credential, settings: DtlsSettings) -> None:
        super().__init__(manager, log, asyncio.get_running_loop())
        self._remotes: dict[Association, Remote] = {}
        self.endpoint = DtlsServer(credential, self._on_message, self._on_lost, settings)

    async def shutdown(self) -> None:
        self._mman = None
        self.endpoint.stop()

    async def recognize_remote(self, remote: object) -> bool:
        return isinstance(remote, Remote)

    async def determine_remote(self, message: Message) -> None:
        return None  # associations are the devices' to open

    def _on_message(self, association: Association, datagram: bytes) -> None:
        remote = self._remotes.setdefault(association, Remote(association))
        try:
            message = Message.decode(datagram, remote)
        except (error.UnparsableMessage, ValueError) as unparsable:
            log.info("no CoAP from %s: %s", remote, unparsable)
            return
        message.transport_tuning = SlowLink()
        if self._mman:  # gone after shutdown
            self._mman.dispatch_message(message)

    def _on_lost(self, association: Association) -> None:
        remote = self._remotes.pop(association, None)
        if remote and self._mman:
            self._mman.dispatch_error(error.RemoteServerShutdown("association ended"), remote)


class Assemblies(Block1Spool):
    """Requests that arrive in blocks: one at a time for each association, bounded in size."""

    def __init__(self) -> None:
        self._assemblies = TimeoutDict(SlowLink().MAX_TRANSMIT_WAIT)

    def feed_and_take(self, req: Message) -> Message:
        block = req.opt.block1
        if block and block.start + len(req.payload) > LARGEST_REQUEST:
            raise error.RequestEntityTooLarge
        if block and block.block_number == 0:
            _forget(self._assemblies, req.remote)
        try:
            whole = super().feed_and_take(req)
        except ValueError as gap:
            raise IncompleteException from gap
        _forget(self._assemblies, req.remote)
        return whole


class Answers(Block2Cache):
    """Responses that leave in blocks, the newest of each association, as long as a slow device may take."""

    def __init__(self) -> None:
        self._completes = TimeoutDict(SlowLink().MAX_TRANSMIT_WAIT)

    async def extract_or_insert(self, req: Message, response_builder: Callable[[], Awaitable[Message]]) -> Message:
        if req.opt.block2 is None or req.opt.block2.block_number == 0:
            _forget(self._completes, req.remote)
        return await super().extract_or_insert(req, response_builder)


def _forget(kept: TimeoutDict, remote: Remote) -> None:
    """Drop what is kept for an association; a peer has one exchange at a time (RFC 7252 4.7)."""
    for key in [key for key in kept._items if key[0] == remote.blockwise_key]:
        del kept._items[key]


class Unreachable(MicroipaError):
    """A device that does not listen, or did not answer."""


class Listeners:
    """Devices that may still have their association open: each EID's newest that got no package more (3.1.1.2)."""

    def __init__(self) -> None:
        self._remotes: dict[str, Remote] = {}
        self._asking: dict[str, asyncio.Timeout] = {}
        self._context: Context | None = None
        self.some = asyncio.Event()
        """Somebody listens."""

    def open(self, context: Context | None) -> None:
        """Ask through this server from now on; None when it stops."""
        self._context = context
        self._remotes.clear()
        self.some.clear()

    def note(self, remote: Remote, request: bytes, answer: bytes) -> None:
        """An ESipa exchange over an association."""
        if (eid := esipa.polled_in_vain(request, answer)) is None:
            return
        asking, moved = self._asking.get(eid), self._remotes.get(eid) is not remote
        if asking and moved and not asking.expired():
            asking.reschedule(asyncio.get_running_loop().time())  # the association it came from is no more
        self._remotes[eid] = remote
        self.some.set()

    def forget(self, eid: str, remote: Remote | None = None) -> None:
        """The device does not listen any more, or not at ``remote``."""
        if remote is None or self._remotes.get(eid) is remote:
            self._remotes.pop(eid, None)
        if not self._remotes:
            self.some.clear()

    def eids(self) -> list[str]:
        return list(self._remotes)

    async def ask(self, eid: str, message: bytes) -> bytes:
        """POST one message to a device and wait for its answer. Raises Unreachable; the device is forgotten then."""
        remote = self._remotes.get(eid)
        if remote is None or self._context is None:
            raise Unreachable(f"{eid} has no association with this eIM now: it gets its orders at its next poll")
        request = Message(code=codes.POST, uri_path=ASN1_PATH, payload=message, transport_tuning=SlowLink())
        request.remote = remote
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as asking:
                self._asking[eid] = asking
                response = await self._context.request(request).response
        except (error.Error, OSError, TimeoutError) as silent:
            self.forget(eid, remote)
            raise Unreachable(f"{eid} does not answer any more: {type(silent).__name__}") from silent
        finally:
            self._asking.pop(eid, None)
        if not response.code.is_successful():
            self.forget(eid, remote)
            raise Unreachable(f"{eid} takes no packages: {response.code}")
        return bytes(response.payload)


@dataclass(frozen=True)
class Done:
    """The request an association asked last, as it was put together, and its answer.

    A device whose path does not take the answer asks again for smaller blocks, in a new message with the token
    of the old one. What it wants has been done already.
    """

    said: Said
    request: Message
    code: codes.Code
    payload: bytes

    @staticmethod
    def identity(message: Message) -> Said:
        return message.token, message.opt.block1, message.opt.request_tag, message.payload

    def answer(self) -> Message:
        return Message(code=self.code, payload=self.payload, transport_tuning=SlowLink())


class EsipaResource(resource.Resource):
    """What the eIM answers at one path: all messages in ASN.1, or one function in JSON."""

    def __init__(self, handle: Handle, listeners: Listeners | None = None) -> None:
        super().__init__()
        self._handle = handle
        self._listeners = listeners
        self._running = 0
        self._requests = Assemblies()
        self._answers = Answers()
        self._bursts = Bursts(SlowLink().MAX_TRANSMIT_WAIT)
        self._done: TimeoutDict = TimeoutDict(SlowLink().MAX_TRANSMIT_WAIT)

    async def render_to_pipe(self, pipe: Pipe) -> None:
        said = Done.identity(pipe.request)
        done = self._last_of(pipe.request.remote)
        if done and done.said != said:
            done = None
        if wanted := Wanted.all_of(pipe.request):
            await self._render_bursts(wanted, pipe, said, done)
        else:
            await self._render_blocks(pipe, said, done)

    async def _render_bursts(self, wanted: list[Wanted], pipe: Pipe, said: Said, done: Done | None) -> None:
        request = pipe.request
        if request.payload:
            answer = done.answer() if done else await self._do(request, said)
            messages = self._bursts.begin(wanted, request, answer)
        else:
            messages = self._bursts.more(wanted, request)
        for left, message in zip(reversed(range(len(messages))), messages, strict=True):
            pipe.add_response(message, is_last=not left)

    async def _render_blocks(self, pipe: Pipe, said: Said, done: Done | None) -> None:
        if done:
            request = done.request
            request.opt.block2 = pipe.request.opt.block2
        else:
            request = self._requests.feed_and_take(pipe.request)
            # Request-Tag tells assemblies apart (RFC 9175 3); the blocks of the answer need not repeat it.
            request.opt.delete_option(OptionNumber.REQUEST_TAG)

        async def answer() -> Message:
            return done.answer() if done else await self._do(request, said)

        response = await self._answers.extract_or_insert(request, answer)
        response.opt.block1 = request.opt.block1
        pipe.add_response(response, is_last=True)

    def _last_of(self, remote: Remote) -> Done | None:
        try:
            done: Done = self._done[remote.blockwise_key]
        except KeyError:
            return None
        return done

    async def _do(self, request: Message, said: Said) -> Message:
        answer = await self.render(request)
        self._done[request.remote.blockwise_key] = Done(said, request, answer.code, answer.payload)
        return answer

    async def render_post(self, request: Message) -> Message:
        if self._running == MOST_AT_ONCE:
            return Message(code=codes.SERVICE_UNAVAILABLE, transport_tuning=SlowLink())
        self._running += 1
        try:
            code, payload = codes.CHANGED, await self._handle(request.payload)
            if self._listeners:
                self._listeners.note(request.remote, request.payload, payload)
        except EsipaRefused as refusal:
            code, payload = codes.BAD_REQUEST, str(refusal).encode()[:LARGEST_PAYLOAD]
        except Busy as busy:
            code, payload = codes.SERVICE_UNAVAILABLE, str(busy).encode()
        finally:
            self._running -= 1
        return Message(code=code, payload=payload, transport_tuning=SlowLink())


@contextlib.asynccontextmanager
async def serve(
    handle: Handle, credential: Credential, *, host: str = LOOPBACK, port: int, settings: DtlsSettings,
    listeners: Listeners | None = None
) -> AsyncIterator[int]:
    """Answer ESipa at an address of this machine. Gives the UDP port, chosen by the system when ``port`` is 0.

    ``listeners`` learns which devices can be asked the other way. Raises PortTaken.
    """
    site = resource.Site()
    site.add_resource(ASN1_PATH, EsipaResource(handle, listeners))
    for name in json_binding.FUNCTIONS:
        site.add_resource((*JSON_PATH, name), EsipaResource(partial(json_binding.answer, handle, name)))
    context = Context(serversite=site, loggername="microipa.eim.coap")
    context.log.setLevel(logging.WARNING)  # aiocoap tells each 2.31 as an error, at INFO
    endpoints: list[DtlsServer] = []

    async def interface(manager: Any) -> CoapsInterface:
        made = CoapsInterface(manager, credential, settings)
        endpoints.append(made.endpoint)
        return made

    await context._append_tokenmanaged_messagemanaged_transport(interface)
    if listeners:
        listeners.open(context)
    try:
        try:
            bound = await endpoints[0].start(host, port)
        except OSError as error:
            raise PortTaken(f"cannot listen on {host}:{port} (UDP): {error.strerror}") from error
        yield bound
    finally:
        if listeners:
            listeners.open(None)
        await context.shutdown()
