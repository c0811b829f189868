"""An IPA for tests of the eIM: carries ESipa between an eIM and a card, honest unless told to err."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from euicc_peer import EID, Terminal, make_card
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.eim import Eim, OrderView
from microipa.eim.packages import SIGNATURE
from microipa.trace import Event, Trace
from test_smdpp_card import store_data_chains

OTHER_EID = "89049032000000000000000000000163"

NO_PACKAGE, EID_NOT_FOUND, INVALID_EID, MISSING_EID, UNDEFINED = 1, 2, 3, 4, 127
DEVICE_INFO = tlv(0x80, b"\x35\x29\x06\x11") + tlv(0xA1)
CAPABILITIES = bytes.fromhex("8002064081020640")

Ask = Callable[[bytes], Awaitable[bytes]]


class Refusal(Exception):
    """An ESipa function that ended with this error code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Ipa:
    """``ask`` sends one ESipa message; ``eid`` is the one it claims to be."""

    def __init__(self, ask: Ask, card: Terminal, eid: str = EID) -> None:
        self.ask = ask
        self.card = card
        self.eid = tlv(0x5A, bytes.fromhex(eid))
        self.capabilities: bytes | None = None  # other ones than CAPABILITIES

    # eIM packages

    async def get(self, *extra: bytes) -> Tlv:
        """GetEimPackage; the package. Raises Refusal."""
        answer = parse(await self.ask(tlv(0xBF4F, self.eid, *extra)))
        assert answer.tag == 0xBF4F
        inner = answer.children()[0]
        if inner.tag == 0x02:
            raise Refusal(inner.value[0])
        return inner

    async def provide(self, *result: bytes) -> list[int]:
        """ProvideEimPackageResult; the acknowledged seqNumbers. Raises Refusal."""
        answer = parse(await self.ask(tlv(0xBF50, self.eid, *result)))
        assert answer.tag == 0xBF50
        inner = answer.children()[0]
        if inner.tag == 0x02:
            raise Refusal(inner.value[0])
        assert inner.tag == 0xBF53 or inner.raw == b"\x30\x00"
        return [sequence.value[0] for sequence in inner]

    async def notify(self, pending: bytes) -> None:
        """HandleNotification of one PendingNotification."""
        assert await self.ask(tlv(0xBF3D, tlv(0xA0, pending))) == b""

    async def introduce(self) -> None:
        """Answer the data request that comes before the first package."""
        await self.provide(self.about(await self.get()))

    async def work(self, limit: int = 20) -> None:
        """Poll until the eIM has nothing more, removing from the card what is acknowledged."""
        for _ in range(limit):
            try:
                package = await self.get()
            except Refusal as end:
                assert end.code == NO_PACKAGE
                return
            await self.carry_out(package)
        raise AssertionError("the eIM does not come to an end")

    async def carry_out(self, package: Tlv) -> None:
        if package.tag == 0xBF54:
            await self.download(package)
            return
        result = self.execute(package) if package.tag == 0xBF51 else self.about(package)
        self.remove(await self.provide(result))

    def execute(self, package: Tlv) -> bytes:
        """LoadEuiccPackage; the card's BF51. A switch of profiles is seen through."""
        result = self.card.es10(package.raw)
        if self.card.sw >> 8 == 0x91:
            self.card.refresh()
        return result

    def about(self, request: Tlv) -> bytes:
        """IpaEuiccDataResponse to ``request``, the fields read from the card."""
        certificates = parse(self.card.es10("BF5600"))[0xA0]
        token = parse(self.card.es10("BF5500"))[0xA0][0x30].get(0x84)
        default = parse(self.card.es10("BF3C00")).get(0x80)
        fields = {
            b"\x81": tlv(0x81, default.value) if default else b"",
            b"\xa2": tlv(0xA2, self.stored()),
            b"\xbf\x22": self.card.es10("BF2200"),
            b"\x84": token.raw if token else b"",
            b"\xa5": certificates[0xA5].raw,
            b"\xa6": certificates[0xA6].raw,
            b"\xa8": tlv(0xA8, self.capabilities or CAPABILITIES),
            b"\xa9": tlv(0xA9, DEVICE_INFO),
        }
        wanted = request[0x5C].value
        echo = tlv(0x87, request[0x83].value)
        return tlv(0xBF52, tlv(0xA0, *(field for tag, field in fields.items() if tag in wanted), echo))

    def stored(self) -> bytes:
        """The eUICC package results the card keeps."""
        return parse(self.card.es10("BF2B04A0028200"))[0xA2].value

    def remove(self, sequences: list[int]) -> None:
        for sequence in sequences:
            assert self.card.es10(tlv(0xBF30, integer(0x80, sequence))) == bytes.fromhex("BF3003800100")

    # Downloads, the eIM in the middle

    async def call(self, tag: int, *parts: bytes) -> Tlv:
        """A relayed function; its A0. Raises Refusal."""
        answer = parse(await self.ask(tlv(tag, *parts)))
        assert answer.tag == tag
        inner = answer.children()[0]
        if inner.tag != 0xA0:
            raise Refusal(inner.value[0])
        return inner

    async def initiate(self, trigger: Tlv, **fields: bytes) -> Tlv:
        """InitiateAuthentication for a ProfileDownloadTrigger; ``fields`` by name are other bytes."""
        address = self.source(trigger)[0]
        own = {
            "challenge": tlv(0x81, parse(self.card.es10("BF2E00"))[0x80].value),
            "transaction": tlv(0x82, trigger[0x82].value),
            "address": tlv(0x83, address) if address else b"",
            "info1": self.card.es10("BF2000"),
        }
        return await self.call(0xBF39, *(own | fields).values())

    def source(self, trigger: Tlv) -> tuple[bytes, bytes]:
        """SM-DP+ address and matchingId of a trigger, empty where it leaves them to the eIM."""
        if 0xA0 not in trigger:
            return b"", b""
        if 0x81 in trigger[0xA0]:
            return parse(self.card.es10("BF3C00"))[0x80].value, b""
        _, address, matching_id, *_ = trigger[0xA0][0x80].value.split(b"$")
        return address, matching_id

    async def authenticate(self, started: Tlv, trigger: Tlv) -> Tlv:
        """AuthenticateServer on the card and AuthenticateClient."""
        session, *server = started.children()
        self.session = session.raw
        given = started.get(0x0C)
        matching_id = given.value if given else self.source(trigger)[1]
        context = tlv(0xA0, tlv(0x80, matching_id) if matching_id else b"", tlv(0xA1, DEVICE_INFO))
        proof = self.card.es10(tlv(0xBF38, *(part.raw for part in server if part.tag != 0x0C), context))
        return await self.call(0xBF3B, self.session, proof)

    async def bound_package(self, authenticated: Tlv) -> bytes:
        """PrepareDownload on the card and GetBoundProfilePackage; BF36."""
        hash_cc = authenticated.get(0x04)
        signed, signature, certificate = [part.raw for part in authenticated if part.tag in (0x30, SIGNATURE)]
        parts = (signed, signature, hash_cc.raw if hash_cc else b"", certificate)
        prepared = self.card.es10(tlv(0xBF21, *parts))
        return (await self.call(0xBF3A, self.session, prepared))[0xBF36].raw

    def load(self, package: bytes) -> bytes:
        """The card's ProfileInstallationResult."""
        for chain in store_data_chains(package):
            if result := self.card.es10(chain):
                return result
        raise AssertionError("the card has not said how it ended")

    async def download(self, trigger: Tlv) -> None:
        authenticated = await self.authenticate(await self.initiate(trigger), trigger)
        result = self.load(await self.bound_package(authenticated))
        await self.notify(result)
        self.remove([parse(result)[0xBF27][0xBF2F][0x80].value[0]])


# What the tests of the eIM share


@pytest.fixture
def events() -> list[Event]:
    """The trace of ``desk``."""
    return []


@pytest.fixture
def desk(pki, tmp_path, events) -> Eim:
    """The eIM under test; it manages one device."""
    trace = Trace()
    trace.listen(events.append)
    desk = Eim(pki, tmp_path, es9_routes={}, trace=trace)
    desk.add_device(EID)
    return desk


@pytest.fixture
def enrolled(pki, tmp_path, desk) -> Terminal:
    """A card that obeys ``desk``."""
    terminal = Terminal(make_card(tmp_path, pki)).start()
    terminal.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))
    return terminal


@pytest.fixture
def ipa(desk, enrolled) -> Ipa:
    return Ipa(desk.handle, enrolled)


def order(desk: Eim, number: int) -> OrderView:
    return next(view for view in desk.orders() if view.id == number)


def alarms(events: list[Event]) -> list[str]:
    return [event.fields["text"] for event in events if (event.part, event.kind) == ("eim", "alarm")]
