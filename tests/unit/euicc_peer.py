"""The other ends of a card, for tests: a terminal, an eIM and an SM-DP+ that can be told to err."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from microipa.asn1 import rsp, sgp32
from microipa.asn1.kinds import Kind
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto import ec
from microipa.crypto.bsp import MAX_PLAIN, Bsp
from microipa.crypto.pki import Credential, Pki
from microipa.euicc import Euicc
from microipa.saip import ProfilePackage, ProfileSpec, build, iccid_to_bytes, luhn_digit, metadata
from microipa.trace import Trace

EID = "89049032123451234512345678901235"
ISDR = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
USIM = bytes.fromhex("A0000000871002")
MORE_TIME = bytes.fromhex("D009810301020082028182")
HOST_ID = b"12345678"


def spec(number: int, **changes) -> ProfileSpec:
    digits = f"8988211{number:011}"
    facts = {
        "iccid": digits + luhn_digit(digits),
        "imsi": f"90170{number:010}",
        "k": bytes([number]) * 16,
        "opc": bytes(range(number, number + 16)),
        "name": f"Profile {number}",
        "notification_address": "smdpp.microipa.example",
    }
    return ProfileSpec(**(facts | changes))


def iccid(number: int) -> bytes:
    return iccid_to_bytes(spec(number).iccid)


def make_card(folder: Path, pki: Pki, trace: Trace | None = None, **variant: Any) -> Euicc:
    """``variant``: what Euicc.create takes besides."""
    return Euicc.create(
        folder / "card.nvm", eid=EID, credential=pki.euicc(EID), eum_der=pki.eum.der,
        ci=pki.ci.certificate, bootstrap=build(spec(1)), trace=trace, **variant,
    )  # fmt: skip


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def terminal(tmp_path: Path, pki: Pki) -> Terminal:
    """A card with profile 1 enabled, powered, on the ISD-R."""
    return Terminal(make_card(tmp_path, pki)).start()


@pytest.fixture
def eim(terminal: Terminal, pki: Pki) -> Eim:
    """The eIM that the card of ``terminal`` obeys."""
    eim = Eim(pki)
    answer = terminal.es10(tlv(0xBF57, tlv(0xA0, eim.configuration())))
    eim.token = parse(answer)[0xA0][0x84].value[0]
    return eim


@pytest.fixture
def dp(terminal: Terminal, pki: Pki) -> Dp:
    return Dp(pki, terminal)


class Terminal:
    """Power, TERMINAL CAPABILITY, a logical channel with the ISD-R, and what follows 61xx and 91xx."""

    def __init__(self, card: Euicc, block: int = 255) -> None:
        self.card = card
        self.block = block
        self.channel = 1
        self.sw = 0

    def start(self) -> Terminal:
        self.card.power_on()
        return self.open()

    def reset(self) -> Terminal:
        self.card.reset()
        return self.open()

    def open(self) -> Terminal:
        assert self.send("80AA000005A903840101") == b""
        self.channel = self.send("0070000001")[0]
        self.fci = self.send(bytes([self.channel]) + b"\xa4\x04\x00\x10" + ISDR + b"\x00")
        assert self.sw == 0x9000
        return self

    def send(self, apdu: bytes | str) -> bytes:
        """The data, GET RESPONSE included; the status word is in ``sw``."""
        apdu = bytes.fromhex(apdu) if isinstance(apdu, str) else apdu
        answer = self.card.transmit(apdu)
        data = answer[:-2]
        while answer[-2] == 0x61:
            answer = self.card.transmit(bytes([apdu[0], 0xC0, 0, 0, answer[-1]]))
            data += answer[:-2]
        self.sw = int.from_bytes(answer[-2:], "big")
        return data

    def es10(self, command: bytes | str) -> bytes:
        """One function of the ISD-R as a STORE DATA chain."""
        command = bytes.fromhex(command) if isinstance(command, str) else command
        blocks = [command[i : i + self.block] for i in range(0, len(command), self.block)]
        for number, block in enumerate(blocks):
            p1 = 0x91 if number == len(blocks) - 1 else 0x11
            data = self.send(bytes([0x80 | self.channel, 0xE2, p1, number, len(block)]) + block)
        return data

    def keep_toolkit_busy(self) -> None:
        """An applet of the profile asks for MORE TIME, and the terminal does not answer yet."""
        self.card.proactive(MORE_TIME)

    def serve_toolkit(self) -> None:
        """FETCH what an applet asks, and say that it was done."""
        assert self.send("80F2000C") == b""
        assert self.sw >> 8 == 0x91
        assert self.send(bytes([0x80, 0x12, 0, 0, self.sw & 0xFF])) == MORE_TIME
        self.send("801400000C810301020082028281830100")
        assert self.sw == 0x9000

    def refresh(self) -> None:
        """FETCH and TERMINAL RESPONSE as the status word asks for it, then open the ISD-R again."""
        assert self.sw >> 8 == 0x91
        assert self.send(bytes([0x80, 0x12, 0, 0, self.sw & 0xFF]))[:2] == b"\xd0\x09"
        self.send("801400000C8103010104820282818301 00")
        assert self.sw == 0x9000
        self.open()


@dataclass
class Eim:
    """Signs packages for one card."""

    pki: Pki
    eim_id: str = "eim.microipa.example"
    counter: int = 0
    token: int | None = None
    eid: bytes = bytes.fromhex(EID)
    transaction_id: bytes = b"\xa1\xa2"
    signer: Credential | None = None

    @property
    def suffix(self) -> bytes:
        return integer(0x84, self.token or 0)

    def configuration(self, *extra: bytes, token: int | None = -1, tag: int = 0x30) -> bytes:
        signer = self.signer or self.pki.eim_signing
        return tlv(
            tag,
            tlv(0x80, self.eim_id.encode()),
            integer(0x83, self.counter),
            integer(0x84, token) if token is not None else b"",
            tlv(0xA5, tlv(0xA0, parse(signer.spki).value)),
            *extra,
        )

    def package(self, *operations: bytes, eco: bool = False) -> bytes:
        """The next package; operations are TLVs."""
        self.counter += 1
        signed = tlv(
            0x30,
            tlv(0x80, self.eim_id.encode()),
            tlv(0x5A, self.eid),
            integer(0x81, self.counter),
            tlv(0x82, self.transaction_id),
            tlv(0xA1 if eco else 0xA0, *operations),
        )
        signature = (self.signer or self.pki.eim_signing).sign(signed + self.suffix)
        return tlv(0xBF51, signed, tlv(0x5F37, signature))

    def run(self, terminal: Terminal, *operations: bytes, eco: bool = False) -> list[str]:
        """Have one package executed: what became of each operation."""
        return self.outcomes(terminal.es10(self.package(*operations, eco=eco)))

    def outcomes(self, answer: bytes) -> list[str]:
        """enable.ok, addEim.ciPKUnknown and so on, from a signed result whose signature is verified."""
        self.results(answer)
        data = sgp32.decode("EuiccPackageResult", answer)[1]["euiccPackageResultDataSigned"]
        kinds = {member.name: member.kind for member in sgp32.kind("EuiccResultData").members}
        results = data["euiccResult"]
        return [f"{name.removesuffix('Result')}.{code_of(kinds[name], value)}" for name, value in results]

    def results(self, answer: bytes, token: bytes | None = None) -> list[Tlv]:
        """The result elements of a signed result, its signature verified."""
        result = parse(answer)[0xA0]
        data = result[0x30]
        key = self.pki.euicc(EID).certificate.public_key()
        ec.verify(key, result[0x5F37].value, data.raw + (token or self.suffix))
        return data[0x30].children()

    def error(self, answer: bytes) -> str:
        """The code of a signed error, its signature verified."""
        result = parse(answer)[0xA1]
        key = self.pki.euicc(EID).certificate.public_key()
        ec.verify(key, result[0x5F37].value, result[0x30].raw + self.suffix)
        return sgp32.kind("EuiccPackageErrorCode").names[result[0x30][0x02].value[0]]


def enable(iccid_bytes: bytes, rollback: bool = False) -> bytes:
    return tlv(0xA3, tlv(0x5A, iccid_bytes), tlv(0x05) if rollback else b"")


def disable(iccid_bytes: bytes) -> bytes:
    return tlv(0xA4, tlv(0x5A, iccid_bytes))


# Fields of a profile's metadata.
PPR1, PPR2 = bytes.fromhex("99020640"), bytes.fromhex("99020520")
ECALL, FALLBACK_ALLOWED = bytes.fromhex("9F7B01FF"), bytes.fromhex("9F6701FF")
TEST_CLASS, PROVISIONING_CLASS = bytes.fromhex("950100"), bytes.fromhex("950101")

SET_DEFAULT_DP = tlv(0xBF65, tlv(0x80, b"dp.example"))
LIST_PROFILES = tlv(0xBF2D)


def set_fallback(iccid_bytes: bytes) -> bytes:
    return tlv(0xA8, tlv(0x5A, iccid_bytes))


def delete(iccid_bytes: bytes) -> bytes:
    return tlv(0xA5, tlv(0x5A, iccid_bytes))


@dataclass
class Dp:
    """An SM-DP+ session with one card. Attributes are what the tests bend."""

    pki: Pki
    terminal: Terminal
    transaction_id: bytes = b"\x01\x02\x03\x04"
    address: str = "smdpp.microipa.example"
    auth: Credential | None = None
    pb: Credential | None = None
    ci_key_id: bytes | None = None
    challenge: bytes | None = None
    operation: int = 1
    key_type: int = 0x88
    key_length: int = 0x10
    segment: int = MAX_PLAIN
    ppk: bool = False
    bpp_transaction_id: bytes | None = None
    otpk: bytes = field(default=b"", init=False)
    signature_1: bytes = field(default=b"", init=False)

    def authenticate(self) -> Tlv:
        """GetEuiccChallenge and AuthenticateServer."""
        challenge = parse(self.terminal.es10("BF2E00"))[0x80].value
        signer = self.auth or self.pki.smdpp_auth
        ski = parse(self.terminal.es10("BF2000"))[0xA9][0x04].value
        signed = tlv(
            0x30,
            tlv(0x80, self.transaction_id),
            tlv(0x81, self.challenge or challenge),
            tlv(0x83, self.address.encode()),
            tlv(0x84, bytes(16)),
        )
        request = tlv(
            0xBF38,
            signed,
            tlv(0x5F37, signer.sign(signed)),
            tlv(0x04, self.ci_key_id or ski),
            signer.der,
            tlv(0xA0, tlv(0x80, b"MATCH"), tlv(0xA1, tlv(0x80, b"\x35\x29\x06\x11"), tlv(0xA1))),
        )
        answer = parse(self.terminal.es10(request))
        ok = answer.get(0xA0)
        if ok is not None:
            self.signature_1 = ok[0x5F37].raw
        return answer

    def prepare(self, *, cc: bytes = b"", cc_required: bool = False, bound_to: bytes = b"") -> Tlv:
        """PrepareDownload."""
        signer = self.pb or self.pki.smdpp_pb
        signed = tlv(
            0x30,
            tlv(0x80, self.transaction_id),
            tlv(0x01, b"\xff" if cc_required else b"\x00"),
            tlv(0x5F49, bound_to) if bound_to else b"",
        )
        signature = signer.sign(signed + self.signature_1)
        hashed = tlv(0x04, cc) if cc else b""
        request = tlv(0xBF21, signed, tlv(0x5F37, signature), hashed, signer.der)
        answer = parse(self.terminal.es10(request))
        ok = answer.get(0xA0)
        if ok is not None:
            self.otpk = ok[0x30][0x5F49].value
        return answer

    def segments(self, package: bytes, about: bytes) -> list[bytes]:
        """The bound profile package as the pieces of "Loading it into the card"."""
        one_time = ec.generate_key()
        signed = (
            integer(0x82, self.operation)
            + tlv(0x80, self.bpp_transaction_id or self.transaction_id)
            + tlv(0xA6, tlv(0x80, bytes([self.key_type])), tlv(0x81, bytes([self.key_length])), tlv(0x84, HOST_ID))
            + tlv(0x5F49, ec.point(one_time.public_key()))
        )
        signature = (self.pb or self.pki.smdpp_pb).sign(signed + tlv(0x5F49, self.otpk))
        channel = tlv(0xBF23, signed, tlv(0x5F37, signature))
        bsp = Bsp.from_secret(ec.ecdh(one_time, self.otpk), HOST_ID, bytes.fromhex(EID))
        isdp = tlv(0xA0, bsp.encrypt(0x87, tlv(0xBF24)))
        described = [bsp.mac(0x88, piece) for piece in self._cut(about)]
        keys = b""
        if self.ppk:
            material = [bytes([n]) * 16 for n in (1, 2, 3)]
            replace = tlv(0xBF26, *(tlv(0x80 + i, key) for i, key in enumerate(material)))
            keys = tlv(0xA2, bsp.encrypt(0x87, replace))
            bsp = Bsp(*material)
        loaded = [bsp.encrypt(0x86, piece) for piece in self._cut(package)]
        head = [tlv(0xA1, *described), tlv(0xA3, *loaded)]
        body = b"".join([channel, isdp, head[0], keys, head[1]])
        first = tlv(0xBF36, body)[: -len(body)] + channel
        pieces = [first, isdp, _head(head[0]), *described, keys, _head(head[1]), *loaded]
        return [piece for piece in pieces if piece]

    def load(self, pieces: list[bytes]) -> Tlv:
        """Send pieces until the card answers with the ProfileInstallationResult."""
        for piece in pieces:
            answer = self.terminal.es10(piece)
            assert self.terminal.sw == 0x9000, hex(self.terminal.sw)
            if answer:
                return parse(answer)
        raise AssertionError("the card took all segments and gave no result")

    def download(self, profile: ProfileSpec | bytes, about: bytes | None = None) -> Tlv:
        """The whole: returns the verified BF37."""
        assert 0xA0 in self.authenticate()
        assert 0xA0 in self.prepare()
        package = profile if isinstance(profile, bytes) else build(profile)
        if about is None:
            about = metadata(ProfilePackage.parse(profile) if isinstance(profile, bytes) else profile)
        return self.verified(self.load(self.segments(package, about)))

    def install(self, number: int, *extra: bytes) -> bytes:
        """Install profile ``number`` with ``extra`` fields in its metadata. Returns its ICCID."""
        about = parse(metadata(spec(number)))
        assert 0xA0 in self.download(spec(number), tlv(0xBF25, about.value, *extra))[0xBF27][0xA2]
        return iccid(number)

    def verified(self, result: Tlv) -> Tlv:
        key = self.pki.euicc(EID).certificate.public_key()
        ec.verify(key, result[0x5F37].value, result[0xBF27].raw)
        return result

    def _cut(self, data: bytes) -> list[bytes]:
        return [data[i : i + self.segment] for i in range(0, len(data), self.segment)]


def _head(container: bytes) -> bytes:
    return container[: parse(container).header]


def code(type_name: str, answer: bytes) -> str:
    """The name of the result in an answer of that type of SGP.32; ok when there is more than a code."""
    return code_of(sgp32.kind(type_name), sgp32.decode(type_name, answer))


def code_of(kind: Kind, value: Any) -> str:
    """The name of the result that a decoded ``value`` holds first."""
    if kind.names:
        return kind.names[value]
    if kind.base == "CHOICE":
        name, inner = value
        return code_of(next(member.kind for member in kind.members if member.name == name), inner)
    first = kind.members[0] if kind.members else None
    if kind.base == "SEQUENCE" and first and first.kind.base == "INTEGER" and first.kind.names:
        return first.kind.names[value[first.name]]
    return "ok"


def failure(result: Tlv) -> tuple[str, str]:
    """(bppCommandId, errorReason) of a failed installation, as SGP.22 names them."""
    error = result[0xBF27][0xA2][0xA1]
    command, reason = rsp.kind("BppCommandId").names, rsp.kind("ErrorReason").names
    return command[error[0x80].value[0]], reason[error[0x81].value[0]]
