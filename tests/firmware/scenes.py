"""Scenes of firmware tests: a scripted card and a scripted eIM around the steps, told in pairs of hex."""

from __future__ import annotations

from collections.abc import Sequence

from board_run import Run
from microipa.asn1.tlv import tlv

EID = bytes.fromhex("89049032123451234512345678901235")
TX = bytes.fromhex("A1A2A3A4A5A6A7A8")
TID = bytes(range(16))
SIGNATURE = bytes(range(64))
IMEI = "867223026000007"
DEVICE_INFO = bytes.fromhex("800468273220" "a105" "85030e0000" "8208" "682732200600007f")

_PRELUDE = """
from ipa import compat, tlv
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from ipa.journal import Journal
from ipa.net.coap_message import CoapRefused, CoapTimeout
from ipa.net.esipa import Esipa, Package
from ipa.steps import Session, device_info, download, notify, packages
from rooms import Carrier, Link, Stream, failing, run

card_script = {card}
eim_script = {eim}
said = []

def card(command):
    said.append("card " + command.hex())
    for index, (expected, answer) in enumerate(card_script):
        if command.hex().startswith(expected):
            del card_script[index]
            return answer if isinstance(answer, int) else bytes.fromhex(answer)
    return 0x6A88

class Eim(Link):
    async def exchange(self, parts, function=None):
        said.append("eim " + b"".join([bytes(part) for part in parts]).hex())
        return await super().exchange(parts)

link = Eim(*[(None, answer if isinstance(answer, Exception) else bytes.fromhex(answer)) for answer in eim_script])
channel = Channel(Carrier(card))
esipa = Esipa(link)
es10 = Es10(channel)
es10.lists = True  # as after the question for what waits, with which most polls begin
about_device = device_info("{imei}", b"\\x85\\x03\\x0e\\x00\\x00")
session = Session(
    bytes.fromhex("{eid}"), b"eim.example", es10, esipa, about_device, Journal("ipa.journal"))

def package(text):
    return execute(bytes.fromhex(text))

async def execute(whole):
    reader = tlv.Reader(Stream(whole, 50))
    tag, length = await reader.header()
    return await packages.execute(session, Package(tag, length, reader))

async def in_turn(*texts):
    for text in texts:
        outcome = await package(text)
    return outcome

async def in_order(steps):
    for step in steps:
        outcome = None if step is None else await step
    return outcome

async def due():
    return session.due

async def finish():
    from ipa.steps import failed

    return await failed.finish_cut(session)

async def gather(steps):
    values = []
    for step in steps:
        values.append(await step)
    return values

async def state(key):
    return session.journal.get(key)

async def conversations(times):
    "So many polls in which nothing is done but to deliver; what the journal says of refusals then."
    for _ in range(times):
        session.held = None
        await notify.deliver(session)
    return session.journal.get("refused")

async def transfer(text):
    from ipa.steps import inject

    one = inject.Transfer(session)
    parts = await one.answer(Stream(bytes.fromhex(text), 50))
    said.append("answer " + b"".join([bytes(part) for part in parts]).hex())
    if one.trigger is not None:
        await packages.execute(session, one.trigger)
    return one.profile_changes

async def transfers(*texts):
    for text in texts:
        await transfer(text)

async def direct(error, transaction):
    "Deliver what a direct download left, to an SM-DP+ that answers with this error."
    from ipa.net.es9 import Es9Malformed, Es9Refused
    from ipa.net.https import HttpsClosed, HttpsRefused
    from ipa.net.jsonstream import JsonError
    from ipa.steps import direct

    raised = eval(error, {"Es9Malformed": Es9Malformed, "Es9Refused": Es9Refused,
                          "HttpsClosed": HttpsClosed, "HttpsRefused": HttpsRefused,
                          "JsonError": JsonError})

    class Es9(direct.Es9):
        async def handle_notification(self, pending):
            raise raised
    direct.Es9 = Es9
    session.tcp = True
    session.journal.set(direct=transaction)
    return await notify.deliver(session)

async def main():
    print("outcome", await failing({call}))
    for line in said:
        print(line)
    if card_script:
        print("the card was never told", card_script)
    if link._script:
        print("the eIM was never told")
run(main())
"""


class Scene:
    """What the steps did: ``outcome`` in words, ``said`` to card and eIM in order, ``log`` lines."""

    def __init__(self, output: str) -> None:
        lines = output.splitlines()
        self.outcome = next(line[8:] for line in lines if line.startswith("outcome "))
        self.said = [(line.split()[0], bytes.fromhex(line.split()[1])) for line in lines
                     if line.startswith(("card ", "eim ", "answer "))]
        self.left = [line for line in lines if "never told" in line]
        self.log = [line.split(") ", 1)[1] for line in lines if line[:3] in ("E (", "I (")]

    def to(self, whom: str) -> list[bytes]:
        return [message for who, message in self.said if who == whom]


async def play(micropython: Run, call: str, card: Sequence[tuple[bytes, bytes | int]],
               eim: Sequence[bytes | str]) -> Scene:
    """Run ``call`` where the card answers commands that begin with the first of a pair with the second.

    ``eim`` are its answers in order; text is a MicroPython expression of an exception.
    """
    script = _PRELUDE
    answers = [answer if isinstance(answer, str) else repr(answer.hex()) for answer in eim]
    pairs = [(command.hex(), answer if isinstance(answer, int) else answer.hex()) for command, answer in card]
    for name, value in {"card": repr(pairs), "eim": f"[{', '.join(answers)}]", "eid": EID.hex(), "imei": IMEI,
                        "call": call}.items():
        script = script.replace("{" + name + "}", value)
    # The scene and its script live in the heap as well.
    return Scene(await micropython(script, heapsize="216K"))


def epr(seq: int, results: bytes = b"\x83\x01\x00", counter: int = 1) -> bytes:
    """A signed eUICC package result (SGP.32 2.11.2)."""
    data = tlv(0x30, tlv(0x80, b"eim.example"), tlv(0x81, bytes([counter])), tlv(0x82, TX),
               tlv(0x83, bytes([seq])), tlv(0x30, results))
    return tlv(0xBF51, tlv(0xA0, data, tlv(0x5F37, SIGNATURE)))


def epe(code: int, counter: int = 1) -> bytes:
    """A signed eUICC package error."""
    data = tlv(0x30, tlv(0x80, b"eim.example"), tlv(0x81, bytes([counter])), tlv(0x82, TX),
               tlv(0x02, bytes([code])))
    return tlv(0xBF51, tlv(0xA1, data, tlv(0x5F37, SIGNATURE)))


def acknowledge(*seq: int) -> bytes:
    return tlv(0xBF50, tlv(0xBF53, *(tlv(0x80, bytes([one])) for one in seq)))


def provide(*result: bytes) -> bytes:
    return tlv(0xBF50, tlv(0x5A, EID), *result)


def remove(seq: int) -> tuple[bytes, bytes]:
    """The card's part in RemoveNotificationFromList."""
    return tlv(0xBF30, tlv(0x80, bytes([seq]))), bytes.fromhex("bf3003800100")
