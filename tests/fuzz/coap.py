"""ESipa over CoAP: damaged messages over one DTLS association."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from aiocoap import Message
from aiocoap.numbers.codes import INTERNAL_SERVER_ERROR, POST
from aiocoap.numbers.types import Type
from eim_client import DtlsClient
from microipa.eim import coap
from microipa.eim.dtls_handshake import DtlsSettings

from fuzz import mutations
from fuzz.corpus import Corpus
from fuzz.host import desk
from fuzz.run import Target

BLOCKS = ({}, {"block1": (0, True, 2)}, {"block1": (1, False, 2)}, {"block2": (1, False, 2)})
PATHS = (("gsma", "rsp2", "asn1"), ("gsma", "rsp2", "esipa", "getEimPackage"))
QUIET_S = 0.002  # after a damaged message, in which its answer comes


def targets(corpus: Corpus) -> Iterator[Target]:
    yield Target("coap", tuple(_messages(corpus)), mutations.octets, (), lambda: _Server(corpus))


def _messages(corpus: Corpus) -> Iterator[bytes]:
    numbers = itertools.count(1)
    for (request, _), path, blocks in itertools.product(corpus.esipa[:4], PATHS, BLOCKS):
        message = Message(code=POST, payload=request[:64], _mid=next(numbers), _mtype=Type.CON, _token=b"\1\2")
        message.opt.uri_path = path
        for name, value in blocks.items():
            setattr(message.opt, name, value)
        message.remote = None
        yield message.encode()


class _Server:
    """An eIM with one association. An error of the event loop, or 5.00, is the finding: of this message or, where the
    answer was late, of one a little before."""

    def __init__(self, corpus: Corpus) -> None:
        self._loop = asyncio.new_event_loop()
        self._failed: list[BaseException] = []
        self._loop.set_exception_handler(self._note)
        self._serving = coap.serve(desk(corpus).handle, corpus.pki.eim_tls, settings=DtlsSettings())
        self._client = self._loop.run_until_complete(self._connect(corpus))

    def __call__(self, message: bytes) -> None:
        self._loop.run_until_complete(self._send(message or b"\0"))
        if self._failed:
            raise self._failed.pop()

    def _note(self, _: object, context: dict[str, Any]) -> None:
        self._failed.append(context.get("exception") or RuntimeError(context["message"]))

    async def _connect(self, corpus: Corpus) -> DtlsClient:
        return await DtlsClient(await self._serving.__aenter__(), corpus.pki.ci.certificate).connect()

    async def _send(self, message: bytes) -> None:
        self._client.send(message)
        with contextlib.suppress(TimeoutError):
            while True:
                answer = Message.decode(await self._client.receive(timeout=QUIET_S), None)
                assert answer.code != INTERNAL_SERVER_ERROR, "5.00"
