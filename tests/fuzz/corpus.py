"""Whole messages, as the lab's own parts exchange them: what is damaged are copies of these."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from eim_ipa import Ipa
from euicc_peer import EID, Terminal, make_card, spec
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.saip import build
from microipa.smdpp import Smdpp
from microipa.trace import Event, Trace
from microipa.trace.session import Es10
from smdpp_peer import ADDRESS, Es9, Peer, asgi_client


@dataclass
class Corpus:
    """``esipa``: (request, answer). ``es9``: (function, request, answer) in JSON. ``es10``: (command, answer).
    ``apdus``: commands. ``rows``: lines of a trace."""

    pki: Pki
    folder: Path
    esipa: list[tuple[bytes, bytes]] = field(default_factory=list)
    es9: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    es10: list[tuple[bytes, bytes]] = field(default_factory=list)
    apdus: list[bytes] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    profile: bytes = b""

    def answers_of(self, tag: int) -> list[bytes]:
        """What a card answers with this outer tag."""
        return [answer for _, answer in self.es10 if answer and parse(answer).tag == tag]


def record(folder: Path) -> Corpus:
    """A download, a package, notifications and a cancelled session."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(Pki.open(folder / "pki"), folder, profile=build(spec(3)))
    asyncio.run(_record(corpus))
    return corpus


async def _record(corpus: Corpus) -> None:
    trace = Trace()
    exchange = Es10()

    def listen(event: Event) -> None:
        corpus.rows.append(event.to_json())
        if event.kind == "apdu":
            command, response = (bytes.fromhex(event.fields[name]) for name in ("command", "response"))
            corpus.apdus.append(command)
            if done := exchange.feed(command, response):
                corpus.es10.append(done)

    trace.listen(listen)
    smdpp = Smdpp(corpus.pki, corpus.folder, trace=trace)
    async with smdpp.serve() as port:
        desk = Eim(corpus.pki, corpus.folder, es9_routes={ADDRESS: ("127.0.0.1", port)}, trace=trace)
        await _poll(corpus, desk, smdpp, trace)
    await _es9(corpus, smdpp)


async def _poll(corpus: Corpus, desk: Eim, smdpp: Smdpp, trace: Trace) -> None:
    desk.add_device(EID)
    card = Terminal(make_card(corpus.folder, corpus.pki, trace)).start()
    card.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))

    async def ask(message: bytes) -> bytes:
        answer = await desk.handle(message)
        corpus.esipa.append((message, answer))
        return answer

    desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(2)))), needs_proof=False)
    desk.order_package(EID, [("listProfileInfo", {}), ("getRAT", {}), ("enable", {"iccid": spec(2).iccid})])
    ipa = Ipa(ask, card)
    await ipa.work()
    for pending in parse(card.es10("BF2B00"))[0xA0]:
        await ipa.notify(pending.raw)
    for command in ("BF2000", "BF2200", "BF2800", "BF2D00", "BF2E00", "BF3C00", "BF3E035C015A", "BF4300", "BF5500",
                    "BF5600", "BF5F00", "BF2B04A0028200"):
        card.es10(command)


async def _es9(corpus: Corpus, smdpp: Smdpp) -> None:
    async def keep(response: object) -> None:
        await response.aread()
        function = response.request.url.path.rpartition("/")[2]
        corpus.es9.append((function, response.request.content, response.content))

    async with asgi_client(smdpp.app) as client:
        client.event_hooks["response"].append(keep)
        es9 = Es9(client)
        peer, other = Peer(corpus.pki), Peer(corpus.pki)
        offer = await es9.authenticate(peer, smdpp.add_profile(corpus.profile))
        await es9.package(peer, offer)
        await es9.notify(peer.installation_result())
        await es9.authenticate(other, smdpp.add_profile(corpus.profile))
        await es9.cancel(other, other.cancel_session(0))
