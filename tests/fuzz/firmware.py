"""The parsers of the assistant, imported under CPython: cards, eIMs, SM-DP+, modems and files that say anything."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from binascii import crc32
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from euicc_peer import spec
from ipa import apn, compat, config, eim, tlv
from ipa.card import bpp, es10
from ipa.card.channel import CardError, Channel
from ipa.journal import Journal
from ipa.modem import ModemError, at
from ipa.net import NetError, ServerError, coap_message, es9, es11, esipa, esipa_json, https
from ipa.steps import InvalidPackage, data, packages, trigger
from microipa.asn1.tlv import parse
from microipa.asn1.tlv import tlv as host_tlv
from microipa.saip import metadata

from fuzz import mutations
from fuzz.corpus import Corpus
from fuzz.run import Take, Target

CARD = (CardError, tlv.TlvError)
SERVER = (NetError, ServerError, tlv.TlvError)
TRANSACTION = bytes(4)
TRANSCRIPTS = Path(__file__).parents[1] / "firmware" / "transcripts"


def targets(corpus: Corpus) -> Iterator[Target]:
    compat.log_sink = lambda line: None
    esipa_answers = tuple(answer for _, answer in corpus.esipa if answer)
    card_answers = tuple(answer for _, answer in corpus.es10 if answer)
    es9_answers = tuple(answer for _, _, answer in corpus.es9 if answer)
    whole = (*esipa_answers, *card_answers)
    yield Target("board-tlv", whole, mutations.octets, (tlv.TlvError,), lambda: _tlv)
    yield Target("board-es10", card_answers, mutations.tlvs, CARD, lambda: _es10)
    yield Target("board-apdu", card_answers, mutations.octets, CARD, lambda: _channel)
    yield Target("board-eim", tuple(_configurations(corpus)), mutations.tlvs, (tlv.TlvError, eim.EimUnknown),
                 lambda: _eim)
    yield Target("board-esipa", esipa_answers, mutations.tlvs, SERVER, lambda: _esipa)
    yield Target("board-json", es9_answers, mutations.members, SERVER, lambda: _esipa_json)
    yield Target("board-es9", es9_answers, mutations.members, SERVER, lambda: _es9)
    yield Target("board-es11", (_EVENTS,), mutations.members, SERVER, lambda: _es11)
    yield Target("board-http", tuple(_http(es9_answers)), mutations.octets, (NetError,), lambda: _https)
    yield Target("board-coap", tuple(_coap(esipa_answers)), mutations.octets, (NetError,), lambda: _coap_message)
    code = host_tlv(0xA0, host_tlv(0x80, b"LPA:1$smdp.example$A-B-C$1.2.3$1"))
    triggers = (code, code + b"\x82\1\1", host_tlv(0xA0, host_tlv(0xA2, b"\x80\4smds")), b"\x82\1\1")
    yield Target("board-trigger", triggers, mutations.tlvs, (tlv.TlvError, InvalidPackage), lambda: trigger.read)
    about = (parse(metadata(spec(3))).value,)
    yield Target("board-metadata", about, mutations.tlvs, (tlv.TlvError, UnicodeError), lambda: _metadata)
    asked = tuple(parse(answer).children()[0].value for answer in esipa_answers if parse(answer).tag == 0xBF4F)
    yield Target("board-package", asked, mutations.tlvs, (tlv.TlvError, InvalidPackage), lambda: _package)
    results = tuple(corpus.answers_of(0xBF51))
    yield Target("board-result", results, mutations.tlvs, (tlv.TlvError,), lambda: _result)
    packages_ = tuple(answer for answer in esipa_answers if parse(answer).tag == 0xBF3A)
    yield Target("board-bpp", packages_, mutations.tlvs, (*CARD, *SERVER), lambda: _load)
    yield Target("board-at", tuple(_lines()), mutations.lines, (ModemError,), lambda: _at)
    folder = corpus.folder / "files"
    folder.mkdir()
    yield Target("board-journal", (_JOURNAL,), mutations.members, (), lambda: _journal(folder))
    yield Target("board-config", (_CONFIG,), mutations.members, (config.ConfigError,), lambda: _config(folder))


class Stuck(AssertionError):
    """The firmware waits for something, though all has been said."""


def done(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns whose every answer is there already."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise Stuck


class Stream:
    """Bytes in pieces of at most 100, as a link gives them."""

    def __init__(self, content: bytes) -> None:
        self._left = memoryview(content)

    async def readinto(self, buf: Any) -> int:
        count = min(len(buf), len(self._left), 100)
        buf[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        pass


class Server:
    """A link or an HTTPS connection behind which one answer waits, whatever is asked."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def exchange(self, parts: Any, function: str | None = None) -> Stream:
        return Stream(self._answer)

    async def post(self, path: str, length: int, chunks: Any) -> Stream:
        return Stream(self._answer)

    def close(self) -> None:
        pass


class Carrier:
    """A card that has one answer to every last block, in pieces of 256 bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = self._left = answer

    async def transmit(self, apdu: Any) -> bytes:
        if apdu[1] == 0xE2:
            if apdu[2] != 0x91:
                return b"\x90\x00"
            self._left = self._answer
        elif apdu[1] != 0xC0:
            return b"\x90\x00"
        piece, self._left = self._left[:256], self._left[256:]
        return piece + (bytes((0x61, min(len(self._left), 256) & 0xFF)) if self._left else b"\x90\x00")


def _all(calls: list[Callable[[], Any]], named: tuple[type[BaseException], ...]) -> None:
    """Each of the calls; the last error with a name is raised again."""
    last: BaseException | None = None
    for call in calls:
        try:
            call()
        except named as error:
            last = error
    if last:
        raise last


def _tlv(message: bytes) -> None:
    def walk(view: Any, depth: int) -> None:
        for tag, value, raw in tlv.items(view):
            if raw[0] & 0x20 and depth:
                walk(value, depth - 1)
            elif tag == 0x02:
                tlv.integer(value)

    async def read() -> None:
        reader = tlv.Reader(Stream(message))
        while True:
            _, length = await reader.header()
            await reader.read(length, 4096)

    _all([lambda: walk(message, 8), lambda: tlv.find_raw(message, 0xBF51, 0xA0, 0x30), lambda: done(read())],
         (tlv.TlvError,))


def _es10(message: bytes) -> None:
    card = es10.Es10(Channel(Carrier(message)))
    calls = [
        card.get_eid, card.ipa_mode, card.get_euicc_challenge, card.find_eim, card.get_certs, card.list_notifications,
        lambda: card.retrieve_notification(1), card.retrieve_notifications, card.retrieve_results,
        lambda: card.remove_notification(1), lambda: card.add_initial_eim(b"\x30\x00"),
        lambda: apn._of_profile(card),
    ]  # fmt: skip
    _all([lambda call=call: done(call()) for call in calls], CARD)


def _channel(message: bytes) -> None:
    """What a card says as a status word and before it."""

    class Raw:
        def __init__(self) -> None:
            self._pieces = itertools.cycle([message[at : at + 60] for at in range(0, len(message), 60)] or [b""])

        async def transmit(self, apdu: Any) -> bytes:
            return next(self._pieces)

    done(Channel(Raw()).store(b"\xbf\x2b\x00", answered=True))


def _configurations(corpus: Corpus) -> Iterator[bytes]:
    for answer in corpus.answers_of(0xBF55):
        for one in parse(answer)[0xA0]:
            yield one.value


def _eim(message: bytes) -> None:
    if tlv.find(message, 0x81) is not None:  # else unserved() has left it out
        eim.Eim(message)


def _esipa(message: bytes) -> None:
    eim_ = esipa.Esipa(Server(message))
    tag = int.from_bytes(message[:2], "big")
    calls: dict[int, Callable[[], Any]] = {
        0xBF4F: lambda: eim_.get_eim_package(bytes(16)),
        0xBF50: lambda: eim_.provide_eim_package_result(bytes(16), b"\x30\x00"),
        0xBF39: lambda: eim_.initiate_authentication(bytes(16)),
        0xBF3B: lambda: eim_.authenticate_client(TRANSACTION, b"\xbf\x38\x00"),
        0xBF3A: lambda: eim_.get_bound_profile_package(TRANSACTION, b"\xbf\x21\x00"),
        0xBF41: lambda: eim_.cancel_session(TRANSACTION, b"\x30\x00"),
    }
    done(calls.get(tag, calls[0xBF4F])())


def _json_calls(server: Any) -> list[Callable[[], Any]]:
    return [
        lambda: done(server.initiate_authentication(bytes(16), "smdp.example", b"\xbf\x20\x00")),
        lambda: done(server.authenticate_client(TRANSACTION, b"\xbf\x38\x00")),
        lambda: done(server.get_bound_profile_package(TRANSACTION, b"\xbf\x21\x00")),
        lambda: done(server.handle_notification(b"\x30\x00")),
        lambda: done(server.cancel_session(TRANSACTION, b"\x30\x00")),
    ]


def _esipa_json(message: bytes) -> None:
    server = esipa_json.EsipaJson(Server(message))
    calls = [lambda: done(server.get_eim_package(bytes(16))),
             lambda: done(server.provide_eim_package_result(bytes(16), b"\x30\x00"))]  # fmt: skip
    _all([*calls, *_json_calls(server)], SERVER)


def _es9(message: bytes) -> None:
    _all(_json_calls(es9.Es9(Server(message))), SERVER)


_EVENTS = json.dumps(
    {
        "header": {"functionExecutionStatus": {"status": "Executed-Success"}},
        "transactionId": "00000000",
        "eventEntries": [{"eventId": f"E-{n}", "rspServerAddress": "smdp.example"} for n in range(3)],
    }
).encode()


def _es11(message: bytes) -> None:
    done(es11.Es11(Server(message)).authenticate_client(TRANSACTION, b"\xbf\x38\x00"))


def _http(bodies: tuple[bytes, ...]) -> Iterator[bytes]:
    for body in bodies[:3]:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        yield head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        yield head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


class Tls:
    def __init__(self, content: bytes) -> None:
        self._left = content

    def readinto(self, view: Any) -> int:
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _https(message: bytes) -> None:
    async def read() -> None:
        channel = https._Channel(Tls(message), None, None)
        channel._end = compat.ticks_ms() + 60000
        body = https.Body(channel)
        await body.begin()
        buf = bytearray(200)
        while await body.readinto(buf):
            pass

    done(read())


def _coap(bodies: tuple[bytes, ...]) -> Iterator[bytes]:
    for head in ("68440001aabbccdd11223344c20016", "48440001aabbccdd11223344d10a1e411e620100", "52020001aabb"):
        yield bytes.fromhex(head) + b"\xff" + bodies[0][:64]
    yield bytes.fromhex("60000001")


def _coap_message(message: bytes) -> None:
    _, code, _, _, options, payload = coap_message.parse(memoryview(message))
    for option in (23, 27, 31):
        coap_message.block_option(options, option)
    coap_message.check(code, payload)


def _metadata(message: bytes) -> None:
    bpp.shown(message)
    trigger.unfit(message)


def _package(message: bytes) -> None:
    packages._switch(message)
    packages._transaction(message)
    packages._check_form(message, 4)
    tags = tlv.find(message, 0x5C)
    if tags is not None:
        data._tags(tags, None)


def _result(message: bytes) -> None:
    view = memoryview(message)
    packages.profile_changes(view)
    packages._error_code(view)
    packages._kept(view, packages._identity(view))


def _load(message: bytes) -> None:
    async def load(metadata: bytes | None) -> None:
        transaction = message[11:27]  # that of the undamaged one
        eim_ = esipa.Esipa(Server(message))
        reader, length = await eim_.get_bound_profile_package(transaction, b"\xbf\x21\x00")
        await bpp.Loader(Channel(Carrier(b"")), reader, reader.head, length, metadata=metadata).load()

    _all([lambda: done(load(None)), lambda: done(load(b""))], (*CARD, *SERVER))


# The modem


def _lines() -> Iterator[bytes]:
    """What modems have said, with what they answered and what they told unasked."""
    for file in sorted(TRANSCRIPTS.glob("*.at")):
        said = [line[2:] for line in file.read_text().splitlines() if line.startswith("< ")]
        for at_line in range(0, len(said), 12):
            yield "".join(f"{line}\r\n" for line in said[at_line : at_line + 12]).encode()


class Uart:
    """Says its bytes once, and then that is all."""

    def __init__(self, content: bytes) -> None:
        self._left = content
        self.over = asyncio.Event()

    async def readinto(self, buf: Any) -> int:
        if not self._left:
            self.over.set()
            await asyncio.Event().wait()
        count = min(len(buf), len(self._left))
        buf[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def write(self, content: Any) -> int:
        return len(content)


def _at(message: bytes) -> None:
    asyncio.run(_hear(message))


async def _hear(message: bytes) -> None:
    """Damaged lines while a command waits for each kind of answer; its task must not lose them to an error."""
    lost: list[str] = []
    for options in ({"prefix": b"+"}, {"prefix": b""}, {"prefix": b"+QIRD:", "into": bytearray(32)},
                    {"prefix": b"+", "field": 1, "into": bytearray(32), "inline": 1}):  # fmt: skip
        uart = Uart(message)
        with mock.patch.object(asyncio, "StreamReader", lambda uart: uart):
            port = at.At(uart)
        for prefix in (b"+CEREG:", b"+QIURC:", b"+CTZE:"):
            port.on(prefix, lambda rest: int(rest.split(b",")[1]))
        command = asyncio.create_task(port.command(b"AT+X", timeout_ms=20000, **options))
        await asyncio.sleep(0)
        with mock.patch.object(at, "log", lambda level, *words: lost.append(" ".join(map(str, words)))):
            port.start()
            await uart.over.wait()
            await asyncio.sleep(0)
        port.stop()
        if command.done() and command.exception():
            lost.append(str(command.exception()))
        while not command.done():  # wait_for of Python 3.11 may miss one
            command.cancel()
            await asyncio.sleep(0)
    assert not [line for line in lost if "is lost" in line], lost


# Files


_JOURNAL = json.dumps({"download": {"eim": "65", "attempts": 1}, "ended": [["65", "01", 3]], "imei": "4901"}).encode()


def _journal(folder: Path) -> Take:
    path = folder / "ipa.journal"

    def take(message: bytes) -> None:
        """Once as it is, once with a CRC that is right: then it is ours, and one object."""
        contents = [message]
        if message[:1] == b"{":
            contents.append(b"%08x\n%s\n" % (crc32(message), message))
        for content in contents:
            path.write_bytes(content)
            with mock.patch.object(os, "sync"):  # of all disks of this machine
                Journal(str(path)).set(imei="1")

    return take


_CONFIG = json.dumps({"apn": {"default": "iot", "plmn:90170": "x"}, "poll_interval_s": 60, "transport": "coap",
                      "poll_window": "22:00-04:30", "eim_file": "eim.der"}).encode()  # fmt: skip


def _config(folder: Path) -> Take:
    path = folder / "ipa.json"

    def take(message: bytes) -> None:
        path.write_bytes(message)
        config.load(str(path))

    return take
