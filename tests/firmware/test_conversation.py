"""ipa.conversation under MicroPython with the eIM's real server: one association a poll, or one for several."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_run import Run
from datagram import UDP
from microipa.asn1.tlv import parse
from microipa.crypto.pki import Pki
from microipa.eim.coap import serve
from microipa.eim.dtls_handshake import DtlsSettings
from scenes import EID

SCRIPT = UDP + """
import sys
from ipa import config
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from ipa.conversation import IDLE, Conversation
from ipa.eim import Eim
from ipa.journal import Journal
from rooms import Carrier

class Modem:
    "Opens sockets and keeps what it opened."
    def __init__(self):
        self.sockets = []
    async def udp(self, host, port):
        self.sockets.append(Udp(int(sys.argv[1])))
        return self.sockets[-1]

def card(command):
    "Nothing waits on it."
    said.append(len(modem.sockets))
    return bytes.fromhex({"bf2b": "bf2b02a200", "bf28": "bf2802a000"}[command[:2].hex()])

said = []
modem = Modem()
es10 = Es10(Channel(Carrier(card)))
class Known:
    host, port, eim_id, trust = "eim.microipa.example", 5684, b"eim", ("ca", TRUST)

async def main(between, **settings):
    talk = Conversation(modem, dict(config.DEFAULTS, **settings), Journal("ipa.journal"), es10, None)
    for number in range(len(PLMNS) or 2):
        if number:
            between(talk)
        assert await talk.run(Known, EID, b"", PLMNS.pop(0) if PLMNS else None, False) == IDLE
    print("asked the card with sockets", *said)
    print("sent", *[socket.sent for socket in modem.sockets], "open", *[not socket.closed for socket in modem.sockets])
    talk.end()
    assert all(socket.closed for socket in modem.sockets)
"""
NONE_AVAILABLE = bytes.fromhex("bf4f03020101")
HANDSHAKE_AND_REQUEST = 4


async def polls(micropython: Run, pki: Pki, between: str, settings: str, plmns: tuple[bytes, ...] = (),
                asked: list[bytes] | None = None) -> tuple[list[str], list[str]]:
    """Two polls, or one on each of these networks; what the card and the network saw. ``asked`` gets the requests."""
    async def handle(request: bytes) -> bytes:
        assert request[:2] == bytes.fromhex("bf4f")
        if asked is not None:
            asked.append(request)
        return NONE_AVAILABLE

    async with serve(handle, pki.eim_tls, port=0, settings=DtlsSettings()) as port:
        script = SCRIPT.replace("TRUST", repr(pki.ci.der)).replace("EID", repr(EID))
        script = f"PLMNS = {list(plmns)!r}\n" + script
        out = await micropython(script + f"\nasyncio.run(main({between}{settings}))", port, heapsize="288K")
    card, sent = [line for line in out.splitlines() if line.startswith(("asked", "sent"))]
    return card.split()[5:], sent.split()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


async def test_without_the_setting_each_poll_has_its_own_association(micropython: Run, pki: Pki) -> None:
    _, sent = await polls(micropython, pki, "lambda talk: None", "")
    assert sent == ["sent", "4", "4", "open", "False", "False"]


async def test_an_association_that_is_kept_saves_the_handshake(micropython: Run, pki: Pki) -> None:
    _, sent = await polls(micropython, pki, "lambda talk: None", ", keep_association_s=60")
    assert sent == ["sent", str(HANDSHAKE_AND_REQUEST + 1), "open", "True"]


async def test_the_card_is_asked_before_the_association_is_opened(micropython: Run, pki: Pki) -> None:
    card, _ = await polls(micropython, pki, "lambda talk: None", "")
    assert card == ["0", "0", "1", "1"]


async def test_an_association_older_than_the_setting_is_not_used(micropython: Run, pki: Pki) -> None:
    _, sent = await polls(micropython, pki, "lambda talk: time.sleep_ms(1100)", ", keep_association_s=1")
    assert sent == ["sent", "4", "4", "open", "False", "True"]


async def test_when_nobody_answers_on_it_a_new_one_is_made_soon(micropython: Run, pki: Pki) -> None:
    """A NAT has forgotten the device, say."""
    nat_forgot = "lambda talk: setattr(modem.sockets[0], 'lose_out', range(99))"
    _, sent = await polls(micropython, pki, nat_forgot, ", keep_association_s=60")
    assert sent == ["sent", str(HANDSHAKE_AND_REQUEST + 2), "4", "open", "False", "True"]


async def test_5_14_5_the_network_is_named_when_it_is_another_than_the_eim_knows(micropython: Run, pki: Pki) -> None:
    home, away = bytes.fromhex("09f107"), bytes.fromhex("62f210")
    asked: list[bytes] = []
    await polls(micropython, pki, "lambda talk: None", ", keep_association_s=60", (home, home, away, away), asked)
    assert [rplmn and rplmn.value for rplmn in (parse(request).get(0x82) for request in asked)] == [
        home, None, away, None]


@pytest.mark.parametrize("other", ["'port', 4711", "'trust', Known.trust + Known.trust[1:]"])
async def test_another_eim_at_the_same_address_does_not_get_the_association_that_was_kept(
        micropython: Run, pki: Pki, other: str) -> None:
    """It would be spoken to under the trust of the first."""
    _, sent = await polls(micropython, pki, f"lambda talk: setattr(Known, {other})", ", keep_association_s=60")
    assert sent == ["sent", "4", "4", "open", "False", "True"]


async def test_2_11_1_1_1_an_eim_without_a_key_on_the_card_is_trusted_under_the_cas_of_the_device(
        micropython: Run, pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "eim_roots.der").write_bytes(pki.smdpp_tls.der + pki.ci.der)
    script = "lambda talk: setattr(Known, 'trust', None)"
    _, sent = await polls(micropython, pki, script, "")
    assert sent == ["sent", "4", "4", "open", "False", "False"]


async def test_3_1_1_2_an_acknowledgement_may_come_in_a_session_of_its_own_and_counts_for_its_eim_alone(
        micropython: Run) -> None:
    out = await micropython("import sys\nsys.argv.append('0')\n" + SCRIPT.replace("TRUST", "b''") + """
talk = Conversation(modem, dict(config.DEFAULTS), Journal("ipa.journal"), es10, None)
talk.session(b"one", b"", b"").sent.add(7)
print(*[sorted(talk.session(name, b"", b"").sent) for name in (b"one", b"two", b"one")])
""", heapsize="288K")
    assert out.split() == ["[7]", "[]", "[]"]


async def test_it_knows_whether_an_eim_has_answered(micropython: Run, pki: Pki) -> None:
    script = "lambda talk: (print('reached', talk.reached), setattr(talk, 'reached', False), lost(talk))"
    lose = "lambda talk: setattr(Udp, '_take', lambda self: None)"
    out: list[str] = []

    async def handle(request: bytes) -> bytes:
        return NONE_AVAILABLE if not out else b""

    async with serve(handle, pki.eim_tls, port=0, settings=DtlsSettings()) as port:
        whole = SCRIPT.replace("TRUST", repr(pki.ci.der)).replace("EID", repr(EID)).replace("PLMNS", "[]")
        whole += f"""
lost = {lose}
async def twice():
    try:
        await main({script}, dtls_timeout_s=1)
    except Exception as error:
        print("then", type(error).__name__, Talk.last.reached)
class Talk(Conversation):
    def __init__(self, *all):
        super().__init__(*all)
        Talk.last = self
Conversation = Talk
asyncio.run(twice())
"""
        out = (await micropython(whole, port, heapsize="288K")).splitlines()
    assert [line for line in out if line.startswith(("reached", "then"))] == ["reached True", "then DtlsTimeout False"]


async def test_a_handshake_that_ends_in_an_error_of_ours_leaves_no_socket_open(micropython: Run, pki: Pki) -> None:
    script = SCRIPT.replace("TRUST", repr(pki.ci.der)).replace("EID", repr(EID)) + """
from ipa.net.dtls import Dtls

def cut(self, *_):
    raise MemoryError

async def failing():
    talk = Conversation(modem, dict(config.DEFAULTS, keep_association_s=60), Journal("ipa.journal"), es10, None)
    Dtls._io = cut
    for _ in range(2):
        try:
            await talk.run(Known, b"", b"", None, False)
        except MemoryError:
            print("MemoryError", *[socket.closed for socket in modem.sockets])
asyncio.run(failing())
"""
    async def handle(request: bytes) -> bytes:
        raise AssertionError(request)

    async with serve(handle, pki.eim_tls, port=0, settings=DtlsSettings()) as port:
        out = await micropython(script, port, heapsize="288K")
    assert [line for line in out.splitlines() if "Memory" in line] == ["MemoryError True", "MemoryError True True"]
