"""An IPA that says only what is new (minimizeEsipaBytes), and leaves to its eIM what it can."""

from __future__ import annotations

from eim_ipa import DEVICE_INFO, Ipa, Refusal
from microipa.asn1.tlv import Tlv, parse, tlv

PLAIN_AGAIN = (1, 2, 5)  # euiccSignatureInvalid of CancelSession, GetBoundProfilePackage and AuthenticateClient
SIGNATURE = 0x5F37


def capabilities(features: int) -> bytes:
    """The value of IpaCapabilities; ``features``: bit 7 is directRspServerCommunication."""
    return bytes((0x80, 2, 2, features, 0x81, 2, 6, 0x40))


def authenticate(response: bytes, *, context: bool = True, certificates: bool = False, signed: bool = False) -> bytes:
    """BF38{A0} → BF38{A2}; with ctxParams1, certificates or all of euiccSigned1."""
    full, signature, euicc, eum = parse(response)[0xA0].children()
    made = tlv(0xA2, full[0xA0].raw) if context else b""
    short = full.raw if signed else tlv(0xA0, full[0xBF22][0x84].raw, made)
    chain = tlv(0xA1, euicc.value) + tlv(0xA2, eum.value) if certificates else b""
    return tlv(0xBF38, tlv(0xA2, short, signature.raw, chain))


def prepare(response: bytes, otpk: bytes | None = None) -> bytes:
    """BF21{A0} → BF21{A2}; the one-time key is left out when it is ``otpk``."""
    full, signature = parse(response)[0xA0].children()
    kept = [field.raw for field in full.children()[1:] if field.raw != otpk]
    return tlv(0xBF21, tlv(0xA2, tlv(0x30, *kept), signature.raw))


def cancel(response: bytes) -> bytes:
    """The value of BF41: A0 → A2."""
    full, signature = parse(response)[0xA0].children()
    return tlv(0xA2, tlv(0x30, tlv(0x80, full[0x82].value)), signature.raw)


def result(response: bytes) -> bytes:
    """BF37 → A0."""
    data, signature = parse(response).children()
    final = data[0xA2]
    if 0xA0 in final:
        sima = final[0xA0].get(0x04)
        short = tlv(0xA0, tlv(0x4F, final[0xA0][0x4F].value[-2:]), sima.raw if sima else b"")
    else:
        short = final[0xA1].raw
    absent = b"" if 0x5A in data[0xBF2F] else b"\x01\x01\x00"
    inside = tlv(0xA0, data[0x80].raw, tlv(0x02, data[0xBF2F][0x80].value), absent, tlv(0xA2, short))
    return tlv(0xA0, inside, signature.raw)


def other(pending: bytes, eid: bytes) -> bytes:
    """30{BF2F, signature, certificates} → A1."""
    fields = parse(pending)
    return tlv(0xA1, eid, fields[0xBF2F].raw, fields[SIGNATURE].raw)


class CompactIpa(Ipa):
    """Claims ``features``; ``sent`` holds what it said, ``signed`` what the card had signed."""

    def __init__(self, ipa: Ipa, features: int = 0x44, **how: bool) -> None:
        super().__init__(ipa.ask, ipa.card)
        self.eid, self.capabilities, self.how = ipa.eid, capabilities(features), how
        self.sent: list[bytes] = []
        self.signed: dict[int, bytes] = {}
        self.refused: list[int] = []
        real = ipa.ask

        async def listening(request: bytes) -> bytes:
            self.sent.append(request)
            return await real(request)

        self.ask = listening

    def about(self, request: Tlv) -> bytes:
        answer = parse(super().about(request))[0xA0]
        fields = [tlv(0xA8, self.capabilities) if field.tag == 0xA8 else field.raw for field in answer]
        return tlv(0xBF52, tlv(0xA0, *fields))

    async def say(self, tag: int, short: bytes, plain: bytes) -> Tlv:
        """The compact form and, where the eIM cannot rebuild it, the plain one."""
        try:
            return await self.call(tag, self.session, short)
        except Refusal as refusal:
            if refusal.code not in PLAIN_AGAIN:
                raise
            self.refused.append(refusal.code)
            return await self.call(tag, self.session, plain)

    async def initiate(self, trigger: Tlv, **fields: bytes) -> Tlv:
        if 0xA0 not in trigger:  # the eIM alone knows with whom
            challenge = tlv(0x81, parse(self.card.es10("BF2E00"))[0x80].value)
            return await self.call(0xBF39, challenge, tlv(0x82, trigger[0x82].value))
        return await super().initiate(trigger, info1=b"", **fields)

    async def authenticate(self, started: Tlv, trigger: Tlv) -> Tlv:
        server = [part.raw for part in started if part.tag in (0x30, SIGNATURE, 0x04)]
        self.session = parse(server[0])[0x80].raw
        made = started.get(0xA2)
        if made:
            context = made.value
        else:
            told = started.get(0x0C)
            name = told.value if told else trigger[0xA0][0x80].value.split(b"$")[2]
            context = tlv(0xA0, tlv(0x80, name), tlv(0xA1, DEVICE_INFO))
        self.signed[0xBF38] = proof = self.card.es10(tlv(0xBF38, *server, context))
        return await self.say(0xBF3B, authenticate(proof, context=not made, **self.how), proof)

    async def bound_package(self, authenticated: Tlv) -> bytes:
        parts = [part.raw for part in authenticated if part.tag not in (0x80, 0xBF25)]
        self.signed[0xBF21] = prepared = self.card.es10(tlv(0xBF21, *parts))
        offered = authenticated[0x30].get(0x5F49)
        short = prepare(prepared, offered.raw if offered else None)
        return (await self.say(0xBF3A, short, prepared))[0xBF36].raw

    async def notify(self, pending: bytes) -> None:
        self.signed[parse(pending).tag] = pending
        await super().notify(result(pending) if parse(pending).tag == 0xBF37 else other(pending, self.eid))

    async def cancel(self, reason: int) -> None:
        self.signed[0xBF41] = answer = self.card.es10(tlv(0xBF41, self.session, tlv(0x81, bytes([reason]))))
        await self.say(0xBF41, tlv(0xA1, cancel(answer)), tlv(0xA1, parse(answer).value))
